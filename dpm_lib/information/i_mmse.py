"""The I-MMSE relation: mutual information and entropy from the error of a denoiser.

For data y and z(t) = y + sqrt(t) noise, Guo, Shamai and Verdu (2005) found

    I(y; z(t0)) = int_{t0}^infinity mmse(t) / (2 t^2) dt                                    (nats; eq-info-immse)

All integrals over t are sums over Gauss-Legendre nodes in log t, where structure of any scale is about equally wide,
plus what is left beyond the last node, which is known to more digits than float64 has. A denoiser is a function
(z (n, d), t) -> (n, d) that guesses y: the ``posterior_mean`` of a distribution, or of ``tweedie.Denoiser``.

What concerns a single t, such as the mmse, is in ``dpm_lib.information.mmse``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import roots_legendre
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import shaped
from dpm_lib.core.standard_error import stderr
from dpm_lib.information.mmse import covariance, mmse, noisy
from dpm_lib.probability.mixtures import Mixture

FAR = 1e5  # in units of the data's largest variance: from here on, only its covariance matters, to 1e-15
FAINT = 360.0  # closest distance squared over this: noise so weak that points are never mistaken, to 1e-19
Denoiser = Callable[[Tensor, float], Tensor]


def log_nodes(low: float, high: float, nodes: int = 64) -> tuple[list[float], list[float]]:
    """(t, weight): int_low^high f(t) / (2 t^2) dt is about sum weight f(t). Gauss-Legendre in log t.

    ValueError unless 0 < low < high < infinity.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low, high: {low}, {high}: need 0 < low < high < infinity")
    root, weight = roots_legendre(checks.count("nodes", nodes))
    half = 0.5 * math.log(high / low)
    t = low * np.exp(half * (1 + root))
    return t.tolist(), (half * weight / (2 * t)).tolist()


def integral(error: Callable[[float], float], low: float, high: float, nodes: int = 64) -> float:
    """int_low^high error(t) / (2 t^2) dt, nats: with the mmse, what z(low) knows of y and z(high) does not."""
    return sum(w * error(t) for t, w in zip(*log_nodes(low, high, nodes), strict=True))


def tail(cov: Tensor, t: float) -> float:
    """1/2 log det(I + Cov / t), nats, for ``cov`` (d, d): the integral from t on for Gaussian data, a bound for others.

    For any data it is right to order (1/t)^2, and to order (1/t)^3 if the third moments vanish (eq-info-tail).
    ValueError for another shape, or t <= 0.
    """
    checks.positive("t", t)
    cov = torch.as_tensor(cov, dtype=torch.float64)
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise ValueError(f"cov: need a square matrix, got shape {tuple(cov.shape)}")
    return 0.5 * float(torch.linalg.slogdet(torch.eye(len(cov), dtype=torch.float64) + cov / t)[1])


def mutual_information(target: Mixture, t0: float = 0.0, nodes: int = 64) -> float:
    """I(y; z(t0)), nats, by the integral of the mmse. t0 = 0 gives H(y) of a finite set; it is infinite for a density.

    For the targets of ``mmse``. ValueError for a density seen at t0 = 0, and t0 < 0. eq-info-immse.
    """
    checks.between("t0", t0, 0)
    cov = covariance(target)
    far = FAR * float(torch.linalg.eigvalsh(cov)[-1])
    if t0 == 0:
        if target.variance > 0:
            raise ValueError("t0: 0: seen without noise, a density tells infinitely much of itself")
        t0 = _closest(target) ** 2 / FAINT
    if t0 >= far:
        return tail(cov, t0)
    return integral(lambda t: mmse(target, t), t0, far, nodes) + tail(cov, far)


def entropy(target: Mixture, nodes: int = 128) -> float:
    """H(y) of a finite set, or h(y) of a density, nats, from its mmse alone.

    For a density: the entropy of N(0, v I), v = tr Cov / d, less the area between the two curves (eq-info-area).
    """
    if target.variance == 0:
        return mutual_information(target, 0.0, nodes)
    cov, d = covariance(target), target.dim
    v = float(cov.trace()) / d
    low, far = 1e-7 * target.variance, FAR * float(torch.linalg.eigvalsh(cov)[-1])

    def between(t: float) -> float:
        return d * v * t / (v + t) - mmse(target, t)

    area = integral(between, low, far, nodes) + 0.5 * between(low) / low  # below `low` the integrand is constant
    area += tail(v * torch.eye(d, dtype=torch.float64), far) - tail(cov, far)
    return 0.5 * d * math.log(2 * math.pi * math.e * v) - area


@dataclass(frozen=True)
class LearnedEntropy:
    """``values`` (n,): an unbiased estimate for each data point, nats. ``density`` (nodes,): nats per unit of log t."""

    values: Tensor
    t: Tensor
    density: Tensor

    @property
    def mean(self) -> float:
        """The estimate, nats."""
        return float(self.values.mean())

    @property
    def stderr(self) -> float:
        """Its standard error."""
        return stderr(self.values)


def entropy_bound(
    denoiser: Denoiser,
    y: Tensor,
    t0: float,
    t1: float,
    generator: torch.Generator,
    mean_square: float | None = None,
    nodes: int = 64,
) -> LearnedEntropy:
    """An upper bound on h(y), nats, from any denoiser used for t in [t0, t1]; rows y (n, d) are independent data.

    h(y) <= d/2 log(2 pi e (v + t0)) + int_{t0}^{t1} [mse(t) - mse_linear(t)] / (2 t^2) dt          (eq-info-learned)

    Beyond t1 the linear denoiser v z / (v + t) serves, v = E|y|^2 / d; below t0, h(y | z(t0)) is bounded by a Gaussian
    of variance t0. ``mean_square`` is E|y|^2 (default: d); a larger one is safe, a smaller one is not: ValueError where
    the rows show, at odds of a million to one, that it is too small. The bound holds in expectation, up to quadrature.
    The two errors share their noise, so that much of it cancels. ``density`` is mse / 2t, if ``mean_square`` is exact.
    """
    y = torch.as_tensor(y, dtype=torch.float64)
    if y.ndim != 2 or len(y) < 2 or not torch.isfinite(y).all():
        raise ValueError(f"y: need at least 2 finite rows (n, d), got shape {tuple(y.shape)}")
    checks.positive("t0", t0)
    d = y.shape[1]
    v = checks.positive("mean_square", d if mean_square is None else mean_square) / d
    _enough(d * v, y.square().sum(-1))
    t, weights = log_nodes(t0, t1, nodes)
    values = torch.full((len(y),), 0.5 * d * math.log(2 * math.pi * math.e * (v + t0)), dtype=torch.float64)
    density = []
    for level, weight in zip(t, weights, strict=True):
        z = noisy(y, level, generator)
        off = y - shaped("denoiser", denoiser(z, level), z.shape)
        gain = off.square().sum(-1) - (y - v * z / (v + level)).square().sum(-1)
        values += weight * gain
        density.append((d * v * level / (v + level) + float(gain.mean())) / (2 * level))
    return LearnedEntropy(values, *torch.tensor([t, density], dtype=torch.float64))


def excess(
    denoiser: Denoiser, target: Mixture, t0: float, t1: float, n: int, generator: torch.Generator, nodes: int = 64
) -> LearnedEntropy:
    """int_{t0}^{t1} [mse - mmse] / (2 t^2) dt, nats: what the denoiser lacks, never negative (eq-info-excess).

    For a known target it is E|denoiser - E[y | z]|^2, whose spread is far smaller than that of the two errors.
    ValueError for n < 2.
    """
    y = target.sample(checks.count("n", n, 2), generator)
    t, weights = log_nodes(t0, t1, nodes)
    values, density = torch.zeros(n, dtype=torch.float64), []
    for level, weight in zip(t, weights, strict=True):
        z = noisy(y, level, generator)
        off = (shaped("denoiser", denoiser(z, level), z.shape) - target.posterior_mean(z, level)).square().sum(-1)
        values += weight * off
        density.append(float(off.mean()) / (2 * level))
    return LearnedEntropy(values, *torch.tensor([t, density], dtype=torch.float64))


def _enough(mean_square: float, squares: Tensor) -> None:
    """ValueError where |y|^2 of the rows (n,) shows by a t-test that its mean is above ``mean_square``."""
    from scipy.stats import t as student  # here, for it is slow to import

    mean, error = float(squares.mean()), stderr(squares)
    if mean - float(student.isf(1e-6, len(squares) - 1)) * error > mean_square:
        raise ValueError(f"mean_square: {mean_square:g}: too small for data of {mean:.4g} ± {error:.1g}: no bound")


def _closest(target: Mixture) -> float:
    """The least distance between two points of positive weight."""
    gaps = torch.pdist(target.centers[target.weights > 0])
    if len(gaps) == 0 or not gaps.min() > 0:
        raise ValueError("target: a finite set needs at least 2 points of positive weight, all different")
    return float(gaps.min())
