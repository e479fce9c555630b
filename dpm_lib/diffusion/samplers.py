"""Samplers: ways from noise to data that ask a model for one thing, its guess of x_0, and at few of its levels.

A sampler is ``sampler(model, x, levels, generator=None, callback=None, **own)``. ``model`` has a ``schedule`` and
``denoise(x, t)``, a guess of E[x_0 | x_t]: a ``DiffusionModel``, or a known law (``MixtureDenoiser``). ``x`` (n, d) is
at the first of the ``levels``, which fall from at most T to 0, where data are; ``levels_of`` makes such lists. The
answer is (n, d), at level 0. ``callback(i, t, s, x, x0_hat)`` is called after step i, from level t to s, with the new
states and the guess made at t. All states are float64.

With z = x_t / sqrt(alpha_bar_t) and tau_t = 1 / SNR_t, a guess x0_hat and a guess of the noise are one thing:
z = x0_hat + sqrt(tau_t) eps_hat. A step from t to s keeps the guess, keeps the share 1 - f of the noise's variance, and
draws the share f anew:

    z_s = x0_hat + sqrt(tau_s) [ sqrt(1 - f) eps_hat + sqrt(f) xi ]                                 (def-smp-step)

With r = tau_s / tau_t, f = 1 - r is DDPM's chain, f = eta^2 (1 - r) DDIM's family, f = 1 - r^(lambda^2) the ways back
of the probability flow's family. Heun's method (Karras et al. 2022) and DPM-Solver++ (2M) draw nothing, and use two
guesses for a step.

Noise comes from the ``generator``. In its place may stand a function (mean (n, d), width) -> (n, d): so given noise is
used, and so ``sampler_law`` follows the exact law through the same lines.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states, finite, shaped
from dpm_lib.core.random import normal
from dpm_lib.diffusion.forward_kernels import GaussianKernel, Kernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability.mixtures import Mixture

Blur = Callable[[Tensor, float], Tensor]
Noise = torch.Generator | Blur | None
Callback = Callable[[int, int, int, Tensor, Tensor], None]
CLOCKS = ("steps", "log tau", "karras", "straight")
VARIANCES = ("fixed_small", "fixed_large")


class Denoising(Protocol):
    """The interface: what a sampler asks of a model."""

    @property
    def schedule(self) -> Schedule:
        """The levels 0..T."""
        ...

    def denoise(self, x: Tensor, t: int) -> Tensor:
        """A guess of E[x_0 | x_t = x], (n, d), for x (n, d) and t in 1..T."""
        ...


class Drawable(Denoising, Protocol):
    """The interface: what ``draw`` asks of a model, a ``DiffusionModel`` or one ``Guided``: its kernel too."""

    @property
    def kernel(self) -> Kernel:
        """The forward kernel, whose equilibrium draws start in."""
        ...


class Sampler(Protocol):
    """The interface: x (n, d) at levels[0] becomes (n, d) at level 0. What a sampler has of its own are keywords."""

    def __call__(
        self, model: Denoising, x: Tensor, levels: Sequence[int], generator: Noise = None,
        callback: Callback | None = None,
    ) -> Tensor: ...  # fmt: skip


class MixtureDenoiser:
    """The exact E[x_0 | x_t] of a known ``target`` on the levels of a ``schedule``: a model without error."""

    def __init__(self, target: Mixture, schedule: Schedule) -> None:
        self.target, self.schedule = target, schedule

    @property
    def dim(self) -> int:
        """Numbers in a state."""
        return self.target.dim

    def denoise(self, x: Tensor, t: int) -> Tensor:
        """E[x_0 | x_t = x], (n, d), for x (n, d). ValueError for t outside of 1..T."""
        checks.checked_step(t, self.schedule.T)
        if torch.isinf(self.schedule.log_alpha_bar[t]):  # x_t says nothing
            return (self.target.weights @ self.target.centers).expand_as(x)
        scale = float((-0.5 * self.schedule.log_alpha_bar[t]).exp())
        return self.target.posterior_mean(scale * x, float(self.schedule.tau[t]))


def levels_of(schedule: Schedule, calls: int, clock: str = "steps", last: int = 1) -> list[int]:
    """T = t_0 > t_1 > ... > 0: ``calls`` levels to ask the model at, then 0.

    Evenly placed, to the nearest level, in the ``clock``: "steps" in t; "log tau", and "karras" in tau^(1/14) (their
    rho = 7), from T to ``last``; "straight" in s = sqrt(tau) / (1 + sqrt(tau)), the time of the path
    (1 - s) x_0 + s eps, like "steps" from T to 0. ValueError for more calls than levels from T to ``last``, and another
    clock.
    """
    T, last = schedule.T, checks.count("last", last)
    calls = checks.count("calls", calls)
    if calls > T - last + 1:
        raise ValueError(f"calls: {calls}: need at most {T - last + 1}, the levels from T = {T} to {last}")
    if clock not in CLOCKS:
        raise ValueError(f"clock: {clock!r} is not one of {', '.join(CLOCKS)}")
    if clock == "steps":
        wanted = torch.linspace(T, 0, calls + 1, dtype=torch.float64).round().long().tolist()[:-1]
    elif clock == "straight":
        time = torch.sigmoid(0.5 * schedule.log_tau)
        places = torch.linspace(float(time[T]), 0.0, calls + 1, dtype=torch.float64)[:-1]
        wanted = (time[last:] - places.unsqueeze(1)).abs().argmin(1).add(last).tolist()
    else:
        log_tau = schedule.log_tau.clamp(max=40.0)
        time = log_tau if clock == "log tau" else (log_tau / 14).exp()
        places = torch.linspace(float(time[T]), float(time[last]), calls, dtype=torch.float64)
        wanted = (time[last:] - places.unsqueeze(1)).abs().argmin(1).add(last).tolist()
    levels: list[int] = []
    for i, t in enumerate(wanted):  # no two alike, and room for those to come
        levels.append(max(min(t, levels[-1] - 1) if levels else T, last + calls - 1 - i))
    return [*levels, 0]


def ancestral(
    model: Denoising, x: Tensor, levels: Sequence[int], generator: Noise = None, callback: Callback | None = None,
    variance: str = "fixed_small",
) -> Tensor:  # fmt: skip
    """DDPM's chain (Ho et al. 2020) on the ``levels``, from x (n, d): a draw around the mean of q(x_s | x_t, x0_hat).

    Its ``variance`` is that of q(x_s | x_t, x_0), "fixed_small" (beta-tilde_t where s = t - 1), or of q(x_t | x_s),
    "fixed_large" (beta_t). The step to 0 draws nothing. One call a step. ValueError for bad input. eq-smp-bridge.
    """
    if variance not in VARIANCES:
        raise ValueError(f"variance: {variance!r} is not one of {', '.join(VARIANCES)}")
    log_alpha_bar, blur = model.schedule.log_alpha_bar, _blur(generator)
    kernel = GaussianKernel(x.shape[-1], model.schedule)

    def step(x: Tensor, t: int, s: int) -> tuple[Tensor, Tensor]:
        x0_hat = _guess(model, x, t)
        from_xt, from_x0, small = kernel.bridge(t, s)
        mean = from_xt * x + from_x0 * x0_hat
        v = small if variance == "fixed_small" else -torch.expm1(log_alpha_bar[t] - log_alpha_bar[s])
        return (blur(mean, math.sqrt(v)) if s else mean), x0_hat

    return _walk(model, x, levels, callback, step)


def ddim(
    model: Denoising, x: Tensor, levels: Sequence[int], generator: Noise = None, callback: Callback | None = None,
    eta: float = 0.0,
) -> Tensor:  # fmt: skip
    """DDIM (Song, Meng and Ermon 2021) on the ``levels``, from x (n, d): f = eta^2 (1 - r). One call a step.

    ``eta`` = 0 draws nothing; 1 is ``ancestral``; more is possible while f <= 1. ValueError for bad input. eq-smp-ddim.
    """
    log_tau, blur = model.schedule.log_tau, _blur(generator, eta > 0)
    checks.between("eta", eta, 0)
    for t, s in pairwise(checked_levels(levels, model.schedule)):
        gap = -math.expm1(float(log_tau[s] - log_tau[t]))
        if s and eta**2 * gap > 1:
            raise ValueError(f"eta: {eta}: need at most {gap**-0.5:.6g}, for the step from level {t} to {s}")

    def fresh(log_r: float) -> float:
        return -(eta**2) * math.expm1(log_r)

    return _walk(model, x, levels, callback, _keeping(model, fresh, blur))


def family(
    model: Denoising, x: Tensor, levels: Sequence[int], generator: Noise = None, callback: Callback | None = None,
    lam: float = 1.0,
) -> Tensor:  # fmt: skip
    """The way back with noise lambda, solved exactly over each step with the guess held: f = 1 - r^(lambda^2).

    For x (n, d), from the probability flow, ``lam`` = 0, by the reverse SDE, 1 (both as in ``ddim``), to ever more
    noise. One call a step. ValueError for bad input. eq-smp-frozen.
    """
    checks.between("lam", lam, 0)

    def fresh(log_r: float) -> float:
        return -math.expm1(lam**2 * log_r) if lam else 0.0

    return _walk(model, x, levels, callback, _keeping(model, fresh, _blur(generator, lam > 0)))


def jumps(
    model: Denoising, x: Tensor, levels: Sequence[int], generator: Noise = None, callback: Callback | None = None
) -> Tensor:
    """Multistep consistency sampling (Song et al. 2023), from x (n, d): jump to 0, add noise to the next level, jump.

    f = 1: no noise is kept. One call a step. Made for a model whose guess is the end of the flow (``consistency``), as
    E[x_0 | x_t] has too little variance to be given noise again. ValueError for bad input. eq-str-jumps.
    """
    return _walk(model, x, levels, callback, _keeping(model, lambda log_r: 1.0, _blur(generator, len(levels) > 2)))


def eta_of(lam: float, ratio: float) -> float:
    """DDIM's eta that makes, from tau_t to tau_s = ``ratio`` tau_t, the very step of ``family`` with noise ``lam``.

    It is lam at 0 and 1, and nearly lam where the ratio is nearly 1. ValueError for lam < 0 or a ratio outside of
    (0, 1). eq-smp-eta-lambda.
    """
    checks.between("lam", lam, 0)
    log_r = math.log(checks.inside("ratio", ratio, 0, 1))
    return math.sqrt(math.expm1(lam**2 * log_r) / math.expm1(log_r))


def heun(
    model: Denoising, x: Tensor, levels: Sequence[int], generator: Noise = None, callback: Callback | None = None,
    churn: float = 0.0,
) -> Tensor:  # fmt: skip
    """Heun's method for the flow in sigma = sqrt(tau), from x (n, d): two calls a step, and one for that to 0.

    ``churn`` is S_churn of Karras et al. 2022, with all levels in their range of it: before a step, noise is added that
    raises sigma by min(churn / steps, sqrt 2 - 1) of it; here, to the highest level within. ValueError for bad input,
    and a first level without signal, where sigma is infinite. eq-smp-heun.
    """
    schedule, blur = model.schedule, _blur(generator, churn > 0)
    checks.between("churn", churn, 0)
    log_alpha_bar, log_tau = schedule.log_alpha_bar, schedule.log_tau
    signal, sigma = (0.5 * log_alpha_bar).exp(), (0.5 * log_tau).exp()
    levels = checked_levels(levels, schedule)
    if torch.isinf(sigma[levels[0]]):
        raise ValueError(f"levels: {levels[0]} has no signal left: heun needs a first level of finite sigma")
    raised = 2 * math.log1p(min(churn / (len(levels) - 1), math.sqrt(2) - 1)) + 1e-9

    def step(x: Tensor, t: int, s: int) -> tuple[Tensor, Tensor]:
        high = int((log_tau <= log_tau[t] + raised).nonzero()[-1]) if churn else t
        if high > t:
            kept = log_alpha_bar[high] - log_alpha_bar[t]
            x, t = blur((0.5 * kept).exp() * x, math.sqrt(-torch.expm1(kept))), high
        x0_hat = _guess(model, x, t)
        if s == 0:
            return x0_hat, x0_hat
        z = x / signal[t]
        slope = (z - x0_hat) / sigma[t]
        z_euler = z + (sigma[s] - sigma[t]) * slope
        slope_after = (z_euler - _guess(model, signal[s] * z_euler, s)) / sigma[s]
        return signal[s] * (z + 0.5 * (sigma[s] - sigma[t]) * (slope + slope_after)), x0_hat

    return _walk(model, x, levels, callback, step)


def dpm_solver_2m(
    model: Denoising, x: Tensor, levels: Sequence[int], generator: Noise = None, callback: Callback | None = None
) -> Tensor:
    """DPM-Solver++ (2M) of Lu et al. 2022, from x (n, d): the guess goes on in a line from the one before. One call.

    Draws nothing. The first step, and that to 0, hold the guess, as ``ddim`` does. ValueError for bad input. eq-smp-2m.
    """
    log_alpha_bar, log_tau = model.schedule.log_alpha_bar, model.schedule.log_tau
    before: list[tuple[Tensor, float]] = []  # the guess, and the length in -log sigma, of the step before

    def step(x: Tensor, t: int, s: int) -> tuple[Tensor, Tensor]:
        x0_hat = _guess(model, x, t)
        h = 0.5 * float(log_tau[t] - log_tau[s])
        lead = x0_hat
        if before and s:
            old, h_before = before.pop()
            lead = x0_hat + 0.5 * h / h_before * (x0_hat - old)
        before.append((x0_hat, h))
        noise = (torch.expm1(log_alpha_bar[s]) / torch.expm1(log_alpha_bar[t])).sqrt()
        return noise * x - (0.5 * log_alpha_bar[s]).exp() * math.expm1(-h) * lead, x0_hat

    return _walk(model, x, levels, callback, step)


SAMPLERS: dict[str, Sampler] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "family": family,
    "heun": heun,
    "dpm-solver-2m": dpm_solver_2m,
}


def draw(
    model: DiffusionModel | Drawable, n: int, generator: torch.Generator, name: str, calls: int, clock: str = "steps",
    **own: Any,
) -> Tensor:  # fmt: skip
    """n draws of x_0, (n, d), by the sampler of that ``name``, with at most ``calls`` calls of the network a draw.

    From N(0, I) at level T, on ``levels_of``; ``own`` are the sampler's. ValueError for a name that is not in
    ``SAMPLERS``, and for bad input; TypeError for a model of bits.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler: {name!r} is not one of {', '.join(SAMPLERS)}")
    if not isinstance(model.kernel, GaussianKernel):
        raise TypeError(f"sampler: {name!r} moves points of R^d, and a bit is none: use DiffusionModel.sample")
    levels = levels_of(model.schedule, steps_of(name, calls), clock)
    x = model.kernel.prior.expand(checks.count("n", n)).sample(generator)
    return SAMPLERS[name](model, x, levels, generator, **own)


def steps_of(name: str, calls: int) -> int:
    """How many steps ``calls`` calls of the network allow. ValueError for fewer than one."""
    calls = checks.count("calls", calls)
    return (calls + 1) // 2 if name == "heun" else calls


def checked_levels(levels: Sequence[int], schedule: Schedule) -> list[int]:
    """The list itself. ValueError unless its whole numbers fall at every step, from at most T to 0."""
    levels = [checks.count("levels", t, 0) for t in levels]
    if len(levels) < 2 or levels[-1] != 0:
        raise ValueError(f"levels: {levels}: need two or more, of which the last is 0")
    for t, s in pairwise(levels):
        if s >= t:
            raise ValueError(f"levels: need a fall at every step, got {s} after {t}")
    if levels[0] > schedule.T:
        raise ValueError(f"levels: {levels[0]}: need at most T = {schedule.T}")
    return levels


def _keeping(
    model: Denoising, fresh: Callable[[float], float], blur: Blur
) -> Callable[[Tensor, int, int], tuple[Tensor, Tensor]]:
    """The step of def-smp-step, with the share f of fresh noise as a function of log r."""
    log_alpha_bar, log_tau = model.schedule.log_alpha_bar, model.schedule.log_tau
    signal, noise = (0.5 * log_alpha_bar).exp(), (-torch.expm1(log_alpha_bar)).sqrt()

    def step(x: Tensor, t: int, s: int) -> tuple[Tensor, Tensor]:
        x0_hat = _guess(model, x, t)
        if s == 0:
            return x0_hat, x0_hat
        f = fresh(float(log_tau[s] - log_tau[t]))
        eps_hat = (x - signal[t] * x0_hat) / noise[t]
        mean = signal[s] * x0_hat + noise[s] * math.sqrt(max(0.0, 1 - f)) * eps_hat
        return (blur(mean, float(noise[s]) * math.sqrt(f)) if f else mean), x0_hat

    return step


def _walk(
    model: Denoising,
    x: Tensor,
    levels: Sequence[int],
    callback: Callback | None,
    step: Callable[[Tensor, int, int], tuple[Tensor, Tensor]],
) -> Tensor:
    x = checked_states(x, "x")
    with torch.no_grad():
        for i, (t, s) in enumerate(pairwise(checked_levels(levels, model.schedule))):
            x, x0_hat = step(x, t, s)
            if callback is not None:
                callback(i, t, s, x, x0_hat)
    return x


def _guess(model: Denoising, x: Tensor, t: int) -> Tensor:
    return finite("denoise", shaped("denoise", model.denoise(x, t), tuple(x.shape)), t)


def _blur(noise: Noise, needed: bool = True) -> Blur:
    """What adds noise to a mean. ValueError where it is ``needed`` and nothing is given to make it."""
    if noise is None and needed:
        raise ValueError("generator: None: need one, for this sampler draws noise")
    if isinstance(noise, torch.Generator):
        generator = noise
        return lambda mean, width: mean + width * normal(tuple(mean.shape), generator)
    return noise if noise is not None else (lambda mean, width: mean)
