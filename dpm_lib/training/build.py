"""From a recipe to its model and its data."""

import math
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.random import seeded
from dpm_lib.data import image_datasets, images
from dpm_lib.data.dataset import Data, Points
from dpm_lib.data.registry import load
from dpm_lib.diffusion import categorical_kernel, schedules
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
from dpm_lib.diffusion.dequantised_kernel import LevelReverse
from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import BernoulliReverse, GaussianReverse, PaperReverse, outputs
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.networks import mlp, rbf
from dpm_lib.networks.multiscale import MultiScale
from dpm_lib.networks.one_hot import OneHot
from dpm_lib.networks.text_network import TextNetwork
from dpm_lib.networks.unet import UNet
from dpm_lib.training.recipe import SCHEDULES, TOKENS, Recipe


def image_model(
    recipe: Recipe, schedule: Schedule, dim: int, generator: torch.Generator, edges: Tensor | None = None
) -> DiffusionModel:
    """The model of ``recipe`` for images of ``dim`` entries; ValueError where side and channels do not fit them.

    ``edges`` (L+1,) of "levels" are those of the data that are trained on; by default of the recipe's own.
    """
    shape = (recipe.channels, recipe.side, recipe.side)
    kernel = GaussianKernel(math.prod(shape), schedule)
    if kernel.dim != dim:
        raise ValueError(f"side: images of shape {shape} have {kernel.dim} entries, and the data {dim}")
    if (recipe.network == "multi-scale") != (recipe.covariance == "paper"):
        raise ValueError(f"covariance: {recipe.covariance!r} does not fit the network {recipe.network!r}")
    if recipe.covariance == "paper":
        paper = MultiScale(shape, recipe.T, recipe.width, recipe.depth, recipe.scales, generator=generator)
        return DiffusionModel(kernel, PaperReverse(paper, kernel))

    def unet(numbers: int) -> UNet:
        return UNet(
            shape, numbers, recipe.width, recipe.depth, recipe.scales, recipe.frequencies, generator, recipe.dropout,
            recipe.classes,
        )  # fmt: skip

    if recipe.covariance == "levels":
        if edges is None:
            edges = image_datasets.load(recipe.data, recipe.side, recipe.channels).edges(recipe.cells)
        return DiffusionModel(kernel, LevelReverse(unet(len(edges) - 1), kernel, edges))
    if recipe.covariance not in ("posterior", "fixed_large", "constant", "diagonal"):
        raise ValueError(f"covariance: {recipe.covariance!r} is not for images; use diagonal, levels or constant")
    return DiffusionModel(
        kernel, GaussianReverse(unet(outputs(dim, recipe.covariance) // dim), kernel, recipe.covariance)
    )


def load_data(recipe: Recipe) -> Data:
    """The recipe's data set."""
    return load(recipe.data, recipe.noise, recipe.side, recipe.channels, recipe.length)


def recipe_for(recipe: Recipe, data: Data) -> Recipe:
    """``recipe`` as it is on ``data``: with their name, the side and channels of pictures, the tokens of strings.

    ValueError where the two do not go together: bits and a Gaussian kernel, say, or points and a network for pictures.
    """
    if data.bits is not None and data.bits != (recipe.kernel in TOKENS):
        kind, need = ("no bits", "gaussian")
        if data.bits:
            kind, need = ("bits", "binomial") if data.tokens == 2 else (f"{data.tokens} tokens", "mask")
        raise ValueError(f"kernel: {recipe.kernel!r} does not fit the data {data.name!r}, which are {kind}: {need!r}")
    changes: dict[str, Any] = {} if data.name == recipe.data else {"data": data.name}
    if data.bits and data.target is None and recipe.kernel in ("mask", "uniform"):  # a text, or strings of one's own
        changes |= {"tokens": data.tokens}
    elif data.bits and data.tokens > (most := 2 if recipe.kernel == "binomial" else recipe.tokens):
        raise ValueError(
            f"tokens: {most}: need {data.tokens}, of which {data.name!r} are made, and kernel=mask or uniform"
        )
    if recipe.side and isinstance(data, images.Images):
        channels, height, width = data.shape
        if height != width:
            raise ValueError(f"data: {data.name!r} are {height} x {width} pixels, not square: cut or pad them")
        if (channels, height) != (recipe.channels, recipe.side):
            changes |= {"channels": channels, "side": height}
    elif recipe.side and isinstance(data, Points):
        raise ValueError(f"side: {recipe.name!r} is for pictures, and {data.name!r} are points: take swiss-roll, say")
    if recipe.classes and recipe.classes != data.classes:
        have = f"{data.classes} classes" if data.classes else "no labels"
        raise ValueError(f"classes: {recipe.classes}: need as many as the data have, and {data.name!r} have {have}")
    return recipe.override(**changes)


def build(recipe: Recipe, seed: int = 0, dim: int = 2, edges: Tensor | None = None) -> DiffusionModel:
    """The recipe's model, for data of dimension ``dim``, fresh weights drawn from ``seed``, and no dropout active.

    ``edges`` (L+1,) are the ends of the cells of covariance "levels"; by default those of the recipe's own data.
    """
    return _build(recipe, seeded(seed), dim, edges).eval()


def _build(recipe: Recipe, generator: torch.Generator, dim: int, edges: Tensor | None) -> DiffusionModel:
    schedule = _schedule(recipe)
    if recipe.side:
        return image_model(recipe, schedule, dim, generator, edges)

    def network(inputs: int, n_outputs: int) -> torch.nn.Module:
        if recipe.network == "rbf":
            return rbf.RBF(inputs, n_outputs, recipe.T, recipe.units, generator)
        return mlp.MLP(inputs, n_outputs, recipe.width, recipe.depth, recipe.frequencies, recipe.scale, generator)

    if recipe.kernel == "binomial":
        binomial = BinomialKernel(dim, schedule)
        return DiffusionModel(binomial, BernoulliReverse(network(dim, dim), binomial))
    if recipe.kernel in TOKENS:
        kind = categorical_kernel.mask if recipe.kernel == "mask" else categorical_kernel.uniform
        strings = CategoricalKernel(dim, schedule, kind(recipe.tokens))
        if recipe.network == "text":
            reader = TextNetwork(recipe.tokens, recipe.width, recipe.depth, dropout=recipe.dropout, generator=generator)
            return DiffusionModel(strings, CategoricalReverse(reader, strings))
        shown = OneHot(network(dim * strings.tokens, dim * recipe.tokens), strings.tokens)
        return DiffusionModel(strings, CategoricalReverse(shown, strings))
    kernel = GaussianKernel(dim, schedule)
    return DiffusionModel(
        kernel, GaussianReverse(network(dim, outputs(dim, recipe.covariance)), kernel, recipe.covariance)
    )


def _schedule(recipe: Recipe) -> schedules.Schedule:
    start = SCHEDULES[recipe.schedule](recipe.T, recipe.beta_1, recipe.tau_T)
    return schedules.LearnedSchedule(start, recipe.knots) if recipe.learn_schedule else start
