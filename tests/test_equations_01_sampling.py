"""One test per claim of the chapter on sampling: both sides of the equation, by different routes.

Monte Carlo comparisons allow four standard errors, with fixed seeds.
"""

import math

import pytest
import torch
from problems import close, rng
from scipy import stats

from dpm_lib.core import random
from dpm_lib.montecarlo import importance, inverse_transform, mcmc, mcmc_diagnostics, rejection
from dpm_lib.probability import weighted_samples
from dpm_lib.probability.target_densities import StandardNormal, TwoClumps

GRID = torch.linspace(-14, 14, 28_001, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])
CLUMPS = TwoClumps(1, distance=3.0)


class Normal:
    """N(mu, sigma^2) in each of d coordinates."""

    def __init__(self, d, mu, sigma):
        self.d, self.mu, self.sigma = d, mu, sigma

    def sample(self, n, generator):
        return self.mu + self.sigma * random.normal((n, self.d), generator)

    def log_prob(self, x):
        z = (x - self.mu) / self.sigma
        return (-0.5 * z.square() - 0.5 * math.log(2 * math.pi) - math.log(self.sigma)).sum(-1)


def density(target):
    return target.log_prob(GRID.unsqueeze(1)).exp()


def within(values, exact, most=None, floor=0.0):
    """Is the mean of independent values (n,) within four standard errors (and floor) of exact?

    An error above ``most``, by default a tenth of exact, is too much: wild values would be within it of anything.
    """
    error = float(values.std()) / math.sqrt(len(values))
    assert error <= (0.1 * abs(exact) if most is None else most), f"{error}: the error of the mean, near {exact}"
    return abs(float(values.mean()) - exact) <= 4 * error + floor


@pytest.mark.equation("eq-mc-variance")
def test_the_mean_of_n_draws_is_unbiased_with_variance_over_n():
    n, runs = 50, 20_000
    f = CLUMPS.sample(n * runs, rng(1)).square().reshape(runs, n).mean(1)
    p = density(CLUMPS)
    mean = float((p * GRID**2).sum()) * STEP
    variance = float((p * GRID**4).sum()) * STEP - mean**2
    assert within(f, mean)
    assert within((f - mean).square(), variance / n)


@pytest.mark.equation("eq-mc-inverse-cdf")
def test_the_inverse_of_a_uniform_number_has_the_distribution():
    cdf = lambda x: 0.7 * torch.special.ndtr((x - 1.5) / 0.7) + 0.3 * torch.special.ndtr((x + 1.5) / 0.7)  # noqa: E731
    x = inverse_transform.inverse_cdf(cdf, 50_000, rng(2))
    p = density(CLUMPS)
    for at in (-2.0, -1.0, 0.0, 1.0, 2.0):
        exact = float(p[GRID <= at].sum()) * STEP
        assert within((x <= at).double(), exact)


@pytest.mark.equation("eq-mc-importance")
def test_weights_give_the_constant_and_the_expectation():
    proposal, log_z = Normal(1, 0.3, 2.0), 1.7
    runs = [
        importance.importance_sampling(lambda x: CLUMPS.log_prob(x) + log_z, proposal, 2000, rng(seed))
        for seed in range(200)
    ]
    z = torch.stack([run.log_z.exp() for run in runs])
    assert within(z, math.exp(log_z)), "the mean weight is unbiased"
    mean = torch.stack([run.mean()[0] for run in runs])
    exact = float((density(CLUMPS) * GRID).sum()) * STEP
    assert within(mean, exact, floor=2e-3), "bias of order 1/n"


@pytest.mark.equation("eq-mc-z-variance")
def test_relative_variance_of_the_mean_weight():
    n, runs, proposal = 100, 40_000, Normal(1, 0.3, 2.0)
    x = proposal.sample(n * runs, rng(3))
    z = (CLUMPS.log_prob(x) - proposal.log_prob(x)).exp().reshape(runs, n).mean(1) * 5.0
    rho = float((density(CLUMPS).square() / density(proposal)).sum()) * STEP
    assert within((z / 5.0 - 1).square(), (rho - 1) / n)
    assert rho > 1


@pytest.mark.equation("eq-mc-ratio")
def test_the_error_of_the_self_normalised_mean():
    """Its numerator exactly, and the ratio itself for large n, against the integral of p^2/q (f - E f)^2."""
    n, runs, proposal = 500, 2000, Normal(1, 0.3, 2.0)
    p = density(CLUMPS)
    mean = float((p * GRID).sum()) * STEP
    wanted = float((p.square() / density(proposal) * (GRID - mean).square()).sum()) * STEP
    x = proposal.sample(n * runs, rng(3)).reshape(runs, n, 1)
    weighted = weighted_samples.WeightedSamples(x, CLUMPS.log_prob(x) - proposal.log_prob(x))
    numerator = (weighted.log_weights.exp() * (x[..., 0] - mean)).mean(1)
    assert within(n * numerator.square(), wanted)
    assert within(n * (weighted.mean()[:, 0] - mean).square(), wanted, floor=0.02 * wanted)


@pytest.mark.equation("eq-mc-ratio")
@pytest.mark.parametrize("sigma", [0.8, 1.0, 1.5])
def test_the_error_of_a_ratio_is_not_rho_times_the_variance(sigma):
    """p = N(0, 1), q = N(0, sigma^2), f = x: p^2/q is rho times the density of N(0, sigma^2 / (2 sigma^2 - 1))."""
    p, q = density(StandardNormal(1)), density(Normal(1, 0.0, sigma))
    rho = float((p.square() / q).sum()) * STEP
    close(float((p.square() / q * GRID.square()).sum()) * STEP, rho * sigma**2 / (2 * sigma**2 - 1), rtol=1e-9)


@pytest.mark.equation("eq-mc-ess-limit")
def test_the_effective_share_tends_to_one_over_rho():
    proposal = Normal(1, 0.3, 2.0)
    rho = float((density(CLUMPS).square() / density(proposal)).sum()) * STEP
    shares = torch.stack(
        [importance.importance_sampling(CLUMPS.log_prob, proposal, 20_000, rng(s)).ess / 20_000 for s in range(40)]
    )
    assert within(shares * rho, 1, 0.01, floor=5e-4)


@pytest.mark.equation("eq-mc-gauss-integral", "eq-mc-ess-gauss")
@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.5), (0.8, 1.2), (-0.5, 0.9), (0.4, 1.0)])
def test_rho_of_two_gaussians(mu, sigma):
    p, q = density(StandardNormal(1)), density(Normal(1, mu, sigma))
    rho = float((p.square() / q.clamp(min=1e-300)).sum()) * STEP
    gap = 2 * sigma**2 - 1
    close(rho, sigma**2 / math.sqrt(gap) * math.exp(mu**2 / gap), rtol=1e-9)
    a, b = gap / (2 * sigma**2), mu / sigma**2
    factor, exponential = sigma / math.sqrt(2 * math.pi), (-a * GRID.square() - b * GRID).exp()
    near = GRID.abs() < 9  # further out q is too small to divide by
    close((p.square() / q)[near], (factor * (-GRID.square() + (GRID - mu).square() / (2 * sigma**2)).exp())[near])
    close((p.square() / q)[near], (factor * math.exp(mu**2 / (2 * sigma**2)) * exponential)[near])
    close(float(exponential.sum()) * STEP, math.sqrt(math.pi / a) * math.exp(b**2 / (4 * a)), rtol=1e-9)


@pytest.mark.equation("eq-mc-ess-gauss")
@pytest.mark.parametrize("d", [1, 3, 8])
def test_the_effective_share_falls_exponentially_with_dimension(d):
    mu, sigma, n, runs = 0.3, 1.2, 20_000, 40
    gap = 2 * sigma**2 - 1
    rho = (sigma**2 / math.sqrt(gap) * math.exp(mu**2 / gap)) ** d
    sample = [
        importance.importance_sampling(StandardNormal(d).log_prob, Normal(d, mu, sigma), n, rng(s)) for s in range(runs)
    ]
    shares = torch.stack([run.ess / n for run in sample])
    assert within(shares * rho, 1, 0.01, floor=0.002)


@pytest.mark.equation("eq-mc-rejection")
def test_accepted_draws_follow_the_target_at_the_stated_rate():
    proposal, log_z = Normal(1, 0.0, 2.5), 0.9
    ratio = CLUMPS.log_prob(GRID.unsqueeze(1)) - proposal.log_prob(GRID.unsqueeze(1))
    log_bound = float(ratio.max()) + log_z + 0.2  # any bound will do, not only the smallest
    got = rejection.rejection_sampling(lambda x: CLUMPS.log_prob(x) + log_z, proposal, log_bound, 30_000, rng(4))
    rate = math.exp(log_z - log_bound)
    assert abs(got.acceptance - rate) < 4 * math.sqrt(rate * (1 - rate) / got.evaluations)
    p = density(CLUMPS)
    for at in (-1.5, 0.0, 1.5):
        assert within((got.x[:, 0] <= at).double(), float(p[GRID <= at].sum()) * STEP)


@pytest.mark.equation("eq-mc-rejection-dim")
@pytest.mark.parametrize("d", [1, 4, 9])
def test_the_bound_of_two_gaussians(d):
    sigma = 1.4
    proposal, target = Normal(d, 0.0, sigma), StandardNormal(d)
    x = random.normal((2000, d), rng(5)) * torch.linspace(0, 3, 2000, dtype=torch.float64).unsqueeze(1)
    ratio = target.log_prob(x) - proposal.log_prob(x)
    close(ratio[0], d * math.log(sigma))  # the first point is the origin,
    assert ratio.argmax() == 0  # and nothing lies higher
    got = rejection.rejection_sampling(target.log_prob, proposal, d * math.log(sigma), 4000, rng(6))
    rate = sigma**-d
    assert abs(got.acceptance - rate) < 4 * math.sqrt(rate * (1 - rate) / got.evaluations)


def chain_on_a_grid(p, g):
    """The matrix of Metropolis-Hastings for the law p (m,) and the proposals g (m, m), entry by entry."""
    m = len(p)
    P = torch.zeros(m, m, dtype=torch.float64)
    for i in range(m):
        for j in range(m):
            if i != j and g[i, j] > 0:
                P[i, j] = g[i, j] * min(1.0, float(p[j] * g[j, i] / (p[i] * g[i, j])))
        P[i, i] = 1 - P[i].sum()
    return P


@pytest.mark.equation("eq-mc-detailed-balance", "eq-mc-invariance")
def test_detailed_balance_and_invariance_on_a_grid():
    p = torch.softmax(random.normal((12,), rng(7)), 0)
    g = torch.softmax(random.normal((12, 12), rng(8)), 1)  # nothing symmetric about it
    P = chain_on_a_grid(p, g)
    flow = p.unsqueeze(1) * P
    close(flow, flow.T)
    off = ~torch.eye(12, dtype=torch.bool)
    close(flow[off], torch.minimum(p.unsqueeze(1) * g, (p.unsqueeze(1) * g).T)[off])
    close(p @ P, p)


@pytest.mark.equation("eq-mc-detailed-balance")
def test_the_librarys_chain_makes_the_moves_of_the_matrix():
    """One step of the library from every state of a ring: frequencies of arrival against the matrix."""
    p = torch.softmax(random.normal((6,), rng(9)), 0)
    right = 0.75
    g = right * torch.eye(6).roll(1, 1) + (1 - right) * torch.eye(6).roll(-1, 1)

    def propose(x, generator):
        up = random.uniform((len(x),), generator) < right
        ratio = torch.where(up, math.log((1 - right) / right), math.log(right / (1 - right)))
        return (x + torch.where(up, 1.0, -1.0).unsqueeze(1)) % 6, ratio.double()

    n = 20_000
    start = torch.arange(6).repeat_interleave(n).double().unsqueeze(1)
    chains = mcmc.metropolis_hastings(lambda x: p.log()[x[:, 0].long()], start, propose, 1, rng(10))
    arrived = torch.nn.functional.one_hot(chains.x[0, :, 0].long().reshape(6, n), 6).double().mean(1)
    P = chain_on_a_grid(p, g.double())
    assert ((arrived - P).abs() <= 4 * (P * (1 - P) / n).sqrt() + 1e-12).all()


@pytest.mark.equation("eq-mc-chain-variance")
@pytest.mark.parametrize("a", [-0.5, 0.9])
def test_variance_of_the_mean_of_a_chain(a):
    n, runs, spread, generator = 60, 40_000, 1.5, rng(11)
    x = [spread * random.normal((runs,), generator)]
    for _ in range(1, n):
        x.append(torch.normal(a * x[-1], spread * math.sqrt(1 - a * a), generator=generator))
    bracket = lambda steps: 1 + 2 * sum((1 - k / steps) * a**k for k in range(1, steps))  # noqa: E731
    assert within(torch.stack(x).mean(0).square(), spread**2 / n * bracket(n))
    tau = (1 + a) / (1 - a)
    for long in (1000, 2000):  # tau is the limit; what is missing is sum_k k rho_k, twice over n
        close(bracket(long), tau - 2 / long * a / (1 - a) ** 2)


@pytest.mark.equation("eq-mc-gibbs")
def test_a_gibbs_sweep_is_the_product_of_steps_that_each_keep_the_law():
    """A joint law on 4 x 5 states: the library's sweep against a matrix, which keeps p and is not reversible."""
    p = torch.softmax(random.normal((20,), rng(12)), 0).reshape(4, 5)
    first, second = p / p.sum(0), p / p.sum(1, keepdim=True)  # row given column, column given row

    def draw(table):
        return lambda x, generator: torch.multinomial(table(x), 1, generator=generator)[:, 0].double()

    conditionals = [draw(lambda x: first.mT[x[:, 1].long()]), draw(lambda x: second[x[:, 0].long()])]
    start = torch.tensor([[1.0, 3.0]], dtype=torch.float64).expand(40_000, 2)
    end = mcmc.gibbs(conditionals, start, 1, rng(15)).x[0]
    counts = torch.bincount((5 * end[:, 0] + end[:, 1]).long(), minlength=20)
    wanted = (first[:, 3, None] * second).flatten()
    assert stats.chisquare(counts.numpy(), (40_000 * wanted).numpy()).pvalue > 0.001
    sweep = torch.einsum("il,ij->lij", first, second).repeat(4, 1, 1).reshape(20, 20)
    close(p.flatten() @ sweep, p.flatten(), rtol=1e-12)
    back = torch.einsum("il,kl->ikl", second, first).repeat_interleave(5, 0).reshape(20, 20)
    flow = p.flatten()[:, None] * sweep
    close(flow.mT, p.flatten()[:, None] * back)  # run backwards it takes the coordinates in the other order,
    assert not torch.allclose(flow, flow.mT)  # and so is not reversible


@pytest.mark.equation("eq-mc-gibbs")
def test_the_conditional_as_a_proposal_is_always_accepted():
    r = 0.8
    precision = torch.linalg.inv(torch.tensor([[1, r], [r, 1]], dtype=torch.float64))
    log_p = lambda x: -0.5 * ((x @ precision) * x).sum(-1)  # noqa: E731

    def propose(x, generator):
        mean, spread = r * x[:, 1], math.sqrt(1 - r * r)
        y = torch.normal(mean, spread, generator=generator)
        ratio = 0.5 * (((y - mean) / spread).square() - ((x[:, 0] - mean) / spread).square())
        return torch.stack([y, x[:, 1]], 1), ratio

    start = random.normal((2000, 2), rng(13))
    y, ratio = propose(start, rng(12))
    close(log_p(start) - log_p(y), ratio)  # p(x) g(y|x) = p(y) g(x|y)
    chains = mcmc.metropolis_hastings(log_p, start, propose, 50, rng(14))
    assert (chains.acceptance == 1).all()
    off = chains.x[-1, :, 0] - r * start[:, 1]  # the other coordinate has stayed
    assert within(off.square(), 1 - r * r)
    forgot = mcmc.metropolis_hastings(log_p, start, lambda x, g: (propose(x, g)[0], x.new_zeros(len(x))), 50, rng(14))
    assert float(forgot.acceptance.mean()) < 0.9


@pytest.mark.equation("eq-mc-gibbs-gauss")
@pytest.mark.parametrize("r", [0.5, -0.9])
def test_autocorrelation_of_gibbs_on_two_correlated_coordinates(r):
    spread = math.sqrt(1 - r * r)
    first = lambda x, g: r * x[:, 1] + spread * random.normal((len(x),), g)  # noqa: E731
    second = lambda x, g: r * x[:, 0] + spread * random.normal((len(x),), g)  # noqa: E731
    start = random.normal((20_000, 2), rng(15))
    start[:, 1] = r * start[:, 0] + spread * start[:, 1]
    chains = mcmc.gibbs([first, second], start, 4, rng(16))
    for k in (1, 2, 4):
        assert within(start[:, 0] * chains.x[k - 1, :, 0], r ** (2 * k), 0.01)
    tau = mcmc_diagnostics.autocorrelation_time(mcmc.gibbs([first, second], start[:100], 5000, rng(17)).x[:, :, 0])
    exact = (1 + r * r) / (1 - r * r)
    assert within(tau, exact, floor=0.01 * exact)
