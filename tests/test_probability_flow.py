"""The probability flow, its likelihood, and the exact law of Euler chains."""

import math

import numpy as np
import pytest
import torch
from problems import blobs, close, gaussian, randn, rng, roll

from dpm_lib.diffusion import probability_flow, tweedie, variance_exploding
from dpm_lib.probability.mixtures import Mixture, finite_set
from dpm_lib.sde import chain_law
from dpm_lib.sde.sde import SDE

LINE = Mixture(
    torch.tensor([[-1.5], [0.3], [1.2]], dtype=torch.float64),
    torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64),
    0.04,
)


def rising(first, last, steps):
    return variance_exploding.falling_times(last, first, steps).flip(0)


def test_flow_of_normal_data_is_a_stretch():
    """N(m, v): z - m grows as sqrt(v + t), and the density falls as much."""
    mean, v = torch.tensor([0.5, -0.2], dtype=torch.float64), 0.3
    target, z = gaussian(mean, v), randn(5, 2)
    end, change = probability_flow.transport(target.score, z, rising(0.1, 4.0, 100))
    stretch = math.sqrt((v + 4) / (v + 0.1))
    close(end, mean + stretch * (z - mean), rtol=1e-3)
    close(change, -2 * math.log(stretch), rtol=1e-3)


def test_both_divergences_agree():
    z = randn(7, 2, seed=1)
    for t in (0.05, 1.0):
        exact = probability_flow.exact_divergence(blobs().score)(z, t)
        close(probability_flow.tweedie_divergence(blobs())(z, t), exact)


@pytest.mark.parametrize("known", [False, True])
def test_likelihood_converges_at_second_order(known):
    z = randn(20, 2, seed=2)
    divergence = probability_flow.tweedie_divergence(blobs()) if known else None
    errors = []
    for steps in (20, 40, 80):
        times = rising(0.02, 9.0, steps)
        found = probability_flow.log_likelihood(blobs().score, z, times, lambda x: blobs().log_prob(x, 9.0), divergence)
        errors.append(float((found - blobs().log_prob(z, 0.02)).abs().max()))
    assert errors[2] < 0.01
    assert 3 < errors[1] / errors[2] < 6


def test_down_and_up_again():
    z = randn(6, 2, seed=5)
    times, known = rising(0.05, 4.0, 150), probability_flow.tweedie_divergence(blobs())
    up, gained = probability_flow.transport(blobs().score, z, times, known)
    back, lost = probability_flow.transport(blobs().score, up, times.flip(0), known)
    close(back, z, atol=5e-3)
    close(gained, -lost, atol=5e-3)


def test_likelihood_wants_rising_times():
    with pytest.raises(ValueError, match=r"times: fall from 1 to 0.5: a likelihood is followed upwards"):
        probability_flow.log_likelihood(blobs().score, randn(2, 2), torch.tensor([1.0, 0.5]), lambda z: z[:, 0])
    with pytest.raises(ValueError, match=r"times: reach 0: need t > 0"):
        probability_flow.transport(blobs().score, randn(2, 2), torch.tensor([0.0, 0.5]))


def test_the_roll_needs_no_divergence_of_its_own():
    """A mixture of many components: its score can be differentiated, so the default divergence is the right one."""
    z, times = roll(0.25).sample(3, rng(0)), rising(0.01, 4.0, 6)
    by_default = probability_flow.transport(roll(0.25).score, z, times)
    known = probability_flow.transport(roll(0.25).score, z, times, probability_flow.tweedie_divergence(roll(0.25)))
    for found, wanted in zip(by_default, known, strict=True):
        close(found, wanted, rtol=1e-7)


@pytest.mark.parametrize("s", [0.1, 0.5, 0.9])
def test_flow_matching_learns_the_flow_by_another_clock(s):
    """The mean of noise - y given x = (1 - s) y + s noise, by Bayes over the centres; and dx/ds along the flow."""
    y = torch.tensor([[-1.0, 0.5], [1.5, 0.0], [0.0, -2.0]], dtype=torch.float64)
    target, x = finite_set(y), randn(5, 2)
    noise = (x[:, None] - (1 - s) * y) / s  # what it must have been for each y
    velocity = torch.einsum("nk,nkd->nd", (-0.5 * noise.square().sum(-1)).softmax(1), noise - y)
    t, z = (s / (1 - s)) ** 2, x / (1 - s)
    dt_ds = 2 * s / (1 - s) ** 3
    close(velocity, -z - (1 - s) * 0.5 * target.score(z, t) * dt_ds)
    close(velocity, (x - target.posterior_mean(z, t)) / s)


def test_answers_of_the_wrong_shape_do_not_broadcast():
    z, times = randn(4, 2), [0.1, 0.2, 0.4]
    with pytest.raises(ValueError, match=r"log_prior: answers with shape \(4, 1\): need \(4,\)"):
        probability_flow.log_likelihood(blobs().score, z, times, lambda x: blobs().log_prob(x, 0.4).unsqueeze(1))
    with pytest.raises(ValueError, match=r"score: answers with shape \(4, 1\): need \(4, 2\)"):
        probability_flow.transport(lambda x, t: blobs().score(x, t)[:, :1], z, times, lambda x, t: torch.zeros(4))
    with pytest.raises(ValueError, match=r"divergence: answers with shape \(4, 1\): need \(4,\)"):
        probability_flow.transport(blobs().score, z, times, lambda x, t: torch.zeros(4, 1))


def test_a_score_without_a_gradient_has_no_divergence_that_could_be_found():
    z, times = randn(4, 2), [0.1, 0.2]
    with pytest.raises(ValueError, match="score: depends on z, but has no gradient: write it in torch"):
        probability_flow.transport(lambda x, t: torch.from_numpy(-x.detach().numpy()), z, times)
    _, change = probability_flow.transport(lambda x, t: torch.ones_like(x), z, times)  # a constant needs none
    close(change, torch.zeros(4))


def test_points_may_come_as_lists():
    rows, times = [[0.1, 0.2], [1.0, -1.0]], [0.1, 0.2]
    z = torch.tensor(rows, dtype=torch.float64)
    for found, wanted in zip(
        probability_flow.transport(blobs().score, rows, times),
        probability_flow.transport(blobs().score, z, torch.tensor(times, dtype=torch.float64)),
        strict=True,
    ):
        close(found, wanted)
    close(tweedie.tweedie(blobs(), rows, 0.5)[0], blobs().score(z, 0.5))
    close(variance_exploding.step_back(blobs(), rows, 0.5, 0.1)[0], z + 0.1 * blobs().score(z, 0.5))


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 2.0])
def test_law_of_the_chain_for_normal_data(noise):
    """All steps are affine: the variance of the chain by hand, and its law from the table."""
    v, kappa = 0.3, 0.5 * (1 + noise**2)
    target = gaussian(torch.tensor([0.7], dtype=torch.float64), v)
    times = variance_exploding.falling_times(4.0, 0.05, 12)
    variance = v + 4.0
    for t, after in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        dt = t - after
        variance = (1 - kappa * dt / (v + t)) ** 2 * variance + noise**2 * dt
    law = chain_law.chain_law(variance_exploding.brownian().reverse(target.score, noise=noise), target, times)
    wanted = gaussian(torch.tensor([0.7], dtype=torch.float64), variance)
    assert law.kolmogorov(wanted) < 1e-6 and law.wasserstein(wanted) < 1e-6
    assert law.wasserstein(target, 0.05) > 1e-3


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_law_of_the_chain_is_that_of_its_particles(noise):
    process = variance_exploding.brownian().reverse(LINE.score, noise=noise)
    times, n = variance_exploding.falling_times(9.0, 0.05, 10), 20_000
    generator = torch.Generator().manual_seed(0)
    start = LINE.sample(n, generator) + 3 * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    x = process.simulate(start, times, generator)[-1, :, 0].sort().values
    law = chain_law.chain_law(process, LINE, times)
    cdf = torch.from_numpy(np.interp(x, law.z, law.cdf))
    steps = torch.arange(n + 1) / n
    gap = max((cdf - steps[1:]).abs().max(), (cdf - steps[:-1]).abs().max())
    assert gap < 1.95 / math.sqrt(n)  # one in a thousand


@pytest.mark.equation("eq-tw-family")
def test_law_of_the_chain_for_clumps_far_apart():
    """One noisy step without drift is convolution, wherever the clumps are."""
    target = Mixture(torch.tensor([[0.0], [30.0]]), torch.tensor([0.25, 0.75], dtype=torch.float64), 0.5)
    law = chain_law.chain_law(SDE(lambda z, t: torch.zeros_like(z), lambda z, t: 1.0), target, torch.tensor([1.0, 3.0]))
    assert law.kolmogorov(target, 3.0) < 1e-6


def test_distances_between_known_laws():
    """Two normal laws, a shift apart: Wasserstein is the shift."""
    z = torch.linspace(-10, 10, 8001, dtype=torch.float64)
    law = chain_law.LineLaw(z, gaussian(torch.tensor([0.0]), 1.0).cdf(z.unsqueeze(1)))
    moved = gaussian(torch.tensor([0.25], dtype=torch.float64), 1.0)
    assert law.wasserstein(moved) == pytest.approx(0.25, abs=1e-6)
    assert law.kolmogorov(moved) == pytest.approx(math.erf(0.125 / math.sqrt(2)), abs=1e-6)


@pytest.mark.equation("eq-tw-family")
def test_what_the_table_refuses():
    times = variance_exploding.falling_times(9.0, 0.01, 4)
    steep = SDE(lambda z, t: 3 * z, lambda z, t: 0.0)
    with pytest.raises(ValueError, match=r"times: the step from 9 to .* is so long that the map folds"):
        chain_law.chain_law(steep, LINE, times)
    with pytest.raises(ValueError, match=r"times: steps so short need a table of .* places"):
        chain_law.chain_law(SDE(lambda z, t: 0.0, lambda z, t: 1e-4, backward=True), LINE, times)
    with pytest.raises(ValueError, match=r"times: rise from 1 to 2, but a reversed SDE runs backward"):
        chain_law.chain_law(variance_exploding.brownian().reverse(LINE.score), LINE, torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="times: fall at 9, but this SDE has noise and runs forward"):
        chain_law.chain_law(variance_exploding.brownian(), LINE, times)
    with pytest.raises(ValueError, match=r"process: its diffusion goes from 1 to .* at time 9"):
        chain_law.chain_law(SDE(lambda z, t: 0.0, lambda z, t: 1 + z.square(), backward=True), LINE, times)
    with pytest.raises(ValueError, match="needs a distribution on the line"):
        chain_law.chain_law(variance_exploding.brownian(), blobs(), times)


@pytest.mark.parametrize("place", [-4.0, 0.2, 3.0])
def test_distance_of_a_law_that_is_narrower_than_the_target(place):
    """All mass in one point: the distance is the mean of |y - point|. Of half the target: what is beyond counts too."""
    point = chain_law.LineLaw(torch.full((3,), place, dtype=torch.float64), torch.tensor([0.0, 0.5, 1.0]))
    z = torch.linspace(-9, 9, 40_001, dtype=torch.float64)
    for t in (0.0, 0.3):
        density = LINE.log_prob(z.unsqueeze(1), t).exp()
        assert point.wasserstein(LINE, t) == pytest.approx(float(torch.trapezoid(density * (z - place).abs(), z)))
    z_table = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    table = chain_law.LineLaw(z_table, LINE.cdf(z_table.unsqueeze(1)))
    assert point.wasserstein(table) == pytest.approx(point.wasserstein(LINE), abs=1e-5)
    low = z[(z > -4.5) & (z < place)]
    if len(low):  # the target below the place, and the rest of it in the place
        cut = chain_law.LineLaw(low, LINE.cdf(low.unsqueeze(1)))
        beyond = torch.trapezoid(LINE.log_prob(z.unsqueeze(1)).exp() * (z - place).clamp(min=0), z)
        assert cut.wasserstein(LINE) == pytest.approx(float(beyond), abs=2e-3)
