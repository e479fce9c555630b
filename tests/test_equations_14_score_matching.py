"""The claims of the chapter on score matching: the losses, by quadrature over data and noise apart, or by hand.

Expectations over (y, W) are sums over the two grids, one inside the other: nothing of Tweedie's formula is in them.
"""

import math

import numpy as np
import pytest
import torch
from problems import close, close_mean, randn, rng
from scipy.integrate import quad
from scipy.special import roots_hermitenorm

from dpm_lib.core import results
from dpm_lib.diffusion import score_matching
from dpm_lib.diffusion.tweedie import Denoiser
from dpm_lib.information import i_mmse, mmse
from dpm_lib.probability.mixtures import Mixture, finite_set
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.training.checkpoints import load_model

CLUMPS = Mixture(torch.tensor([[-1.0], [1.4]], dtype=torch.float64), torch.tensor([0.3, 0.7]), 0.25)
ASKEW = Mixture(torch.tensor([[-1.0, 0.2], [0.9, 1.1], [0.3, -1.0]]), torch.tensor([0.2, 0.5, 0.3]), 0.15)


def wrong(z, t):
    """Some guess of a score: smooth, not a gradient, and with nothing of the law in it."""
    turned = torch.cat([z[:, 1:], z[:, :1]], 1)
    return -0.8 * z + 0.5 * torch.sin(turned) + 0.3 * torch.tanh(z + t)


def both(target, t, nodes=60):
    """All pairs y, z = y + W with their weights, Gauss-Hermite in each component and for the noise: (n, d) each."""
    d = target.dim
    g, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    grids = np.meshgrid(*2 * d * [g], indexing="ij")
    g2 = torch.as_tensor(np.stack(grids, -1).reshape(-1, 2 * d))
    w2 = torch.as_tensor(np.prod(np.meshgrid(*2 * d * [w], indexing="ij"), 0).ravel())
    y = target.centers.double().unsqueeze(1) + math.sqrt(target.variance) * g2[:, :d]
    z = y + math.sqrt(t) * g2[:, d:]
    weight = target.weights.double().unsqueeze(1) * w2
    return y.reshape(-1, d), z.reshape(-1, d), weight.reshape(-1)


def line_density(target):
    """p and its derivative, on the line, by hand."""
    c, w, v = target.centers[:, 0].numpy(), target.weights.numpy(), target.variance

    def p(y):
        return float((w * np.exp(-((y - c) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)).sum())

    def slope(y):
        return float((w * np.exp(-((y - c) ** 2) / (2 * v)) * (c - y) / v / math.sqrt(2 * math.pi * v)).sum())

    return p, slope


@pytest.mark.equation("eq-sm-hyvarinen")
@pytest.mark.equation("eq-sm-parts")
def test_hyvarinen_on_the_line_by_plain_integrals():
    p, slope = line_density(CLUMPS)

    def s(y):
        return -0.8 * y + 0.3 * math.tanh(y + 0.1)

    def ds(y):
        return -0.8 + 0.3 / math.cosh(y + 0.1) ** 2

    def mean(f):
        return quad(lambda y: p(y) * f(y), -9, 9, epsabs=1e-12, limit=200)[0]

    crossed = quad(lambda y: s(y) * slope(y), -9, 9, epsabs=1e-12, limit=200)[0]
    close(crossed, -mean(ds), rtol=1e-9)
    explicit = mean(lambda y: (s(y) - slope(y) / p(y)) ** 2)
    implicit = mean(lambda y: s(y) ** 2 + 2 * ds(y))
    close(explicit, implicit + mean(lambda y: (slope(y) / p(y)) ** 2), rtol=1e-9)

    def guess(z, t):
        return -0.8 * z + 0.3 * torch.tanh(z + 0.1)

    close(score_matching.fisher_divergence(CLUMPS, guess, 1e-12), explicit, rtol=1e-8)
    y = torch.linspace(-9, 9, 4001, dtype=torch.float64).unsqueeze(1)
    density = torch.tensor([p(v) for v in y[:, 0].tolist()], dtype=torch.float64)
    close(float(density @ score_matching.implicit(guess, y, 1.0)) * 18 / 4000, implicit, rtol=1e-9)


@pytest.mark.equation("eq-sm-parts")
@pytest.mark.equation("eq-sm-hyvarinen")
def test_hyvarinen_in_the_plane():
    t = 0.3

    def mean(f):
        return mmse.expectation(ASKEW, f, t)

    crossed = mean(lambda z: (wrong(z, t) * ASKEW.score(z, t)).sum(1))
    slope = mean(lambda z: -0.5 * (score_matching.implicit(wrong, z, t) - wrong(z, t).square().sum(1)))
    close(crossed, slope, rtol=1e-8)
    fisher = mean(lambda z: ASKEW.score(z, t).square().sum(1))
    explicit = mean(lambda z: (wrong(z, t) - ASKEW.score(z, t)).square().sum(1))
    close(explicit, mean(lambda z: score_matching.implicit(wrong, z, t)) + fisher, rtol=1e-8)


@pytest.mark.equation("eq-sm-boundary")
@pytest.mark.parametrize("c", [0.2, 1.0, 3.0])
def test_an_edge_has_its_own_term(c):
    # exponential data, and s(y) = -c + y / (2 + y): E |s - (-1)|^2 on y > 0, where p jumps from 0 to 1
    def s(y):
        return -c + y / (2 + y)  # given

    def mean(f):
        return quad(lambda y: math.exp(-y) * f(y), 0, np.inf, epsabs=1e-12)[0]

    explicit = mean(lambda y: (s(y) + 1) ** 2)
    implicit = mean(lambda y: s(y) ** 2 + 2 * 2 / (2 + y) ** 2)
    fisher = 1.0  # E |grad log p|^2
    edge = 0 - math.exp(0) * s(0)  # p s at infinity, less at 0
    close(explicit, implicit + fisher - 2 * edge, rtol=1e-9)
    assert abs(explicit - implicit - fisher) > 0.3


@pytest.mark.equation("eq-sm-discrete")
@pytest.mark.parametrize("h", [0.1, 0.01])
def test_on_points_the_implicit_loss_has_no_floor(h):
    points = randn(7, 3, seed=4)

    def snap(z, t):
        apart = torch.cdist(z, points)
        nearest = points[apart.argmin(1)]
        return (nearest - z) / h

    close(score_matching.implicit(snap, points, 0.0), torch.full((7,), -2 * 3 / h))


@pytest.mark.equation("eq-sm-sliced")
def test_slices_have_the_mean_of_the_divergence():
    z, t = randn(3, 4, seed=5), 0.2
    exact = score_matching.implicit(wrong, z, t)
    # all 16 signs, each once: the mean over them, without chance
    signs = torch.tensor([[1.0 if k >> i & 1 else -1.0 for i in range(4)] for k in range(16)], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda p: wrong(p, t).sum(0), z).transpose(0, 1)
    sliced = torch.einsum("ki,nij,kj->nk", signs, jacobian, signs).mean(1)
    close(wrong(z, t).square().sum(1) + 2 * sliced, exact)
    one, three = rng(0), score_matching.sliced(wrong, z, t, rng(0), slices=3)
    close(three, torch.stack([score_matching.sliced(wrong, z, t, one) for _ in range(3)]).mean(0))
    many = torch.stack([score_matching.sliced(wrong, z, t, rng(k)) for k in range(400)])
    for row in range(3):
        close_mean(many[:, row], exact[row])


@pytest.mark.equation("eq-sm-slice-variance")
def test_signs_have_the_least_variance():
    J = randn(4, 4, seed=6)
    symmetric = (J + J.T) / 2
    off = 2 * (symmetric.square().sum() - symmetric.diagonal().square().sum())
    signs = torch.tensor([[1.0 if k >> i & 1 else -1.0 for i in range(4)] for k in range(16)], dtype=torch.float64)
    values = torch.einsum("ki,ij,kj->k", signs, J, signs)
    close(values.var(unbiased=False), off)  # fourth moment 1
    g, w = roots_hermitenorm(9)  # exact for polynomials up to degree 17
    grid = torch.as_tensor(np.stack(np.meshgrid(*4 * [g], indexing="ij"), -1).reshape(-1, 4))
    weight = torch.as_tensor(np.prod(np.meshgrid(*4 * [w / w.sum()], indexing="ij"), 0).ravel())
    normal = torch.einsum("ki,ij,kj->k", grid, J, grid)
    mean = weight @ normal
    close(mean, J.trace())
    close(weight @ (normal - mean).square(), (3 - 1) * symmetric.diagonal().square().sum() + off)


@pytest.mark.equation("eq-sm-vincent")
@pytest.mark.equation("eq-sm-stein")
@pytest.mark.parametrize(("target", "t", "nodes"), [(CLUMPS, 0.5, 60), (ASKEW, 0.4, 14)])
def test_vincent_with_his_constant(target, t, nodes):
    y, z, weight = both(target, t, nodes)
    denoising = float(weight @ score_matching.denoising(wrong, y, z, t))
    explicit = score_matching.fisher_divergence(target, wrong, t)
    implicit = float(weight @ score_matching.implicit(wrong, z, t))
    tolerance = 1e-10 if target.dim == 1 else 1e-6  # of the coarser rule in the plane
    close(denoising, explicit + score_matching.floor(target, t), rtol=tolerance)
    close(denoising, implicit + target.dim / t, rtol=tolerance)


@pytest.mark.equation("eq-sm-vincent")
def test_vincent_for_points_which_have_no_density():
    coin = finite_set(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0.5, 0.2, 0.3]))
    t = 0.3
    g, w = roots_hermitenorm(80)
    z = coin.centers.unsqueeze(1) + math.sqrt(t) * torch.as_tensor(g).reshape(1, -1, 1)
    weight = (coin.weights.unsqueeze(1) * torch.as_tensor(w / w.sum())).reshape(-1)
    y = coin.centers.unsqueeze(1).expand_as(z).reshape(-1, 1)
    loss = float(weight @ score_matching.denoising(wrong, y, z.reshape(-1, 1), t))
    close(loss, score_matching.fisher_divergence(coin, wrong, t) + score_matching.floor(coin, t), rtol=1e-10)


@pytest.mark.equation("eq-sm-information")
def test_the_fisher_information_of_noisy_data():
    t = 0.4
    for target in (CLUMPS, ASKEW):
        direct = mmse.expectation(target, lambda z, target=target: target.score(z, t).square().sum(1), t)
        close(direct, target.dim / t - mmse.mmse(target, t) / t**2, rtol=1e-9)
    # of one Gaussian, by hand
    one = Mixture(torch.zeros(1, 3), torch.ones(1), 0.7)
    close(3 / t - mmse.mmse(one, t) / t**2, 3 / (0.7 + t), rtol=1e-4)


@pytest.mark.equation("eq-sm-floors")
def test_floors_in_three_units():
    t = 0.37
    y, z, weight = both(CLUMPS, t, 80)
    guess = CLUMPS.posterior_mean(z, t)
    x0 = float(weight @ (y - guess).square()[:, 0])
    noise, noise_guess = (z - y) / math.sqrt(t), (z - guess) / math.sqrt(t)
    eps = float(weight @ (noise - noise_guess).square()[:, 0])
    score = float(weight @ ((y - z) / t - (guess - z) / t).square()[:, 0])
    close(x0, mmse.mmse(CLUMPS, t), rtol=1e-9)
    close(eps, mmse.mmse(CLUMPS, t) / t, rtol=1e-9)
    close(score, score_matching.floor(CLUMPS, t), rtol=1e-9)


@pytest.mark.equation("eq-sm-area")
def test_the_area_under_the_noise_loss():
    t0, t1 = 0.05, 30.0
    nodes, weights = np.polynomial.legendre.leggauss(48)
    low, high = math.log(t0), math.log(t1)
    log_t = 0.5 * (high - low) * nodes + 0.5 * (high + low)
    area = fisher = 0.0
    for u, w in zip(log_t, 0.5 * (high - low) * weights, strict=True):
        t = math.exp(u)
        divergence = score_matching.fisher_divergence(CLUMPS, wrong, t)
        area += 0.5 * w * t * (divergence + score_matching.floor(CLUMPS, t))
        fisher += 0.5 * w * t * divergence
    # the information by another route than errors: entropies of the noisy data
    gain = sum(
        sign * (mmse.blurred_entropy(CLUMPS, t) - 0.5 * math.log(t))  # the noise, up to a constant
        for sign, t in ((1, t0), (-1, t1))
    )
    close(area - fisher, gain, rtol=1e-8)
    close(gain, i_mmse.mutual_information(CLUMPS, t0) - i_mmse.mutual_information(CLUMPS, t1), rtol=1e-8)


@pytest.mark.equation("eq-sm-vincent")
@pytest.mark.equation("eq-sm-floors")
def test_a_trained_network_is_above_its_floor():
    """The measured loss less the measured floor, paired, is the mean square of the two guesses' difference."""
    model, recipe = load_model(results.path("swiss-roll.safetensors"))
    roll, learned = SwissRoll(recipe.noise), Denoiser(model)
    for k, t in enumerate((0.003, 0.1, 1.0)):
        y = roll.sample(1500, rng(k))
        z = mmse.noisy(y, t, rng(k + 10))
        best, trace = roll.posterior_mean(z, t), roll.posterior_covariance(z, t).diagonal(dim1=-2, dim2=-1).sum(1)
        guess = learned.posterior_mean(z, t)
        assert 0 < float((best - guess).square().sum(1).mean()) < 0.05 * float(trace.mean())
        far = guess + 0.3  # given
        for other in (guess, far):
            above = (y - other).square().sum(1) - trace
            close_mean(above - (best - other).square().sum(1), 0.0)


@pytest.mark.equation("eq-sm-spread")
def test_how_the_denoising_loss_scatters_at_little_noise():
    """At the true score: Var of |s - (y - z)/t|^2 times t^2 tends to 2 d, whatever smooth law."""
    for t, tolerance in ((1e-2, 0.2), (1e-4, 0.002)):
        y, z, weight = both(CLUMPS, t, 60)
        loss = score_matching.denoising(CLUMPS.score, y, z, t)
        mean = weight @ loss
        variance = float(weight @ (loss - mean).square())
        close(variance * t**2, 2.0, rtol=tolerance)
    t = 1e-3
    ASKEW_y, ASKEW_z, weight = both(ASKEW, t, 14)
    loss = score_matching.denoising(ASKEW.score, ASKEW_y, ASKEW_z, t)
    close(float(weight @ (loss - weight @ loss).square()) * t**2, 4.0, rtol=0.05)
