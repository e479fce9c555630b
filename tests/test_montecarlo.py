"""The samplers: their distributions by Kolmogorov-Smirnov and chi-square tests, their costs, their errors.

Seeds are fixed. Critical values are those of level 0.001; chains are thinned until draws are nearly independent.
"""

import math
import warnings

import numpy as np
import pytest
import torch
from problems import close, rng
from scipy import stats

from dpm_lib.core import random
from dpm_lib.montecarlo import importance, inverse_transform, mcmc, mcmc_diagnostics, rejection
from dpm_lib.probability import target_densities
from dpm_lib.probability.target_densities import Banana, Funnel, Normal, StandardNormal, TwoClumps

KS_001 = 1.95  # sqrt(n) times the statistic exceeds this with probability 0.001
INF = float("inf")


def ks(x, cdf):
    """sqrt(n) times the Kolmogorov-Smirnov distance of x (n,) to cdf."""
    return float(stats.kstest(x.numpy(), cdf).statistic) * math.sqrt(len(x))


def banana_marginal_ok(x):
    """Both coordinates of Banana(2): x_1 / s, and the residual of x_2, are standard normal."""
    residual = x[:, 1] - 0.5 * (x[:, 0] ** 2 - 4)
    return ks(x[:, 0] / 2, "norm") < KS_001 and ks(residual, "norm") < KS_001


def chi_square_ok(x, edges, masses):
    """Counts of x (n,) in the cells between edges against their masses."""
    counts = torch.histogram(x, edges).hist
    statistic = float(((counts - len(x) * masses) ** 2 / (len(x) * masses)).sum())
    return statistic < stats.chi2.ppf(0.999, len(masses) - 1)


# --- The samplers draw what they should ---


@pytest.mark.parametrize(
    ("cdf", "low", "high", "law"),
    [
        (lambda x: 1 - torch.exp(-x), 0.0, 100.0, "expon"),
        (lambda x: torch.sigmoid(x), -100.0, 100.0, "logistic"),
        (lambda x: 0.5 + torch.atan(x) / math.pi, -1e9, 1e9, "cauchy"),
    ],
)
def test_inverse_cdf(cdf, low, high, law):
    n = 20_000
    if law == "cauchy":
        with pytest.raises(ValueError, match="leaves part of the mass out"):
            inverse_transform.inverse_cdf(cdf, n, rng(1), -1e2, 1e2)
    assert ks(inverse_transform.inverse_cdf(cdf, n, rng(1), low, high), law) < KS_001


def test_heavy_tails_are_student_t():
    x = target_densities.HeavyTails(torch.tensor([2.0, 0.5], dtype=torch.float64)).sample(20_000, rng(2))
    assert ks(x[:, 0] / 2, stats.t(2).cdf) < KS_001 and ks(x[:, 1] / 0.5, stats.t(2).cdf) < KS_001
    by_hand = stats.t(2).logpdf(x[:50].numpy() / [2, 0.5]).sum(1) - math.log(2 * 0.5)
    close(target_densities.HeavyTails(torch.tensor([2.0, 0.5])).log_prob(x[:50]), torch.as_tensor(by_hand), rtol=1e-6)


def test_importance_sampling_estimates_z_and_the_mean():
    target = TwoClumps(2)
    scale = target.variance.sqrt()
    weighted = importance.importance_sampling(
        lambda x: target.log_prob(x) + 3.0, target_densities.HeavyTails(scale), 40_000, rng(3)
    )
    assert abs(float(weighted.log_z) - 3.0) < 4 * float(weighted.log_z_stderr)
    error = (target.variance / weighted.ess).sqrt()
    assert ((weighted.mean() - target.mean).abs() < 5 * error).all()


@pytest.mark.equation("eq-mc-rejection")
def test_rejection_sampling_is_exact_and_costs_m():
    target, scale = Banana(2), 2 * Banana(2).variance.sqrt()
    log_bound = 3.2
    got = rejection.rejection_sampling(target.log_prob, target_densities.HeavyTails(scale), log_bound, 10_000, rng(4))
    assert got.x.shape == (10_000, 2) and got.accepted >= 10_000
    assert banana_marginal_ok(got.x)
    rate = math.exp(-log_bound)
    assert abs(got.acceptance - rate) < 4 * math.sqrt(rate / got.evaluations)


def test_metropolis_on_the_banana():
    start = 2 * StandardNormal(2).sample(2000, rng(5))
    chains = mcmc.metropolis_hastings(Banana(2).log_prob, start, 1.7, 3000, rng(6), thin=1500)
    assert chains.x.shape == (2, 2000, 2) and chains.evaluations == 3000
    assert banana_marginal_ok(chains.x[-1]), "the last states of 2000 independent chains"


def test_metropolis_by_chi_square():
    target = TwoClumps(1, distance=2.0)
    chains = mcmc.metropolis_hastings(target.log_prob, torch.zeros(1000, 1), 2.5, 600, rng(7), thin=60)
    x = chains.x[2:].reshape(-1)
    edges = torch.tensor([-9.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 9.0], dtype=torch.float64)
    cdf = 0.7 * stats.norm(1, 0.7).cdf(edges.numpy()) + 0.3 * stats.norm(-1, 0.7).cdf(edges.numpy())
    assert chi_square_ok(x, edges, torch.as_tensor(cdf).diff())


def multiplied(x, generator):
    """y = x exp(noise): log q(x|y) - log q(y|x) = log y - log x."""
    y = x * torch.exp(random.normal(tuple(x.shape), generator))
    return y, (y.log() - x.log())[:, 0]


def log_gamma_2(x):
    return (x.log() - x)[:, 0]


def test_metropolis_hastings_with_an_asymmetric_proposal():
    start = torch.ones(4000, 1, dtype=torch.float64)
    chains = mcmc.metropolis_hastings(log_gamma_2, start, multiplied, 100, rng(8), thin=100)
    assert ks(chains.x[-1, :, 0], stats.gamma(2).cdf) < KS_001
    forgot = mcmc.metropolis_hastings(
        log_gamma_2, start, lambda x, g: (multiplied(x, g)[0], torch.zeros(len(x))), 100, rng(8), thin=100
    )
    assert ks(forgot.x[-1, :, 0], stats.gamma(2).cdf) > 10
    assert ks(forgot.x[-1, :, 0], stats.gamma(1).cdf) < KS_001


@pytest.mark.equation("eq-mc-gibbs")
def test_gibbs_on_the_banana():
    grid = torch.linspace(-12, 12, 801, dtype=torch.float64)
    first = mcmc.grid_conditional(Banana(2).log_prob, 0, grid)
    start = Banana(2).sample(1500, rng(9)) + 1.0
    chains = mcmc.gibbs(
        [first, lambda x, g: 0.5 * (x[:, 0] ** 2 - 4) + random.normal((len(x),), g)], start, 60, rng(10), 60
    )
    assert banana_marginal_ok(chains.x[-1])
    assert chains.evaluations == 120 and (chains.acceptance == 1).all()


@pytest.mark.equation("eq-mc-gibbs")
def test_a_draw_on_a_grid_is_even_in_its_cell():
    at_two = mcmc.grid_conditional(lambda x: -1e3 * (x[:, 1] - 2.0).square(), 1, torch.arange(5.0))
    x = at_two(torch.zeros(4000, 2), rng(0))
    assert ks(x, stats.uniform(1.5, 1).cdf) < KS_001


@pytest.mark.equation("eq-mc-gibbs")
def test_a_gibbs_sweep_in_three_coordinates():
    """Each conditional sees what was drawn before it in the sweep, and the rest of the sweep before."""

    def conditional(i):
        return lambda x, g: x.sum(1) + 10.0**i

    start = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    found = mcmc.gibbs([conditional(i) for i in range(3)], start, 2, rng(0))
    x, path = [1.0, 2.0, 3.0], []
    for _ in range(2):
        for i in range(3):
            x[i] = sum(x) + 10.0**i
        path.append(list(x))
    assert found.x[:, 0].tolist() == path and found.evaluations == 6


def test_the_same_seed_gives_the_same_chain():
    start = torch.zeros(3, 2)
    runs = [mcmc.metropolis_hastings(Funnel(2).log_prob, start, 1.0, 20, rng(1)).x for _ in range(2)]
    assert torch.equal(*runs)
    assert torch.equal(mcmc.metropolis_hastings(Funnel(2).log_prob, start, 1.0, 20, rng(1), 5).x, runs[0][4::5])


def test_acceptance_is_the_share_of_moves():
    chains = mcmc.metropolis_hastings(StandardNormal(2).log_prob, torch.zeros(5, 2), 2.0, 400, rng(2))
    path = torch.cat([torch.zeros(1, 5, 2, dtype=torch.float64), chains.x])
    moved = (path.diff(dim=0) != 0).any(-1).double().mean(0)
    close(chains.acceptance, moved)


def autoregression(rho, steps, chains, seed=11):
    noise = random.normal((steps, chains), rng(seed))
    x = [noise[0]]
    for row in noise[1:]:
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * row)
    return torch.stack(x)


@pytest.mark.equation("eq-mc-chain-variance")
@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.8, 0.95])
def test_autocorrelation_time_of_an_autoregression(rho):
    tau = mcmc_diagnostics.autocorrelation_time(autoregression(rho, 20_000, 20))
    exact = (1 + rho) / (1 - rho)
    assert abs(float(tau.mean()) - exact) < 4 * float(tau.std()) / math.sqrt(20) + 0.02 * exact
    with pytest.warns(UserWarning, match="values: 10 steps are only 1 autocorrelation times"):
        assert mcmc_diagnostics.autocorrelation_time(torch.ones(10, 1))[0] == 10


@pytest.mark.equation("eq-mc-chain-variance")
def test_a_short_chain_promises_too_many_draws_and_is_told():
    """tau is 19: from 2 tau steps the estimate is below half of it, from 100 tau a little above, without a warning."""
    rho, tau = 0.9, 19.0
    x = autoregression(rho, 1900, 200)
    short, error = {}, {}
    for steps in (38, 76, 152):
        with pytest.warns(UserWarning, match=rf"{steps} steps are only [1-9]\d? .*; below 50 it is too low"):
            found = mcmc_diagnostics.autocorrelation_time(x[:steps])
        short[steps], error[steps] = float(found.mean()), float(found.std()) / math.sqrt(200)
    assert short[38] + 4 * error[38] < 0.5 * tau and short[76] + 4 * error[76] < 0.7 * tau
    assert short[152] + 3 * error[152] < tau
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        long = mcmc_diagnostics.autocorrelation_time(x)
    assert abs(float(long.mean()) / tau - 1) < 0.06 + 4 * float(long.std()) / math.sqrt(200) / tau


@pytest.mark.equation("eq-mc-chain-variance")
@pytest.mark.parametrize("unit", [1e-200, 1e-9, 1e200])
def test_autocorrelation_time_has_no_unit(unit):
    x = autoregression(0.5, 500, 3)
    close(mcmc_diagnostics.autocorrelation_time(unit * x), mcmc_diagnostics.autocorrelation_time(x), rtol=1e-9)


def test_agreement_of_chains():
    """R-hat by its definition; near 1 for chains of one law, large for trapped ones, infinite for ones that rest."""
    x = autoregression(0.5, 400, 6)
    halves = torch.cat([x[:200], x[200:]], 1)
    W, B_n = float(halves.var(0).mean()), float(halves.mean(0).var())
    close(mcmc_diagnostics.potential_scale_reduction(x), math.sqrt((199 / 200 * W + B_n) / W))
    assert abs(float(mcmc_diagnostics.potential_scale_reduction(x)) - 1) < 0.05
    trapped = x + torch.tensor([3.0, 3, 3, -3, -3, -3])
    assert float(mcmc_diagnostics.potential_scale_reduction(trapped)) > 2
    drifting = x + torch.linspace(0, 5, 400).unsqueeze(1)
    assert float(mcmc_diagnostics.potential_scale_reduction(drifting)) > 1.2, "that is why each is cut into halves"
    assert mcmc_diagnostics.potential_scale_reduction(torch.tensor([[0.0, 1.0]]).expand(8, 2)) == INF
    both = torch.stack([x, trapped], -1)
    assert mcmc_diagnostics.potential_scale_reduction(both).shape == (2,)


# --- Errors name what and where ---

NORMAL = StandardNormal(2)
ZERO = torch.zeros(3, 2, dtype=torch.float64)


def nan_on_the_right(x):
    return torch.where(x[:, 0] > 1, torch.nan, NORMAL.log_prob(x))


class Flat(StandardNormal):
    def sample(self, n, generator):
        return random.normal((n,), generator)


class Nowhere(StandardNormal):
    def log_prob(self, x):
        return torch.full_like(x[:, 0], -INF)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: importance.importance_sampling(nan_on_the_right, NORMAL, 100, rng()),
            r"log_prob: nan at point \d+, x = \[1",
        ),
        (lambda: importance.importance_sampling(lambda x: x[:, 0] + INF, NORMAL, 5, rng()), "log_prob: inf at point 0"),
        (lambda: importance.importance_sampling(lambda x: x, NORMAL, 5, rng()), r"answers with shape \(5, 2\)"),
        (
            lambda: importance.importance_sampling(NORMAL.log_prob, Nowhere(), 5, rng()),
            "proposal: density zero at its own",
        ),
        (lambda: importance.importance_sampling(NORMAL.log_prob, NORMAL, 0, rng()), "n: 0: need at least 1"),
        (
            lambda: rejection.rejection_sampling(lambda x: NORMAL.log_prob(x) + x[:, 0], NORMAL, 0.5, 50, rng()),
            r"log_bound: 0.5 is exceeded at x = \[.*\], where log p\*/q = ",
        ),
        (
            lambda: rejection.rejection_sampling(NORMAL.log_prob, NORMAL, INF, 5, rng()),
            "log_bound: inf: need a finite number",
        ),
        (
            lambda: mcmc.metropolis_hastings(nan_on_the_right, ZERO, 1.0, 50, rng()),
            r"log_prob: nan at point \d, at step \d+, x = \[1",
        ),
        (lambda: mcmc.metropolis_hastings(nan_on_the_right, ZERO + 2, 1.0, 5, rng()), "nan at point 0, at the start"),
        (
            lambda: mcmc.metropolis_hastings(lambda x: x[:, 0] - INF, ZERO, 1.0, 5, rng()),
            r"start: density zero at \[0.0, 0.0\]",
        ),
        (lambda: mcmc.metropolis_hastings(NORMAL.log_prob, ZERO[0], 1.0, 5, rng()), r"start: need shape \(n, d\)"),
        (
            lambda: mcmc.metropolis_hastings(NORMAL.log_prob, ZERO * torch.nan, 1.0, 5, rng()),
            r"start: nan at index \(0",
        ),
        (lambda: mcmc.metropolis_hastings(NORMAL.log_prob, ZERO, -1.0, 5, rng()), "step: -1.0: need positive"),
        (lambda: mcmc.metropolis_hastings(NORMAL.log_prob, ZERO, 1.0, 5, rng(), 6), "steps: 5: need at least thin = 6"),
        (lambda: mcmc.gibbs([], ZERO, 5, rng()), "conditionals: 0 for the 2 coordinates"),
        (
            lambda: mcmc.gibbs([lambda x, g: x[:, 0] * torch.nan] * 2, ZERO, 5, rng()),
            r"conditionals\[0\]: .* in sweep 1",
        ),
        (
            lambda: inverse_transform.inverse_cdf(lambda x: x, 5, rng(), 0.0, 2.0),
            r"cdf: 2.0 at x = 2.0, not in \[0, 1\]",
        ),
        (
            lambda: inverse_transform.inverse_cdf(torch.sigmoid, 5, rng(), 2.0, 1.0),
            "low, high: 2.0, 1.0: need low < high",
        ),
        (lambda: mcmc_diagnostics.autocorrelation_time(torch.zeros(3, 1)), "values: 3 steps: need at least 4"),
        (
            lambda: mcmc_diagnostics.potential_scale_reduction(torch.zeros(9)),
            r"values: need finite numbers \(steps, chains",
        ),
        (
            lambda: importance.importance_sampling(Banana(2).log_prob, StandardNormal(3), 5, rng()),
            r"need shape \(\.\.\., 2\)",
        ),
        (
            lambda: mcmc.metropolis_hastings(Banana(2).log_prob, torch.zeros(10, 4), 1.0, 5, rng()),
            r"need shape \(\.\.\., 2\)",
        ),
        (
            lambda: mcmc.metropolis_hastings(NORMAL.log_prob, ZERO, torch.ones(3), 5, rng()),
            "step: 3 of them, for points",
        ),
        (
            lambda: importance.importance_sampling(NORMAL.log_prob, Flat(), 5, rng()),
            r"proposal.sample: answers with shape \(5,\)",
        ),
        (lambda: importance.importance_sampling(NORMAL.log_prob, NORMAL, 2.5, rng()), "n: 2.5: need a whole number"),
        (lambda: mcmc.grid_conditional(NORMAL.log_prob, 2, torch.arange(3.0))(ZERO, rng()), "i: 2: need a coordinate"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.equation("eq-mc-rejection")
def test_rejection_gives_up_when_told():
    with pytest.raises(RuntimeError, match=r"0 of 5 draws after 2000 evaluations"):
        rejection.rejection_sampling(NORMAL.log_prob, NORMAL, 50.0, 5, rng(), max_evaluations=2000)


# --- Edges ---


def test_a_proposal_of_the_wrong_shape_or_without_a_ratio_is_named():
    start, two = torch.zeros(3, 2, dtype=torch.float64), StandardNormal(2)
    wrong = {
        r"shapes \(3, 1\) and \(3,\) at step 1": lambda x, g: (x[:, :1], x.new_zeros(3)),
        r"shapes \(3, 2\) and \(3, 1\) at step 1": lambda x, g: (x, x.new_zeros(3, 1)),
        "log ratio: nan at point 0, at step 1": lambda x, g: (x, x.new_full((3,), math.nan)),
        "log ratio: inf at point 0, at step 1": lambda x, g: (x, x.new_full((3,), math.inf)),
    }
    for message, propose in wrong.items():
        with pytest.raises(ValueError, match=message):
            mcmc.metropolis_hastings(two.log_prob, start, propose, 2, rng(0))


@pytest.mark.equation("eq-mc-chain-variance")
def test_autocorrelation_time_refuses_nan_and_takes_whole_numbers():
    values = torch.arange(8) % 2
    close(mcmc_diagnostics.autocorrelation_time(values), mcmc_diagnostics.autocorrelation_time(values.double()))
    for n in (8, 9):  # lags that cancel but for 1/n: the shortest time that n values can show
        close(mcmc_diagnostics.autocorrelation_time(torch.arange(n) % 2), 1 / n)
    with pytest.raises(ValueError, match=r"values: nan at index \(2,\)"):
        mcmc_diagnostics.autocorrelation_time(torch.tensor([0.0, 1.0, math.nan, 2.0]))


def test_a_grid_needs_two_points():
    with pytest.raises(ValueError, match="grid: shape"):
        mcmc.grid_conditional(StandardNormal(2).log_prob, 0, torch.zeros(1))


@pytest.mark.parametrize("grid", [[0.0, 1.0, 3.0], [2.0, 1.0, 0.0], [0.0, 0.0], [0.0, 1.0, 2.001]])
def test_a_grid_must_be_even(grid):
    with pytest.raises(ValueError, match=r"grid: .* at \d: need a grid that rises in even steps"):
        mcmc.grid_conditional(StandardNormal(2).log_prob, 0, grid)


def test_a_grid_in_single_precision_is_even():
    mcmc.grid_conditional(StandardNormal(2).log_prob, 0, torch.linspace(-10, 10, 801, dtype=torch.float32))


class Single(StandardNormal):
    """Draws and densities in single precision."""

    def sample(self, n, generator):
        return 1.5 * random.normal((n, self.dim), generator).float()

    def log_prob(self, x):
        return super().log_prob(x / 1.5) - self.dim * math.log(1.5)


@pytest.mark.equation("eq-mc-rejection")
@pytest.mark.parametrize("d", [1, 8])
def test_the_exact_bound_holds_in_single_precision(d):
    """log M = d log 1.5, reached at 0: rounding must not expose it, but draws must expose one 1e-3 too small."""
    for seed in range(20):
        rejection.rejection_sampling(StandardNormal(d).log_prob, Single(d), d * math.log(1.5), 500, rng(seed))
    with pytest.raises(ValueError, match="is exceeded"):
        rejection.rejection_sampling(StandardNormal(1).log_prob, Single(1), math.log(1.5) - 1e-3, 500, rng(0))


def test_lists_arrays_and_functions_of_arrays_are_taken():
    """One rule at the boundary: what is no tensor becomes a float64 one, also what your functions return."""
    log_p = lambda x: stats.norm.logpdf(x).sum(-1)  # noqa: E731
    start = [[0.0, 0.0], [1.0, 1.0]]
    chains = mcmc.metropolis_hastings(log_p, start, 1.0, 20, rng(0))
    close(chains.x, mcmc.metropolis_hastings(NORMAL.log_prob, torch.tensor(start), 1.0, 20, rng(0)).x)
    weighted = importance.importance_sampling(log_p, target_densities.HeavyTails([1.0, 2.0]), 50, rng(0))
    assert weighted.x.dtype == torch.float64 and torch.isfinite(weighted.log_z)
    given = [lambda x, g: np.zeros(2), lambda x, g: [1, 2]]
    assert mcmc.gibbs(given, np.array(start), 1, rng(0)).x.tolist() == [[[0, 1], [0, 2]]]
    close(
        mcmc_diagnostics.autocorrelation_time([0.0, 1.0] * 60),
        mcmc_diagnostics.autocorrelation_time(torch.tensor([0.0, 1.0] * 60)),
    )
    close(
        inverse_transform.inverse_cdf(stats.norm.cdf, 5, rng(1)),
        inverse_transform.inverse_cdf(torch.special.ndtr, 5, rng(1)),
        atol=1e-8,
    )


def test_a_bound_that_fails_where_nothing_was_drawn_goes_unnoticed():
    """The docstring's warning: the true bound is infinite here, and a large claimed one is seldom exposed."""
    assert rejection.rejection_sampling(StandardNormal(1).log_prob, Normal(1, 0.8), 3.0, 10, rng(0)).x.shape == (10, 1)
