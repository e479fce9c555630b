"""Small triangular systems, written out, against LAPACK."""

import pytest
import torch
from problems import rng

from dpm_lib.probability import triangular
from dpm_lib.probability.distributions import Gaussian


def matrices(d, n=50):
    root = torch.randn(n, d, d, generator=rng(d), dtype=torch.float64)
    return root @ root.mT + 0.1 * torch.eye(d, dtype=torch.float64)


def values_and_gradient(function, *arguments):
    leaves = [a.clone().requires_grad_() for a in arguments]
    value = function(*leaves)
    weight = torch.randn(value.shape, generator=rng(9), dtype=value.dtype)
    return value.detach(), *torch.autograd.grad((weight * value).sum(), leaves)


@pytest.mark.parametrize("d", [1, 2, 3, triangular.SMALL, triangular.SMALL + 1])
def test_factors_and_solutions_are_lapacks_and_so_are_their_gradients(d):
    covariance = matrices(d)
    ours = values_and_gradient(triangular.cholesky, covariance)
    theirs = values_and_gradient(torch.linalg.cholesky, covariance)
    symmetric = [0.5 * (g + g.mT) for g in (ours[1], theirs[1])]  # how it is shared between the two halves is free
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(*symmetric, rtol=1e-8, atol=1e-10)
    right = torch.randn(50, d, 3, generator=rng(1), dtype=torch.float64)
    for one, other in zip(
        values_and_gradient(triangular.solve, ours[0], right),
        values_and_gradient(lambda L, b: torch.linalg.solve_triangular(L, b, upper=False), ours[0], right),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_a_triangle_of_its_entries():
    made = triangular.lower(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]]))
    assert made.tolist() == [[[1, 0, 0], [4, 2, 0], [5, 6, 3]]]


@pytest.mark.parametrize("d", [1, 2, 3, triangular.SMALL + 1])
@pytest.mark.parametrize("wrong", [0.0, -1.0, torch.nan])
def test_what_is_not_positive_definite_is_refused(d, wrong):
    covariance = matrices(d)
    covariance[7, 0, 0] = wrong
    with pytest.raises(torch.linalg.LinAlgError):
        triangular.cholesky(covariance)


@pytest.mark.parametrize("full", [(False, True), (True, False), (True, True)])
def test_divergence_is_that_of_torch(full):
    def law(i):
        mean = torch.randn(50, 2, generator=rng(i), dtype=torch.float64)
        factor = torch.linalg.cholesky(matrices(2) + i * torch.eye(2, dtype=torch.float64))
        scale = factor if full[i] else factor.diagonal(dim1=-2, dim2=-1)
        written = torch.distributions.MultivariateNormal(mean, scale_tril=scale if full[i] else torch.diag_embed(scale))
        return Gaussian(mean, scale, full[i]), written

    (p, p_torch), (q, q_torch) = law(0), law(1)
    torch.testing.assert_close(p.kl(q), torch.distributions.kl_divergence(p_torch, q_torch))
    one = Gaussian(p.mean[0], p.scale[0], full[0])  # broadcasts
    torch.testing.assert_close(one.kl(q)[0], p.kl(q)[0])
