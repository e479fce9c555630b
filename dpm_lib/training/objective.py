"""The training objective: what one step minimises, and what it draws."""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from dpm_lib.core.random import seeded
from dpm_lib.data.dataset import Data
from dpm_lib.data.images import Images
from dpm_lib.diffusion import bound, loss_weights
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training.recipe import SCHEDULES, Recipe

WARMUP = 100  # steps
ROWS, LOOK = 2048, 2_000_003  # of a look at the validation images: rows at least, and the seed of their noise


class Objective(nn.Module):
    """What is minimised, and the bound K beside it, for a batch: two scalars, K in nats and without gradient.

    By default -K itself. With ``weights``, those of another objective on the model's schedule, the mean of
    w_t |x_0 - x0_hat|^2; K is then estimated from the same pass of the network, whatever the times were drawn by.

    With ``precision`` "bf16" the network's matrix products run in bfloat16, by autocast. Autocast leaves float64 alone:
    chain, schedule and bound are float64, and stay so. With "fp32", convolutions on a GPU may use TF32, PyTorch's
    default; other products do not.
    """

    weight: Tensor
    probability: Tensor

    def __init__(
        self, model: DiffusionModel, precision: str = "fp32", weights: loss_weights.StepWeights | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.bf16 = precision == "bf16"
        self.by_bound = weights is None
        if weights is not None:
            self.register_buffer("weight", weights.weight, persistent=False)
            self.register_buffer("probability", weights.probability, persistent=False)

    def forward(self, x0: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=self.bf16):
            if self.by_bound:
                K = bound.estimate(self.model, x0, t, noise).mean()
                return -K, K.detach()
            return self._weighted(x0, t, noise)

    def _weighted(self, x0: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        kernel: Any = self.model.kernel
        reverse: Any = self.model.reverse
        xt = kernel.marginal(x0, t).from_noise(noise)
        x0_hat, factor = reverse.moments(xt, t, kernel)
        loss = (self.weight[t] * (x0 - x0_hat).square().sum(-1)).mean()
        with torch.no_grad():
            kl = kernel.posterior(x0, xt, t).kl(reverse.law(xt, t, kernel, x0_hat, factor))
            prior, edge, entropy_T, entropy_1 = bound.ends(kernel, x0)
            K = prior + edge + entropy_T - entropy_1 - kl / self.probability[t]
        return loss, K.mean()


@lru_cache
def step_weights(recipe: Recipe) -> loss_weights.StepWeights | None:
    """The weights of the recipe's objective on its schedule, which is fixed; none for the bound itself."""
    if recipe.objective == "bound":
        return None
    return loss_weights.on_schedule(recipe.objective, SCHEDULES[recipe.schedule](recipe.T, recipe.beta_1, recipe.tau_T))


def times(recipe: Recipe, places: Tensor) -> Tensor:
    """Times (n,) in 2..T from ``places`` (n,) in [0, n) that are even: spread as the objective draws them."""
    n = len(places)
    if recipe.objective in loss_weights.EVEN:
        return 2 + (places * ((recipe.T - 1) / n)).long()
    weights = step_weights(recipe)
    assert weights is not None
    below = weights.probability.cumsum(0).to(places.device)
    return torch.searchsorted(below, places / n, right=True).clamp(max=recipe.T)


def draw_batch(data: Data, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A global batch: data x0 (n, d), times (n,) in 2..T, and standard normal noise (n, d).

    Times are spread evenly, or by the density of the recipe's objective, with one random shift for the whole batch.

    On the generator's device.
    """
    x0, device = data.batch(recipe.batch, generator), generator.device
    offset = torch.rand(1, generator=generator, dtype=torch.float64, device=device)
    t = times(recipe, torch.arange(recipe.batch, device=device) + offset)
    return x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=device)


def validation_batch(data: Images, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """The same rows at every look: validation images x0 (n, d), times (n,) spread as in training, and noise (n, d).

    ROWS rows, or as many as there are images if these are more: each image about as often, at times of its own.
    """
    assert data.validation is not None
    generator, images = seeded(LOOK), len(data.validation)
    n = max(ROWS, images)
    x0 = data.dequantised(data.validation[torch.arange(n) % images], generator)
    t = times(recipe, torch.randperm(n, generator=generator) + 0.5)
    return x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine to zero; ``step`` counts from 0."""
    return recipe.lr * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
