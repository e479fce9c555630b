"""Guidance: one model pushed away from another, at every level, before a sampler asks for the guess of x_0.

With the scores a of an unconditional model and b of a conditional one, the guided score is (1 - w) a + w b, and so is
the guess, since at one state and level the two are linear in each other (Tweedie):

    x0_hat = x0_u + w (x0_c - x0_u)                                                                  (def-st-guided)

w = 0 is the unconditional model, 1 the conditional one. Ho and Salimans (2022) count from there: their w' is w - 1.
``Guided`` is a model to a sampler: it has a ``schedule`` and ``denoise(x, t)``, and so has what it is made of. A worse
model of the same data in the place of the unconditional one is autoguidance (Karras et al. 2024); a classifier of noisy
states makes the conditional one, ``Classified``.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states
from dpm_lib.diffusion.forward_kernels import Kernel
from dpm_lib.diffusion.samplers import Denoising
from dpm_lib.diffusion.schedules import Schedule


class Guided:
    """The guess x0_u + w (x0_c - x0_u) of two models with one schedule. {eq}`def-st-guided`.

    Outside of ``interval`` = (low, high), in log tau, w is 1 (Kynkaanniemi et al. 2024); either end may be infinite.
    One of the two is asked alone where w is 0 or 1. ValueError for a negative or infinite w, schedules that differ, and
    an interval that does not rise.
    """

    def __init__(
        self, conditional: Denoising, unconditional: Denoising, w: float, interval: tuple[float, float] | None = None
    ) -> None:
        self.conditional, self.unconditional = conditional, unconditional
        self.w = checks.between("w", w, 0)
        self.low, self.high = (-math.inf, math.inf) if interval is None else interval
        if not self.low < self.high:
            raise ValueError(f"interval: {interval}: need two values of log tau, the lower one first")
        ours, theirs = conditional.schedule.log_alpha_bar, unconditional.schedule.log_alpha_bar
        if not torch.equal(ours, theirs):
            raise ValueError(
                f"unconditional: its schedule, of {len(theirs) - 1} steps, is not that of conditional, "
                f"of {len(ours) - 1}: need one schedule"
            )

    @property
    def schedule(self) -> Schedule:
        """The levels 0..T of both."""
        return self.conditional.schedule

    @property
    def kernel(self) -> Kernel:
        """The forward kernel of the conditional model, if that is a ``DiffusionModel``, for ``samplers.draw``."""
        return self.conditional.kernel  # type: ignore[attr-defined]

    @property
    def dim(self) -> int:
        """Numbers in a state. AttributeError where the conditional model does not say."""
        return int(self.conditional.dim)  # type: ignore[attr-defined]

    @property
    def limited(self) -> bool:
        """Whether there are levels at which w does not count."""
        return math.isfinite(self.low) or math.isfinite(self.high)

    def scale(self, t: int) -> float:
        """w at level t: 1 outside of the interval."""
        return self.w if self.low <= float(self.schedule.log_tau[t]) <= self.high else 1.0

    def denoise(self, x: Tensor, t: int) -> Tensor:
        """The guided guess of x_0, (n, d), for x (n, d) and t in 1..T. ValueError for another t."""
        checks.checked_step(t, self.schedule.T)
        w = self.scale(t)
        if w == 1:
            return self.conditional.denoise(x, t)
        start = self.unconditional.denoise(x, t)
        return start if w == 0 else start + w * (self.conditional.denoise(x, t) - start)


class Classified:
    """The conditional model that an unconditional one and a classifier of noisy states make: Bayes' rule for scores.

    ``log_likelihood(x, t)`` is log p(c | x_t = x), (n,), for x (n, d), and differentiable: of the noisy state, not of a
    guess. x0_c = x0_u + tau sqrt(alpha_bar) grad_x log p(c | x), {eq}`eq-st-classifier`. With it ``Guided`` is
    classifier guidance (Dhariwal and Nichol 2021).
    """

    def __init__(self, unconditional: Denoising, log_likelihood: Callable[[Tensor, int], Tensor]) -> None:
        self.unconditional, self.log_likelihood = unconditional, log_likelihood

    @property
    def schedule(self) -> Schedule:
        """The levels 0..T of the unconditional model."""
        return self.unconditional.schedule

    @property
    def dim(self) -> int:
        """Numbers in a state. AttributeError where the unconditional model does not say."""
        return int(self.unconditional.dim)  # type: ignore[attr-defined]

    def denoise(self, x: Tensor, t: int) -> Tensor:
        """E[x_0 | x_t = x, c], (n, d). ValueError for a t outside of 1..T, and a bad log likelihood or slope of it."""
        checks.checked_step(t, self.schedule.T)
        with torch.enable_grad():
            at = checked_states(x, "x").detach().requires_grad_()
            value = checks.log_density("log_likelihood", self.log_likelihood(at, t), at, f"at level {t}")
            (slope,) = torch.autograd.grad(value.sum(), at)
        log = self.schedule.log_alpha_bar[t]
        reach = -torch.expm1(log) * (-0.5 * log).exp()  # tau sqrt(alpha_bar) = (1 - alpha_bar) / sqrt(alpha_bar)
        return self.unconditional.denoise(x, t) + reach * checks.finite("slope of log_likelihood", slope, t)
