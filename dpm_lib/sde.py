"""Stochastic differential equations dX = mu(X, t) dt + sigma(X, t) dW, in the sense of Ito.

The second noun of the book. An :class:`SDE` is a drift and a diffusion. It can be simulated; turned into an equation
for its density and a rate matrix (:mod:`dpm_lib.fokker_planck`); and reversed in time, once the score of its
density is known. Below it stands what it is made of: the random walk, and the Wiener process that is its limit.

States are (n, d), n particles in d dimensions, float64. W has independent components with variance t. Times carry
whatever unit the drift is per; sigma is per square root of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dpm_lib.checks import checked_states, checked_times, finite
from dpm_lib.kernels import Gaussian
from dpm_lib.montecarlo import normal

Field = Callable[[Tensor, Tensor], Tensor | float]
Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SDE:
    """dX = ``drift(x, t)`` dt + ``diffusion(x, t)`` dW, Ito. x is (n, d), t a float64 tensor without axes.

    ``drift`` returns (n, d). ``diffusion`` returns sigma: one number; standard deviations of independent components,
    (n, 1) or (n, d); or matrices (n, d, d), which may have negative entries. Leading axes may be 1. ``autonomous``
    promises that neither depends on t, so that solvers may build their matrices once. ``backward`` marks an SDE made by
    :meth:`reverse`: it runs over falling times only. def-sde-sde.
    """

    drift: Field
    diffusion: Field
    autonomous: bool = False
    backward: bool = False

    def mu(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The drift at x (n, d): (n, d). ValueError for a wrong shape, NaN or infinity, with its place."""
        value = torch.as_tensor(self.drift(x, _time(t)), dtype=x.dtype, device=x.device)
        if not _fits(value, x.shape):
            raise ValueError(f"drift: gives shape {tuple(value.shape)} for x of shape {tuple(x.shape)}")
        return finite("drift", value, t).expand_as(x)

    def sigma(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The diffusion at x (n, d): (), (n, 1), (n, d) or (n, d, d). ValueError for anything else, NaN, or a negative
        standard deviation."""
        value = torch.as_tensor(self.diffusion(x, _time(t)), dtype=x.dtype, device=x.device)
        shape = (*x.shape, x.shape[1]) if value.ndim == 3 else x.shape
        if not _fits(value, shape):
            raise ValueError(f"diffusion: gives shape {tuple(value.shape)} for x of shape {tuple(x.shape)}; see SDE")
        finite("diffusion", value, t)
        if value.ndim < 3 and (value < 0).any():
            where = tuple((value < 0).nonzero()[0].tolist())
            raise ValueError(f"diffusion: negative, {value[where].item()} at index {where}, time {float(t):g}")
        return value

    def covariance(self, x: Tensor, t: Tensor | float) -> Tensor:
        """D = sigma sigma^T at x (n, d), per unit of time: its diagonal (n, d), or matrices (n, d, d)."""
        sigma = self.sigma(x, t)
        return (sigma @ sigma.mT).expand(*x.shape, x.shape[1]) if sigma.ndim == 3 else sigma.square().expand_as(x)

    def step(self, x: Tensor, t: Tensor | float, dt: Tensor | float, dw: Tensor) -> Tensor:
        """One Euler-Maruyama step from x (n, d) at t, with the noise increment dw (n, d). Equation def-sde-euler."""
        sigma = self.sigma(x, t)
        noise = (sigma @ dw.unsqueeze(-1)).squeeze(-1) if sigma.ndim == 3 else sigma * dw
        return x + self.mu(x, t) * dt + noise

    @torch.no_grad()
    def simulate(
        self,
        x0: Tensor,
        times: Tensor,
        generator: torch.Generator | None = None,
        increments: Tensor | None = None,
        substeps: int = 1,
    ) -> Tensor:
        """Paths by Euler-Maruyama from x0 (n, d): their places at ``times``, (len(times), n, d).

        ``times`` all rise, or all fall (for a reversed SDE). ``substeps`` equal steps lie between two of them. The
        noise comes from the ``generator``, or is given: ``increments`` (steps, n, d), of variance |dt|; without
        either, the diffusion must be 0 wherever the paths come, as in a probability flow (and this is then Euler's
        method). Strong order 1/2, or 1 for noise that does not depend on x; weak order 1. ValueError for bad input, for
        a ``backward`` SDE over rising times, or for paths that leave the finite numbers.
        """
        x, times = checked_states(x0), checked_times(times, x0)
        if self.backward and times[1] > times[0]:
            raise ValueError(f"times: rise from {times[0]:g} to {times[1]:g}, but a reversed SDE runs backward")
        self._check_noise(x, times, generator, increments, substeps)
        path = [x]
        for k, (start, end) in enumerate(pairwise(times)):
            dt = (end - start) / substeps
            for j in range(substeps):
                t = start + j * dt
                if increments is not None:
                    dw = increments[k * substeps + j].to(x)
                elif generator is not None:
                    dw = dt.abs().sqrt() * normal(tuple(x.shape), generator)
                else:
                    dw = self._no_noise(x, t)
                x = finite("x", self.step(x, t, dt, dw), t + dt)
            path.append(x)
        return torch.stack(path)

    def _check_noise(
        self, x: Tensor, times: Tensor, generator: torch.Generator | None, increments: Tensor | None, substeps: int
    ) -> None:
        if substeps < 1:
            raise ValueError(f"substeps: {substeps}: need at least 1")
        if generator is not None and increments is not None:
            raise ValueError("generator, increments: give one of the two, not both")
        shape = (substeps * (len(times) - 1), *x.shape)
        if increments is not None and tuple(increments.shape) != shape:
            raise ValueError(f"increments: need shape {shape}, (steps, n, d), got {tuple(increments.shape)}")

    def _no_noise(self, x: Tensor, t: Tensor) -> Tensor:
        if self.sigma(x, t).any():
            raise ValueError(
                f"generator: missing, and the diffusion is not 0 at time {float(t):g}; or give the increments"
            )
        return torch.zeros_like(x)

    def reverse(self, score: Score, noise: float = 1.0) -> "SDE":
        """The SDE with the same densities p_t, to simulate over falling times: start it from p_T.

        ``score(x, t)`` (n, d) is grad log p_t of this SDE. Noise lambda: 1 is the reverse SDE, 0 the probability flow.
        Drift mu - (1/2)(1 + lambda^2)(div D + D score), with (div D)_i = sum_j dD_ij/dx_j by automatic
        differentiation: a diffusion that depends on x must be written in torch. The flow has no direction; with noise
        the result is marked ``backward``, and cannot be reversed again (ValueError): its score is that of this SDE.
        """
        if self.backward:
            raise ValueError("reverse: this SDE is reversed already; take the one it was made from")
        if not (noise >= 0 and math.isfinite(noise)):
            raise ValueError(f"noise: {noise}: must be finite and not negative")

        def drift(x: Tensor, t: Tensor) -> Tensor:
            D, s = self.covariance(x, t), finite("score", score(x, t), t)
            along = (D @ s.unsqueeze(-1)).squeeze(-1) if D.ndim == 3 else D * s
            return self.mu(x, t) - 0.5 * (1 + noise**2) * (divergence(self.covariance, x, t) + along)

        return SDE(drift, lambda x, t: noise * self.sigma(x, t), backward=noise > 0)


def divergence(covariance: Callable[[Tensor, Tensor | float], Tensor], x: Tensor, t: Tensor | float) -> Tensor:
    """(div D)_i = sum_j dD_ij / dx_j at x (n, d), for D (n, d) diagonal or (n, d, d): (n, d)."""
    with torch.enable_grad():
        place = x.detach().requires_grad_()
        D = covariance(place, t)
        if not D.requires_grad:
            return torch.zeros_like(x)
        n = x.shape[1]
        if D.ndim == 2:
            rows = [_slope(D[:, i], place)[:, i] for i in range(n)]
        else:
            rows = [torch.stack([_slope(D[:, i, j], place)[:, j] for j in range(n)]).sum(0) for i in range(n)]
    return torch.stack(rows, -1)


def _slope(entry: Tensor, x: Tensor) -> Tensor:
    """The gradient of entry (n,) in x (n, d), particle by particle: (n, d)."""
    if not entry.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(entry.sum(), x, retain_graph=True, allow_unused=True, materialize_grads=True)
    return slope


# Two SDEs to know by heart


@dataclass(frozen=True)
class OrnsteinUhlenbeck(SDE):
    """See :func:`ornstein_uhlenbeck`."""

    rate: float = 1.0
    noise: float = math.sqrt(2)
    mean: float | Tensor = 0.0

    def transition(self, x0: Tensor, t: Tensor | float) -> Gaussian:
        """The exact law of X_t given X_0 = x0 (n, d). Equation eq-sde-ou. ValueError for t < 0 or NaN."""
        elapsed = torch.as_tensor(t, dtype=x0.dtype, device=x0.device)
        if not (elapsed >= 0).all():
            raise ValueError(f"t: {t}: must not be negative")
        variance = self.noise**2 * -torch.expm1(-2 * self.rate * elapsed) / (2 * self.rate)
        return Gaussian(self.mean + (x0 - self.mean) * torch.exp(-self.rate * elapsed), variance.sqrt().reshape(1))

    def stationary(self, dim: int = 1) -> Gaussian:
        """N(mean, noise^2 / (2 rate)) in ``dim`` dimensions."""
        zero = torch.zeros(dim, dtype=torch.float64)
        return Gaussian(zero + self.mean, (zero + self.noise / math.sqrt(2 * self.rate))[:1])


def ornstein_uhlenbeck(rate: float = 1.0, noise: float = math.sqrt(2), mean: float | Tensor = 0.0) -> OrnsteinUhlenbeck:
    """dX = -rate (X - mean) dt + noise dW; its default tends to N(0, I). Its transitions are known exactly.

    Raises ValueError for a rate or noise that is not positive.
    """
    if not 0 < rate < math.inf or not 0 < noise < math.inf:
        raise ValueError(f"rate, noise: {rate}, {noise}: must be positive and finite")
    return OrnsteinUhlenbeck(lambda x, t: -rate * (x - mean), lambda x, t: noise, True, False, rate, noise, mean)


def langevin(score: Callable[[Tensor], Tensor], step: float = 1.0, noise: float = math.sqrt(2)) -> SDE:
    """dX = step grad log p(X) dt + noise dW, given ``score`` = grad log p: (n, d) -> (n, d).

    Its stationary density is p^(2 step / noise^2), normalised, if that can be: p itself for noise^2 = 2 step.
    Equation eq-sde-langevin. Raises ValueError for a step or noise that is not positive.
    """
    if not 0 < step < math.inf or not 0 < noise < math.inf:
        raise ValueError(f"step, noise: {step}, {noise}: must be positive and finite")
    return SDE(lambda x, t: step * score(x), lambda x, t: noise, True)


# The noise itself


def random_walk(walkers: int, steps: int, generator: torch.Generator) -> Tensor:
    """Sums of independent steps of +1 or -1, either with probability 1/2: (steps + 1, walkers), from 0."""
    if walkers < 1 or steps < 1:
        raise ValueError(f"walkers, steps: {walkers}, {steps}: need at least 1 of each")
    heads = torch.randint(2, (steps, walkers), generator=generator, device=generator.device)
    start = torch.zeros(1, walkers, dtype=torch.float64, device=generator.device)
    return torch.cat([start, (2.0 * heads - 1.0).to(torch.float64).cumsum(0)])


def wiener_increments(times: Tensor, n: int, d: int, generator: torch.Generator) -> Tensor:
    """W(t_{k+1}) - W(t_k) for n paths in d dimensions: (len(times) - 1, n, d), independent, variance |dt|."""
    dt = checked_times(times).diff().abs().to(generator.device)
    return dt.sqrt()[:, None, None] * normal((len(dt), n, d), generator)


def coarsen(increments: Tensor, factor: int) -> Tensor:
    """The increments (steps / factor, ...) of the same paths over steps ``factor`` times as long."""
    if factor < 1 or len(increments) % factor:
        raise ValueError(f"factor: {factor}: must divide the number of steps, {len(increments)}")
    return increments.unflatten(0, (-1, factor)).sum(1)


def quadratic_variation(path: Tensor) -> Tensor:
    """The sum of the squared increments of a path (times, ...) so far: (times, ...), from 0."""
    return torch.cat([torch.zeros_like(path[:1]), path.diff(dim=0).square().cumsum(0)])


# Checks


def _time(t: Tensor | float) -> Tensor:
    return torch.as_tensor(t, dtype=torch.float64)


def _fits(value: Tensor, shape: tuple[int, ...]) -> bool:
    """Can the axes of value be stretched from 1 to this shape?"""
    return value.ndim == 0 or (
        value.ndim == len(shape) and all(a in (1, b) for a, b in zip(value.shape, shape, strict=True))
    )
