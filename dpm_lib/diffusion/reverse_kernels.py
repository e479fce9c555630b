"""Learned reverse kernels p(x_{t-1} | x_t), around a plain network.

**Gaussian.** The best Gaussian for the reverse step has the exact conditional mean and covariance. Both follow from
two moments of the data given the noisy point: with q(x_{t-1} | x_t, x_0) = N(a x_t + b x_0, v I) (see
``GaussianKernel.bridge``),

    E[x_{t-1} | x_t]   = a x_t + b E[x_0 | x_t]
    Cov[x_{t-1} | x_t] = v I + b^2 Cov[x_0 | x_t]

So the network predicts E[x_0 | x_t] and Cov[x_0 | x_t], and the schedule does the rest. Both are predicted in units
in which they stay of order one at every noise level, given data of unit variance (as in Karras et al. 2022):

    E[x_0 | x_t]   = sqrt(alpha_bar_t) x_t + sqrt(1 - alpha_bar_t) f(x_t, t)
    Cov[x_0 | x_t] = (1 - alpha_bar_t) L L^T

**Bernoulli.** The best law of independent bits has the exact probability of each. It follows from one number a bit,
since given its own start a bit forgets the others:

    P(x_{t-1,i} = 1 | x_t) = sum_b P(x_{0,i} = b | x_t) q(x_{t-1,i} = 1 | x_{t,i}, x_{0,i} = b)

The network predicts the log-odds of x_{0,i}. It is shown the evidence of each bit, 2 artanh(alpha_bar_t) s_{t,i} with
the sign s = 2x - 1: by Bayes' rule the answer depends on x_t and t through these numbers alone.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dpm_lib.core.checks import checked_step
from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel, pick
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability import triangular
from dpm_lib.probability.distributions import Bernoulli, Gaussian, Law

MAX_LOG_TAU = 20.0  # the most a network is told, alpha_bar = 0 included: nothing is left to tell apart
COVARIANCES = ("posterior", "fixed_large", "constant", "isotropic", "diagonal", "full")


class Reverse(Protocol):
    """The interface: p(x_{t-1} | x_t) for a model's kernel, and its score where states have one."""

    def __call__(self, xt: Tensor, t: int | Tensor, kernel: Any) -> Law: ...

    def start(self, xt: Tensor, t: int, kernel: Any) -> Any:
        """The law of x_0 given x_t (..., d) in which the step believes."""
        ...

    def score(self, xt: Tensor, t: int, kernel: Any) -> Tensor:
        """grad log q_t(x_t), (..., d), as this kernel guesses it. TypeError for a law that has none."""
        ...


def outputs(dim: int, covariance: str) -> int:
    """Number of network outputs that a reverse kernel of this covariance form needs, in ``dim`` dimensions.

    ValueError for another form.
    """
    if covariance not in COVARIANCES:
        raise ValueError(f"covariance: {covariance!r} is not one of {', '.join(COVARIANCES)}")
    extra = {"isotropic": 1, "diagonal": dim, "full": dim * (dim + 1) // 2}
    return dim + extra.get(covariance, 0)


class GaussianReverse(nn.Module):
    """p(x_{t-1} | x_t) as a Gaussian whose mean and covariance come from ``network(x, t, log_tau)``.

    ``covariance`` is the form of L L^T above: "posterior" (zero, so that the variance is that of
    q(x_{t-1} | x_t, x_0): DDPM's "fixed small"), "fixed_large" (the identity, so that the variance is beta_t: right
    for standard normal data), "constant" (one learned number per t), "isotropic", "diagonal" (the 2015 paper's) or
    "full" functions of x. The network maps (n, d), (n,), (n,) to (n, ``outputs(d, covariance)``); the first three forms
    use d numbers and leave the others, so that a trained model may be asked what it is worth without them.
    """

    def __init__(self, network: nn.Module, kernel: GaussianKernel, covariance: str = "diagonal") -> None:
        super().__init__()
        outputs(kernel.dim, covariance)
        self.network = network
        self.dim = kernel.dim
        self.covariance = covariance
        if covariance == "constant":
            self.log_std = nn.Parameter(torch.zeros(kernel.schedule.T + 1, 1))

    def forward(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> Gaussian:
        """p(x_{t-1} | x_t) for t >= 2; ``xt`` (..., d)."""
        return self.law(xt, t, kernel, *self.moments(xt, t, kernel))

    def law(
        self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel, x0_hat: Tensor, factor: Tensor | None
    ) -> Gaussian:
        """p(x_{t-1} | x_t) made of what ``moments`` predicts; ``xt`` and ``x0_hat`` (..., d)."""
        from_xt, from_x0, variance = kernel.bridge(t)
        mean = from_xt * xt + from_x0 * x0_hat
        if factor is None:
            return Gaussian(mean, variance.sqrt())
        if self.covariance != "full":
            return Gaussian(mean, (variance + (from_x0 * factor).square()).sqrt())
        spread = from_x0.unsqueeze(-1) * factor
        identity = torch.eye(self.dim, dtype=xt.dtype, device=xt.device)
        covariance = variance.unsqueeze(-1) * identity + spread @ spread.mT
        return Gaussian(mean, triangular.cholesky(covariance), full=True)

    def moments(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> tuple[Tensor, Tensor | None]:
        """Predicted E[x_0 | x_t] (..., d), and a factor of Cov[x_0 | x_t]: std (..., 1 or d), Cholesky, or None.

        ValueError for t outside of 1..T, or a network of another width.
        """
        signal, noise = kernel.signal_and_noise(checked_step(t, kernel.schedule.T))
        width = outputs(self.dim, self.covariance)
        raw = call_network(self.network, xt, t, kernel.schedule, width, surplus=width == self.dim)
        x0_hat = signal * xt + noise * raw[..., : self.dim]
        rest = raw[..., self.dim :]
        if self.covariance == "posterior":
            return x0_hat, None
        if self.covariance == "fixed_large":
            return x0_hat, noise
        if self.covariance == "constant":
            return x0_hat, noise * self.log_std.to(xt.dtype)[t].exp()
        if self.covariance == "full":
            return x0_hat, noise.unsqueeze(-1) * _lower_triangular(rest, self.dim)
        return x0_hat, noise * rest.exp()

    def start(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> Gaussian:
        """Predicted law of x_0 given x_t, (..., d): a Gaussian, of no width where only its mean is predicted."""
        mean, factor = self.moments(xt, t, kernel)
        return Gaussian(mean, torch.zeros_like(mean[..., :1]) if factor is None else factor, self.covariance == "full")

    def score(self, xt: Tensor, t: int, kernel: GaussianKernel) -> Tensor:
        """The model's grad log q_t(x), (..., d), by Tweedie's formula from its E[x_0 | x_t]."""
        x0_hat, _ = self.moments(xt, t, kernel)
        log_alpha_bar = pick(kernel.schedule.log_alpha_bar, t)
        return ((0.5 * log_alpha_bar).exp() * x0_hat - xt) / -torch.expm1(log_alpha_bar)


class BernoulliReverse(nn.Module):
    """p(x_{t-1} | x_t) as independent bits whose odds come from ``network(evidence, t, log_tau)``.

    The network maps (n, d), (n,), (n,) to (n, d). At t = 1 this is P(x_0 = 1 | x_1) itself: a learned edge step, which
    ``DiffusionModel`` does not use.
    """

    def __init__(self, network: nn.Module, kernel: BinomialKernel) -> None:
        super().__init__()
        self.network = network
        self.dim = kernel.dim

    def forward(self, xt: Tensor, t: int | Tensor, kernel: BinomialKernel) -> Bernoulli:
        """p(x_{t-1} | x_t) for t >= 1; ``xt`` (..., d) of zeros and ones."""
        return kernel.through(self.start(xt, t, kernel), xt, t)

    def start(self, xt: Tensor, t: int | Tensor, kernel: BinomialKernel) -> Bernoulli:
        """Predicted law of each bit of x_0 given x_t, (..., d). ValueError for t outside of 1..T."""
        evidence = (2 * xt - 1) * pick(kernel.evidence, checked_step(t, kernel.schedule.T))
        return Bernoulli(call_network(self.network, evidence, t, kernel.schedule, self.dim))

    def score(self, xt: Tensor, t: int, kernel: BinomialKernel) -> Tensor:
        """TypeError, not a score (..., d): a law of bits has no gradient in x."""
        raise TypeError("score: bits have no score: log q_t(x) has no gradient in x")


def call_network(
    network: nn.Module, x: Tensor, t: int | Tensor, schedule: Schedule, width: int, surplus: bool = False,
    timeless: bool = False,
) -> Tensor:  # fmt: skip
    """``network(x, t, log_tau)`` in the network's own precision, for x (..., d): (..., width), of x's type.

    With ``timeless`` t and log_tau are 0. ValueError, with both numbers, where the network gives other than ``width``
    outputs; with ``surplus``, less.
    """
    batch, log_tau = x.shape[:-1], schedule.log_tau[t].clamp(max=MAX_LOG_TAU)
    dtype = next(network.parameters(), x).dtype
    times = t if isinstance(t, Tensor) else torch.full((), t, device=x.device)  # filled there: nothing is copied
    times = times.expand(batch).reshape(-1)
    levels = log_tau.expand(batch).reshape(-1).to(dtype)
    if timeless:
        times, levels = torch.zeros_like(times), torch.zeros_like(levels)
    raw = network(x.reshape(-1, x.shape[-1]).to(dtype), times, levels).to(x.dtype).flatten(1)
    if raw.ndim != 2 or raw.shape[1] < width or (raw.shape[1] > width and not surplus):
        raise ValueError(f"network: gives {tuple(raw.shape[1:])} numbers a point, and {width} are needed")
    return raw.reshape(*batch, raw.shape[1])


def _lower_triangular(raw: Tensor, dim: int) -> Tensor:
    """Cholesky factors (..., d, d): first d log diagonals, then the strict lower triangle by rows."""
    return triangular.lower(raw[..., :dim].exp(), raw[..., dim:])


class PaperReverse(GaussianReverse):
    """p(x_{t-1} | x_t) by the paper's readout of ``network(x, t, log_tau)``, (n, 2 d)."""

    def __init__(self, network: nn.Module, kernel: GaussianKernel) -> None:
        super().__init__(network, kernel, "diagonal")

    def forward(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> Gaussian:
        """p(x_{t-1} | x_t) for t >= 2; ``xt`` (..., d). ValueError for t outside of 1..T."""
        beta = pick(kernel.schedule.beta, checked_step(t, kernel.schedule.T))
        z_mean, z_variance = call_network(self.network, xt, t, kernel.schedule, 2 * self.dim).chunk(2, -1)
        variance = torch.sigmoid(torch.logit(beta) + z_variance)
        return Gaussian((1 - beta).sqrt() * xt + beta.sqrt() * z_mean, variance.sqrt())

    def moments(self, xt: Tensor, t: int | Tensor, kernel: GaussianKernel) -> tuple[Tensor, Tensor]:
        """The E[x_0 | x_t] and standard deviations (..., d) that the step's own mean and variance amount to."""
        step = self(xt, t, kernel)
        from_xt, from_x0, variance = kernel.bridge(t)
        spread = (step.scale.square() - variance).clamp(min=0).sqrt() / from_x0
        return (step.mean - from_xt * xt) / from_x0, spread
