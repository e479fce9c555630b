"""The training objective: what one step minimises, and what it draws."""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from dpm_lib.core.random import seeded
from dpm_lib.data.dataset import Data
from dpm_lib.diffusion import bound, loss_weights
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training.recipe import SCHEDULES, Recipe

WARMUP = 100  # steps
ROWS, LOOK = 2048, 2_000_003  # of a look at validation data: rows at least, of images, and the seed of their noise


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

    def forward(self, x0: Tensor, t: Tensor, noise: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        model = self.model if label is None else self.model.given(label)
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=self.bf16):
            if self.by_bound:
                K = bound.estimate(model, x0, t, noise).mean()
                return -K, K.detach()
            return self._weighted(model, x0, t, noise)

    def _weighted(self, model: DiffusionModel, x0: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        kernel: Any = model.kernel
        reverse: Any = model.reverse
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
    """Times (n,) in first..T from ``places`` (n,) in [0, n) that are even: spread as the objective draws them."""
    n = len(places)
    if recipe.objective in loss_weights.EVEN:
        return recipe.first + (places * ((recipe.T + 1 - recipe.first) / n)).long()
    weights = step_weights(recipe)
    assert weights is not None
    below = weights.probability.cumsum(0).to(places.device)
    return torch.searchsorted(below, places / n, right=True).clamp(max=recipe.T)


def draw_batch(data: Data, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, ...]:
    """A global batch: data x0 (n, d), times (n,) of the learned steps, and standard normal noise (n, d).

    Times are spread evenly, or by the density of the recipe's objective, with one random shift for the whole batch.
    With classes also labels (n,), of which a random share, ``label_dropout``, is ``classes``: that tells nothing.

    On the generator's device.
    """
    n, device = recipe.batch, generator.device
    x0, *labels = data.labelled(n, generator) if recipe.classes else (data.batch(n, generator),)
    offset = torch.rand(1, generator=generator, dtype=torch.float64, device=device)
    t = times(recipe, torch.arange(n, device=device) + offset)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=device)
    withheld = [torch.rand(n, generator=generator, device=device) < recipe.label_dropout for _ in labels]
    told = [label.masked_fill(drop, recipe.classes) for label, drop in zip(labels, withheld, strict=True)]
    return x0, t, noise, *told


def validation_batch(data: Data, recipe: Recipe) -> tuple[Tensor, ...]:
    """The same rows at every look: validation data x0 (n, d), times (n,) spread as in training, and noise (n, d).

    With classes also the labels (n,), all of them told.

    Of images ROWS rows, or as many as there are images if these are more: each about as often, at times of its own.
    """
    generator = seeded(LOOK)
    x0, labels = data.validation_rows(ROWS, generator)
    t = times(recipe, torch.randperm(len(x0), generator=generator) + 0.5)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    return (x0, t, noise, labels) if recipe.classes and labels is not None else (x0, t, noise)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine to zero; ``step`` counts from 0."""
    return recipe.lr * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
