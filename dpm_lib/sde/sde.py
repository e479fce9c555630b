"""Stochastic differential equations dX = mu(X, t) dt + sigma(X, t) dW, in the sense of Ito.

The second noun of the book. An :class:`SDE` is a drift and a diffusion. It can be simulated; turned into an equation
for its density and a rate matrix (:mod:`dpm_lib.sde.fokker_planck`); and reversed in time, once the score of its
density is known. What it is made of, the random walk and its limit, is in
``brownian_motion``; SDEs to know by heart are in ``processes``.

States are (n, d), n particles in d dimensions, float64. W has independent components with variance t. Times carry
whatever unit the drift is per; sigma is per square root of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states, checked_times, finite
from dpm_lib.core.random import normal

Field = Callable[[Tensor, Tensor], Tensor | float]
Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SDE:
    """dX = ``drift(x, t)`` dt + ``diffusion(x, t)`` dW, Ito. x is (n, d), t a float64 tensor without axes.

    ``drift`` returns (n, d). ``diffusion`` returns sigma: one number; standard deviations of independent components,
    (n, 1) or (n, d); or matrices (n, d, d), which may have negative entries. Leading axes may be 1: one matrix for all
    is (1, d, d). ``autonomous`` promises that neither depends on t, so that solvers may build their matrices once.
    ``backward`` marks an SDE made by :meth:`reverse`: with noise it runs over falling times only, as any other runs
    over rising ones. def-sde-sde.
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
        """The diffusion at x (n, d): (), (n, 1), (n, d) or (n, d, d). ValueError for anything else, NaN, a negative
        standard deviation, or, where n = d, for (d, d) or (d, 1) that does not follow n: it may be meant as a matrix.
        """
        value = torch.as_tensor(self.diffusion(x, _time(t)), dtype=x.dtype, device=x.device)
        shape = (*x.shape, x.shape[1]) if value.ndim == 3 else x.shape
        if not _fits(value, shape):
            raise ValueError(f"diffusion: gives shape {tuple(value.shape)} for x of shape {tuple(x.shape)}; see SDE")
        if value.ndim == 2 and len(value) == len(x) == x.shape[1] > 1:
            one = torch.as_tensor(self.diffusion(x[:1], _time(t)))
            if one.ndim == 2 and len(one) == len(x):
                raise ValueError(
                    f"diffusion: gives shape {tuple(value.shape)} for {len(x)} particles, and for one: give a matrix "
                    "for all as (1, d, d), standard deviations for all as (1, d)"
                )
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

    def milstein(self, x: Tensor, t: Tensor | float, dt: Tensor | float, dw: Tensor) -> Tensor:
        """One Milstein step from x (n, d): Euler-Maruyama's plus sigma sigma' [dw^2 - |dt|] / 2. eq-sde-milstein.

        sigma sigma' is half the derivative of D, by automatic differentiation. ValueError for noise that mixes
        components: a matrix, or a sigma_i that depends on an x_j with j != i.
        """
        sigma = self.sigma(x, t)
        if sigma.ndim == 3:
            raise ValueError("method: milstein is for independent components here; the diffusion is a matrix")
        rises = torch.zeros_like(x)
        for i, _, slope in _slopes(self.covariance, x, t):
            rises[:, i] = slope[:, i]
            others = slope.index_fill(1, torch.tensor([i], device=x.device), 0.0)
            if others.any():
                j = int(others.any(0).nonzero()[0])
                raise ValueError(f"method: milstein needs sigma_{i} to depend on x_{i} alone; it moves with x_{j}")
        return x + self.mu(x, t) * dt + sigma * dw + 0.25 * rises * (dw.square() - _time(dt).abs())

    @torch.no_grad()
    def simulate(
        self,
        x0: Tensor,
        times: Tensor,
        generator: torch.Generator | None = None,
        increments: Tensor | None = None,
        substeps: int = 1,
        method: str = "euler-maruyama",
    ) -> Tensor:
        """Paths from x0 (n, d): their places at ``times``, (len(times), n, d).

        ``times`` all rise; all fall for a reversed SDE; either, where there is no noise. ``substeps`` equal steps lie
        between two of them. The noise comes from the ``generator``, or is given: ``increments`` (steps, n, d), of
        variance |dt|; without either, the diffusion must be 0 wherever the paths come, as in a probability flow (and
        this is then Euler's method). Weak order 1. Strong order 1/2 for "euler-maruyama", or 1 for noise that does not
        depend on x; 1 for "milstein", which is for independent components. ValueError for bad input, for noise against
        its direction, or for paths that leave the finite numbers.
        """
        x, times = checked_states(x0), checked_times(times, x0)
        check_direction(self, times)
        self._check_noise(x, times, generator, increments, substeps)
        if method not in ("euler-maruyama", "milstein"):
            raise ValueError(f"method: {method!r}: choose from euler-maruyama, milstein")
        step = self.milstein if method == "milstein" else self.step
        path = [x]
        for k, (start, end) in enumerate(pairwise(times)):
            dt = (end - start) / substeps
            for j in range(substeps):
                t = start + j * dt
                check_noise_direction(self, x, t, dt)
                if increments is not None:
                    dw = increments[k * substeps + j].to(x)
                elif generator is not None:
                    dw = dt.abs().sqrt() * normal(tuple(x.shape), generator)
                else:
                    dw = self._no_noise(x, t)
                x = finite("x", step(x, t, dt, dw), t + dt)
            path.append(x)
        return torch.stack(path)

    def _check_noise(
        self, x: Tensor, times: Tensor, generator: torch.Generator | None, increments: Tensor | None, substeps: int
    ) -> None:
        checks.count("substeps", substeps)
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
        differentiation: a diffusion that depends on x must be written in torch, and the drift raises ValueError where
        D moves and autograd does not see it. The flow has no direction; with noise the result is marked ``backward``,
        and cannot be reversed again (ValueError): its score is that of this SDE.
        """
        if self.backward:
            raise ValueError("reverse: this SDE is reversed already; take the one it was made from")
        checks.between("noise", noise, 0)

        def drift(x: Tensor, t: Tensor) -> Tensor:
            D, s = self.covariance(x, t), finite("score", score(x, t), t)
            along = (D @ s.unsqueeze(-1)).squeeze(-1) if D.ndim == 3 else D * s
            return self.mu(x, t) - 0.5 * (1 + noise**2) * (divergence(self.covariance, x, t) + along)

        return SDE(drift, lambda x, t: noise * self.sigma(x, t), backward=noise > 0)


def divergence(covariance: Callable[[Tensor, Tensor | float], Tensor], x: Tensor, t: Tensor | float) -> Tensor:
    """(div D)_i = sum_j dD_ij / dx_j at x (n, d), for D (n, d) diagonal or (n, d, d): (n, d).

    ValueError where D depends on x and automatic differentiation does not see it.
    """
    total = torch.zeros_like(x)
    for i, j, slope in _slopes(covariance, x, t):
        total[:, i] += slope[:, j]
    return total


def _slopes(
    covariance: Callable[[Tensor, Tensor | float], Tensor], x: Tensor, t: Tensor | float
) -> Iterator[tuple[int, int, Tensor]]:
    """i, j and the gradient in x (n, d) of D_ij, (n, d): for i = j if D is diagonal; for none if D does not move."""
    with torch.enable_grad():
        place = x.detach().requires_grad_()
        D = covariance(place, t)
        flat = D.flatten(1)
        entries = flat.unbind(1) if D.requires_grad else ()
    unseen = torch.ones_like(flat, dtype=torch.bool)  # where the gradient is 0
    for k, entry in enumerate(entries):
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(entry.sum(), place, retain_graph=True, materialize_grads=True)
        unseen[:, k] = ~slope.any(1)
        i, j = divmod(k, x.shape[1]) if D.ndim == 3 else (k, k)
        yield i, j, slope
    _check_seen(covariance, flat.detach(), unseen, x, t)


def _check_seen(
    covariance: Callable[[Tensor, Tensor | float], Tensor], D: Tensor, unseen: Tensor, x: Tensor, t: Tensor | float
) -> None:
    """ValueError if entries of D (n, m) that do not move for autograd, ``unseen``, rise or fall when x moves a little.

    All components of x move at once, each by its own small part, so that no two can cancel.
    """
    if not unseen.any():
        return
    nudge = 1e-4 * torch.where(x == 0, 1.0, x) * torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device).cos()
    with torch.no_grad():
        above, below = (covariance(x + move, t).flatten(1) - D for move in (nudge, -nudge))
    hidden = unseen & (above * below < 0) & ((above - below).abs() > 1e-10 * D.abs().max())
    if hidden.any():
        row = int(hidden.any(1).nonzero()[0])
        raise ValueError(
            f"diffusion: depends on x at x = {x[row].tolist()}, time {float(t):g}, where automatic differentiation "
            "sees nothing: write it in torch, without numpy, .detach() or no_grad"
        )


def check_direction(process: SDE, times: Tensor) -> None:
    """ValueError for a reversed SDE over rising times (m,)."""
    if process.backward and times[1] > times[0]:
        raise ValueError(f"times: rise from {times[0]:g} to {times[1]:g}, but a reversed SDE runs backward")


def check_noise_direction(process: SDE, x: Tensor, t: Tensor, dt: Tensor) -> None:
    """ValueError where an SDE with noise that was not reversed steps back from x (n, d): that takes another drift."""
    if dt < 0 and not process.backward and process.sigma(x, t).any():
        raise ValueError(
            f"times: fall at {t:g}, but this SDE has noise and runs forward; reverse(score) makes one that runs back"
        )


# Checks


def _time(t: Tensor | float) -> Tensor:
    return torch.as_tensor(t, dtype=torch.float64)


def _fits(value: Tensor, shape: tuple[int, ...]) -> bool:
    """Can the axes of value be stretched from 1 to this shape?"""
    return value.ndim == 0 or (
        value.ndim == len(shape) and all(a in (1, b) for a, b in zip(value.shape, shape, strict=True))
    )
