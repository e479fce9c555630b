"""Data plus Brownian motion: its steps back, and a trained model seen unshrunk."""

import math

import pytest
import torch
from problems import blobs, close, exact_model, gaussian, randn, rng, short_schedule, tiny_recipe, two_points

from dpm_lib.diffusion import schedules, tweedie, variance_exploding
from dpm_lib.diffusion.tweedie import Denoiser
from dpm_lib.probability.mixtures import Mixture, finite_set
from dpm_lib.training import build


def test_brownian_motion_spreads_by_t():
    paths = variance_exploding.brownian().simulate(torch.zeros(20_000, 2), torch.tensor([0.0, 0.5, 2.0]), rng())
    for path, t in zip(paths[1:], (0.5, 2.0), strict=True):
        assert abs(path.var(0) - t).max() < 4 * t * math.sqrt(2 / 20_000)


def test_falling_times_fall_by_one_factor():
    times = variance_exploding.falling_times(9.0, 0.01, 12)
    close(times[[0, -1]], torch.tensor([9.0, 0.01], dtype=torch.float64))
    close(times[1:] / times[:-1], (0.01 / 9) ** (1 / 12))


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_step_back_of_normal_data_by_plain_conditioning(share):
    """y ~ N(m, v): z(s) and z(t) are jointly normal, with covariance v + s."""
    v, t, mean = 0.3, 0.8, torch.tensor([0.4, -1.0], dtype=torch.float64)
    z, s = randn(5, 2), (1 - share) * t
    got_mean, got_covariance = variance_exploding.step_back(gaussian(mean, v), z, t, share * t)
    gain = (v + s) / (v + t)
    close(got_mean, mean + gain * (z - mean))
    close(got_covariance, ((v + s) * (1 - gain)) * torch.eye(2, dtype=torch.float64).expand(5, 2, 2))


def test_a_model_seen_unshrunk_says_the_same():
    """At the schedule's own levels: the exact model of a mixture gives the mixture's own moments, and its own score."""
    schedule, target = short_schedule(), blobs()
    model = exact_model(target, schedule)
    denoiser = Denoiser(model)
    for k in (1, 3, 4):
        tau = float(schedule.tau[k])
        z = randn(6, 2, seed=k)
        close(denoiser.posterior_mean(z, tau), target.posterior_mean(z, tau), rtol=1e-6)
        close(denoiser.posterior_covariance(z, tau), target.posterior_covariance(z, tau), rtol=1e-5, atol=1e-7)
        change = schedules.to_variance_preserving(tau)
        close(change.score(denoiser.score(z, tau)), model.score(change.point(z), k), rtol=1e-9)


def test_what_denoisers_refuse():
    with pytest.raises(ValueError, match=r"has the covariance form 'posterior'"):
        model = build.build(tiny_recipe(covariance="posterior"), 2)
        Denoiser(model).posterior_covariance(randn(3, 2), 0.5)
    with pytest.raises(ValueError, match="model: knows the times of its own schedule only"):
        Denoiser(build.build(tiny_recipe(covariance="constant"), 2))
    denoiser = Denoiser(exact_model(blobs(), short_schedule()))
    with pytest.raises(ValueError, match=r"z: need shape \(n, 2\), got \(3,\)"):
        denoiser.posterior_mean(randn(3), 0.5)
    with pytest.raises(ValueError, match=r"t: 0.0: need a positive, finite number"):
        denoiser.score(randn(3, 2), 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variance_exploding.falling_times(1.0, 2.0, 3), "first, last: 1.0, 2.0: need 0 < last < first"),
        (lambda: variance_exploding.falling_times(1.0, 0.0, 3), "first, last: 1.0, 0.0: need 0 < last"),
        (lambda: variance_exploding.falling_times(1.0, 0.5, 0), "steps: 0: need at least 1"),
        (lambda: variance_exploding.step_back(two_points(), randn(2, 1), 0.5, 0.6), "dt: 0.6: need 0 < dt <= t = 0.5"),
        (lambda: tweedie.tweedie(two_points(), randn(2, 1), 0.0), "t: 0.0: need a positive, finite number"),
        (lambda: schedules.to_variance_exploding(torch.tensor([0.0, -1.0])), r"tau: -1.0 at index \(1,\)"),
        (lambda: schedules.to_variance_preserving(math.inf), r"tau: inf at index \(\)"),
        (lambda: finite_set(torch.zeros(3)), r"points: need shape \(n, d\), .* got \(3,\)"),
        (lambda: two_points().score(randn(2, 1)), "t: 0.0: need variance"),
        (lambda: blobs().cdf(randn(2, 2), 0.5), "cdf: needs a distribution on the line, and this one has 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_discrete_data_have_all_moments():
    points = torch.tensor([[0.0, 1.0], [1.0, -1.0], [-2.0, 0.5]], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    z, t = randn(4, 2), 0.7
    share = torch.softmax(weights.log() - (z.unsqueeze(1) - points).square().sum(-1) / (2 * t), 1)
    mean = share @ points
    second = torch.einsum("nk,ki,kj->nij", share, points, points)
    target = finite_set(points, weights)
    close(target.posterior_mean(z, t), mean)
    close(target.posterior_covariance(z, t), second - mean.unsqueeze(1) * mean.unsqueeze(2))
    close(finite_set(points).weights, 1 / 3)


def test_few_and_many_components_are_treated_alike():
    """The short way for few components gives what the long one gives: forty components, and every one twice."""
    centers, z = randn(20, 2, seed=3), randn(300, 2, seed=4)
    few = Mixture(centers, torch.full((20,), 1 / 20, dtype=torch.float64), 0.05)
    many = Mixture(torch.cat([centers, centers]), torch.full((40,), 1 / 40, dtype=torch.float64), 0.05)
    for t in (0.01, 1.0):
        close(few.log_prob(z, t), many.log_prob(z, t))
        close(few.posterior_covariance(z, t), many.posterior_covariance(z, t), atol=1e-10)


def test_distribution_function_is_the_integral_of_the_density():
    target = Mixture(torch.tensor([[-1.0], [0.5]]), torch.tensor([0.25, 0.75]), 0.1)
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64).unsqueeze(1)
    for t in (0.0, 0.6):
        density = target.log_prob(z, t).exp()
        close(target.cdf(z, t), torch.cat([torch.zeros(1), torch.cumulative_trapezoid(density, z[:, 0])]), atol=1e-5)
