"""Problems with known answers, shared by the tests, and the yardsticks the tests measure with.

Every random draw has a fixed seed. Tolerances of Monte Carlo checks are multiples of their own standard errors.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from dpm_lib.core.constants import LOG_2PI
from dpm_lib.data.dataset import Data
from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import BernoulliReverse, GaussianReverse, outputs
from dpm_lib.diffusion.schedules import Schedule, from_tau
from dpm_lib.exact import enumeration
from dpm_lib.probability.distributions import Gaussian
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.training.catalogue import get
from dpm_lib.training.recipe import Recipe


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def close(actual, expected, rtol=1e-10, atol=1e-12):
    """Equal up to rounding, whatever the shapes broadcast to."""
    actual, expected = torch.as_tensor(actual, dtype=torch.float64), torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(*torch.broadcast_tensors(actual, expected), rtol=rtol, atol=atol)


def close_mean(values: Tensor, expected, errors: float = 4.0, floor: float = 1e-12):
    """The mean of independent ``values`` (n, ...) lies within ``errors`` standard errors of ``expected``."""
    stderr = values.std(0) / math.sqrt(len(values))
    off = (values.mean(0) - expected).abs()
    assert bool((off <= errors * stderr + floor).all()), f"{values.mean(0)} is not {expected}: {off / stderr} s.e. away"


def close_covariance(x: Tensor, mean: Tensor, covariance: Tensor, errors: float = 4.0):
    """The rows of ``x`` (n, d) are draws with this ``mean`` (d,) and ``covariance`` (d, d), within standard errors."""
    close_mean(x, mean, errors)
    centred = x - mean
    close_mean(centred.unsqueeze(1) * centred.unsqueeze(2), covariance, errors)


# Schedules


def short_schedule() -> Schedule:
    """Four uneven steps that end well short of pi."""
    return from_tau(torch.tensor([0.0, 0.02, 0.3, 1.1, 6.0]))


def random_schedule(T: int, seed: int = 0, low: float = -6.0, high: float = 3.0) -> Schedule:
    """T steps at random places in log tau."""
    log_tau = torch.sort(low + (high - low) * torch.rand(T, generator=rng(seed), dtype=torch.float64)).values
    return from_tau(torch.cat([torch.zeros(1, dtype=torch.float64), log_tau.exp()]))


# Targets


def blobs() -> Mixture:
    """Three unequal Gaussians in the plane."""
    centers = torch.tensor([[1.2, 0.3], [-0.8, 0.9], [-0.2, -1.1]], dtype=torch.float64)
    return Mixture(centers, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.09)


def two_points() -> Mixture:
    """-1 and 1 on the line, as likely as each other: a finite set."""
    return Mixture(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.5, 0.5]), 0.0)


def gaussian(mean: Tensor, variance: float) -> Mixture:
    """N(mean, variance I)."""
    return Mixture(mean.reshape(1, -1), torch.ones(1), variance)


@lru_cache
def roll(noise: float) -> SwissRoll:
    return SwissRoll(noise)


@lru_cache
def roll_entropy(noise: float) -> float:
    """H(X0) of the roll in nats; it takes seconds."""
    return roll(noise).entropy()


# Networks that are right, and networks whose model can be worked out


class ExactNetwork(nn.Module):
    """The raw outputs that make a reverse kernel carry the target's exact E[x_0 | x_t] and Cov[x_0 | x_t]."""

    def __init__(self, target: Mixture, covariance: str) -> None:
        super().__init__()
        self.target, self.covariance = target, covariance
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor, log_tau: Tensor) -> Tensor:
        out = x.new_empty(len(x), outputs(self.target.dim, self.covariance))
        for level in log_tau.unique():
            rows = log_tau == level
            out[rows] = self.at(x[rows], float(level.exp()))
        return out

    def at(self, x: Tensor, tau: float) -> Tensor:
        alpha_bar, noise = 1 / (1 + tau), math.sqrt(tau / (1 + tau))
        z = x / math.sqrt(alpha_bar)
        mean = (self.target.posterior_mean(z, tau) - math.sqrt(alpha_bar) * x) / noise
        covariance = self.target.posterior_covariance(z, tau) / noise**2
        variances = covariance.diagonal(dim1=-2, dim2=-1)
        if self.covariance == "isotropic":
            return torch.cat([mean, 0.5 * variances.mean(-1, keepdim=True).log()], -1)
        if self.covariance == "diagonal":
            return torch.cat([mean, 0.5 * variances.log()], -1)
        if self.covariance == "full":
            factor = torch.linalg.cholesky(covariance)
            below = [factor[:, i, j] for i in range(x.shape[1]) for j in range(i)]
            return torch.cat([mean, factor.diagonal(dim1=-2, dim2=-1).log(), *(b.unsqueeze(1) for b in below)], -1)
        return mean


class AffineNetwork(nn.Module):
    """Outputs W x + w at every time: the reverse chain is then linear-Gaussian if the rest of W is zero."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor, t: Tensor, log_tau: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


def model_of(network: nn.Module, schedule: Schedule, covariance: str, dim: int) -> DiffusionModel:
    kernel = GaussianKernel(dim, schedule)
    return DiffusionModel(kernel, GaussianReverse(network, kernel, covariance))


def exact_model(target: Mixture, schedule: Schedule, covariance: str = "full") -> DiffusionModel:
    """The model with the best Gaussian reverse kernel of this form for the target (not for "constant")."""
    return model_of(ExactNetwork(target, covariance), schedule, covariance, target.dim)


def affine_model(schedule: Schedule, seed: int = 0, size: float = 0.3, covariance: str = "full") -> DiffusionModel:
    """An untrained model in the plane whose reverse chain is linear-Gaussian."""
    n = outputs(2, covariance)
    weight = size * randn(n, 2, seed=seed)
    weight[2:] = 0
    return model_of(AffineNetwork(weight, size * randn(n, seed=seed + 1)), schedule, covariance, 2)


def bit_model(schedule: Schedule, dim: int = 2, seed: int = 0, size: float = 0.5) -> DiffusionModel:
    """An untrained model of bits: the log-odds of each bit's start are affine in the signs of all."""
    kernel = BinomialKernel(dim, schedule)
    network = AffineNetwork(size * randn(dim, dim, seed=seed), size * randn(dim, seed=seed + 1))
    return DiffusionModel(kernel, BernoulliReverse(network, kernel))


def all_bits(dim: int) -> Tensor:
    """All strings of ``dim`` bits, (2^dim, dim), in binary order."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * dim).reshape(-1, dim)


# Linear-Gaussian chains, by plain algebra on means and covariances


def forward_moments(mean: Tensor, covariance: Tensor, beta: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Means and covariances of x_0..x_T when x_0 ~ N(mean, covariance), step by step."""
    moments = [(mean, covariance)]
    for b in beta[1:].tolist():
        mean, covariance = math.sqrt(1 - b) * mean, (1 - b) * covariance + b * torch.eye(len(mean), dtype=mean.dtype)
        moments.append((mean, covariance))
    return moments


def condition(mean: Tensor, covariance: Tensor, b: float, xt: Tensor) -> tuple[Tensor, Tensor]:
    """Moments of x_{t-1} ~ N(mean, covariance) given x_t = sqrt(1 - b) x_{t-1} + sqrt(b) noise."""
    total = (1 - b) * covariance + b * torch.eye(len(mean), dtype=mean.dtype)
    gain = math.sqrt(1 - b) * covariance @ torch.linalg.inv(total)
    return mean + (xt - math.sqrt(1 - b) * mean) @ gain.T, covariance - math.sqrt(1 - b) * gain @ covariance


def model_law(model: DiffusionModel) -> torch.distributions.MultivariateNormal:
    """The exact p(x_0) of a model whose reverse steps are all affine with a constant covariance."""
    d = model.kernel.dim
    mean, covariance = torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64)
    with torch.no_grad():
        for t in range(model.T, 0, -1):
            offset = model.reverse_step(torch.zeros(1, d, dtype=torch.float64), t).mean[0]
            slope = (model.reverse_step(torch.eye(d, dtype=torch.float64), t).mean - offset).T
            mean, covariance = (
                slope @ mean + offset,
                slope @ covariance @ slope.T
                + covariance_of(model.reverse_step(torch.zeros(1, d, dtype=torch.float64), t)),
            )
    return torch.distributions.MultivariateNormal(mean, covariance)


def covariance_of(gaussian: Gaussian) -> Tensor:
    """The covariance matrix of the first Gaussian of a batch."""
    factor = gaussian.factor
    return (factor @ factor.mT).reshape(-1, *factor.shape[-2:])[0]


# Training runs


def tiny_recipe(**settings: object) -> Recipe:
    """Small enough to train in a second."""
    tiny: dict[str, object] = {"T": 5, "batch": 32, "steps": 60, "checkpoint_every": 1000}
    if settings.get("network") != "rbf":
        tiny |= {"width": 8, "depth": 1, "frequencies": 2}
    return get("swiss-roll").override(**(tiny | settings))


def blob_data() -> Data:
    """Training data whose entropy takes no time."""
    return Data("blobs", blobs())


MEAN = torch.tensor([0.6, -0.9], dtype=torch.float64)


def gaussian_bound(variance: float, square: float, d: int, schedule) -> float:
    """K of the exact kernel for N(mean, variance I) with E|x_0|^2 = square: by hand.

    With the posterior variance c = variance tau / (variance + tau), a step costs (d/2) log(1 + c (1/tau' - 1/tau)).
    """
    tau, alpha_bar, beta = schedule.tau.tolist(), schedule.alpha_bar.tolist(), schedule.beta.tolist()
    steps = 0.0
    for t in range(2, schedule.T + 1):
        c = variance * tau[t] / (variance + tau[t])
        steps += 0.5 * d * math.log(1 + c * (1 / tau[t - 1] - 1 / tau[t]))
    log_prior = -0.5 * (d * LOG_2PI + alpha_bar[-1] * square + d * (1 - alpha_bar[-1]))
    edge = 0.5 * beta[1] * (d - square)
    return log_prior + edge + 0.5 * d * (math.log(1 - alpha_bar[-1]) - math.log(beta[1])) - steps


def random_generator(n: int, seed: int = 0, zeros: float = 0.0) -> np.ndarray:
    """Rates (n, n) of a chain in continuous time; ``zeros`` is the share of jumps that never happen."""
    rng = np.random.default_rng(seed)
    Q = rng.exponential(size=(n, n)) * (rng.random((n, n)) >= zeros)
    np.fill_diagonal(Q, 0)
    return Q - np.diag(Q.sum(1))


def small_chains(**changes) -> enumeration.FiniteChains:
    """Three bits, two steps; ``name=(where, value)`` puts a value into one of the tables."""
    tiny = enumeration.coupled_bits(0.5, [0.2, 0.6], 0.1)
    arguments = {name: getattr(tiny, name).copy() for name in ("data", "prior", "forward", "reverse")}
    for name, (where, value) in changes.items():
        arguments[name][where] = value
    return enumeration.FiniteChains(**arguments)
