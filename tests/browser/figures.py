"""Small figures of synthetic data for the browser tests: one maker for each that needs data."""

import base64
import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from dpm_lib.core import results
from dpm_lib.diffusion import schedules
from dpm_lib.figures.widgets import (
    BesideOthers,
    BitsAlong,
    Contest,
    DigitStrip,
    EntropyBand,
    GuidedDigits,
    HeartbeatPlayer,
    ImagePlayer,
    JumpWalkers,
    LearningCourse,
    LevelPosterior,
    LiveSampler,
    SamplerRace,
    ScheduleBars,
    TextUnmasking,
    TrainingCost,
    TrajectoryPlayer,
    TwoPictures,
)
from dpm_lib.figures.widgets.bound import entropy_table
from dpm_lib.figures.widgets.kolmogorov import RATES
from dpm_lib.figures.widgets.montecarlo import CostTable, ImportanceWeights
from dpm_lib.figures.widgets.tweedie import three_clumps
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.training import build, catalogue

T = 20


def player(n: int = 1000, T: int = T, **text: str) -> TrajectoryPlayer:
    """A ring that dissolves, and comes back."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * rng.random(n)
    ring = 1.4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mix = np.linspace(0, 1, T + 1)[:, None, None]
    forward, reverse = (np.sqrt(1 - mix) * ring + np.sqrt(mix) * rng.normal(size=(n, 2)) for _ in range(2))
    axis = np.linspace(-2.5, 2.5, 13)
    at = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    drift = np.arange(T + 1)[:, None, None] / T * (1.4 * at / np.linalg.norm(at + 1e-9, axis=1, keepdims=True) - at)
    return TrajectoryPlayer(forward, reverse, at, drift, **text)


def bits_along_row(other: bool = False) -> dict[str, Any]:
    """A model with the edge kernel; or another, with a last step on levels, on fewer steps."""
    log_tau = np.linspace(-5.0, 12.3, 20) if other else np.linspace(-9.0, 9.0, 41)
    steps = np.diff(log_tau) * 0.7 / (1 + np.exp(log_tau[1:] - 3))
    ends = {"std": 8.0, "last_bits": 0.2} if other else {"std": 6.0, "last_bits": -4.4}
    return {"log_tau": log_tau, "steps": steps, "prior_bits": 0.01} | ends


def bits_along(**options: Any) -> BitsAlong:
    return BitsAlong({"one": bits_along_row(), "other": bits_along_row(other=True)}, **options)


def race(**text: str) -> SamplerRace:
    return SamplerRace(results.read("sampler-race.json"), **text)


def guided_record(classes: int = 4, n: int = 6, side: int = 3) -> dict:
    """What guidance-digits.json holds, of pictures that are noise."""
    scales, rng = (0.0, 0.5, 1.0, 2.5), np.random.default_rng(0)
    shape = (len(scales), classes, n, side, side)
    rows = [
        {
            "way": "whole",
            "w": w,
            "agreement": {"mean": 1 - 0.8 * math.exp(-w), "stderr": 0.02},
            "spread": {"mean": 1.3 / (1 + w), "stderr": 0.05},
            "by_class": (1 - 0.8 * math.exp(-w) * rng.random(classes)).tolist(),
        }
        for w in scales
    ]
    other = {**rows[1], "way": "interval"}
    pictures = base64.b64encode(rng.integers(0, 256, shape).astype("u1").tobytes()).decode()
    real = {"agreement": {"mean": 0.98, "stderr": 0.01}}
    return {"rows": [*rows, other], "pictures": {"shape": shape, "uint8": pictures}, "real": real, "each": 50}


def guided_digits(**text: str) -> GuidedDigits:
    return GuidedDigits(guided_record(), digit=2, **text)


def schedule(T: int = T, **text: str) -> ScheduleBars:
    """Two Gaussian directions of different width: all forms differ, and the bound can be computed."""
    grid = np.linspace(-10, 6, 40)
    tau = np.exp(grid)[:, None, None]
    width = np.exp(np.random.default_rng(0).normal(size=(1, 20, 1))) * np.array([1.0, 0.01])
    log_c = np.log(width * tau / (width + tau))
    constant = np.repeat(np.log(np.exp(log_c).mean(axis=(1, 2), keepdims=True)), 2, axis=2)
    presets = {"log": np.geomspace(1e-4, 0.9, T), "linear": np.linspace(1e-4, 0.6, T)}
    return ScheduleBars(grid, {"full": log_c, "constant": constant}, presets["log"], -0.9, presets, **text)


def sampler(width: int = 16, T: int = T, **text: str) -> LiveSampler:
    """An untrained network: it samples, though not well."""
    rng = np.random.default_rng(0)
    sizes = [2 + 2 * 16 + 2 * 4, width, width, width, 5]
    layers = [(rng.normal(size=(o, i)) / np.sqrt(i), np.zeros(o)) for i, o in pairwise(sizes)]
    log_tau = np.concatenate([[-np.inf], np.linspace(-9, 6, T)])
    target = rng.normal(size=(300, 2)) * [1.5, 0.1]
    return LiveSampler(rng.normal(size=(2, 16)), rng.normal(size=4), layers, "full", log_tau, target, **text)


# --- The chapter on sampling ---


def cost_row(method, dimension, cost, error=0.1, stderr=0.05, target="banana", cost_stderr=None, grid=None):
    kept = {"method": method, "target": target, "dimension": dimension, "cost": cost, "cost_stderr": cost_stderr}
    return kept | {"error": error, "error_stderr": stderr, "measured": error is not None, "grid": grid}


ROWS = [
    cost_row("importance", 2, 12.3),
    cost_row("rejection", 2, 3e51, None, None),
    cost_row("Gibbs", 10, 4.0, 0.9, 0.1, cost_stderr=0.31, grid=401),
    cost_row("Gibbs", 2, 40.0, target="funnel"),
]


def importance(mean=0.8, width=1.2, **text):
    return ImportanceWeights(mean, width, **text)


def costs(**text):
    return CostTable(ROWS, **text)


# --- The chapter on Kolmogorov ---


def jump_walkers(**options):
    return JumpWalkers(RATES["one way round"], **options)


# --- The chapter on the bound ---


def clumps(variance=1.0):
    centers = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * math.sqrt(0.95 * variance)
    return Mixture(centers, torch.ones(2) / 2, 0.05 * variance)


def band(**options):
    normal = Mixture(torch.zeros(1, 1), torch.ones(1), 1.0)
    return EntropyBand({"two clumps": entropy_table(clumps()), "normal": entropy_table(normal)}, **options)


# --- The chapter on the heartbeat ---


def untrained():
    """A small network with weights of every size."""
    model = build.build(catalogue.get("heartbeat").override(T=12, knots=3, width=9), dim=20)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.reverse.network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / math.sqrt(weight.shape[-1] or 1))
    return model.requires_grad_(False)


def course(frames: int = 4, T: int = 6, **text: str) -> LearningCourse:
    rng = np.random.default_rng(0)
    levels = [np.sort(rng.normal(size=T) * 4) for _ in range(frames)]
    rows = [
        {
            "step": 100 * k**2,
            "log_tau": level,
            "best_bits": -2.5 + 0.02 * k,
            "model_bits": -3 + 0.1 * k,
            "kl_bits": rng.random(T - 1),
            "loss_bits": 0.1 * rng.random(T - 1),
        }
        for k, level in enumerate(levels)
    ]
    return LearningCourse({name: {"T": T, "limit": -2.3, "frames": rows} for name in ("bits", "roll")}, **text)


def strings(**text: str) -> HeartbeatPlayer:
    return HeartbeatPlayer.from_model(untrained(), steps=[2, 6, 12], **text)


# --- The chapter on posteriors ---


def record(digits: int = 2, draws: int = 6) -> dict:
    rng = np.random.default_rng(0)
    shape = [digits, 5, draws, 64]
    content = {m: base64.b64encode(rng.integers(17, size=shape).astype("u1").tobytes()) for m in ("clamped", "twisted")}
    return {"shape": shape, "truth": rng.integers(17, size=(digits, 64)).tolist(), "draws": content}


def strip(**text: str) -> DigitStrip:
    return DigitStrip(record(), **text)


# --- The chapter on Markovian VAEs ---


def contest(**text):
    names = ("GAN", "VAE", "two-step VAE", "diffusion")
    rng = np.random.default_rng(0)
    frames = {name: rng.normal(size=(2, 3, 40, 2)) for name in names}
    scores = {name: [[1.0, 0.1, 0.01 * (i + 1)], [0.9, 0.2, -0.0002]] for i, name in enumerate(names)}
    return Contest(frames, scores, (0.25, 0.5, 1.0), 0.001, rng.normal(size=(30, 2)), **text)


# --- The chapter on Tweedie ---


def two_pictures(**options):
    return TwoPictures({"even": schedules.geometric(12), "linear": schedules.linear(12)}, three_clumps(), **options)


# --- The chapter on images ---


def images(**text: str) -> ImagePlayer:
    rng = np.random.default_rng(0)
    held, expected = rng.random((2, 6, 4, 5, 5))
    return ImagePlayer({"noise": {"held": held, "expected": expected, "times": np.arange(100, -1, -20)}}, **text)


def pixel(**text: str) -> LevelPosterior:
    return LevelPosterior({"nothing": np.ones(17), "dark": np.arange(17.0, 0, -1)}, **text)


def training_cost(**text: str) -> TrainingCost:
    """Two recipes, one of a long name."""
    names = ("flop_per_row", "state_bytes", "bytes_per_row", "batch", "steps")
    cost = dict(zip(names, (4.7e9, 4.6e8, 7.2e6, 256, 200_000), strict=True))
    return TrainingCost({"a-recipe-of-a-long-name": cost, "digits": cost}, **text)


def text_unmasking(**text: str) -> TextUnmasking:
    """A network of one layer, of random numbers, for four characters."""
    rng = np.random.default_rng(0)
    S, width = 4, 2
    layer = {"look.weight": (2 * width, 5 * width), "look.bias": (2 * width,), "say.weight": (width, 2 * width)}
    layer |= {"say.bias": (width,), "norm.weight": (width,), "norm.bias": (width,)}
    sizes = {"letters": (S + 1, width), **{f"layers.0.{name}": size for name, size in layer.items()}}
    sizes |= {"norm.weight": (width,), "norm.bias": (width,), "out.weight": (S, width), "out.bias": (S,)}
    tensors = {name: rng.normal(size=size) for name, size in sizes.items()}
    return TextUnmasking(tensors, " abc", "ab__ c_a " * 6, **text)


def beside(**words: Any) -> BesideOthers:
    names = ("a solver", "another solver", "a sampler")
    spans = ((0.01, 0.02, 0.03), (0.8, 1.0, 1.3), (1.2, 1.5, 2.0))
    rows = [
        {
            "topic": name.split()[-1],
            "name": name,
            "what": "time",
            "low": low,
            "ratio": ratio,
            "high": high,
            "words": "Once.",
        }
        for name, (low, ratio, high) in zip(names, spans, strict=True)
    ]
    return BesideOthers(rows, **words)
