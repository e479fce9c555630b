"""Score matching: to learn grad log P_t from draws alone, by four losses that have one minimum.

For z(t) = y + W_t, with noise of VARIANCE t, the loss that one wants is the Fisher divergence, and it asks for the
score that one lacks:

    explicit   E |s(z) - grad log P_t(z)|^2
    implicit   E [ |s(z)|^2 + 2 div s(z) ]                  = explicit - E |grad log P_t|^2       (Hyvarinen 2005)
    sliced     E [ |s(z)|^2 + 2 v . grad (v . s)(z) ]       = implicit, with random v             (Song et al. 2019)
    denoising  E |s(z) - (y - z) / t|^2                     = explicit + mmse(t) / t^2            (Vincent 2011)

Points are (n, d) float64; a loss is (n,), one number a point, and its mean is the loss of the page. ``score(z, t)`` is
any guess (n, d), written in torch where a derivative is taken.
"""

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_states, shaped
from dpm_lib.diffusion.probability_flow import Score, exact_divergence
from dpm_lib.information import mmse
from dpm_lib.probability.mixtures import Mixture


def denoising(score: Score, y: Tensor, z: Tensor, t: float) -> Tensor:
    """|s(z) - (y - z) / t|^2, (n,), for data y (n, d) and the same with noise, z (n, d). {eq}`eq-sm-vincent`.

    ValueError for a t that is not positive, and for shapes that differ.
    """
    checks.positive("t", t)
    z = checked_states(z, "z")
    y = shaped("y", torch.as_tensor(y, dtype=torch.float64), z.shape)
    return (_guess(score, z, t) - (y - z) / t).square().sum(-1)


def implicit(score: Score, z: Tensor, t: float) -> Tensor:
    """|s(z)|^2 + 2 div s(z), (n,), at z (n, d): d passes backwards. {eq}`eq-sm-hyvarinen`.

    ValueError for a score that automatic differentiation cannot follow.
    """
    z = checked_states(z, "z")
    return _guess(score, z, t).square().sum(-1) + 2 * exact_divergence(score)(z, t)


def sliced(score: Score, z: Tensor, t: float, generator: torch.Generator, slices: int = 1) -> Tensor:
    """|s(z)|^2 + 2 v . grad (v . s)(z), (n,), at z (n, d), the mean over ``slices`` random signs v: one pass for each.

    Signs +-1 have E v v^T = I, and the least variance of all v with independent coordinates, eq-sm-slice-variance.
    ValueError for slices < 1, and for a score that automatic differentiation cannot follow. {eq}`eq-sm-sliced`.
    """
    z, slices = checked_states(z, "z"), checks.count("slices", slices)
    with torch.enable_grad():
        place = z.detach().requires_grad_()
        guess = _guess(score, place, t)
        if not guess.requires_grad and not torch.equal(guess, _guess(score, z + 1e-3, t)):
            raise ValueError("score: depends on z, but has no gradient: write it in torch")
        total = torch.zeros_like(z[:, 0])
        for _ in range(slices if guess.requires_grad else 0):
            v = 2.0 * torch.randint(0, 2, z.shape, generator=generator, device=z.device) - 1
            (slope,) = torch.autograd.grad((guess * v).sum(), place, retain_graph=True)
            total += (slope * v).sum(-1)
    return guess.detach().square().sum(-1) + 2 * total / slices


def fisher_divergence(target: Mixture, score: Score, t: float) -> float:
    """E |s(z) - grad log P_t(z)|^2 for a small mixture, by quadrature. {eq}`def-sm-fisher`.

    ValueError where the grid would be too large, as ``mmse.expectation``.
    """
    return mmse.expectation(target, lambda z: (_guess(score, z, t) - target.score(z, t)).square().sum(-1), t)


def floor(target: Mixture, t: float) -> float:
    """mmse(t) / t^2: what the denoising loss is when s is perfect, and no network can be below it. eq-sm-vincent.

    ValueError for a t that is not positive, or a mixture too large to sum.
    """
    return mmse.mmse(target, t) / t**2


def _guess(score: Score, z: Tensor, t: float) -> Tensor:
    return shaped("score", score(z, t), z.shape)
