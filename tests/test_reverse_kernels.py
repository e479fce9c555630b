"""The reverse kernel, fed with exact moments, against the exact conditional moments of x_{t-1} given x_t."""

import math

import pytest
import torch
from problems import (
    AffineNetwork,
    ExactNetwork,
    affine_model,
    all_bits,
    bit_model,
    blobs,
    close,
    condition,
    covariance_of,
    exact_model,
    forward_moments,
    gaussian,
    model_of,
    randn,
    random_schedule,
    rng,
    short_schedule,
)
from torch import nn

from dpm_lib.diffusion import bound
from dpm_lib.diffusion.dequantised_kernel import LevelReverse
from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import COVARIANCES, BernoulliReverse, GaussianReverse, PaperReverse, outputs
from dpm_lib.diffusion.schedules import LearnedSchedule, Schedule
from dpm_lib.networks.mlp import MLP


def brute_force(target, schedule, t: int, xt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (2,) and covariance (2, 2) of x_{t-1} given x_t (2,), by a sum over a fine grid of x_{t-1}."""
    beta, before = float(schedule.beta[t]), float(schedule.alpha_bar[t - 1])
    centre, reach = xt / math.sqrt(1 - beta), 7 * math.sqrt(beta / (1 - beta))
    axis = torch.linspace(-reach, reach, 600, dtype=torch.float64)
    x = centre + torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    log_q = torch.full(x.shape[:1], -math.inf, dtype=torch.float64)
    width = before * target.variance + 1 - before
    for c, w in zip(target.centers, target.weights, strict=True):
        log_q = torch.logaddexp(log_q, w.log() - (x - math.sqrt(before) * c).square().sum(-1) / (2 * width))
    log_q -= (xt - math.sqrt(1 - beta) * x).square().sum(-1) / (2 * beta)
    weight = torch.softmax(log_q, 0)
    mean = weight @ x
    return mean, (x - mean).T @ (weight.unsqueeze(1) * (x - mean))


@pytest.mark.parametrize("t", [2, 3, 4])
def test_exact_moments_of_x0_give_the_exact_moments_of_the_step(t):
    target, schedule = blobs(), short_schedule()
    model = exact_model(target, schedule)
    for xt in randn(4, 2):
        mean, covariance = brute_force(target, schedule, t, xt)
        step = model.reverse(xt.unsqueeze(0), t, model.kernel)
        close(step.mean[0], mean, rtol=1e-6, atol=1e-7)
        close(covariance_of(step), covariance, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "isotropic"])
def test_a_gaussian_target_by_linear_algebra(covariance):
    """Its conditionals are isotropic, so every form can hold them; also with beta_1 = 1e-8."""
    target = gaussian(torch.tensor([0.7, -1.1]), 0.3)
    for schedule in (short_schedule(), random_schedule(6, low=math.log(1e-8))):
        model = exact_model(target, schedule, covariance)
        identity = torch.eye(2, dtype=torch.float64)
        moments = forward_moments(target.centers[0], 0.3 * identity, schedule.beta)
        xt = randn(5, 2)
        for t in range(2, schedule.T + 1):
            mean, exact = condition(*moments[t - 1], float(schedule.beta[t]), xt)
            step = model.reverse(xt, t, model.kernel)
            close(step.mean, mean, rtol=1e-7, atol=1e-9)
            close(covariance_of(step), exact, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic"])
def test_each_form_holds_its_share_of_the_covariance(covariance):
    target, schedule, xt = blobs(), short_schedule(), randn(1, 2, seed=2)
    mean, exact = brute_force(target, schedule, 3, xt[0])
    step = exact_model(target, schedule, covariance).reverse(xt, 3, GaussianKernel(2, schedule))
    variances = exact.diagonal() if covariance == "diagonal" else exact.diagonal().mean()
    close(step.mean[0], mean, rtol=1e-6, atol=1e-7)
    close(step.scale[0].square(), variances, rtol=1e-6)
    assert step.scale.shape == ((1, 2) if covariance == "diagonal" else (1, 1))


def test_posterior_form_has_the_variance_of_the_posterior():
    target, schedule, xt = blobs(), short_schedule(), randn(5, 2)
    model = exact_model(target, schedule, "posterior")
    x0_hat = target.posterior_mean(xt / schedule.alpha_bar[3].sqrt(), float(schedule.tau[3]))
    step, posterior = model.reverse(xt, 3, model.kernel), model.kernel.posterior(x0_hat, xt, 3)
    close(step.mean, posterior.mean)
    close(step.scale, posterior.scale)


def test_fixed_large_has_the_variance_beta():
    """And, by its own account of Cov[x_0 | x_t], is right for standard normal data, whose reverse step has it."""
    schedule, xt = short_schedule(), randn(5, 2)
    model = exact_model(blobs(), schedule, "fixed_large")
    small = exact_model(blobs(), schedule, "posterior")
    normal = gaussian(torch.zeros(2), 1.0)
    for t in (2, 3, 4):
        step = model.reverse(xt, t, model.kernel)
        close(step.scale.square(), schedule.beta[t], rtol=1e-12)
        close(step.mean, small.reverse(xt, t, small.kernel).mean)
        exact = normal.posterior_covariance(xt, float(schedule.tau[t]))
        close(model.reverse.moments(xt, t, model.kernel)[1].square() * torch.eye(2), exact)


def test_constant_form_learns_one_number_per_t():
    schedule, xt = short_schedule(), randn(5, 2)
    model = exact_model(blobs(), schedule, "constant")
    assert model.reverse.log_std.shape == (5, 1)
    with torch.no_grad():
        model.reverse.log_std.copy_(torch.tensor([[0.0], [0.0], [-0.5], [0.25], [-1.0]]))
    for t in (2, 3, 4):
        _, from_x0, variance = model.kernel.bridge(t)
        std = model.reverse.log_std[t].double().exp() * (1 - schedule.alpha_bar[t]).sqrt()
        close(model.reverse(xt, t, model.kernel).scale, (variance + (from_x0 * std) ** 2).sqrt())


def test_full_factor_is_laid_out_by_rows():
    """Three dimensions: outputs 3..5 are log diagonals, 6..8 the entries (1,0), (2,0), (2,1)."""
    raw = torch.tensor([0.0, 0.0, 0.0, 0.1, -0.2, 0.3, 1.0, 2.0, 3.0], dtype=torch.float64)
    model = model_of(AffineNetwork(torch.zeros(9, 3, dtype=torch.float64), raw), short_schedule(), "full", 3)
    x0_hat, factor = model.reverse.moments(randn(4, 3), 2, model.kernel)
    noise = (1 - model.schedule.alpha_bar[2]).sqrt()
    rows = [[math.exp(0.1), 0, 0], [1.0, math.exp(-0.2), 0], [2.0, 3.0, math.exp(0.3)]]
    close(factor / noise, torch.tensor(rows, dtype=torch.float64))
    close(x0_hat, model.schedule.alpha_bar[2].sqrt() * randn(4, 3))


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_batches_and_times_of_any_shape(covariance, batch):
    schedule = short_schedule()
    model = model_of(Wavy(outputs(2, covariance)), schedule, covariance, 2)
    xt = randn(*batch, 2)
    flat = xt.reshape(-1, 2)
    times = (2 + torch.arange(len(flat)) % 3).reshape(batch)
    many = model.reverse(xt, times, model.kernel)
    assert many.mean.shape == xt.shape
    for i, t in enumerate(times.reshape(-1).tolist()):
        one = model.reverse(flat[i : i + 1], t, model.kernel)
        close(many.mean.reshape(-1, 2)[i], one.mean[0])
        close(many.factor.reshape(-1, 2, 2)[i], one.factor.reshape(-1, 2, 2)[0])
    same = model.reverse(xt, 3, model.kernel)
    close(same.mean, model.reverse(xt, torch.full(batch, 3), model.kernel).mean)


class Wavy(nn.Module):
    """Outputs that depend on x, on t and on log tau."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(randn(n, 2))

    def forward(self, x, t, log_tau):
        assert x.shape[0] == t.shape[0] == log_tau.shape[0] and t.dtype == torch.int64
        return torch.sin(x @ self.weight.T + t.unsqueeze(1) + 0.3 * log_tau.unsqueeze(1))


def test_a_float32_network_inside_a_float64_chain():
    network = MLP(2, outputs(2, "full"), width=8, depth=1)
    model = model_of(network, short_schedule(), "full", 2)
    step = model.reverse(randn(3, 2), 2, model.kernel)
    assert step.mean.dtype == step.scale.dtype == torch.float64
    step.log_prob(randn(3, 2, seed=1)).sum().backward()
    assert network.layers[-1].weight.grad.dtype == torch.float32 and bool(network.layers[-1].weight.grad.any())


def test_raw_outputs_stay_of_order_one():
    """Of the exact moments, over sixteen decades of noise: what makes the parametrisation well-conditioned."""
    target = blobs()
    for log_tau in torch.linspace(math.log(1e-8), math.log(1e8), 33, dtype=torch.float64):
        alpha_bar = 1 / (1 + log_tau.exp())
        x = alpha_bar.sqrt() * target.centers + (1 - alpha_bar).sqrt() * randn(3, 2)
        raw = ExactNetwork(target, "full").at(x, float(log_tau.exp()))
        assert float(raw[:, :2].abs().max()) < 4  # the mean
        assert -1.3 < float(raw[:, 2:4].min()) and float(raw[:, 2:4].max()) < 1  # logarithms of the deviation


def test_outputs_and_unknown_forms():
    assert [outputs(3, form) for form in COVARIANCES] == [3, 3, 3, 4, 6, 9]
    with pytest.raises(ValueError, match="covariance: 'banded' is not one of posterior, fixed_large, constant"):
        outputs(3, "banded")
    with pytest.raises(ValueError, match="covariance: 'banded'"):
        GaussianReverse(nn.Identity(), GaussianKernel(2, short_schedule()), "banded")


# A chain that ends in pi exactly: alpha_bar_T = 0, tau_T = infinity


def to_the_end(log_tau_T: float) -> Schedule:
    """Five steps, the last to ``log_tau_T``."""
    log_tau = torch.tensor([-4.0, -2.0, -0.5, 1.0, log_tau_T], dtype=torch.float64)
    zero = torch.zeros_like(log_tau)
    return Schedule(torch.cat([zero[:1], -torch.logaddexp(log_tau, zero)]))


@pytest.mark.parametrize("covariance", [*COVARIANCES, "levels", "paper"])
def test_a_chain_may_forget_everything(covariance):
    """Draws, bound and gradient at tau_T = infinity: those of the limit, as at tau_T = e^50; never NaN."""
    found = []
    for log_tau_T in (math.inf, 50.0):
        schedule = to_the_end(log_tau_T)
        kernel = GaussianKernel(2, schedule)
        if covariance == "levels":
            model = DiffusionModel(kernel, LevelReverse(Wavy(6), kernel, torch.tensor([-1.5, -0.5, 0.3, 1.4]).double()))
        elif covariance == "paper":
            model = DiffusionModel(kernel, PaperReverse(Wavy(4), kernel))
        else:
            network = MLP(2, outputs(2, covariance), width=8, depth=2, generator=rng(1)).double()
            network.wake(rng(2))
            model = model_of(network, schedule, covariance, 2)
        x0, noise, t = 0.8 * randn(40, 2).clamp(-1, 1), randn(40, 2, seed=1), 2 + torch.arange(40) % 4
        K = bound.estimate(model, x0, t, noise)
        gradient = torch.autograd.grad(K.sum(), [p for p in model.parameters() if p.requires_grad])
        numbers = [K, bound.terms(model, x0, rng(3)).K, model.sample(7, rng(4)), *gradient]
        if covariance != "paper":
            numbers += [model.score(x0, 5), model.drift(x0, 5)]
        found.append(torch.cat([part.detach().double().flatten() for part in numbers]))
    assert bool(torch.isfinite(found[0]).all())
    close(found[0], found[1], rtol=1e-6, atol=1e-8)


def test_a_learned_schedule_must_start_where_its_logarithms_are_finite():
    with pytest.raises(ValueError, match=r"start: .*tau_T"):
        LearnedSchedule(to_the_end(math.inf))


# What is refused


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_a_network_of_another_width_is_refused(covariance):
    """4 outputs where "isotropic" needs 3 would be another model than its name says."""
    need, schedule = outputs(2, covariance), short_schedule()
    for width in (need - 1, need + 1) if need > 2 else (1,):
        model = model_of(Wavy(width), schedule, covariance, 2)
        with pytest.raises(ValueError, match=rf"network: gives \({width},\) numbers a point, and {need} are needed"):
            model.reverse_step(randn(3, 2), 2)
    kernel = BinomialKernel(2, schedule)
    with pytest.raises(ValueError, match="and 2 are needed"):
        BernoulliReverse(Wavy(3), kernel)(torch.ones(1, 2).double(), 2, kernel)
    flat = GaussianKernel(2, schedule)
    with pytest.raises(ValueError, match="and 6 are needed"):
        LevelReverse(Wavy(8), flat, torch.arange(4.0).double())(randn(1, 2), 2, flat)


@pytest.mark.parametrize("t", [0, -1, 5, 2.0, torch.tensor([2, 0, 3]), torch.tensor([2.0, 3.0, 3.0])])
@pytest.mark.parametrize("bits", [False, True])
def test_times_outside_the_chain_are_refused(bits, t):
    """Python would take t = -1 for t = T, and t = 0 leads to NaN: the slips of a loop over ``range(T)``."""
    model = bit_model(short_schedule()) if bits else affine_model(short_schedule())
    x = all_bits(2)[:3]
    kernel, reverse = model.kernel, model.reverse
    calls = [kernel.step, lambda x, t: kernel.posterior(x, x, t), lambda x, t: reverse(x, t, kernel)]
    calls += [lambda x, t: bound.step_kl(model, x, t, randn(3, 2))]
    if not isinstance(t, torch.Tensor):
        calls += [model.reverse_step, model.drift, model.score]
    for call in calls:
        with pytest.raises(ValueError, match=r"t: "):
            call(x, t)
    if not (isinstance(t, int) and t == 0):
        with pytest.raises(ValueError, match=r"t: "):
            kernel.marginal(x, t - 1 if isinstance(t, torch.Tensor) else t)
    with pytest.raises(ValueError, match=r"t: "):
        bound.estimate(model, x, torch.tensor([2, 3, 1]), randn(3, 2))


def test_a_loop_that_counts_from_zero_fails_loudly():
    model, x = affine_model(short_schedule()), randn(3, 2)
    with pytest.raises(ValueError, match="t: 0: need 1 <= t <= T = 4; steps back run from t = T down to 1"):
        for t in reversed(range(model.T)):
            x = model.reverse_step(x, t).mean
