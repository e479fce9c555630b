"""The model where everything about it is known: exact reverse kernels, and linear-Gaussian reverse chains."""

import math

import pytest
import torch
from problems import (
    affine_model,
    bit_model,
    blobs,
    close,
    close_covariance,
    close_mean,
    condition,
    exact_model,
    forward_moments,
    gaussian,
    model_law,
    model_of,
    randn,
    random_schedule,
    rng,
    short_schedule,
)
from torch.distributions import MultivariateNormal

from dpm_lib.diffusion import bound
from dpm_lib.diffusion.schedules import geometric

EYE = torch.eye(2, dtype=torch.float64)
MEAN = torch.tensor([0.6, -0.9], dtype=torch.float64)


def test_weights_have_no_variance_when_the_data_are_pi():
    """Then p is q: every trajectory has log weight log pi(x_0), and the bound is tight."""
    model = exact_model(gaussian(torch.zeros(2), 1.0), random_schedule(6))
    x0 = randn(4, 2)
    weights = model.trajectory_weights(x0, 50, rng())
    exact = model.kernel.prior.log_prob(x0)
    close(weights.log_weights, exact.unsqueeze(1).expand(4, 50), rtol=1e-9, atol=1e-9)
    close(weights.log_z, exact, rtol=1e-9)
    close(weights.elbo, exact, rtol=1e-9)


def test_weights_vary_only_at_the_edge_and_by_the_mismatch_of_the_prior():
    """log w - log pi(x_T) + log q(x_T) = log q(x_0) up to sqrt(beta_1), for the exact kernel of N(MEAN, .5 I)."""
    schedule = geometric(12, beta_1=1e-10, tau_T=3.0)
    model = exact_model(gaussian(MEAN, 0.5), schedule)
    x0 = MEAN + randn(5, 2)
    weights = model.trajectory_weights(x0, 200, rng())
    mean, covariance = forward_moments(MEAN, 0.5 * EYE, schedule.beta)[-1]
    mismatch = model.kernel.prior.log_prob(weights.x) - MultivariateNormal(mean, covariance).log_prob(weights.x)
    log_q0 = MultivariateNormal(MEAN, 0.5 * EYE).log_prob(x0)
    close((weights.log_weights - mismatch), log_q0.unsqueeze(1).expand(5, 200), rtol=0, atol=2e-4)
    assert float(weights.log_weights.std()) > 0.1  # what was taken off is not nothing


def test_log_z_is_the_exact_probability():
    """Of a linear-Gaussian model far from the data: log mean w = log p(x_0), mean log w well below it."""
    for seed in (0, 3):
        model = affine_model(short_schedule(), seed)
        x0 = 0.7 * randn(6, 2)
        exact = model_law(model).log_prob(x0)
        weights = model.trajectory_weights(x0, 40_000, rng(seed))
        off = (weights.log_z - exact).abs() / weights.log_z_stderr
        assert bool((off < 4).all()), off
        assert float(weights.log_z_stderr.max()) < 0.1
        assert bool((weights.elbo < exact - 0.05).all())


def test_the_mean_weight_is_unbiased_even_with_few_trajectories():
    model = affine_model(short_schedule(), 1)
    x0 = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    w = model.trajectory_weights(x0.expand(30_000, 2), 3, rng()).log_z.exp()
    close_mean(w, float(model_law(model).log_prob(x0).exp()))


@pytest.mark.parametrize("covariance", ["full", "diagonal", "isotropic", "constant", "posterior"])
def test_the_mean_log_weight_is_the_bound(covariance):
    """Two estimates of K(x_0), of an untrained model: trajectories, and closed-form KL terms."""
    model = affine_model(short_schedule(), 2, covariance=covariance)
    x0 = torch.tensor([0.8, -0.5], dtype=torch.float64).expand(20_000, 2)
    K = bound.terms(model, x0, rng(1)).K
    elbo = model.trajectory_weights(x0, 1, rng(2)).elbo
    error = math.hypot(float(K.std()), float(elbo.std())) / math.sqrt(20_000)
    assert abs(float(K.mean() - elbo.mean())) < 4 * error
    exact = float(model_law(model).log_prob(x0[0]))
    assert float(K.mean()) < exact - 4 * error
    assert float(elbo.mean()) < exact - 4 * error


def test_samples_follow_the_law_of_a_linear_gaussian_model():
    model = affine_model(short_schedule(), 4)
    law = model_law(model)
    x = model.sample(40_000, rng())
    assert x.shape == (40_000, 2) and x.dtype == torch.float64
    close_covariance(x, law.mean, law.covariance_matrix)
    close_mean(law.log_prob(x), -float(law.entropy()))


def test_samples_of_the_exact_kernel_are_the_data():
    model = exact_model(gaussian(MEAN, 0.5), geometric(20, beta_1=1e-8, tau_T=1e9))
    close_covariance(model.sample(20_000, rng()), MEAN, 0.5 * EYE)


def test_samples_of_a_mixture_come_close_with_many_steps():
    target = blobs()
    model = exact_model(target, geometric(60, beta_1=1e-5, tau_T=1e6))
    x = model.sample(4000, rng())
    mean = target.weights @ target.centers
    centred = target.centers - mean
    covariance = target.variance * EYE + centred.T @ (target.weights.unsqueeze(1) * centred)
    close_covariance(x, mean, covariance)
    nearest = torch.cdist(x, target.centers).argmin(1)
    for k, weight in enumerate(target.weights.tolist()):
        assert abs(float((nearest == k).double().mean()) - weight) < 4 * math.sqrt(weight * (1 - weight) / 4000)


def test_a_reverse_trajectory_has_every_marginal():
    """For the exact kernel and pi = q(x_T), row t of the trajectories is q(x_t)."""
    schedule = geometric(8, beta_1=1e-6, tau_T=1e9)
    model = exact_model(gaussian(MEAN, 0.5), schedule)
    path = model.reverse_trajectory(10_000, rng())
    assert path.shape == (9, 10_000, 2)
    for t, (mean, covariance) in enumerate(forward_moments(MEAN, 0.5 * EYE, schedule.beta)):
        close_covariance(path[t], mean, covariance)
    assert torch.equal(path[0], model.sample(10_000, rng()))


def test_a_forward_trajectory_is_the_chain():
    schedule = random_schedule(5)
    model = affine_model(schedule)
    x0 = MEAN.expand(20_000, 2)
    path = model.forward_trajectory(x0, rng())
    assert path.shape == (6, 20_000, 2) and torch.equal(path[0], x0)
    moments = forward_moments(MEAN, 0 * EYE, schedule.beta)
    for t in range(1, 6):
        close_covariance(path[t], *moments[t])
        noise = (path[t] - (1 - schedule.beta[t]).sqrt() * path[t - 1]) / schedule.beta[t].sqrt()
        close_covariance(noise, torch.zeros(2, dtype=torch.float64), EYE)
        close_mean(noise * path[t - 1], torch.zeros(2, dtype=torch.float64))
    assert model.forward_trajectory(randn(2, 3, 2), rng()).shape == (6, 2, 3, 2)


def test_score_is_the_gradient_of_the_log_density():
    """By Tweedie from exact moments; grad_x log q_t(x) in the chain's own scale."""
    target, schedule = blobs(), short_schedule()
    model = exact_model(target, schedule)
    for t in (1, 2, 3, 4):
        x = randn(30, 2).requires_grad_(True)
        shrunk = float(schedule.alpha_bar[t]) ** 0.5
        width = shrunk**2 * target.variance + 1 - shrunk**2
        square = (x.unsqueeze(1) - shrunk * target.centers).square().sum(-1)
        log_q = torch.logsumexp(target.weights.log() - square / (2 * width), 1)
        (score,) = torch.autograd.grad(log_q.sum(), x)
        close(model.score(x.detach(), t), score, rtol=1e-8, atol=1e-9)


def test_drift_is_where_the_mean_goes():
    schedule = short_schedule()
    model = exact_model(gaussian(MEAN, 0.5), schedule)
    moments, x = forward_moments(MEAN, 0.5 * EYE, schedule.beta), randn(9, 2)
    for t in (2, 3, 4):
        close(model.drift(x, t), condition(*moments[t - 1], float(schedule.beta[t]), x)[0] - x)
    close(model.drift(x, 1), ((1 - schedule.beta[1]).sqrt() - 1) * x)


def test_the_edge_kernel_is_not_learned():
    a, b = affine_model(short_schedule(), 0), affine_model(short_schedule(), 5)
    x = randn(4, 2)
    assert torch.equal(a.reverse_step(x, 1).mean, b.reverse_step(x, 1).mean)
    close(a.reverse_step(x, 1).mean, math.sqrt(1 - float(a.schedule.beta[1])) * x)
    assert not torch.allclose(a.reverse_step(x, 2).mean, b.reverse_step(x, 2).mean)


def test_the_generator_decides_and_shapes_are_kept():
    model = affine_model(short_schedule())
    assert torch.equal(model.sample(5, rng(1)), model.sample(5, rng(1)))
    assert not torch.equal(model.sample(5, rng(1)), model.sample(5, rng(2)))
    weights = model.trajectory_weights(randn(3, 2), 7, rng())
    assert weights.x.shape == (3, 7, 2) and weights.log_weights.shape == (3, 7)
    assert model.trajectory_weights(randn(2), 7, rng()).log_z.shape == ()


def test_single_precision_data_become_float64():
    model = affine_model(short_schedule())
    x0 = torch.tensor([[0.5, 0.25]])  # exact in both
    weights = model.trajectory_weights(x0, 5, rng())
    assert weights.log_weights.dtype == torch.float64
    assert torch.equal(weights.log_weights, model.trajectory_weights(x0.double(), 5, rng()).log_weights)


@pytest.mark.parametrize(
    ("x0", "message"),
    [
        (torch.zeros(3), r"x0: need shape \(..., 2\), one number per dimension, got \(3,\)"),
        (torch.tensor(1.0), r"x0: need shape \(..., 2\), .* got \(\)"),
        (torch.tensor([[0.0, 1.0], [math.nan, 0.0]]), r"x0: nan at index \(1, 0\)"),
        (torch.tensor([[0.0, -math.inf]]), r"x0: -inf at index \(0, 1\)"),
    ],
)
def test_bad_data_are_named(x0, message):
    model = affine_model(short_schedule())
    for call in (
        lambda: model.trajectory_weights(x0, 5, rng()),
        lambda: model.forward_trajectory(x0, rng()),
        lambda: bound.terms(model, x0, rng()),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_no_trajectories_are_refused():
    with pytest.raises(ValueError, match="n: 0: need"):
        affine_model(short_schedule()).trajectory_weights(randn(3, 2), 0, rng())


@pytest.mark.parametrize("covariance", ["full", "constant"])
def test_no_draws_are_an_empty_table(covariance):
    for model in (affine_model(short_schedule(), covariance=covariance), bit_model(short_schedule())):
        assert model.sample(0, rng()).shape == (0, 2)
        assert model.reverse_trajectory(0, rng()).shape == (5, 0, 2)
        for draw in (model.sample, model.reverse_trajectory):
            with pytest.raises(ValueError, match="n: -1: need at least 0"):
                draw(-1, rng())


@pytest.mark.parametrize("x0", [randn(0, 2), randn(2), randn(3, 1, 2)])
def test_the_terms_of_the_bound_need_rows(x0):
    with pytest.raises(ValueError, match=r"x0: need shape \(n, 2\), at least one row, got \("):
        bound.terms(affine_model(short_schedule()), x0, rng())


def test_noise_and_times_are_one_per_row():
    model, x0 = affine_model(short_schedule()), randn(4, 2)
    with pytest.raises(ValueError, match=r"noise: need the shape of x0, \(4, 2\), got \(1, 2\)"):
        bound.step_kl(model, x0, 2, randn(1, 2))
    with pytest.raises(ValueError, match=r"t: need one time per row of x0, 4, got shape \(1,\)"):
        bound.estimate(model, x0, torch.tensor([3]), randn(4, 2))


def test_a_draw_calls_the_network_once_less_than_there_are_steps():
    model, calls = affine_model(short_schedule()), []
    model.reverse.network.register_forward_hook(lambda *_: calls.append(1))
    model.sample(3, rng())
    assert len(calls) == model.T - 1


def test_states_may_come_as_lists():
    model, x = exact_model(blobs(), random_schedule(3)), blobs().sample(4, rng(0))
    rows = x.tolist()
    close(bound.terms(model, rows, rng(1)).K, bound.terms(model, x, rng(1)).K)
    close(model.score(rows, 2), model.score(x, 2))
    close(model.drift(rows, 1), model.drift(x, 1))
    close(model.forward_trajectory(rows, rng(2)), model.forward_trajectory(x, rng(2)))
    assert bit_model(short_schedule()).kernel.state([[0, 1]]).dtype == torch.float64


def test_points_may_be_a_list_and_a_network_need_have_no_weights():
    class Still(torch.nn.Module):
        def forward(self, x, t, log_tau):
            return torch.zeros_like(x)

    model = model_of(Still(), short_schedule(), "posterior", 2)
    K = bound.terms(model, [[0.5, -1.0], [0.0, 0.25]], rng()).K
    close(K, bound.terms(model, torch.tensor([[0.5, -1.0], [0.0, 0.25]]), rng()).K)
