"""What simpler models make of the same images: bits per pixel on the held-out ones, fitted on the training ones.

Each returns the bits per pixel (n,) of the n held-out images, in the unit of ``Images.bits_per_pixel``. The integers
get the same uniform noise as the diffusion model's.
"""

import math

import torch
from torch import Tensor

from dpm_lib.images import Images
from dpm_lib.laws import LOG_2PI


def isotropic(data: Images, seed: int = 0) -> Tensor:
    """One mean and one variance for all pixels: -L_null."""
    x = data.held_out(seed=seed)
    return data.bits_per_pixel(-0.5 * (x.square() + LOG_2PI).sum(1))


def histogram(data: Images, prior: float = 0.5) -> Tensor:
    """Each pixel its own histogram of levels, with ``prior`` added to every count; pixels independent."""
    if not prior > 0:
        raise ValueError(
            f"prior: {prior} is not positive: a level that no training pixel had would cost infinitely many bits"
        )
    bits = torch.zeros(len(data.test), dtype=torch.float64)
    for pixel in range(data.dim):
        counts = torch.bincount(data.train[:, pixel].long(), minlength=data.levels).double() + prior
        bits -= (counts / counts.sum()).log2()[data.test[:, pixel].long()]
    return bits / data.dim


def gaussian(data: Images, seed: int = 0) -> Tensor:
    """One Gaussian of full covariance."""
    mean, covariance = _moments(data)
    x = data.held_out(seed=seed)
    log_p = _log_gaussian(_squares(x - mean, covariance), covariance, torch.zeros(1, dtype=torch.float64))
    return data.bits_per_pixel(log_p.squeeze(1))


def scale_mixture(data: Images, scales: int = 8, rounds: int = 60, seed: int = 0) -> Tensor:
    """A Gaussian scale mixture: one covariance, and ``scales`` sizes of it with their weights, by ``rounds`` of EM.

    Per image x ~ N(mean, s C), with s one of the sizes (Wainwright and Simoncelli 2000). For patches it is a strong
    model: contrast varies much from patch to patch, and their correlations less.
    """
    if scales < 1 or rounds < 1:
        raise ValueError(f"scales, rounds: {scales}, {rounds}: both must be at least 1")
    mean, covariance = _moments(data)
    apart = data.dequantised(data.train, torch.Generator().manual_seed(seed)) - mean
    log_s = torch.linspace(-4, 2, scales, dtype=torch.float64)
    log_weight = torch.full((scales,), -math.log(scales), dtype=torch.float64)
    for _ in range(rounds):
        squares = _squares(apart, covariance)
        share = torch.softmax(log_weight + _log_gaussian(squares, covariance, log_s), 1)  # (n, scales)
        log_weight = share.mean(0).clamp(min=1e-12).log()
        log_s = (
            ((share * squares.unsqueeze(1)).sum(0) / share.sum(0).clamp(min=1e-12) / data.dim).clamp(min=1e-12).log()
        )
        by_image = (share * (-log_s).exp()).sum(1, keepdim=True)
        covariance = apart.T @ (by_image * apart) / len(apart)
    x = data.held_out(seed=seed) - mean
    log_p = torch.logsumexp(log_weight + _log_gaussian(_squares(x, covariance), covariance, log_s), 1)
    return data.bits_per_pixel(log_p)


def _moments(data: Images) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of dequantised training images, in units of the chain."""
    x = (data.train.double() + 0.5 - data.mean) / data.std
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / len(x)
    return mean, covariance + torch.eye(data.dim, dtype=torch.float64) / (12 * data.std**2)


def _squares(apart: Tensor, covariance: Tensor) -> Tensor:
    """x^T C^-1 x for each row, (n,)."""
    factor = torch.linalg.cholesky(covariance)
    return torch.linalg.solve_triangular(factor, apart.T, upper=False).square().sum(0)


def _log_gaussian(squares: Tensor, covariance: Tensor, log_s: Tensor) -> Tensor:
    """log N(x; 0, s C), (n, scales), nats, from x^T C^-1 x."""
    d = len(covariance)
    constant = d * (LOG_2PI + log_s) + torch.linalg.slogdet(covariance).logabsdet
    return -0.5 * (squares.unsqueeze(1) * (-log_s).exp() + constant)


BASELINES = {"isotropic": isotropic, "histogram": histogram, "gaussian": gaussian, "scale mixture": scale_mixture}


def baselines(data: Images, n: int | None = None) -> dict[str, dict[str, float]]:
    """Mean bits per pixel of every baseline on the first n held-out images (all by default), and its standard error."""
    record = {}
    for name, method in BASELINES.items():
        bits = method(data)[:n]
        record[name] = {"bits_per_pixel": float(bits.mean()), "stderr": float(bits.std() / math.sqrt(len(bits)))}
    return record
