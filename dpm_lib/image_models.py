"""The model of a recipe for images: which network, which readout."""

import math

import torch
from torch import Tensor

from dpm_lib import images
from dpm_lib.diffusion import DiffusionModel
from dpm_lib.image_networks import UNet
from dpm_lib.kernels import GaussianKernel
from dpm_lib.levels import LevelReverse
from dpm_lib.paper_images import MultiScale, PaperReverse
from dpm_lib.reverse import GaussianReverse, outputs
from dpm_lib.schedules import Schedule


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
            shape, numbers, recipe.width, recipe.depth, recipe.scales, recipe.frequencies, generator, recipe.dropout
        )

    if recipe.covariance == "levels":
        if edges is None:
            edges = images.load(recipe.data, recipe.side, recipe.channels).edges(recipe.cells)
        return DiffusionModel(kernel, LevelReverse(unet(len(edges) - 1), kernel, edges))
    if recipe.covariance not in ("posterior", "constant", "diagonal"):
        raise ValueError(f"covariance: {recipe.covariance!r} is not for images; use diagonal, levels or constant")
    return DiffusionModel(
        kernel, GaussianReverse(unet(outputs(dim, recipe.covariance) // dim), kernel, recipe.covariance)
    )
