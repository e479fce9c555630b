"""Exact targets against naive sums, quadrature by SciPy, and scikit-learn's own swiss roll."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import blobs, close, close_mean, gaussian, randn, rng, roll, roll_entropy, two_points
from scipy.integrate import quad
from scipy.stats import ks_2samp
from sklearn.datasets import make_swiss_roll
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dpm_lib.information import mmse
from dpm_lib.probability import mixtures, swiss_roll
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.swiss_roll import SwissRoll

LN2 = math.log(2)


def twin(target: Mixture, t: float) -> MixtureSameFamily:
    width = torch.full_like(target.centers, math.sqrt(target.variance + t))
    return MixtureSameFamily(Categorical(target.weights), Independent(Normal(target.centers, width), 1))


def naive_log_prob(target: Mixture, z: torch.Tensor, t: float) -> torch.Tensor:
    """Over all components, without culling."""
    width = target.variance + t
    square = (z.unsqueeze(1) - target.centers).square().sum(-1)
    log_p = torch.logsumexp(target.weights.log() - square / (2 * width), 1)
    return log_p - 0.5 * target.dim * math.log(2 * math.pi * width)


def naive_posterior(target: Mixture, z: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """E[y | z] (d,) and Cov[y | z] (d, d) at one point z (d,), component by component."""
    width = target.variance + t
    share = torch.softmax(target.weights.log() - (z - target.centers).square().sum(-1) / (2 * width), 0)
    means = (t * target.centers + target.variance * z) / width
    inside = target.variance * t / width * torch.eye(len(z), dtype=torch.float64)
    mean = sum(s * m for s, m in zip(share, means, strict=True))
    second = sum(s * (inside + torch.outer(m, m)) for s, m in zip(share, means, strict=True))
    return mean, second - torch.outer(mean, mean)


# Mixtures


@pytest.mark.parametrize("t", [0.0, 0.01, 1.0, 50.0])
def test_log_prob_and_score_of_a_mixture(t):
    target, z = blobs(), 2 * randn(300, 2)
    close(target.log_prob(z, t), twin(target, t).log_prob(z), rtol=1e-11)
    z.requires_grad_(True)
    (score,) = torch.autograd.grad(twin(target, t).log_prob(z).sum(), z)
    close(target.score(z.detach(), t), score, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("t", [0.0, 0.3])
def test_automatic_differentiation_goes_through_a_mixture_of_many_components(t):
    """Of the log density to the score, and of the score to the Hessian that the second moment gives."""
    target, z = roll(0.25), roll(0.25).sample(4, rng(0)) + math.sqrt(t) * randn(4, 2)
    z.requires_grad_(True)
    (slope,) = torch.autograd.grad(target.log_prob(z, t).sum(), z, create_graph=True)
    score = target.score(z, t)
    close(slope, score, rtol=1e-8, atol=1e-8)
    for field in (slope, score):
        rows = [torch.autograd.grad(field[:, i].sum(), z, retain_graph=True)[0] for i in range(2)]
        close(rows[0][:, 1], rows[1][:, 0], rtol=1e-7, atol=1e-6)
        if t:
            hessian = (target.posterior_covariance(z, t) / t - torch.eye(2)) / t
            close(torch.stack(rows, 1), hessian, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("make", [blobs, lambda: roll(0.25)])
def test_no_points_give_no_answers(make):
    target, none = make(), torch.zeros(0, 2)
    assert target.log_prob(none, 0.1).shape == (0,) and target.score(none, 0.1).shape == (0, 2)
    assert target.posterior_covariance(none, 0.1).shape == (0, 2, 2) and target.sample(0, rng()).shape == (0, 2)


def test_score_is_a_finite_difference():
    target, z, h = blobs(), randn(20, 2), 1e-5
    for axis, step in enumerate(h * torch.eye(2, dtype=torch.float64)):
        slope = (target.log_prob(z + step, 0.2) - target.log_prob(z - step, 0.2)) / (2 * h)
        close(target.score(z, 0.2)[:, axis], slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("t", [1e-6, 0.05, 2.0])
def test_posterior_moments_of_a_mixture(t):
    target, z = blobs(), randn(40, 2)
    mean, covariance = target.posterior_mean(z, t), target.posterior_covariance(z, t)
    for i in range(40):
        naive_mean, naive_covariance = naive_posterior(target, z[i], t)
        close(mean[i], naive_mean)
        close(covariance[i], naive_covariance, rtol=1e-8, atol=1e-12)


def test_posterior_moments_by_quadrature():
    """Bayes' rule with nothing but the density of y and that of the noise."""
    target, z, t = blobs(), torch.tensor([0.3, -0.2], dtype=torch.float64), 0.4
    axis = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    y = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    weight = torch.softmax(twin(target, 0.0).log_prob(y) - (z - y).square().sum(-1) / (2 * t), 0)
    mean = weight @ y
    close(target.posterior_mean(z.unsqueeze(0), t)[0], mean, rtol=1e-8)
    covariance = (y - mean).T @ (weight.unsqueeze(1) * (y - mean))
    close(target.posterior_covariance(z.unsqueeze(0), t)[0], covariance, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("make", [blobs, two_points, lambda: roll(0.25)])
def test_tweedie(make):
    """E[y | z] = z + t score(z), for every target; and Cov[y | z] = t (I + t Hessian)."""
    target, t, h = make(), 0.3, 1e-5
    z = randn(20, target.dim)
    close(target.posterior_mean(z, t), z + t * target.score(z, t), rtol=1e-9, atol=1e-11)
    covariance = target.posterior_covariance(z, t)
    for axis, step in enumerate(h * torch.eye(target.dim, dtype=torch.float64)):
        slope = (target.posterior_mean(z + step, t) - target.posterior_mean(z - step, t)) / (2 * h)
        close(covariance[:, axis], t * slope, rtol=1e-6, atol=1e-8)


def test_a_finite_set():
    """-1 or 1: the posterior mean is tanh(z / t), its variance 1 - tanh^2."""
    target, z = two_points(), torch.linspace(-3, 3, 31, dtype=torch.float64).unsqueeze(1)
    for t in (0.05, 0.7, 30.0):
        close(target.posterior_mean(z, t), torch.tanh(z / t))
        close(target.posterior_covariance(z, t)[:, 0], 1 - torch.tanh(z / t) ** 2, rtol=1e-8, atol=1e-12)
    assert set(target.sample(50, rng()).flatten().tolist()) == {-1.0, 1.0}
    close(mixtures.finite_set(torch.arange(3).unsqueeze(1)).weights, 1 / 3)
    for call in (target.log_prob, target.score, lambda z: target.posterior_mean(z, 0.0)):
        with pytest.raises(ValueError, match=r"t: 0\.0: need variance \+ t > 0"):
            call(z)
    with pytest.raises(ValueError, match=r"t: 0\.0"):
        target.entropy()


def test_samples_of_a_mixture():
    target = blobs()
    x = target.sample(40_000, rng())
    mean, covariance = naive_posterior(target, torch.zeros(2, dtype=torch.float64), 1e12)
    close_mean(x, mean)
    close_mean((x - mean).unsqueeze(1) * (x - mean).unsqueeze(2), covariance)
    close_mean(x.square().sum(-1), target.mean_square)
    close_mean(-target.log_prob(x), target.entropy())


def test_entropy_of_a_gaussian_and_of_two_far_blobs():
    for d, variance, t in ((1, 0.5, 0.0), (2, 0.3, 1.0), (3, 2.0, 0.1)):
        target = gaussian(torch.ones(d), variance)
        close(target.entropy(t), 0.5 * d * math.log(2 * math.pi * math.e * (variance + t)))
    far = Mixture(torch.tensor([[-50.0, 0.0], [50.0, 0.0]]), torch.tensor([0.25, 0.75]), 1.0)
    label = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    close(far.entropy(), math.log(2 * math.pi * math.e) + label, rtol=1e-9)


def test_entropy_of_overlapping_points_by_quadrature():
    for t in (0.3, 2.0):

        def minus_p_log_p(z: float, t: float = t) -> float:
            log_p = float(twin(two_points(), t).log_prob(torch.tensor([z], dtype=torch.float64)))
            return -math.exp(log_p) * log_p

        close(two_points().entropy(t, nodes=60), quad(minus_p_log_p, -12, 12, limit=200)[0], rtol=1e-6)


@pytest.mark.parametrize(("nodes", "off"), [(16, 3e-4), (32, 3e-5), (64, 2e-6)])
def test_entropy_of_overlapping_clumps_is_as_good_as_it_says(nodes, off):
    """The worst distance, against the trapezoidal rule around each centre."""
    errors = []
    for gap in (3.0, 4.5, 6.0):
        clumps = Mixture([[0.0], [gap]], [0.97, 0.03], 1.0)
        errors.append(abs(clumps.entropy(nodes=nodes) - mmse.blurred_entropy(clumps, 1e-12)))
    assert off / 30 < max(errors) < off


def test_culling_leaves_nothing_out():
    """3000 components of unequal weight, some of weight zero; points among them, far away, and all in one chunk."""
    centers, weights = 3 * randn(3000, 2), randn(3000, seed=1).exp() * (torch.arange(3000) % 7 > 0)
    target = Mixture(centers, weights / weights.sum(), 1e-4)
    z = torch.cat([3 * randn(200, 2, seed=2), centers[:50], torch.tensor([[40.0, -30.0], [0.0, 1e3]])])
    for t in (0.0, 0.01, 1.0, 1e3):
        close(target.log_prob(z, t), naive_log_prob(target, z, t), rtol=1e-12, atol=1e-11)
        mean = torch.stack([naive_posterior(target, point, max(t, 1e-9))[0] for point in z[::25]])
        close(target.posterior_mean(z, max(t, 1e-9))[::25], mean, rtol=1e-9, atol=1e-10)


def test_culling_one_point_at_a_time():
    """So that what is near is a box around that point alone; thousands of heavier components lie outside of it."""
    axis = torch.linspace(-1, 1, 201, dtype=torch.float64)
    centers = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    weights = torch.exp(4 * centers.square().sum(-1))  # the far ones weigh more
    target = Mixture(centers, weights / weights.sum(), 0.06**2)
    for z in (torch.tensor([[0.0, 0.0]]), torch.tensor([[0.31, -0.47]]), torch.tensor([[1.4, 1.3]])):
        z = z.double()
        kept = [len(near) for _, _, near in target._log_terms(z, 0.0)]
        assert kept[0] < len(centers)  # something was left out
        close(target.log_prob(z), naive_log_prob(target, z, 0.0), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Mixture(torch.zeros(3), torch.ones(3) / 3, 1.0), r"weights: shape \(3,\) for centers \(3,\)"),
        (lambda: Mixture(torch.zeros(3, 2), torch.ones(2) / 2, 1.0), r"weights: shape \(2,\)"),
        (lambda: Mixture(torch.zeros(2, 2), torch.tensor([0.5, 0.6]), 1.0), r"weights: need a sum of 1, got 1\.1"),
        (lambda: Mixture(torch.zeros(2, 2), torch.tensor([1.5, -0.5]), 1.0), "weights\\[1\\]: -0.5"),
        (lambda: Mixture(torch.zeros(2, 2), torch.tensor([math.nan, 1.0]), 1.0), r"weights\[0\]: nan"),
        (lambda: Mixture(torch.tensor([[0.0], [math.nan]]), torch.ones(2) / 2, 1.0), "centers: .*row 1"),
        (lambda: Mixture(torch.zeros(1, 2), torch.ones(1), -1.0), r"variance: -1\.0"),
        (lambda: Mixture(torch.zeros(1, 2), torch.ones(1), math.nan), "variance: nan"),
        (lambda: Mixture(torch.zeros(1, 2), torch.ones(1), math.inf), "variance: inf"),
        (lambda: blobs().log_prob(torch.zeros(2)), r"z: need shape \(n, 2\), got \(2,\)"),
        (lambda: blobs().score(torch.zeros(4, 3)), r"z: need shape \(n, 2\), got \(4, 3\)"),
        (
            lambda: blobs().posterior_mean(torch.tensor([[0.0, 0.0], [math.nan, 0.0]]), 1.0),
            "z: nan at index \\(1, 0\\)",
        ),
        (lambda: blobs().log_prob(torch.tensor([[math.inf, 0.0]])), "z: inf at index \\(0, 0\\)"),
        (lambda: blobs().log_prob(torch.zeros(1, 2), -0.05), r"t: -0\.05"),
        (lambda: blobs().posterior_mean(torch.zeros(1, 2), math.nan), "t: nan"),
        (lambda: SwissRoll(0.0), r"noise: 0\.0: .*infinite"),
        (lambda: SwissRoll(-0.1), r"noise: -0\.1"),
        (lambda: SwissRoll(math.nan), "noise: nan"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The swiss roll


def roll_shape(noise: float) -> tuple[np.ndarray, float]:
    """Mean (2,) of scikit-learn's noiseless (x, z), and the factor that makes E|x0|^2 = 2: by hand.

    With u = phi uniform on [a, b]: E u cos u = [u sin u + cos u] / (b - a), E u sin u = [sin u - u cos u] / (b - a),
    E u^2 = (b^3 - a^3) / 3 (b - a).
    """
    a, b = 1.5 * math.pi, 4.5 * math.pi
    x = (b * math.sin(b) + math.cos(b) - a * math.sin(a) - math.cos(a)) / (b - a)
    z = (math.sin(b) - b * math.cos(b) - math.sin(a) + a * math.cos(a)) / (b - a)
    square = (b**3 - a**3) / (3 * (b - a))
    return np.array([x, z]), math.sqrt(2 / (square - x * x - z * z + 2 * noise**2))


def integral_along_the_curve(noise: float, point: np.ndarray, t: float) -> float:
    """log density at a point, by SciPy's adaptive quadrature."""
    shift, scale = roll_shape(noise)
    a, b, width = 1.5 * math.pi, 4.5 * math.pi, (noise * scale) ** 2 + t

    def square(u: float) -> float:
        c = scale * (np.array([u * math.cos(u), u * math.sin(u)]) - shift)
        return float(((point - c) ** 2).sum())

    grid = np.linspace(a, b, 20_001)
    curve = scale * (np.stack([grid * np.cos(grid), grid * np.sin(grid)], 1) - shift)
    squares = ((point - curve) ** 2).sum(1)
    least = squares.min()
    near = grid[squares < least + 90 * width]
    edges = np.unique(
        np.concatenate([[max(a, near[0] - 1e-3)], near[:: max(1, len(near) // 40)], [min(b, near[-1] + 1e-3)]])
    )
    total = sum(
        quad(lambda u: math.exp(-(square(u) - least) / (2 * width)), lo, hi, epsabs=1e-14, epsrel=1e-10)[0]
        for lo, hi in pairwise(edges)
    )
    return math.log(total / (b - a)) - least / (2 * width) - math.log(2 * math.pi * width)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.25, 1.0])
def test_centred_and_scaled_exactly(noise):
    target, (shift, scale) = roll(noise), roll_shape(noise)
    close(target.scale, scale)
    close(target.variance, (noise * scale) ** 2)
    close(
        target.curve(torch.tensor([7.0], dtype=torch.float64))[0],
        torch.tensor(scale * (np.array([7 * math.cos(7), 7 * math.sin(7)]) - shift)),
    )
    close(target.weights @ target.centers, 0.0, atol=1e-11)
    close(target.mean_square, 2.0, rtol=1e-11)


@pytest.mark.parametrize(("noise", "t"), [(0.02, 0.0), (0.25, 0.0), (0.25, 1e-6), (0.25, 0.3), (1.0, 20.0)])
def test_density_of_the_roll_by_scipy(noise, t):
    """On the curve, at both ends, beyond them, between the turns, and far out."""
    target = roll(noise)
    ends = target.curve(torch.tensor([1.5 * math.pi, 4.5 * math.pi, 9.0], dtype=torch.float64))
    tangent = target.curve(torch.tensor([4.5 * math.pi, 4.5 * math.pi + 1e-3], dtype=torch.float64)).diff(dim=0)
    beyond = ends[1:2] + 3 * math.sqrt(target.variance) * tangent / tangent.norm()
    other = torch.tensor([[0.0, 0.0], [0.4, -0.3], [3.0, 3.0], [-8.0, 1.0]], dtype=torch.float64)
    z = torch.cat([ends, beyond, other, target.sample(4, rng(3))])
    log_prob = target.log_prob(z, t)
    for i, point in enumerate(z.numpy()):
        expected = integral_along_the_curve(noise, point, t)
        nearest = (torch.as_tensor(point) - target.centers).square().sum(-1).min()
        near = float(nearest) < 36 * (target.variance + t)
        assert float(log_prob[i]) == pytest.approx(expected, abs=1e-8 if near else 0, rel=0 if near else 1e-6), point


def test_density_of_the_roll_integrates_to_one():
    target, reach = roll(1.0), 5.0
    for t in (0.0, 0.5):
        axis = torch.linspace(-reach, reach, 400, dtype=torch.float64) * (1 + t)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
        mass = target.log_prob(grid, t).exp() * (axis[1] - axis[0]) ** 2
        close(mass.sum(), 1.0, rtol=1e-9)
        close(mass @ grid, 0.0, atol=1e-9)
        close(mass @ grid.square().sum(-1), 2 + 2 * t, rtol=1e-8)


@pytest.mark.parametrize("noise", [0.02, 0.25, 1.0])
def test_the_quadrature_has_converged(noise, monkeypatch):
    """Eight times as many nodes change the log density by no more than the docstring says, at any noise level."""
    coarse = roll(noise)
    ends = coarse.curve(torch.tensor([SwissRoll.FIRST, SwissRoll.LAST, 9.0], dtype=torch.float64))
    angle = torch.linspace(0, 6.2, 15, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    levels = (0.0, 0.5 * coarse.variance, 0.3, 100.0)
    cases = [(t, 0, 1e-9, coarse.sample(100, rng()) + math.sqrt(t) * randn(100, 2)) for t in levels]
    for t in levels:
        for widths, error in ((6, 1e-8), (10, 1e-4), (30, 0.1)):
            points = ends.unsqueeze(1) + widths * math.sqrt(coarse.variance + t) * circle
            cases.append((t, widths, error, points.reshape(-1, 2)))
    before = [(coarse.log_prob(z, t), coarse.posterior_mean(z, t + 1e-9)) for t, _, _, z in cases]
    panels = swiss_roll._panels
    monkeypatch.setattr(swiss_roll, "_panels", lambda first, last, width: panels(first, last, width / 8))
    fine = SwissRoll(noise)
    assert len(fine.centers) >= 7 * len(coarse.centers)
    for (t, widths, error, z), (log_prob, mean) in zip(cases, before, strict=True):
        close(log_prob, fine.log_prob(z, t), rtol=0, atol=error)
        close(mean, fine.posterior_mean(z, t + 1e-9), rtol=0, atol=1e-8 if widths <= 6 else 1e-3)


def test_samples_of_the_roll_are_scikit_learns():
    n, noise = 20_000, 0.25
    shift, scale = roll_shape(noise)
    theirs = scale * (make_swiss_roll(n, noise=noise, random_state=0)[0][:, [0, 2]] - shift)
    ours = roll(noise).sample(n, rng(1)).numpy()
    for read in (lambda x: x[:, 0], lambda x: x[:, 1], radius, lambda x: x @ np.array([0.6, 0.8])):
        assert ks_2samp(read(ours), read(theirs)).pvalue > 1e-3
    assert ks_2samp(radius(1.03 * ours), radius(theirs)).pvalue < 1e-3  # and the test can tell
    x = torch.as_tensor(ours)
    close_mean(x, torch.zeros(2, dtype=torch.float64))
    close_mean(x.square().sum(-1), 2.0)


def radius(x: np.ndarray) -> np.ndarray:
    shift, scale = roll_shape(0.25)
    return np.linalg.norm(x / scale + shift, axis=1)


TABLE = {0.02: 2.704, 0.025: 2.382, 0.05: 1.381, 0.1: 0.379, 0.25: -0.946, 0.5: -1.949}


@pytest.mark.parametrize("noise", TABLE)
def test_entropy_of_the_roll_is_that_of_the_table(noise):
    """Quadrature against the scouted table, and against -mean log density of the roll's own draws."""
    limit = -roll_entropy(noise) / LN2
    assert round(limit, 3) == TABLE[noise]
    close_mean(roll(noise).log_prob(roll(noise).sample(20_000, rng(7))) / LN2, limit)


def test_entropy_of_a_wide_roll_by_two_dimensional_quadrature():
    target = roll(1.0)
    axis = torch.linspace(-6, 6, 500, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    log_p = target.log_prob(grid, 0.5)
    close(target.entropy(0.5), -(log_p.exp() * log_p).sum() * (axis[1] - axis[0]) ** 2, rtol=1e-7)
