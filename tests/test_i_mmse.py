"""mmse by quadrature, information by its integral, entropy from denoisers: against closed forms and other routes."""

import math

import pytest
import torch
from problems import blobs, close, close_mean, gaussian, rng, roll, two_points
from scipy.integrate import quad

from dpm_lib.information import i_mmse, mmse
from dpm_lib.information.i_mmse import mutual_information
from dpm_lib.information.mmse import Equidistant, blurred_entropy
from dpm_lib.probability.codebooks import heartbeat
from dpm_lib.probability.mixtures import Mixture, finite_set


def clumps() -> Mixture:
    """Three unequal clumps on the line."""
    return Mixture(torch.tensor([[-1.0], [0.2], [2.0]]), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.04)


def lopsided() -> Mixture:
    """Two points of unequal weight: third moments do not vanish."""
    return finite_set(torch.tensor([[0.0], [1.0]]), torch.tensor([0.9, 0.1], dtype=torch.float64))


def fine_entropy(target: Mixture, t: float = 0.0) -> float:
    """-E log density on the line, by a plain sum over a fine grid."""
    z = torch.linspace(-8, 8, 80_001, dtype=torch.float64).unsqueeze(1)
    log_prob = target.log_prob(z, t)
    return -float((log_prob.exp() * log_prob).sum()) * 16 / 80_000


@pytest.mark.parametrize("t", [0.02, 0.3, 1.0, 40.0])
def test_mmse_of_two_points_is_the_hyperbolic_integral(t):
    """y = +-1: E[y | z] = tanh(z / t), so mmse = E[1 / cosh^2], by an adaptive rule."""
    exact = quad(
        lambda g: math.exp(-0.5 * g * g) / math.sqrt(2 * math.pi) / math.cosh((1 + math.sqrt(t) * g) / t) ** 2,
        -1 / math.sqrt(t) - 9,
        12,
        points=[-1 / math.sqrt(t)],
        epsabs=1e-14,
        limit=200,
    )[0]
    close(mmse.mmse(two_points(), t), exact, atol=1e-12)
    close(Equidistant(2, 2.0).mmse(t), exact, atol=1e-12)


def test_mmse_of_a_gaussian_in_any_dimension():
    for d in (1, 2, 3):
        target = gaussian(torch.arange(d, dtype=torch.float64), 0.7)
        close(mmse.mmse(target, 0.2), d * 0.7 * 0.2 / 0.9, rtol=1e-12)
        close(blurred_entropy(target, 0.2), 0.5 * d * math.log(2 * math.pi * math.e * 0.9), rtol=1e-7)


@pytest.mark.parametrize("make", [blobs, lambda: Equidistant(5, math.sqrt(8)), clumps])
def test_mmse_agrees_with_sampling(make):
    for t in (0.3, 0.8):
        estimate, error = mmse.sampled_mmse(make(), t, 20_000, rng(3))
        assert abs(mmse.mmse(make(), t) - estimate) < 4 * error


@pytest.mark.parametrize("count", [2, 3])
def test_the_race_is_the_grid(count):
    """The exact sum for equidistant points against the trapezoidal rule on their simplex in the plane."""
    angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    flat = finite_set(ring)
    apart = float((ring[0] - ring[1]).norm())
    for t in (0.1, 1.0, 10.0):
        close(Equidistant(count, apart).mmse(t), mmse.mmse(flat, t), atol=1e-10)


def test_the_heartbeat_is_five_equidistant_points():
    gaps = torch.pdist(heartbeat().rows)
    close(gaps, math.sqrt(8))
    assert i_mmse.entropy(Equidistant(5, math.sqrt(8)), 64) == pytest.approx(math.log(5), abs=1e-10)


def test_information_of_known_targets():
    """The integral, to 1e-10, against closed forms and against entropies of z(t)."""
    normal = gaussian(torch.tensor([0.3]), 2.0)
    close(mutual_information(normal, 0.01), 0.5 * math.log(201), rtol=1e-11)
    close(i_mmse.entropy(two_points(), 64), math.log(2), rtol=1e-11)
    close(i_mmse.entropy(lopsided(), 64), -0.9 * math.log(0.9) - 0.1 * math.log(0.1), rtol=1e-11)
    noise = 0.5 * math.log(2 * math.pi * math.e * 0.01)
    close(mutual_information(clumps(), 0.01), blurred_entropy(clumps(), 0.01) - noise, atol=1e-10)
    close(blurred_entropy(clumps(), 0.01), fine_entropy(clumps(), 0.01), atol=1e-10)
    close(mutual_information(normal, 1e7), 0.5 * math.log1p(2e-7), rtol=1e-9)


def test_entropy_of_densities_from_their_mmse():
    close(i_mmse.entropy(gaussian(torch.tensor([0.0, 1.0]), 0.3)), math.log(2 * math.pi * math.e * 0.3), atol=1e-11)
    close(i_mmse.entropy(clumps()), fine_entropy(clumps()), atol=1e-10)


def test_without_the_tail_the_integral_is_short():
    whole, cov = math.log(2), mmse.covariance(two_points())
    part = i_mmse.integral(lambda t: mmse.mmse(two_points(), t), 4 / 360, 1e3)
    assert whole - part == pytest.approx(i_mmse.tail(cov, 1e3), rel=1e-6)
    assert whole - part > 4e-4


@pytest.mark.equation("eq-info-learned", "eq-info-excess")
def test_bound_of_the_exact_denoiser_and_of_worse_ones():
    """The exact denoiser gives h(y) up to the Fisher term at t0; a spoilt one, more, by the integral of its excess."""
    target = blobs()
    y, t0, t1 = target.sample(4000, rng(1)), 1e-4, 1e3
    exact = i_mmse.entropy_bound(target.posterior_mean, y, t0, t1, rng(2), target.mean_square)
    truth = blurred_entropy(target, 1e-9)
    assert abs(exact.mean - truth) < 4 * exact.stderr + 1e-3

    def spoilt(z, t):
        return (1 - 0.5 * t**0.5 / (1 + t)) * target.posterior_mean(z, t)  # given: its excess is about the entropy

    worse = i_mmse.entropy_bound(spoilt, y, t0, t1, rng(2), target.mean_square)
    more = i_mmse.excess(spoilt, target, t0, t1, 4000, rng(4))
    assert (more.values >= 0).all() and worse.mean > exact.mean
    close_mean(worse.values - exact.values, more.mean, floor=4 * more.stderr)


def test_more_than_the_mean_square_still_bounds():
    """Beyond t1 the linear guess of a wider law is worse than it says: the bound only grows."""
    target, t0, t1 = blobs(), 1e-2, 3.0
    y = target.sample(4000, rng(1))
    bounds = [
        i_mmse.entropy_bound(target.posterior_mean, y, t0, t1, rng(2), more * target.mean_square).mean
        for more in (1.0, 1.5, 4.0)
    ]
    assert bounds[0] < bounds[1] < bounds[2]


@pytest.mark.equation("eq-info-learned", "eq-info-excess")
def test_density_is_nats_per_unit_of_log_t():
    target = gaussian(torch.zeros(2, dtype=torch.float64), 1.0)
    bound = i_mmse.entropy_bound(target.posterior_mean, target.sample(50, rng(0)), 0.1, 10.0, rng(1))
    close(bound.density, 1 / (1 + bound.t))
    close(bound.mean, math.log(2 * math.pi * math.e * 1.1))
    # Where a denoiser is not the linear one: mse / 2t, and what it lacks, of guesses that are off by a constant.
    target = gaussian(torch.zeros(3, dtype=torch.float64), 0.5)
    off = lambda z, t: target.posterior_mean(z, t) + math.sqrt(t)  # noqa: E731
    more = i_mmse.excess(off, target, 0.1, 10.0, 2, rng(0), 8)
    close(more.density, 1.5)
    close(more.values, 1.5 * math.log(100))
    y = target.sample(20_000, rng(1))
    bound = i_mmse.entropy_bound(off, y, 0.1, 10.0, rng(2), target.mean_square, 8)
    share = 0.5 / (0.5 + bound.t)
    spread = (1.5 * share * (share + 2)).sqrt()  # given: of |y - E y - off|^2 / 2t
    assert ((bound.density - 1.5 * (share + 1)).abs() < 4 * spread / math.sqrt(20_000)).all()


@pytest.mark.equation("eq-info-learned")
def test_a_mean_square_that_the_data_refute_is_refused():
    """Data that are not scaled: with the default E|y|^2 = d the "bound" would be far below the entropy."""
    y = 10 * blobs().sample(200, rng(0))
    with pytest.raises(ValueError, match=r"mean_square: 2: too small for data of \d+\.?\d* ± \d+: no bound"):
        i_mmse.entropy_bound(lambda z, t: z, y, 0.1, 1.0, rng(1))
    right = 100 * blobs().mean_square
    assert i_mmse.entropy_bound(lambda z, t: z, y, 0.1, 1.0, rng(1), right, 4).mean > 0
    y = blobs().sample(4000, rng(0))
    wrong = 0.8 * blobs().mean_square
    with pytest.raises(ValueError, match="too small for data of"):
        i_mmse.entropy_bound(lambda z, t: z, y, 0.1, 1.0, rng(1), wrong, 1)
    # by chance the rows of the right value are above it half of the time, and it is not refused for that
    for seed in range(20):
        few = blobs().sample(4, rng(seed))
        i_mmse.entropy_bound(lambda z, t: z, few, 0.1, 1.0, rng(1), blobs().mean_square, 1)


def test_lists_will_do():
    y = blobs().sample(6, rng(0))
    found = i_mmse.entropy_bound(blobs().posterior_mean, y.tolist(), 0.1, 1.0, rng(1), 4.0, 2)
    close(found.values, i_mmse.entropy_bound(blobs().posterior_mean, y, 0.1, 1.0, rng(1), 4.0, 2).values)
    close(i_mmse.tail([[2.0]], 1.0), 0.5 * math.log(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mmse.mmse(two_points(), 0.0), r"t: 0.0: need a positive, finite number"),
        (lambda: mmse.mmse(roll(0.25), 0.1), "components in 2 dimensions: the grid is too large; use sampled_mmse"),
        (lambda: Equidistant(1, 1.0), "count: 1"),
        (lambda: Equidistant(3, 0.0), "distance: 0.0"),
        (lambda: mmse.sampled_mmse(two_points(), 1.0, 1, rng()), "n: 1"),
        (lambda: i_mmse.log_nodes(1.0, 0.5), "low, high: 1.0, 0.5"),
        (lambda: i_mmse.log_nodes(1.0, 2.0, 0), "nodes: 0"),
        (lambda: i_mmse.tail(torch.eye(1), -1.0), "t: -1.0"),
        (lambda: mutual_information(blobs()), "t0: 0: seen without noise"),
        (
            lambda: mutual_information(finite_set(torch.ones(2, 1))),
            "at least 2 points of positive weight, all different",
        ),
        (lambda: i_mmse.entropy_bound(lambda z, t: z, torch.ones(1, 2), 0.1, 1.0, rng()), "y: need at least 2"),
        (lambda: i_mmse.entropy_bound(lambda z, t: z, torch.ones(3, 2), 0.1, 1.0, rng(), 0.0), "mean_square: 0.0"),
        (lambda: i_mmse.excess(lambda z, t: z, blobs(), 0.1, 1.0, 1, rng()), "n: 1"),
        (
            lambda: i_mmse.entropy_bound(lambda z, t: z[:, 0], torch.ones(3, 1), 0.1, 1.0, rng()),
            r"denoiser: answers with shape \(3,\): need \(3, 1\)",
        ),
        (
            lambda: i_mmse.excess(lambda z, t: z[:, :1], blobs(), 0.1, 1.0, 3, rng()),
            r"denoiser: answers with shape \(3, 1\): need \(3, 2\)",
        ),
        (lambda: mmse.noisy(torch.ones(3, 1), -1.0, rng()), "t: -1.0: need a finite number, at least 0"),
        (lambda: i_mmse.tail([1.0, 2.0], 1.0), r"cov: need a square matrix, got shape \(2,\)"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
