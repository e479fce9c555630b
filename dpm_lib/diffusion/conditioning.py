"""Conditioning a diffusion model: its law multiplied by a function r of the data, a likelihood for instance.

The target is p~(x_0..x_T) proportional to p(x_0..x_T) r(x_0). With twisting functions psi_t, psi_0 = r (see
``twists``), each reverse step is multiplied by psi_{t-1} and normalised,

    p(x_{t-1} | x_t) psi_{t-1}(x_{t-1}) / Z_t(x_t) ,    Z_t(x_t) = E[psi_{t-1}(x_{t-1}) | x_t] ,

and what that leaves out is the weight Z_t(x_t) / psi_t(x_t). It is 1 if and only if psi_t is the exact r_t. ``tilt``
leaves it out, or keeps it with particles that are resampled: then every positive twist is right, as particles grow.

r may vanish: such draws get weight 0. psi_t may not, for t >= 1, since no weight brings back what is never drawn.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.twists import Annealed, Constant, Ending, Expected, Last, PlugIn, Twist, guess, through
from dpm_lib.probability.categorical import Categorical
from dpm_lib.probability.distributions import Bernoulli, Gaussian
from dpm_lib.probability.products_of_laws import Blend, Tilt, times
from dpm_lib.probability.resampling import ResampledSamples, effective_size, resample
from dpm_lib.probability.token_tilt import TokenTilt
from dpm_lib.probability.weighted_samples import WeightedSamples

METHODS = ("constant", "annealed", "twisted", "particles")
TWISTS = ("constant", "annealed", "expected", "plug-in", "last")
MOST_FLIPS = 2**22  # numbers in a block of states with one bit flipped
WITHOUT = "which has no weights to make up for it: use method 'particles'"
POSITIVE = "a twist must be positive for t >= 1, and this one is not: take twist 'last', or one made of log(r + floor)"


class PlainSamples(WeightedSamples):
    """Draws of a chain whose weights were dropped: they count alike, and say nothing of Z."""

    @property
    def log_z(self) -> Tensor:
        """TypeError, not a scalar: this is what the dropped weights knew."""
        raise TypeError("log_z: this method drops its weights, and with them Z; use method 'particles'")

    @property
    def elbo(self) -> Tensor:
        """TypeError, not a scalar, as ``log_z``."""
        raise TypeError("elbo: this method drops its weights, and with them Z; use method 'particles'")


@dataclass(frozen=True)
class TiltedSamples(ResampledSamples):
    """Particles of ``tilt``: ``log_z`` estimates log E_p[r(x_0)]. ``ess_by_step`` (T+1,): effective sample size after
    the step that led to x_t, before any resampling."""

    ess_by_step: Tensor


def twist_of(model: DiffusionModel, log_r: Any, name: str, powers: Tensor | None = None) -> Twist:
    """The twist called ``name``, one of ``TWISTS``, with ``powers`` (T+1,) if 'annealed'; ValueError for others."""
    T = model.T
    if powers is not None and name != "annealed":
        raise ValueError(f"powers: are for twist 'annealed', and this one is {name!r}")
    if name == "annealed":
        steps = torch.arange(T + 1, dtype=torch.float64)
        powers = 1 - steps / T if powers is None else torch.as_tensor(powers, dtype=torch.float64)
        if len(powers) != T + 1:
            raise ValueError(f"powers: {len(powers)} numbers for T + 1 = {T + 1} times")
        return Annealed(log_r, powers)
    if name == "constant":
        return Constant(log_r)
    if name == "expected":
        return Expected(model, log_r)
    if name == "plug-in":
        return PlugIn(model, log_r)
    if name == "last":
        return Last(log_r)
    raise ValueError(f"twist: {name!r} is not one of {', '.join(TWISTS)}")


@torch.no_grad()
def tilt(
    model: DiffusionModel,
    log_r: Any,
    method: str = "particles",
    n: int = 1000,
    generator: torch.Generator | None = None,
    *,
    twist: str | Twist | None = None,
    powers: Tensor | None = None,
    threshold: float = 0.5,
    farthest: float = 1.0,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> WeightedSamples:
    """n draws of p(x_0) r(x_0) / Z from a ``model`` of x_0 (n, d), by one of four methods.

    ``log_r`` maps (n, d) to (n,), nats; a ``Tilt`` is multiplied in exactly, any other twist to first order, and no
    step is moved by its slope farther than ``farthest`` times its own noise, whose length is typically sqrt(d) of its
    standard deviations (infinity: no limit; a step of bits has none).
    "constant", "annealed" and "twisted" run the perturbed chain, and drop its weights, so that there is no ``log_z``.
    They are exact only with the exact twist: "twisted" with a ``Tilt`` and an ``ExactModel``.
    "particles" keeps the weights and resamples when the effective size falls below ``threshold`` n (0: never): E[w] =
    E_p[r] for every twist that is positive for t >= 1, {eq}`eq-post-weights`. r itself may vanish (log r minus
    infinity) and may have jumps: twist "last" leaves the chain alone until the end, and so can do with any r.
    ``twist`` (a name in ``TWISTS``, or your own, of which psi_t for t >= 1 is used, and r at t = 0) is for the last two
    methods. By default it is "expected" for a ``Tilt``; for another function "plug-in" without weights, and "last" with
    them: it is never misled, and its effective size says how far to trust it. For others look at ``ess_by_step``: one
    small size on the way spoils the run, and the last size does not show it. A warning is given where that is plain.
    ``callback(t, x, log_weights)`` sees each t = T..0.
    Raises ValueError for a model with a last step on levels; where log r is NaN or +infinity; where log psi_t is minus
    infinity for a t >= 1; where log r is minus infinity at all n particles, or at any draw that has no weight; and,
    without weights, where a log_r that is not a ``Tilt`` has no gradient to follow.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is not one of {', '.join(METHODS)}")
    if model.last is not None and model.first > 1:
        raise ValueError(
            "model: its last step is on levels, which no tilt multiplies: need the edge kernel, last='edge'"
        )
    n = checks.count("n", n)
    checks.between("threshold", threshold, 0, 1)
    if generator is None:
        raise ValueError("generator: None: randomness comes from a torch.Generator that you pass")
    if not farthest > 0:
        raise ValueError(f"farthest: {farthest}: need a positive number of standard deviations")
    if twist is not None and method in ("constant", "annealed"):
        raise ValueError(f"twist: {twist!r}: method {method!r} has its own; leave it out")
    if twist is None:
        twist = method if method in TWISTS else _default(log_r, method)
    if powers is not None and not isinstance(twist, str):
        raise ValueError("powers: are for twist 'annealed', and this one is your own")
    psi = Ending(twist_of(model, log_r, twist, powers) if isinstance(twist, str) else twist, log_r)
    keep = method == "particles"
    x, sizes = model.kernel.prior.expand(n).sample(generator), []
    if not keep:
        _check_guided(model, psi, x, method)
    log_w = log_psi = torch.zeros(n, dtype=torch.float64, device=x.device)
    for t in range(model.T, -1, -1):  # makes x_t
        law, log_z, stand_in = perturbed(model, psi, x, t, farthest)
        x = law.sample(generator)
        if keep or t == 0:
            before, log_psi = log_psi, _checked(psi(x, t), x, t)
        if keep:
            off = 0.0 if stand_in is None else log_psi - stand_in(x)
            log_w = log_w + log_z + off - before
            sizes.append(effective_size(log_w))
            if t > 0 and sizes[-1] < threshold * n:
                x, ends, log_w = resample(x, log_psi.unsqueeze(0), log_w, generator)
                log_psi = ends[0]
        elif stand_in is not None:
            _check_slope(stand_in, t, method)
        if callback:
            callback(t, x, log_w)
    if keep:
        return _warned(TiltedSamples(x, log_w, torch.tensor(sizes[::-1], dtype=torch.float64)))
    lost = int(torch.isneginf(log_psi).sum())
    if lost:
        raise ValueError(f"log_r: minus infinity at {lost} of the {n} draws of {method!r}, {WITHOUT}")
    return PlainSamples(x, log_w)


def perturbed(model: DiffusionModel, psi: Ending, x_next: Tensor, t: int, farthest: float) -> tuple[Any, Tensor, Any]:
    """The step from x_{t+1} (n, d): p(x_t | x_{t+1}) psi_t(x_t), normalised; for t = T, pi psi_T.

    Returns its law, log Z (n,) and the stand-in.
    Where psi_t is no ``Tilt``, the tilt that stands in for it is exp of its first-order expansion at the step's mean:
    guidance. The stand-in is None where none was needed.
    """
    first = t == model.T
    if psi.exact and 0 < t < model.T:
        start, log_z = times(guess(model, x_next, t + 1), psi.twist.r)  # the exact twist: go by x_0
        return through(start, x_next, t + 1, model.kernel), log_z, None
    law: Any = model.kernel.prior.expand(len(x_next)) if first else model.reverse_step(x_next, t + 1)
    exact = psi.tilt(t)
    stand_in = first_order(psi, law, x_next, t, farthest) if exact is None else exact
    return *times(law, stand_in), None if exact is not None else stand_in


def first_order(psi: Twist, law: Any, x_next: Tensor, t: int, farthest: float = math.inf) -> Tilt:
    """exp of the straight line that touches log psi_t at the mean of ``law``, (n, d). {eq}`eq-post-guidance`

    A line that would move the step, in length, by more than ``farthest`` sqrt(d) of its standard deviations is made
    less steep: so far away it is no guide. For bits the line goes through log psi_t at x_{t+1} and at its d neighbours
    with one bit flipped; for tokens see ``by_tokens``. It is level where there is no gradient, or where psi_0 is zero:
    then the step is left alone, and what is off is in the weight. ValueError for a slope that is NaN or infinite.
    """
    return _expansion(law, psi, x_next, t, farthest)


@singledispatch
def _expansion(law: Any, psi: Twist, x_next: Tensor, t: int, farthest: float) -> Tilt:
    """``first_order`` for one kind of law; a new kind registers its own. TypeError for one that has none."""
    raise TypeError(f"law: {type(law).__name__}: need a law of points, bits or tokens, or a blend of them")


@_expansion.register
def _of_points(law: Gaussian, psi: Twist, x_next: Tensor, t: int, farthest: float) -> Tilt:
    """Along the gradient at the mean of ``law``, which may be a blend of Gaussians; no farther than it may go."""
    with torch.enable_grad():
        at = law.mean.detach().clone().requires_grad_()
        value = _finite(psi(at, t), at, t)
        slope = torch.autograd.grad(value.sum(), at)[0] if value.requires_grad else torch.zeros_like(at)
    at, value = at.detach(), value.detach()
    slope = slope * (farthest * at.shape[-1] ** 0.5 / law.reach(slope)).clamp(max=1).unsqueeze(-1)
    return _line(at, value, slope, t)


@_expansion.register
def _of_bits(law: Bernoulli, psi: Twist, x_next: Tensor, t: int, farthest: float) -> Tilt:
    """Through x_{t+1} and its neighbours."""
    value = _finite(psi(x_next, t), x_next, t)
    slope = (_flipped(psi, x_next, t) - value.unsqueeze(-1)) * (1 - 2 * x_next)
    return _line(x_next, value, torch.where(torch.isinf(slope), 0.0, slope), t)  # infinite where r vanishes beside


@_expansion.register
def _of_tokens(law: Categorical, psi: Twist, x_next: Tensor, t: int, farthest: float) -> Tilt:
    """Through x_{t+1} and where one of its tokens is another."""
    return by_tokens(psi, law, x_next, t)


@_expansion.register
def _of_a_blend(law: Blend, psi: Twist, x_next: Tensor, t: int, farthest: float) -> Tilt:
    """As its parts, with the mean of the blend."""
    return _expansion.dispatch(type(law.parts))(law, psi, x_next, t, farthest)


def _line(at: Tensor, value: Tensor, slope: Tensor, t: int) -> Tilt:
    """exp of the line with this slope (n, d) through ``value`` (n,) at ``at`` (n, d); level where value is -inf."""
    lost = torch.isneginf(value)
    value, slope = torch.where(lost, 0.0, value), torch.where(lost.unsqueeze(-1), 0.0, slope)
    bad = ~torch.isfinite(slope)
    if bad.any():
        where = tuple(bad.nonzero()[0].tolist())
        raise ValueError(f"log_r: slope {slope[where].item()} at particle, coordinate {where}, t = {t}")
    c = value - (slope * at).sum(-1)
    return Tilt(c.unsqueeze(-1), slope.unsqueeze(-2), torch.zeros_like(slope).unsqueeze(-2))


def by_tokens(psi: Twist, law: Categorical, at: Tensor, t: int) -> TokenTilt:
    """The tilt that is psi_t at x_{t+1} (n, d) and where one of its tokens is another that the step can draw."""
    kinds = law.logits.shape[-1]
    value = _finite(psi(at, t), at, t)
    row, place, token = torch.nonzero(
        ~torch.isneginf(law.logits) & (at.unsqueeze(-1) != torch.arange(kinds).to(at)), as_tuple=True
    )
    table = torch.zeros_like(law.logits)
    for some in torch.arange(len(row)).split(max(1, MOST_FLIPS // at.shape[-1])):
        near = at[row[some]].clone()
        near[torch.arange(len(some)), place[some]] = token[some].to(at)
        apart = _finite(psi(near, t), near, t) - value[row[some]]
        table[row[some], place[some], token[some]] = torch.where(torch.isinf(apart), 0.0, apart)
    return TokenTilt.of_table(table, torch.where(torch.isneginf(value), 0.0, value).unsqueeze(-1))


def _flipped(psi: Twist, x: Tensor, t: int) -> Tensor:
    """log psi_t at the neighbours of x (n, d), with bit i flipped: (n, d), some coordinates at a time."""
    block = max(1, MOST_FLIPS // x.numel())
    found = []
    for flip in torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).split(block):
        neighbours = (x.unsqueeze(1) - flip).abs()
        found.append(_finite(psi(neighbours.flatten(0, 1), t), neighbours.flatten(0, 1), t).reshape(len(x), -1))
    return torch.cat(found, 1)


@torch.no_grad()
def law_on_grid(model: DiffusionModel, psi: Twist, x: Tensor) -> Tensor:
    """The density of x_0 that the perturbed chain without weights makes, on an even grid x (m,): (m,). One dimension.

    No sampling: each step is a matrix. It wants cells narrower than the steps. {eq}`def-post-chain`
    Raises ValueError for a model in more dimensions, or a grid that is not even and rising.
    """
    if model.kernel.dim != 1:
        raise ValueError(f"model: has {model.kernel.dim} dimensions, and the grid has one")
    if x.ndim != 1 or len(x) < 2 or not x[1] > x[0] or not torch.allclose(x.diff(), x[1] - x[0], rtol=1e-6, atol=0):
        raise ValueError(f"x: need an even, rising grid (m,), got shape {tuple(x.shape)}, {x[:3].tolist()}...")
    points = x.reshape(-1, 1)
    p = (model.kernel.prior.log_prob(points) + psi(points, model.T)).softmax(0)
    for t in range(model.T, 0, -1):
        log_step = model.reverse_step(points, t).log_prob(points.unsqueeze(1))  # to, from
        p = (log_step + psi(points, t - 1).unsqueeze(1)).softmax(0) @ p
    return p / float(x[1] - x[0])


def _default(log_r: Any, method: str) -> str:
    return "expected" if isinstance(log_r, Tilt) else "last" if method == "particles" else "plug-in"


def _warned(found: TiltedSamples) -> TiltedSamples:
    """The same; a RuntimeWarning where a resampling hides that few particles carried all the weight."""
    least = float(found.ess_by_step.min())
    if found.n >= 100 and least < 0.02 * found.n and least < 0.1 * float(found.ess):
        t = int(found.ess_by_step.argmin())
        why = f"effective size {least:.1f} of {found.n} at t = {t}: log_z and means are not to be trusted"
        warnings.warn(f"{why}; try another twist, or more particles", RuntimeWarning, stacklevel=4)
    return found


def _finite(log_psi: Tensor, x: Tensor, t: int) -> Tensor:
    """log psi_t at x (m, d), (m,). ValueError for another shape, NaN, +infinity; and for minus infinity if t >= 1."""
    if log_psi.shape != x.shape[:1]:
        raise ValueError(f"log_r: gives shape {tuple(log_psi.shape)} for x of shape {tuple(x.shape)}; need (n,)")
    zero = torch.isneginf(log_psi)
    bad = torch.isnan(log_psi) | (log_psi == torch.inf) | (zero if t >= 1 else False)
    if bad.any():
        where = int(bad.nonzero()[0])
        why = f": {POSITIVE}" if zero[where] else ""
        raise ValueError(f"log_r: {log_psi[where].item()} at particle {where}, t = {t}, x = {x[where].tolist()}{why}")
    return log_psi


def _checked(log_psi: Tensor, x: Tensor, t: int) -> Tensor:
    if torch.isneginf(_finite(log_psi, x, t)).all():
        raise ValueError(f"log_r: minus infinity at all {len(x)} particles at t = {t}: r is positive at none of them")
    return log_psi


def _check_guided(model: DiffusionModel, psi: Ending, x: Tensor, method: str) -> None:
    """ValueError if psi_1 is no function whose slope a chain without weights could follow."""
    if isinstance(psi.twist, Last):
        raise ValueError(f"twist: 'last' does not fit method {method!r}, {WITHOUT}")
    if psi.tilt(1) is None and model.kernel.continuous:
        with torch.enable_grad():
            if not psi(x.clone().requires_grad_(), 1).requires_grad:
                raise ValueError(f"log_r: has no gradient in x for method {method!r} to follow, {WITHOUT}")


def _check_slope(stand_in: Tilt, t: int, method: str) -> None:
    """ValueError if psi_t differs between particles, and has no slope at any of them."""
    if not stand_in.b.any() and stand_in.c.min() < stand_in.c.max():
        where = f"has slope 0 at all particles at t = {t}, though it differs between them"
        raise ValueError(f"log_r: {where}: {method!r} cannot follow it, {WITHOUT}")
