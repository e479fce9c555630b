"""What simpler models make of the same images: fitted on the training ones, measured on the held-out ones.

Each returns bits per dimension (n,) of the n held-out images, in the unit of ``Images.bits_per_dimension``. Those that
need densities get the same uniform noise as the diffusion model's. What a model has to choose, it chooses on part of
the training images.
"""

import math
import zlib

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from dpm_lib.core.constants import LN2, LOG_2PI
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data.images import Images

FOLDS = 5
SHRINKAGES = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DICTIONARY = 2**15  # bytes, all that deflate can look back
STRENGTHS = (4.0, 16.0, 64.0, 256.0)


def isotropic(data: Images, seed: int = 0) -> Tensor:
    """One mean and one variance for all pixels, (n,), bits per dimension: -L_null."""
    x = data.held_out(seed=seed)
    return data.bits_per_dimension(-0.5 * (x.square() + LOG_2PI).sum(1))


def histogram(data: Images, prior: float = 0.5) -> Tensor:
    """Each pixel its own histogram of levels, with ``prior`` added to every count; pixels independent: (n,), bits.

    ValueError for a prior that is not positive.
    """
    if not prior > 0:
        raise ValueError(
            f"prior: {prior} is not positive: a level that no training pixel had would cost infinitely many bits"
        )
    bits = torch.zeros(len(data.test), dtype=torch.float64)
    for pixel in range(data.dim):
        counts = torch.bincount(data.train[:, pixel].long(), minlength=data.levels).double() + prior
        bits -= (counts / counts.sum()).log2()[data.test[:, pixel].long()]
    return bits / data.dim


def histogram_mixture(
    data: Images, classes: int = 40, rounds: int = 15, strength: float | None = None, seed: int = 0
) -> Tensor:
    """A mixture of ``classes`` histograms, by ``rounds`` of EM: (n,), bits. Pixels are independent given the class.

    To every pixel's counts in a class, ``strength`` times its histogram over all pictures is added: if none is given,
    the one of STRENGTHS that is best on a tenth of the training images for a fit to the others. EM starts at random
    images, each with those that are nearest to it. ValueError for a number that is not positive.
    """
    if classes < 1 or rounds < 1 or not (strength is None or strength > 0):
        raise ValueError(f"classes, rounds, strength: {classes}, {rounds}, {strength}: need positive numbers")
    if strength is None:
        fitted, left_out = _tenth(data, seed)
        costs = [float(_mixture(fitted, left_out, data.levels, classes, rounds, s, seed).mean()) for s in STRENGTHS]
        strength = STRENGTHS[costs.index(min(costs))]
    return _mixture(data.train, data.test, data.levels, classes, rounds, strength, seed) / data.dim


def _mixture(train: Tensor, test: Tensor, levels: int, classes: int, rounds: int, strength: float, seed: int) -> Tensor:
    """Bits of each row of ``test`` (n, d)."""
    seen = _one_hot(train, levels)
    common = (np.asarray(seen.sum(0)).reshape(-1, 1) + 0.5) / (len(train) + 0.5 * levels)  # (d levels, 1)
    share = _nearest(train.double(), classes, seed)
    for _ in range(rounds):
        log_weight = np.log(share.mean(0) + 1e-12)
        log_p = np.log((seen.T @ share + strength * common) / (share.sum(0) + strength))
        share = torch.softmax(torch.from_numpy(seen @ log_p + log_weight), 1).numpy()
    return -torch.logsumexp(torch.from_numpy(_one_hot(test, levels) @ log_p + log_weight), 1) / LN2


def gaussian(data: Images, seed: int = 0) -> Tensor:
    """One Gaussian of full covariance, drawn towards a multiple of the identity as ``shrinkage`` says: (n,), bits."""
    mean, covariance = _moments(data, data.train)
    covariance = _shrunk(covariance, shrinkage(data, seed))
    x = data.held_out(seed=seed)
    log_p = _log_gaussian(_squares(x - mean, covariance), covariance, torch.zeros(1, dtype=torch.float64))
    return data.bits_per_dimension(log_p.squeeze(1))


def shrinkage(data: Images, seed: int = 0) -> float:
    """The share a, one of SHRINKAGES, with which (1 - a) C + a tr(C)/d I is best: by FOLDS-fold cross-validation.

    That is, on each part of the training images for the covariance C of the others. A pixel that is never inked in
    training would cost a plain Gaussian thousands of bits where it is inked once.
    """
    generator = seeded(seed)
    order = torch.randperm(len(data.train), generator=generator)
    costs = torch.zeros(len(SHRINKAGES), dtype=torch.float64)
    for left_out in order.tensor_split(FOLDS):
        fitted = data.train[order[~torch.isin(order, left_out)]]
        mean, covariance = _moments(data, fitted)
        values, vectors = torch.linalg.eigh(covariance)
        x = data.dequantised(data.train[left_out], generator) - mean
        squares = (x @ vectors).square().sum(0)
        shrunk = [(1 - a) * values + a * values.mean() for a in SHRINKAGES]
        costs += torch.stack([(len(x) * v.log() + squares / v).sum() for v in shrunk])
    return SHRINKAGES[int(costs.argmin())]


def scale_mixture(data: Images, scales: int = 8, rounds: int = 60, seed: int = 0) -> Tensor:
    """A Gaussian scale mixture: one covariance, and ``scales`` sizes of it with their weights, by ``rounds`` of EM.

    Per image x ~ N(mean, s C), with s one of the sizes (Wainwright and Simoncelli 2000). For patches it is a strong
    model: contrast varies much from patch to patch, and their correlations less. The covariance is drawn towards a
    multiple of the identity as much as that of ``gaussian``. ValueError for fewer than one scale or round.
    """
    if scales < 1 or rounds < 1:
        raise ValueError(f"scales, rounds: {scales}, {rounds}: need at least 1 of each")
    mean, covariance = _moments(data, data.train)
    a = shrinkage(data, seed)
    covariance = _shrunk(covariance, a)
    apart = data.dequantised(data.train, seeded(seed)) - mean
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
        covariance = _shrunk(apart.T @ (by_image * apart) / len(apart), a)
    x = data.held_out(seed=seed) - mean
    log_p = torch.logsumexp(log_weight + _log_gaussian(_squares(x, covariance), covariance, log_s), 1)
    return data.bits_per_dimension(log_p)


def lossless(data: Images, seed: int = 0) -> Tensor:
    """What zlib, the coder of PNG and gzip, makes of each picture by itself, one byte a number: (n,), bits.

    With 32 kilobytes of training pictures, drawn at random, as its dictionary: no more are allowed.
    """
    order = torch.randperm(len(data.train), generator=seeded(seed))
    known = data.train[order[: DICTIONARY // data.dim]].numpy().tobytes()
    sizes = []
    for picture in data.test.numpy():
        coder = zlib.compressobj(9, wbits=-15, zdict=known)
        sizes.append(len(coder.compress(picture.tobytes()) + coder.flush()))
    return 8 * torch.tensor(sizes, dtype=torch.float64) / data.dim


def _tenth(data: Images, seed: int) -> tuple[Tensor, Tensor]:
    """The training images, but for a tenth of them drawn at random; and that tenth."""
    order = torch.randperm(len(data.train), generator=seeded(seed))
    tenth = max(1, len(order) // 10)
    return data.train[order[tenth:]], data.train[order[:tenth]]


def _one_hot(values: Tensor, levels: int) -> sparse.csr_matrix:
    """(n, d levels): a 1 where pixel i has level v, at i levels + v."""
    n, d = values.shape
    columns = (values.long() + levels * torch.arange(d)).flatten().numpy()
    return sparse.csr_matrix((np.ones(n * d), columns, np.arange(0, n * d + 1, d)), shape=(n, d * levels))


def _nearest(x: Tensor, classes: int, seed: int) -> np.ndarray:
    """Which of ``classes`` random rows each row of x (n, d) is nearest to, as zeros and ones (n, classes)."""
    centres = x[torch.randperm(len(x), generator=seeded(seed))[:classes]]
    nearest = torch.cdist(x, centres).argmin(1)
    return torch.nn.functional.one_hot(nearest, len(centres)).double().numpy()


def _shrunk(covariance: Tensor, a: float) -> Tensor:
    """(1 - a) C + a tr(C)/d I."""
    return (1 - a) * covariance + a * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)


def _moments(data: Images, values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of dequantised images, in units of the chain."""
    x = (values.double() + 0.5 - data.mean) / data.std
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


BASELINES = {
    "isotropic": isotropic,
    "histogram": histogram,
    "histograms": histogram_mixture,
    "gaussian": gaussian,
    "scale mixture": scale_mixture,
    "zlib": lossless,
}


def baselines(data: Images, n: int | None = None) -> dict[str, dict[str, float]]:
    """Mean bits per dimension of every baseline on the first n held-out images (all by default), and its error."""
    record = {}
    for name, method in BASELINES.items():
        bits = method(data)[:n]
        record[name] = {"bits_per_dimension": float(bits.mean()), "stderr": stderr(bits)}
    return record
