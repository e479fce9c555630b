"""The training objective: what one step minimises, and what it draws."""

import math

import torch
from torch import Tensor, nn

from dpm_lib.core.random import seeded
from dpm_lib.data.dataset import Data
from dpm_lib.data.images import Images
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training.recipe import Recipe

WARMUP = 100  # steps
ROWS, LOOK = 2048, 2_000_003  # of a look at the validation images: rows at least, and the seed of their noise


class Objective(nn.Module):
    """-K of a batch, in nats: what is minimised.

    With ``precision`` "bf16" the network's matrix products run in bfloat16, by autocast. Autocast leaves float64 alone:
    chain, schedule and bound are float64, and stay so. With "fp32", convolutions on a GPU may use TF32, PyTorch's
    default; other products do not.
    """

    def __init__(self, model: DiffusionModel, precision: str = "fp32") -> None:
        super().__init__()
        self.model = model
        self.bf16 = precision == "bf16"

    def forward(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=self.bf16):
            return -bound.estimate(self.model, x0, t, noise).mean()


def draw_batch(data: Data, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A global batch: data x0 (n, d), times (n,) spread evenly over 2..T, and standard normal noise (n, d).

    On the generator's device.
    """
    x0, device = data.batch(recipe.batch, generator), generator.device
    offset = torch.rand(1, generator=generator, dtype=torch.float64, device=device)
    even = torch.arange(recipe.batch, device=device) + offset
    t = 2 + (even * ((recipe.T - 1) / recipe.batch)).long()
    return x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=device)


def validation_batch(data: Images, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """The same rows at every look: validation images x0 (n, d), times (n,) spread evenly over 2..T, and noise (n, d).

    ROWS rows, or as many as there are images if these are more: each image about as often, at times of its own.
    """
    assert data.validation is not None
    generator, images = seeded(LOOK), len(data.validation)
    n = max(ROWS, images)
    x0 = data.dequantised(data.validation[torch.arange(n) % images], generator)
    even = torch.randperm(n, generator=generator) + 0.5
    t = 2 + (even * ((recipe.T - 1) / n)).long()
    return x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine to zero; ``step`` counts from 0."""
    return recipe.lr * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
