"""Bits: their laws against torch.distributions, their kernel against matrices, their model by enumeration."""

import itertools
import math

import pytest
import torch
from problems import AffineNetwork, all_bits, bit_model, close, close_mean, randn, rng, short_schedule
from torch.distributions import Bernoulli as Twin
from torch.distributions import Independent, kl_divergence

from dpm_lib.diffusion import bound
from dpm_lib.diffusion.forward_kernels import BinomialKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import BernoulliReverse
from dpm_lib.diffusion.schedules import LearnedSchedule, Schedule, from_beta
from dpm_lib.probability.distributions import Bernoulli

SCHEDULES = {
    "short": short_schedule(),
    "to noise": from_beta(torch.tensor([0.0, 0.25, 1 / 3, 0.5, 1.0])),
    "tiny beta": from_beta(torch.tensor([0.0, 1e-12, 1e-3, 0.3])),
}


def twin(law: Bernoulli) -> Independent:
    return Independent(Twin(logits=law.logits), 1)


def flip(beta: float) -> torch.Tensor:
    """The transition matrix of one bit: row x_{t-1}, column x_t."""
    return torch.tensor([[1 - beta / 2, beta / 2], [beta / 2, 1 - beta / 2]], dtype=torch.float64)


# The law


def test_log_prob_entropy_kl():
    p, q = Bernoulli(3 * randn(6, 4)), Bernoulli(3 * randn(6, 4, seed=1))
    x = (randn(6, 4, seed=2) > 0).double()
    close(p.log_prob(x), twin(p).log_prob(x))
    close(p.entropy, twin(p).entropy())
    close(p.kl(q), kl_divergence(twin(p), twin(q)))
    close(p.cross_entropy(q), p.entropy + p.kl(q))
    close(p.mean, twin(p).mean)
    assert p.log_prob(x).shape == p.entropy.shape == p.kl(q).shape == (6,)


def test_sure_bits():
    """A bit that is sure has no entropy, and what it rules out is infinitely unlikely."""
    sure = Bernoulli(torch.tensor([math.inf, -math.inf], dtype=torch.float64))
    fair = Bernoulli(torch.zeros(2, dtype=torch.float64))
    close(sure.entropy, 0.0)
    close(sure.kl(sure), 0.0)
    close(sure.kl(fair), 2 * math.log(2))
    assert float(fair.kl(sure)) == math.inf
    assert float(sure.log_prob(torch.tensor([1.0, 0.0]))) == 0
    assert float(sure.log_prob(torch.tensor([0.0, 0.0]))) == -math.inf
    assert torch.equal(sure.expand(50).sample(rng()), torch.tensor([1.0, 0.0], dtype=torch.float64).expand(50, 2))


def test_samples_have_the_mean():
    law = Bernoulli(torch.tensor([-3.0, 0.0, 0.4, 2.0], dtype=torch.float64))
    x = law.expand(20_000).sample(rng())
    assert x.shape == (20_000, 4) and set(x.unique().tolist()) == {0.0, 1.0}
    close_mean(x, law.mean)


def test_the_ratio_is_one_and_carries_the_gradient_of_the_law():
    """d/dl E f(x) = E f(x) d ratio: exactly, summed over all x."""
    logits = randn(3).requires_grad_(True)
    x, f = all_bits(3), randn(8, seed=3)
    law = Bernoulli(logits.expand(8, 3))
    ratio = law.ratio(x)
    close(ratio, 1.0, rtol=0, atol=0)
    (score,) = torch.autograd.grad((law.log_prob(x).exp().detach() * f * ratio).sum(), logits, retain_graph=True)
    (exact,) = torch.autograd.grad((law.log_prob(x).exp() * f).sum(), logits)
    close(score, exact)
    assert not law.from_noise(randn(8, 3)).requires_grad


# The kernel


@pytest.mark.parametrize("name", SCHEDULES)
def test_step_marginal_and_posterior_are_matrices_and_bayes(name):
    schedule = SCHEDULES[name]
    kernel, bits = BinomialKernel(1, schedule), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    before = torch.eye(2, dtype=torch.float64)
    for t in range(1, schedule.T + 1):
        step = flip(float(schedule.beta[t]))
        close(kernel.step(bits, t).mean[:, 0], step[:, 1])
        now = before @ step
        close(kernel.marginal(bits, t).mean[:, 0], now[:, 1], atol=1e-13)
        close(kernel.marginal(bits, t).mean, schedule.alpha_bar[t] * bits + (1 - schedule.alpha_bar[t]) / 2, atol=1e-13)
        for i, j in itertools.product((0, 1), (0, 1)):  # x_0 = i, x_t = j
            if t > 1 or i == j:
                bayes = before[i, 1] * step[1, j] / now[i, j]
                close(kernel.posterior(bits[i], bits[j], t).mean, bayes, rtol=1e-9)
        before = now


def test_at_t_1_the_posterior_is_a_point_at_x0():
    x0, x1 = all_bits(2), all_bits(2).flip(0)
    assert torch.equal(BinomialKernel(2, short_schedule()).posterior(x0, x1, 1).mean, x0)


def test_a_step_is_reversible_and_fair_coins_stay_fair():
    kernel = BinomialKernel(3, short_schedule())
    for a, b in itertools.product(all_bits(3), all_bits(3)):
        close(kernel.step(a, 2).log_prob(b), kernel.step(b, 2).log_prob(a))
    close(kernel.prior.log_prob(all_bits(3)), -3 * math.log(2))


def test_times_may_be_a_tensor():
    kernel, t = BinomialKernel(2, short_schedule()), torch.tensor([[2, 4], [3, 3]])
    x0, xt = (randn(2, 2, 2, seed=s) > 0 for s in (0, 1))
    x0, xt = x0.double(), xt.double()
    for question, given in ((kernel.step, (x0,)), (kernel.marginal, (x0,)), (kernel.posterior, (x0, xt))):
        many = question(*given, t).logits
        assert many.shape == (2, 2, 2)
        for index in ((0, 0), (0, 1), (1, 0)):
            close(many[index], question(*(x[index] for x in given), int(t[index])).logits)


@pytest.mark.parametrize(
    ("x0", "message"),
    [
        (torch.zeros(3), r"x0: need shape \(..., 2\), one number per dimension, got \(3,\)"),
        (torch.tensor([[0.0, 1.0], [0.5, 0.0]]), r"x0: 0\.5 at index \(1, 0\): neither 0 nor 1"),
        (torch.tensor([[0.0, math.nan]]), r"x0: nan at index \(0, 1\)"),
        (torch.tensor([[0, -1]]), r"x0: -1 at index \(0, 1\)"),
    ],
)
def test_what_is_not_bits_is_named(x0, message):
    model = bit_model(short_schedule())
    for call in (
        lambda: model.trajectory_weights(x0, 5, rng()),
        lambda: model.forward_trajectory(x0, rng()),
        lambda: bound.terms(model, x0, rng()),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_any_type_of_bits_will_do():
    model = bit_model(short_schedule())
    for dtype in (torch.bool, torch.int64, torch.float32):
        assert model.forward_trajectory(torch.tensor([[0, 1]]).to(dtype), rng()).dtype == torch.float64


# The reverse kernel and the model, by enumeration


class KnownStart(torch.nn.Module):
    """Log-odds of each bit of x_0 given x_t for data with probabilities ``weights`` over all strings."""

    def __init__(self, weights: torch.Tensor, kernel: BinomialKernel) -> None:
        super().__init__()
        self.weights, self.kernel = weights, kernel
        self.unused = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, evidence, t, log_tau):
        xt, bits = (evidence > 0).double(), all_bits(evidence.shape[-1])
        joint = self.weights * self.kernel.marginal(bits, t.unsqueeze(-1)).log_prob(xt.unsqueeze(1)).exp()
        p = (joint / joint.sum(-1, keepdim=True)) @ bits
        return torch.logit(p)


def data_weights() -> torch.Tensor:
    return torch.softmax(2 * randn(8, seed=5), 0)


@pytest.mark.parametrize("name", ["short", "to noise"])
def test_the_reverse_step_is_exact_at_the_exact_conditional(name):
    """Each bit has q(x_{t-1,i} = 1 | x_t), by enumeration of x_0 and x_{t-1}."""
    kernel, weights, bits = BinomialKernel(3, SCHEDULES[name]), data_weights(), all_bits(3)
    reverse = BernoulliReverse(KnownStart(weights, kernel), kernel)
    for t in range(1, 5):
        before = (
            torch.stack([kernel.marginal(bits, t - 1).log_prob(x).exp() for x in bits], 1) if t > 1 else torch.eye(8)
        )
        step = torch.stack([kernel.step(bits, t).log_prob(x).exp() for x in bits], 1)
        joint = (weights @ before.double()).unsqueeze(1) * step  # (x_{t-1}, x_t)
        exact = (joint / joint.sum(0)).T @ bits
        close(reverse(bits, t, kernel).mean.detach(), exact, rtol=1e-9)


def path_law(model: DiffusionModel) -> torch.Tensor:
    """p(x_0) of every string, by multiplying the reverse steps' matrices."""
    bits = all_bits(model.kernel.dim)
    p = model.kernel.prior.log_prob(bits).exp()
    with torch.no_grad():
        for t in range(model.T, 0, -1):
            law = model.reverse_step(bits, t)
            p = p @ torch.stack([law.log_prob(x) for x in bits], 1).exp()
    return p


def test_samples_weights_and_bound_against_enumeration():
    model = bit_model(short_schedule(), 2)
    p, bits, n = path_law(model), all_bits(2), 20_000
    close(p.sum(), 1.0)
    x = model.sample(n, rng())
    close_mean((x.unsqueeze(1) == bits).all(-1).double(), p)
    weights = model.trajectory_weights(bits, n, rng(1))
    assert bool(((weights.log_z - p.log()).abs() < 4 * weights.log_z_stderr).all())
    for x0, elbo, log_w in zip(bits, weights.elbo, weights.log_weights, strict=True):
        K = bound.terms(model, x0.expand(n, 2), rng(2)).K
        error = math.hypot(float(K.std()), float(log_w.std())) / math.sqrt(n)
        assert abs(float(K.mean() - elbo)) < 4 * error
    path = model.reverse_trajectory(100, rng(3))
    assert path.shape == (5, 100, 2) and torch.equal(path[0], model.sample(100, rng(3)))


def exact_bound(model: DiffusionModel, x0: torch.Tensor) -> torch.Tensor:
    """K(x_0), with the sum over x_t done exactly."""
    bits, kernel = all_bits(model.kernel.dim), model.kernel
    prior, edge, entropy_T, entropy_1 = bound.ends(kernel, x0.unsqueeze(0))
    K = (prior + edge + entropy_T - entropy_1)[0]
    for t in range(2, model.T + 1):
        p = kernel.marginal(x0, t).log_prob(bits).exp()
        K = K - (p * kernel.posterior(x0, bits, t).kl(model.reverse(bits, t, kernel))).sum()
    return K


class LopsidedKernel:
    """Bits that are thrown anew with chance beta, by pi = B(0.3): how uncertain x_t is depends on x_0."""

    def __init__(self, schedule: Schedule) -> None:
        self.dim, self.schedule = 2, schedule
        self.prior = Bernoulli(torch.full((2,), math.log(0.3 / 0.7), dtype=torch.float64))

    def marginal(self, x0: torch.Tensor, t: int) -> Bernoulli:
        kept = float(self.schedule.alpha_bar[t])
        return Bernoulli(torch.logit(kept * x0 + (1 - kept) * 0.3))


def test_the_ends_of_each_row_are_its_own():
    """Where the entropies depend on x_0, a batch of all strings gives each string what it gets alone, and by hand."""
    kernel, x0 = LopsidedKernel(SCHEDULES["short"]), all_bits(2)
    together = bound.ends(kernel, x0)
    for values, alone in zip(together, zip(*(bound.ends(kernel, x[None]) for x in x0), strict=True), strict=True):
        close(values, torch.cat(alone))
    for t, entropy in ((1, together[3]), (4, together[2])):
        p = torch.stack([kernel.marginal(x, t).log_prob(x0).exp() for x in x0])  # [x_0, x_t]
        close(entropy, -torch.special.xlogy(p, p).sum(1))
        assert float(entropy.std()) > 0.01


def test_the_ends_by_hand():
    schedule = SCHEDULES["short"]
    prior, edge, entropy_T, entropy_1 = bound.ends(BinomialKernel(3, schedule), all_bits(3))
    close(prior, -3 * math.log(2))
    close(edge, 0.0)
    for t, entropy in ((1, entropy_1), (4, entropy_T)):
        e = (1 - float(schedule.alpha_bar[t])) / 2
        close(entropy, -3 * (e * math.log(e) + (1 - e) * math.log(1 - e)))


@pytest.mark.equation("eq-bits-score")
def test_the_gradient_of_training_is_that_of_k_in_the_schedule_too():
    """Bits cannot be moved by their noise: without the ratio the gradient in beta would be biased."""
    schedule = LearnedSchedule(short_schedule())
    kernel = BinomialKernel(2, schedule)
    model = DiffusionModel(kernel, BernoulliReverse(AffineNetwork(0.5 * randn(2, 2), 0.5 * randn(2)), kernel))
    x0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    wanted = torch.autograd.grad(exact_bound(model, x0), list(model.parameters()))
    got = []
    for part in range(60):
        t, noise = 2 + torch.arange(1000) % 3, randn(1000, 2, seed=part)
        K = bound.estimate(model, x0.expand(1000, 2), t, noise).mean()
        got.append(torch.cat([g.flatten() for g in torch.autograd.grad(K, list(model.parameters()))]))
    close_mean(torch.stack(got), torch.cat([g.flatten() for g in wanted]))


def test_bits_have_no_score():
    with pytest.raises(TypeError, match="bits have no score"):
        bit_model(short_schedule()).score(torch.zeros(2, dtype=torch.float64), 2)


def test_drift_of_bits():
    model, x = bit_model(short_schedule()), all_bits(2)
    close(model.drift(x, 3), model.reverse_step(x, 3).mean.detach() - x)
