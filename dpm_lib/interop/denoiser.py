"""Any function that guesses x_0 from a noisy x, at known levels of noise, as a ``DiffusionModel``.

A diffusion model, whoever trained it and on whichever objective, is such a guess at levels tau_t = 1/SNR_t. With a
variance for the reverse step it has a bound K, samplers, posteriors, trajectory weights and a probability flow. What
differs between libraries is how the guess is asked for: in which picture x stands, how the level is named, and whether
the network says x_0, the noise, or a velocity. ``from_denoiser`` takes a function of either picture:

- "variance-exploding", f(z, sigma): z = x_0 + sigma n, as Karras et al. (2022) write D(z; sigma);
- "variance-preserving", f(x, t): x = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) n, and t = 1..T an integer.

x and z are (n, *shape), sigma (n,) and t (n,) int64, one for each row. So, for data of ``shape``:

    # k-diffusion: a wrapped denoiser D, at its own levels
    model = from_denoiser(D, 2 * D.sigmas.double().log(), shape)

    # EDM: net(z, sigma) is D itself; the levels are yours
    log_tau = 2 * torch.linspace(math.log(0.002), math.log(80), 1000, dtype=torch.float64)
    model = from_denoiser(net, log_tau, shape)

    # denoising-diffusion-pytorch: d = GaussianDiffusion(...), whose times begin at 0; data in [-1, 1]
    log_tau = (1 / d.alphas_cumprod.double() - 1).log()
    guess = lambda x, t: d.model_predictions(x, t - 1, clip_x_start=False).pred_x_start
    model = from_denoiser(guess, log_tau, shape, picture="variance-preserving")

    # smalldiffusion: net.predict_eps(z, sigma) is the noise
    D = lambda z, s: z - s.view(-1, *[1] * len(shape)) * net.predict_eps(z, s)
    model = from_denoiser(D, 2 * torch.as_tensor(schedule.sigmas).double().log(), shape)

    # flow matching with time running from noise (0) to data (1), v = data - noise, x = u data + (1 - u) noise
    def D(z, s, u=lambda s: (1 / (1 + s)).view(-1, *[1] * len(shape))):
        return u(s) * z + (1 - u(s)) * net(u(s) * z, u(s).flatten())
    model = from_denoiser(D, log_tau, shape)  # log_tau as for EDM
    # where time runs from data (0) to noise (1), and v = noise - data, as in diffusers: u z - (1 - u) net(u z, 1 - u)

What a library clips on its own way, and does not say, is part of f: then K is that of the clipped model.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_step
from dpm_lib.diffusion.forward_kernels import GaussianKernel, pick
from dpm_lib.diffusion.last_step import LevelStep, levels
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import GaussianReverse
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability.distributions import Gaussian

PICTURES = ("variance-exploding", "variance-preserving")
FIXED = ("fixed_small", "fixed_large")
VARIANCES = (*FIXED, "learned", "learned_range")
LASTS = ("edge", "levels")


class DenoiserReverse(GaussianReverse):
    """p(x_{t-1} | x_t) as a diagonal Gaussian around q's posterior mean at a guess of x_0.

    ``network`` maps states (n, d) float64 and times (n,) int64 to the guess (n, d), and to what it says of the variance
    (n, d), or None. ``variance`` is the field's name: "fixed_small" is that of q(x_{t-1} | x_t, x_0), beta-tilde_t;
    "fixed_large" is beta_t; "learned" is what the network says; "learned_range" is, at what the network says, exp of
    the line from log beta-tilde_t at -1 to log beta_t at 1, and beyond, for nothing is clamped (Nichol and Dhariwal
    2021). With ``clip`` the guess is cut to [-clip, clip]: another model, with another K.
    ValueError for another variance or clip.
    """

    def __init__(self, network: nn.Module, kernel: GaussianKernel, variance: str, clip: float | None = None) -> None:
        super().__init__(network, kernel, "posterior")
        if variance not in VARIANCES:
            raise ValueError(f"variance: {variance!r} is not one of {', '.join(VARIANCES)}")
        self.variance = variance
        self.clip = None if clip is None else checks.positive("clip", clip)

    def guess(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> tuple[Tensor, Tensor | None]:
        """The guess of x_0 at x_t (..., d), clipped, and what the network says of the variance, or None.

        ValueError for t outside of 1..T, and answers of another shape.
        """
        xt, t = checks.checked_width("xt", xt, self.dim), checked_step(t, kernel.schedule.T)
        times = torch.as_tensor(t, device=xt.device).expand(xt.shape[:-1]).reshape(-1)
        rows = xt.reshape(-1, self.dim)
        x0_hat, said = self.network(rows, times)
        x0_hat = checks.shaped("network", x0_hat, rows.shape).reshape(xt.shape)
        if self.clip is not None:
            x0_hat = x0_hat.clamp(-self.clip, self.clip)
        return x0_hat, None if said is None else checks.shaped("network", said, rows.shape).reshape(xt.shape)

    def moments(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> tuple[Tensor, Tensor | None]:
        """The guess of x_0 (..., d), and the std of x_0 in which "fixed_large" believes; None for all others.

        With Cov[x_0 | x_t] = (1 - alpha_bar_t) I the best variance of the step is beta_t. ValueError as ``guess``.
        """
        x0_hat, _ = self.guess(xt, t, kernel)
        if self.variance != "fixed_large":
            return x0_hat, None
        return x0_hat, (-torch.expm1(pick(kernel.schedule.log_alpha_bar, t))).sqrt()

    def forward(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> Gaussian:
        """p(x_{t-1} | x_t) for t >= 2; ``xt`` (..., d). ValueError for a learned variance at t = 1, or not above 0."""
        if self.variance in FIXED:
            return super().forward(xt, t, kernel)
        if bool((torch.as_tensor(t) == 1).any()):
            raise ValueError(f"t: 1: need t >= 2 with variance {self.variance!r}, which has no lower end at t = 1")
        x0_hat, said = self.guess(xt, t, kernel)
        from_xt, from_x0, small = kernel.bridge(t)
        if self.variance == "learned_range":
            variance = _between(said, small, pick(kernel.schedule.beta, t))
        else:
            variance = _positive(said)
        return Gaussian(from_xt * xt + from_x0 * x0_hat, variance.sqrt())

    def last_moments(self, x1: Tensor, kernel: GaussianKernel) -> tuple[Tensor, Tensor]:
        """Mean (..., d) and variance of p(x_0 | x_1) as published bits have it, for ``LevelStep``.

        The mean is the guess of x_0. The variance is beta-tilde_2; of "learned_range" the line from it to beta_1, as in
        Improved DDPM's code; of "learned" what the network says.
        """
        x0_hat, said = self.guess(x1, 1, kernel)
        small = kernel.bridge(2)[2]
        if self.variance == "learned_range":
            return x0_hat, _between(said, small, pick(kernel.schedule.beta, 1))
        return x0_hat, _positive(said) if self.variance == "learned" else small


def _between(said: Tensor | None, small: Tensor, large: Tensor) -> Tensor:
    assert said is not None
    share = (said + 1) / 2
    return (share * large.log() + (1 - share) * small.log()).exp()


def _positive(said: Tensor | None) -> Tensor:
    assert said is not None
    if not bool((said > 0).all()):
        raise ValueError(
            f"variance: 'learned' takes the network's output for a variance, and it is {float(said.min()):g}; "
            "say variance='learned_range' if it is the place between two logarithms"
        )
    return said


class ImportedModel(DiffusionModel):
    """Somebody's model, with the ``facts`` that its K belongs to: they are its repr. Else a ``DiffusionModel``.

    ValueError for another ``last`` than "edge" and "levels".
    """

    def __init__(self, kernel: GaussianKernel, reverse: DenoiserReverse, last: str, count: int, facts: dict[str, Any]):
        if last not in LASTS:
            raise ValueError(f"last: {last!r} is not one of {', '.join(LASTS)}")
        super().__init__(kernel, reverse, LevelStep(levels(count)) if last == "levels" else None)
        schedule = kernel.schedule
        clip = "none" if reverse.clip is None else reverse.clip
        self.facts: dict[str, Any] = {
            **facts, "variance": reverse.variance, "clip": clip, "last": last, "T": schedule.T,
            "alpha_bar_T": float(schedule.alpha_bar[-1]),
        }  # fmt: skip

    def __repr__(self) -> str:
        facts = {**self.facts, "alpha_bar_T": f"{self.facts['alpha_bar_T']:.4g}"}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in facts.items())})"


def grey_units(shape: tuple[int, ...], count: int) -> dict[str, Any]:
    """The record of pictures of so many levels that a network sees as numbers from -1 to 1: a model's ``data_set``.

    Level v is 2 v / (count - 1) - 1, and dequantised, with u uniform on [0, 1), v + u - 1/2 in the place of v.
    ValueError for fewer than two levels.
    """
    half = (checks.count("levels", count, 2) - 1) / 2
    return {"mean": half + 0.5, "std": half, "shape": list(shape), "levels": count}


def settled(name: str, network: nn.Module) -> None:
    """ValueError for a network in training mode that drops out some of its numbers: its answers are left to chance."""
    drops = (part for part in network.modules() if isinstance(part, nn.modules.dropout._DropoutNd))
    if any(part.training and part.p > 0 for part in drops):
        raise ValueError(f"{name}: is in training mode, and drops out numbers by chance: need {name}.eval() first")


class _Function(nn.Module):
    """A function of either picture, of rows (n, d) and times (n,)."""

    def __init__(self, f: Callable[[Tensor, Tensor], Tensor], schedule: Schedule, shape: tuple[int, ...], picture: str):
        super().__init__()
        self.f, self.schedule, self.shape, self.picture = f, schedule, shape, picture
        self.dtype = torch.float32

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, None]:
        """Guesses (n, d), and nothing of the variance. ValueError for another shape."""
        level = t
        if self.picture == "variance-exploding":
            x = x * (-0.5 * self.schedule.log_alpha_bar[t]).exp().unsqueeze(-1)
            level = (0.5 * self.schedule.log_tau[t]).exp().to(self.dtype)
        x = x.reshape(-1, *self.shape).to(self.dtype)
        return checks.shaped("f", self.f(x, level), x.shape).double().flatten(1), None


def from_denoiser(
    f: Callable[[Tensor, Tensor], Tensor], log_tau: Any, shape: int | tuple[int, ...], *,
    picture: str = "variance-exploding", variance: str = "fixed_small", clip: float | None = None,
    last: str = "edge", count: int = 256, dtype: torch.dtype = torch.float32,
) -> ImportedModel:  # fmt: skip
    """The model of a function ``f`` that guesses x_0 (n, *shape) at levels ``log_tau`` (T,), tau_1..tau_T rising.

    A first -infinity, log tau_0, may stand before them, as in ``schedule.log_tau``. Ask in the ``picture`` of f, see
    above; it is given numbers of ``dtype``. The last level should leave nothing of the data, for the model starts in
    N(0, I): tau_T = 80^2 with data of unit variance leaves 1e-4 nats a dimension. The first step back is the edge
    kernel of tau_1, or, ``last`` = "levels", a Gaussian rounded to ``count`` levels from -1 to 1 (``last_step``).
    ``variance`` is "fixed_small" or "fixed_large"; ``clip`` cuts guesses to [-clip, clip].
    ValueError for other words, levels that do not rise, an f that answers in another shape, and one that drops out.
    """
    if isinstance(f, nn.Module):
        settled("f", f)
    if picture not in PICTURES:
        raise ValueError(f"picture: {picture!r} is not one of {', '.join(PICTURES)}")
    if variance not in FIXED:
        raise ValueError(f"variance: {variance!r}: need one of {', '.join(FIXED)}: a guess of x_0 says no variance")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    schedule = _schedule(log_tau)
    if picture == "variance-exploding" and not torch.isfinite(schedule.log_tau[-1]):
        raise ValueError("log_tau: ends at infinity, where z has no scale: take picture='variance-preserving'")
    kernel = GaussianKernel(math.prod(shape), schedule)
    network = _Function(f, schedule, shape, picture)
    network.dtype = dtype
    facts = {"denoiser": getattr(f, "__name__", type(f).__name__), "dtype": str(dtype).removeprefix("torch.")}
    model = ImportedModel(kernel, DenoiserReverse(network, kernel, variance, clip), last, count, facts)
    model.data_set = grey_units(shape, count) if last == "levels" else {}
    return model


def _schedule(log_tau: Any) -> Schedule:
    value = checks.tensor("log_tau", log_tau).double()
    if value.ndim != 1 or not len(value):
        raise ValueError(f"log_tau: need shape (T,), got {tuple(value.shape)}")
    if value[0] != -math.inf:
        value = torch.cat([torch.full_like(value[:1], -math.inf), value])
    rises = value[1:] > value[:-1]
    if len(value) < 3 or not rises.all():
        t = int((~rises).nonzero()[0]) + 1 if not rises.all() else len(value)
        raise ValueError(
            f"log_tau: need two levels or more, each above the last; t = {t} is not: {value[:4].tolist()}..."
        )
    return Schedule(-torch.logaddexp(value, torch.zeros_like(value)))
