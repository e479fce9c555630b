"""One test per claim of the chapter on the bound: both sides by different routes.

Finite chains are checked by plain loops over paths, on crooked chains whose data, prior and reverse steps have nothing
to do with each other. Monte Carlo comparisons allow four standard errors, with fixed seeds.
"""

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from problems import AffineNetwork, close, close_mean, randn, rng
from scipy.integrate import quad

from dpm_lib.diffusion import bound, forward_kernels, optimal_schedule_gaussian, schedules
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import BernoulliReverse, GaussianReverse
from dpm_lib.exact import bound_derivation, entropy_bounds, enumeration
from dpm_lib.probability import mixtures

COIN, BETA = 0.35, (0.2, 0.35, 0.5)


def laws(shape, seed):
    """Random laws along the last axis."""
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]) * 2, shape[:-1] or None)


def crooked(coin: float = COIN, T: int = 3, bits: int = 2) -> enumeration.FiniteChains:
    """Two bits, T steps; random data and reverse steps, but for the edge kernel."""
    size = 2**bits
    forward = np.stack([np.eye(size)] + [enumeration.flip_kernel(bits, b, coin) for b in BETA[:T]])
    back = np.stack([np.eye(size), forward[1], *(laws((size, size), 10 + t) for t in range(2, T + 1))])
    return enumeration.FiniteChains(laws((size,), 1), enumeration.flip_kernel(bits, 1, coin)[0], forward, back)


class Naive:
    """All paths of a chain pair, one by one, in plain Python."""

    def __init__(self, chains):
        self.c, self.T, self.S = chains, chains.T, range(len(chains.data))
        self.paths = list(itertools.product(self.S, repeat=chains.T + 1))
        times = range(1, chains.T + 1)
        self.ahead = {x: math.prod(chains.forward[t][x[t - 1], x[t]] for t in times) for x in self.paths}
        self.q = {x: chains.data[x[0]] * self.ahead[x] for x in self.paths}
        self.p = {
            x: chains.prior[x[-1]] * math.prod(chains.reverse[t][x[t], x[t - 1]] for t in times) for x in self.paths
        }

    def mean(self, f):
        return sum(q * f(x) for x, q in self.q.items())

    def law(self, *times, of=None):
        """The joint law of the states at ``times``, {states: probability}."""
        out = {}
        for x, q in (of or self.q).items():
            key = tuple(x[t] for t in times)
            out[key] = out.get(key, 0.0) + q
        return out

    def H(self, *times, given=()):
        """H(X_times | X_given)."""
        joint, condition = self.law(*times, *given), self.law(*given)
        return -sum(q * math.log(q / condition[key[len(times) :]]) for key, q in joint.items())

    def kl_step(self, t, start):
        """E KL(q(x_{t-1} | x_t [, x_0]) || p(x_{t-1} | x_t))."""
        rest = (t, 0) if start else (t,)
        joint, condition = self.law(t - 1, *rest), self.law(*rest)
        return sum(q * math.log(q / condition[k[1:]] / self.c.reverse[t][k[1], k[0]]) for k, q in joint.items())


CHAINS = crooked()
NAIVE = Naive(CHAINS)
PRIOR = NAIVE.mean(lambda x: math.log(CHAINS.prior[x[-1]]))
EDGE = NAIVE.mean(lambda x: math.log(CHAINS.prior[x[0]] / CHAINS.prior[x[1]]))
K = NAIVE.mean(lambda x: math.log(NAIVE.p[x] / NAIVE.ahead[x]))


@cache
def found(number):
    """The terms of a line, by the library."""
    return bound_derivation.lines(CHAINS)[number]


def value(number):
    return sum(found(number).values())


def check(number, terms):
    """Line ``number`` is worth the sum of ``terms``, and its parts are those."""
    assert value(number) == pytest.approx(sum(terms), abs=1e-12)
    assert sorted(found(number).values()) == pytest.approx(sorted(terms), abs=1e-12)


@pytest.mark.equation("eq-bound-reversible")
@pytest.mark.parametrize("beta", [0.1, 0.7, 1.0])
def test_kernels_are_reversible_in_pi(beta):
    pi, step = enumeration.flip_kernel(3, 1.0, COIN)[0], enumeration.flip_kernel(3, beta, COIN)
    x = enumeration.states(3)
    one = {(a, b): (1 - beta) * (a == b) + beta * (COIN if b else 1 - COIN) for a in (0, 1) for b in (0, 1)}
    by_bit = [[math.prod(one[a, b] for a, b in zip(u, v, strict=True)) for v in x] for u in x]
    np.testing.assert_allclose(step, by_bit, atol=1e-15)
    np.testing.assert_allclose(pi[:, None] * step, (pi[:, None] * step).T, atol=1e-15)
    kernel = forward_kernels.GaussianKernel(2, schedules.from_beta(torch.tensor([0.0, 0.4])))
    a, b = randn(5, 2), randn(5, 2, seed=1)
    there = kernel.prior.log_prob(a) + kernel.step(a, 1).log_prob(b)
    close(there, kernel.prior.log_prob(b) + kernel.step(b, 1).log_prob(a))


@pytest.mark.equation("eq-bound-line-1", "eq-bound-line-2")
def test_lines_1_and_2():
    law = NAIVE.law(0, of=NAIVE.p)
    L = sum(CHAINS.data[i] * math.log(law[i,]) for i in NAIVE.S)
    assert value(1) == pytest.approx(L, abs=1e-12)
    mean = {i: sum(NAIVE.ahead[x] * (NAIVE.p[x] / NAIVE.ahead[x]) for x in NAIVE.paths if x[0] == i) for i in NAIVE.S}
    assert value(2) == pytest.approx(sum(CHAINS.data[i] * math.log(mean[i]) for i in NAIVE.S), abs=1e-12)
    assert value(1) == pytest.approx(value(2), abs=1e-12)


@pytest.mark.equation("eq-bound-line-3", "eq-bound-jensen-slack")
def test_line_3_and_its_slack():
    assert value(3) == pytest.approx(K, abs=1e-12) and value(2) - value(3) > 0.01
    law = NAIVE.law(0, of=NAIVE.p)
    slack = NAIVE.mean(lambda x: math.log(NAIVE.ahead[x] / (NAIVE.p[x] / law[x[0],])))
    assert slack == pytest.approx(value(2) - value(3), abs=1e-12)
    assert bound_derivation.account(CHAINS)["jensen"] == pytest.approx(slack, abs=1e-12)


@pytest.mark.equation("eq-bound-line-4", "eq-bound-line-5")
def test_lines_4_and_5():
    steps = [
        NAIVE.mean(lambda x, t=t: math.log(CHAINS.reverse[t][x[t], x[t - 1]] / CHAINS.forward[t][x[t - 1], x[t]]))
        for t in (1, 2, 3)
    ]
    check(4, [PRIOR, *steps])
    check(5, [PRIOR, EDGE, *steps[1:]])
    assert abs(EDGE) > 0.01
    assert [value(4), value(5)] == pytest.approx([K, K], abs=1e-12)


@pytest.mark.equation("eq-bound-line-6", "eq-bound-line-7")
def test_lines_6_and_7_from_the_law_of_whole_paths():
    six, seven = [PRIOR, EDGE], [PRIOR, EDGE]
    for t in (2, 3):
        three, back, leap, before = NAIVE.law(0, t - 1, t), NAIVE.law(0, t), NAIVE.law(0, t), NAIVE.law(0, t - 1)
        start = NAIVE.law(0)
        p = CHAINS.reverse[t]
        six.append(sum(q * math.log(p[j, i] / (q / before[k, i])) for (k, i, j), q in three.items()))
        seven.append(sum(q * math.log(p[j, i] / (q / back[k, j])) for (k, i, j), q in three.items()))
        ratio = {(k, i, j): before[k, i] / start[k,] / (leap[k, j] / start[k,]) for k, i, j in three}
        seven.append(sum(q * math.log(ratio[key]) for key, q in three.items()))
    check(6, six)
    check(7, seven)
    assert [value(6), value(7)] == pytest.approx([K, K], abs=1e-12)
    for n, terms in bound_derivation.path_lines(CHAINS).items():  # and for every single path
        np.testing.assert_allclose(
            sum(terms.values()), bound_derivation.path_lines(CHAINS)[3]["log w"], atol=1e-12, err_msg=n
        )


@pytest.mark.equation("eq-bound-line-8", "eq-bound-line-9")
def test_lines_8_and_9():
    ends = [NAIVE.H(3, given=(0,)), -NAIVE.H(1, given=(0,))]
    kl = [-NAIVE.kl_step(t, start=True) for t in (2, 3)]
    check(8, [PRIOR, EDGE, *kl, *ends])
    check(9, [PRIOR, EDGE, *kl, *ends])
    assert value(9) == pytest.approx(K, abs=1e-12)


@pytest.mark.equation("eq-bound-line-10", "eq-bound-printed")
@pytest.mark.parametrize("coin", [0.5, 0.35, 0.8])
def test_line_10_and_what_it_is_off_by(coin):
    chains = crooked(coin)
    value = {n: sum(terms.values()) for n, terms in bound_derivation.lines(chains).items()}
    naive = Naive(chains)
    excess = -naive.mean(lambda x: math.log(chains.prior[x[0]])) + chains.prior @ np.log(chains.prior)
    kept = math.prod(1 - b for b in BETA)
    assert value[10] - value[9] == pytest.approx((BETA[0] + kept) * excess, abs=1e-12)
    assert (abs(value[10] - value[9]) < 1e-12) == (coin == 0.5)
    data = np.exp(chains.log_q).sum((1, 2, 3))
    tilted = np.array([0.5, 0.0, 0.0, 0.5])  # with a coin of .5 only; else mix to the mean of pi
    mixed = (1 - coin) * np.array([1.0, 0, 0, 0]) + coin * np.array([0, 0, 0, 1.0])  # E x_i = coin: passes
    for law, passes in ((mixed, True), (tilted, coin == 0.5), (data, coin == 0.5)):
        c = enumeration.FiniteChains(law, chains.prior, chains.forward, chains.reverse)
        v = {n: sum(terms.values()) for n, terms in bound_derivation.lines(c).items()}
        assert (abs(v[10] - v[9]) < 1e-12) == passes


@pytest.mark.equation("eq-bound-decay")
def test_mean_log_prior_decays_with_alpha_bar():
    kept, log_pi = 1.0, np.log(CHAINS.prior)
    start = NAIVE.mean(lambda x: log_pi[x[0]])
    H = -CHAINS.prior @ log_pi
    for t, b in enumerate(BETA, 1):
        kept *= 1 - b
        assert NAIVE.mean(lambda x, t=t: log_pi[x[t]]) + H == pytest.approx(kept * (start + H), abs=1e-12)
    kernel = forward_kernels.GaussianKernel(1, schedules.from_beta(torch.tensor([0.0, *BETA])))
    x0 = torch.tensor([1.7], dtype=torch.float64)
    pi = kernel.prior
    for t in (1, 3):  # one start is enough: the claim is linear in the law of x_0
        law = kernel.marginal(x0, t)
        mean = quad(
            lambda y, law=law: float(law.log_prob(torch.tensor([y])).exp() * pi.log_prob(torch.tensor([y]))), -12, 12
        )[0]
        assert mean + float(pi.entropy) == pytest.approx(
            float(kernel.schedule.alpha_bar[t] * (pi.log_prob(x0) + pi.entropy)), abs=1e-6
        )


@pytest.mark.equation("eq-bound-accounts")
def test_the_two_accounts():
    gap = -NAIVE.H(0) - K
    law, last = NAIVE.law(0, of=NAIVE.p), NAIVE.law(3)
    model = sum(q * math.log(q / law[i]) for i, q in NAIVE.law(0).items())
    prior = sum(q * math.log(q / CHAINS.prior[i]) for (i,), q in last.items())
    steps = [NAIVE.kl_step(t, start=False) for t in (1, 2, 3)]
    assert gap == pytest.approx(model + value(1) - value(3), abs=1e-12)
    assert gap == pytest.approx(prior + sum(steps), abs=1e-12)
    parts = bound_derivation.account(CHAINS)
    wanted = {"limit": -NAIVE.H(0), "law": model, "prior": prior} | {f"step {t}": steps[t - 1] for t in (1, 2, 3)}
    for name, number in wanted.items():
        assert parts[name] == pytest.approx(number, abs=1e-12), name


@pytest.mark.equation("eq-bound-kl-split", "eq-bound-information")
def test_the_part_of_each_divergence_that_is_information():
    parts, total = bound_derivation.account(CHAINS), 0.0
    for t in (2, 3):
        information = NAIVE.H(t - 1, given=(t,)) - NAIVE.H(t - 1, given=(t, 0))
        total += information
        split = NAIVE.kl_step(t, start=True) - NAIVE.kl_step(t, start=False)
        assert [split, parts[f"information {t}"]] == pytest.approx([information] * 2, abs=1e-12)
    I = [NAIVE.H(t) - NAIVE.H(t, given=(0,)) for t in (1, 3)]  # noqa: E741
    assert total == pytest.approx(I[0] - I[1], abs=1e-12) and total > 0.1


class LinearChains:
    """Data N(0, s2), three steps, and p(x_{t-1} | x_t) = N(m_t x_t, v_t): all by covariance matrices of whole paths."""

    def __init__(self, beta, s2, m, v):
        self.T, S = len(beta), np.diag([s2] + [0.0] * len(beta))
        for t, b in enumerate(beta, 1):  # the forward chain, one step after the other
            S[t, :t] = S[:t, t] = math.sqrt(1 - b) * S[t - 1, :t]
            S[t, t] = (1 - b) * S[t - 1, t - 1] + b
        P = np.zeros_like(S)  # the model's, from the end
        P[self.T, self.T] = 1.0
        for t in range(self.T, 0, -1):
            P[t - 1, t:] = P[t:, t - 1] = m[t] * P[t, t:]
            P[t - 1, t - 1] = m[t] ** 2 * P[t, t] + v[t]
        self.S, self.P = S, P

    def mean_log(self, y, given, covariance):
        """E_q log of the density of x_y given the states ``given``, in a chain with this covariance of paths."""
        C = covariance
        slope = np.linalg.solve(C[np.ix_(given, given)], C[given, y]) if given else np.zeros(0)
        width = C[y, y] - (slope @ C[given, y] if given else 0.0)
        row = np.zeros(len(C))
        row[y], row[given] = 1.0, -slope
        return -0.5 * (math.log(2 * math.pi * width) + row @ self.S @ row / width)


@pytest.mark.equation(
    "eq-bound-line-1",
    "eq-bound-line-2",
    "eq-bound-line-3",
    "eq-bound-line-4",
    "eq-bound-line-5",
    "eq-bound-line-6",
    "eq-bound-line-7",
    "eq-bound-line-8",
    "eq-bound-line-9",
    "eq-bound-line-10",
)
def test_the_closed_forms_of_all_lines_for_gaussians():
    """Term by term, against densities of jointly normal paths: each is a conditional law of one covariance matrix."""
    beta, s2 = [0.1, 0.3, 0.5], 0.6
    m, v = [0, math.sqrt(0.9), 0.8, 0.5], [0, 0.1, 0.25, 0.7]
    chains, T = LinearChains(beta, s2, m, v), 3
    found = bound_derivation.gaussian(schedules.from_beta(torch.tensor([0.0, *beta], dtype=torch.float64)), s2, m, v)
    q = lambda y, *given: chains.mean_log(y, list(given), chains.S)  # noqa: E731
    p = lambda y, *given: chains.mean_log(y, list(given), chains.P)  # noqa: E731
    pi = lambda t: -0.5 * (math.log(2 * math.pi) + chains.S[t, t])  # noqa: E731
    ends = {"prior": pi(T), "edge": pi(0) - pi(1)}
    step = {f"step {t}": p(t - 1, t) - q(t, t - 1) for t in (1, 2, 3)}
    back = {f"back {t}": p(t - 1, t) - q(t - 1, t, 0) for t in (2, 3)}
    turn = {f"turn {t}": q(t - 1, 0) - q(t, 0) for t in (2, 3)}
    kl = {name.replace("back", "KL"): value for name, value in back.items()}
    bounds = {"entropy T": -q(T, 0), "entropy 1": q(1, 0)}
    later = {name: value for name, value in step.items() if name != "step 1"}
    wanted = {1: {"log p": p(0)}, 2: {"log p": p(0)}, 3: {"log w": pi(T) + sum(step.values())}}
    wanted |= {4: {"prior": pi(T)} | step, 5: ends | later, 6: ends | later, 7: ends | back | turn}
    wanted |= {8: ends | back | bounds, 9: ends | kl | bounds}
    wanted[10] = {"prior entropy": -0.5 * math.log(2 * math.pi * math.e)} | kl | bounds
    for n, terms in wanted.items():
        assert found[n] == pytest.approx(terms, abs=1e-12), n
    values = [sum(found[n].values()) for n in range(1, 11)]
    assert values[2:9] == pytest.approx([values[2]] * 7, abs=1e-12)
    assert values[0] - values[2] > 0.01  # line 3 loses
    assert values[9] - values[8] == pytest.approx(0.5 * (s2 - 1) * (0.1 + 0.9 * 0.7 * 0.5), abs=1e-12)


# Importance sampling


def expected_log_mean(w, q, n):
    """E log mean of n weights, exactly: a sum over all n-tuples of paths."""
    total, chance = np.zeros(1), np.ones(1)
    for _ in range(n):
        total, chance = (total[:, None] + w).ravel(), (chance[:, None] * q).ravel()
    return float(chance @ np.log(total / n))


@pytest.mark.equation("eq-bound-monotone")
def test_more_trajectories_never_hurt():
    rows = crooked(bits=1, T=3).weight_laws
    for w, q in zip(*rows, strict=True):
        bounds = [expected_log_mean(w, q, n) for n in (1, 2, 3, 4, 5)]
        assert (np.diff(bounds) > 0).all() and bounds[-1] < math.log(w @ q)
    assert bounds[0] == pytest.approx(float(q @ np.log(w)), abs=1e-12)


@pytest.mark.equation("eq-bound-delta")
def test_the_gap_closes_like_half_the_variance_over_n():
    one = crooked(bits=1, T=3)
    back = [np.eye(2), one.forward[1]] + [0.9 * one.reversal(t) + 0.1 * one.reverse[t] for t in (2, 3)]
    milder = enumeration.FiniteChains(one.data, one.prior, one.forward, np.stack(back))
    for w, q in zip(*milder.weight_laws, strict=True):
        p = float(w @ q)
        V = float(q @ (w / p - 1) ** 2)
        gaps = [n * (math.log(p) - expected_log_mean(w, q, n)) for n in (3, 6)]
        assert 2 * gaps[1] - gaps[0] == pytest.approx(V / 2, rel=0.01)  # so that what is of order 1 / n drops out
    chains = enumeration.coupled_bits(0.8, BETA, 0.3)
    rows, n = chains.weight_laws, 400
    for w, q in zip(rows[0][:3], rows[1][:3], strict=True):
        p = float(w @ q)
        V = float(q @ (w / p - 1) ** 2)
        picks = np.random.default_rng(0).choice(len(w), (4000, n), p=q)
        delta = w[picks].mean(1) / p - 1
        gap = n * (delta - np.log1p(delta))
        assert gap.mean() == pytest.approx(V / 2, rel=0.1)  # its standard error is 2.2% of that


# Entropies

STEPS = forward_kernels.GaussianKernel(1, schedules.geometric(6, 0.01, 20.0))


def clumps(variance):
    centers = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * math.sqrt(0.9 * variance)
    return mixtures.Mixture(centers, torch.tensor([0.3, 0.7]), 0.1 * variance)


def mean_square(target, t):
    kept = float(STEPS.schedule.alpha_bar[t])
    return kept * target.mean_square + 1 - kept


@pytest.mark.equation("eq-bound-chain-rule")
def test_entropy_of_a_step_back():
    for t in (1, 2, 3):
        exact = NAIVE.H(t - 1, given=(t,))
        assert exact == pytest.approx(NAIVE.H(t, given=(t - 1,)) + NAIVE.H(t - 1) - NAIVE.H(t), abs=1e-12)
        assert entropy_bounds.enumerated(CHAINS)[0, t] == pytest.approx(exact, abs=1e-12)
    target, t = clumps(1.0), 4  # and a density: the law of the step back on a grid
    y = torch.linspace(-6, 6, 1201, dtype=torch.float64).unsqueeze(1)
    dy = float(y[1] - y[0])
    shrink = float(STEPS.schedule.alpha_bar[t - 1]) ** 0.5
    before = target.log_prob(y / shrink, float(STEPS.schedule.tau[t - 1])) - math.log(shrink)
    joint = before.unsqueeze(1) + STEPS.step(y.unsqueeze(1), t).log_prob(y.unsqueeze(0))
    log = joint - torch.logsumexp(joint, 0) - math.log(dy)
    exact = -float((joint.exp() * log).sum()) * dy * dy
    assert float(entropy_bounds.reverse_entropies(target, STEPS)[t]) == pytest.approx(exact, abs=1e-4)


@pytest.mark.equation("eq-bound-entropy-upper")
def test_the_printed_upper_bound_holds_iff_entropy_does_not_fall():
    seen = set()
    for coin, data in itertools.product((0.5, 0.2), (laws((4,), 1), np.array([0.25, 0.25, 0.25, 0.25]))):
        chains = crooked(coin)
        chains = enumeration.FiniteChains(data, chains.prior, chains.forward, chains.reverse)
        naive, table = Naive(chains), entropy_bounds.enumerated(chains)
        for t in (1, 2, 3):
            assert table[2, t] == pytest.approx(naive.H(t, given=(t - 1,)), abs=1e-12)
            holds, rises = table[0, t] <= table[2, t] + 1e-12, naive.H(t) >= naive.H(t - 1) - 1e-12
            assert holds == rises
            seen.add(holds)
            assert holds or coin != 0.5
    assert seen == {True, False}
    for variance, holds in ((1.0, True), (4.0, False)):
        exact, limits = (
            entropy_bounds.reverse_entropies(clumps(variance), STEPS),
            entropy_bounds.step_bounds(STEPS, 0.0),
        )
        assert bool((exact[2:] <= limits.printed[2:] + 1e-9).all()) == holds


@pytest.mark.equation("eq-bound-entropy-repaired")
@pytest.mark.parametrize("variance", [0.3, 1.0, 4.0])
def test_the_repaired_upper_bound_is_a_cross_entropy(variance):
    target = clumps(variance)
    excess = 0.5 * (target.mean_square - 1)
    limits, exact = entropy_bounds.step_bounds(STEPS, excess), entropy_bounds.reverse_entropies(target, STEPS)
    for t in range(1, 7):
        beta, now, before = float(STEPS.schedule.beta[t]), mean_square(target, t), mean_square(target, t - 1)
        both = math.sqrt(1 - beta) * before  # E x_{t-1} x_t
        square = before - 2 * math.sqrt(1 - beta) * both + (1 - beta) * now  # E (x_{t-1} - sqrt(1 - beta) x_t)^2
        cross = 0.5 * (math.log(2 * math.pi * beta) + square / beta)
        assert float(limits.upper[t]) == pytest.approx(cross, abs=1e-12)
        assert float(exact[t]) <= cross + 1e-9
    for t in (1, 2, 3):
        cross = -NAIVE.mean(lambda x, t=t: math.log(CHAINS.forward[t][x[t], x[t - 1]]))
        assert entropy_bounds.enumerated(CHAINS)[3, t] == pytest.approx(cross, abs=1e-12)
        assert NAIVE.H(t - 1, given=(t,)) <= cross


@pytest.mark.equation("eq-bound-entropy-lower")
def test_the_lower_bound_is_the_entropy_given_the_start():
    for t in (1, 2, 3):
        exact = NAIVE.H(t - 1, given=(t, 0))
        assert entropy_bounds.enumerated(CHAINS)[1, t] == pytest.approx(exact, abs=1e-12)
        assert exact <= NAIVE.H(t - 1, given=(t,)) + 1e-12
    fair = forward_kernels.BinomialKernel(3, schedules.from_beta(torch.tensor([0.0, *BETA], dtype=torch.float64)))
    chains = enumeration.coupled_bits(0.8, BETA)
    limits = entropy_bounds.step_bounds(fair, 0.0)  # the kernels' closed forms against sums over states
    np.testing.assert_allclose(limits.lower[1:], entropy_bounds.enumerated(chains)[1, 1:], atol=1e-12)
    np.testing.assert_allclose(limits.upper[1:], entropy_bounds.enumerated(chains)[3, 1:], atol=1e-12)


@pytest.mark.equation("eq-bound-entropy-sum", "eq-bound-entropy-rest")
def test_the_sums_telescope_and_the_data_drop_out():
    step = sum(NAIVE.H(t, given=(t - 1,)) for t in (2, 3))
    exact = sum(NAIVE.H(t - 1, given=(t,)) for t in (2, 3))
    lower = sum(NAIVE.H(t - 1, given=(t, 0)) for t in (2, 3))
    assert exact == pytest.approx(step + NAIVE.H(1) - NAIVE.H(3), abs=1e-12)
    assert lower == pytest.approx(step - NAIVE.H(3, given=(0,)) + NAIVE.H(1, given=(0,)), abs=1e-12)
    assert NAIVE.H(3) - NAIVE.H(1) <= NAIVE.H(3, given=(0,)) - NAIVE.H(1, given=(0,))
    for coin, same in ((0.5, True), (COIN, False)):  # for fair coins the data drop out of both bounds
        c = crooked(coin)
        other = enumeration.FiniteChains(laws((4,), 77), c.prior, c.forward, c.reverse)
        ours, theirs = (entropy_bounds.enumerated(chains)[:3, 2:] for chains in (c, other))
        assert np.allclose(ours[1:], theirs[1:], atol=1e-12) == same
        assert not np.allclose(ours[0], theirs[0], atol=0.01)
    kept, target = STEPS.schedule.alpha_bar, clumps(1.0)
    rise = [target.entropy(float(STEPS.schedule.tau[t])) + 0.5 * math.log(float(kept[t])) for t in (1, 6)]
    assert 0 <= rise[1] - rise[0] <= 0.5 * math.log(float((1 - kept[6]) / STEPS.schedule.beta[1]))


@pytest.mark.equation("eq-bound-two-variances")
def test_the_two_fixed_variances_have_the_entropies_of_the_bounds():
    kernel = forward_kernels.GaussianKernel(3, schedules.geometric(5, 0.02, 8.0))
    limits, x0, xt = entropy_bounds.step_bounds(kernel, 0.0), randn(3), randn(3, seed=1)
    for t in range(2, 6):
        close(limits.lower[t], kernel.posterior(x0, xt, t).entropy)
        close(limits.printed[t], 1.5 * torch.log(2 * math.pi * math.e * kernel.schedule.beta[t]))


def on_grid(target, tau):
    """Points z of the target at noise tau, their weights, and Var[y | z]: a trapezoidal rule on the line."""
    z = torch.linspace(-9, 9, 721, dtype=torch.float64).unsqueeze(1) * math.sqrt(target.variance + tau + 1)
    weight = target.log_prob(z, tau).exp() * float(z[1] - z[0])
    return z, weight, target.posterior_covariance(z, tau)[:, 0, 0]


def mean_variance(target, tau):
    """E Var[y | z], the least mean square error."""
    _, weight, variance = on_grid(target, tau)
    return float(weight @ variance)


@pytest.mark.equation("eq-bound-best-variance")
@pytest.mark.parametrize("variance", [0.4, 1.0, 4.0])
def test_the_best_single_variance_lies_between_the_two(variance):
    """By the mean square of x_{t-1} about its mean given x_t, from second moments; against the divergence itself."""
    target, above = clumps(variance), []

    def linear(target, t):
        """The mean square error of the guess sqrt(abar_t) x_t."""
        kept = float(STEPS.schedule.alpha_bar[t])
        return (1 - kept) ** 2 * target.mean_square + kept * (1 - kept)

    for t in range(2, 7):
        _, b, v = (float(c) for c in STEPS.bridge(t))
        tau, beta = float(STEPS.schedule.tau[t]), float(STEPS.schedule.beta[t])
        best = v + b**2 * mean_variance(target, tau)
        _, weight, spread = on_grid(target, tau)
        true = v + b**2 * spread  # Var[x_{t-1} | x_t], by eq-reverse-moments
        s = torch.tensor(best, dtype=torch.float64, requires_grad=True)
        price = weight @ (s.log() + true / s)  # twice the E KL to the Gaussian with the right mean and variance s
        close(torch.autograd.grad(price, s)[0], 0.0, atol=1e-7)
        assert v < best
        above.append(best > beta)
        assert mean_variance(target, tau) <= linear(target, t)
        normal = mixtures.Mixture(torch.zeros(1, 1), torch.ones(1), 1.0)  # for which no guess is better
        assert mean_variance(normal, tau) == pytest.approx(linear(normal, t), rel=1e-6)
        assert v + b**2 * (1 - float(STEPS.schedule.alpha_bar[t])) == pytest.approx(beta, rel=1e-12)
    assert any(above) == (variance > 1)


@pytest.mark.equation("eq-bound-ends")
@pytest.mark.parametrize("held", [False, True])
def test_with_many_steps_only_the_ends_of_the_schedule_matter(held):
    """Two clumps, best covariance or the one held at v_t: the sums of two schedules, and the integral of the mmse."""
    target, r_1, r_T = clumps(1.0), 60.0, 0.2
    area = quad(lambda log_r: math.exp(log_r) * mean_variance(target, math.exp(-log_r)), math.log(r_T), math.log(r_1))
    limit, errors = 0.5 * area[0], []
    for T in (40, 80):
        for r in (np.geomspace(r_1, r_T, T), 1 / (1 / np.linspace(r_1 / (1 + r_1), r_T / (1 + r_T), T) - 1)):
            total = 0.0
            for before, now in itertools.pairwise(r):
                _, weight, variance = on_grid(target, 1 / now)
                cost = (before - now) * variance
                total += 0.5 * float(weight @ (cost if held else torch.log1p(cost)))
            errors.append(total - limit)
    share = 0.5 if held else 0.25  # what is left is of order 1 / T, or 1 / T^2
    assert errors[2:] == pytest.approx([share * e for e in errors[:2]], rel=0.15)
    assert all(0 < e < 0.2 * limit for e in errors) and limit > 0.5


# The schedule, learned


class RightMean(torch.nn.Module):
    def __init__(self, s2):
        super().__init__()
        self.s2 = torch.nn.Parameter(torch.tensor(s2, dtype=torch.float64))

    def forward(self, x, t, log_tau):
        tau = log_tau.exp().unsqueeze(-1)
        return (self.s2 - 1) * tau.sqrt() / (self.s2 + tau) * x


S2, RATES = 0.3, [0.05, 0.1, 0.3, 0.2]


def sampled_bound(beta, n, seed):
    """K (n,) by the library, at frozen draws."""
    kernel = forward_kernels.GaussianKernel(1, schedules.from_beta(beta))
    model = DiffusionModel(kernel, GaussianReverse(RightMean(S2), kernel, "posterior"))
    x0 = math.sqrt(S2) * randn(n, 1, seed=seed)
    kl = [bound.step_kl(model, x0, t, randn(n, 1, seed=100 * seed + t)) for t in range(2, len(RATES) + 1)]
    prior, edge, last, first = bound.ends(kernel, x0)
    return prior + edge + last - first - sum(kl)


@pytest.mark.equation("eq-bound-beta-K")
def test_closed_form_of_k():
    K = sampled_bound(torch.tensor([0.0, *RATES], dtype=torch.float64), 40_000, 1).detach()
    close_mean(K, optimal_schedule_gaussian.bound(RATES, S2))
    chain = schedules.from_beta(torch.tensor([0.0, *RATES], dtype=torch.float64))
    kernel = forward_kernels.GaussianKernel(1, chain)
    back = [GaussianReverse(RightMean(S2), kernel, "posterior")(torch.ones(1, 1), t, kernel) for t in range(2, 5)]
    slope, spread = [0, 0, *(float(b.mean.detach()) for b in back)], [0, 0, *(float(b.scale.square()) for b in back)]
    line = bound_derivation.gaussian(chain, S2, slope, spread)[9]
    assert sum(line.values()) == pytest.approx(optimal_schedule_gaussian.bound(RATES, S2), abs=1e-6)


@pytest.mark.equation("eq-bound-beta-gradient")
def test_gradient_of_k_by_finite_differences():
    exact, h = optimal_schedule_gaussian.gradient(RATES, S2), 1e-6
    assert np.isnan(exact[:2]).all()
    for j in range(2, len(RATES) + 1):
        ends = []
        for side in (h, -h):
            moved = list(RATES)
            moved[j - 1] += side
            ends.append(optimal_schedule_gaussian.bound(moved, S2))
        assert exact[j] == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


@pytest.mark.equation("eq-bound-frozen")
def test_gradient_through_frozen_noise():
    beta = torch.tensor([0.0, *RATES], dtype=torch.float64, requires_grad=True)
    batches = torch.stack([torch.autograd.grad(sampled_bound(beta, 400, i).mean(), beta)[0] for i in range(2, 62)])
    close_mean(batches[:, 2:], torch.from_numpy(optimal_schedule_gaussian.gradient(RATES, S2)[2:]))


@pytest.mark.equation("eq-bound-beta-best")
@pytest.mark.parametrize("T", [2, 3, 6])
def test_the_best_schedule_charges_every_step_the_same(T):
    top, beta = optimal_schedule_gaussian.best(0.05, T, S2)
    u = optimal_schedule_gaussian.ratios(beta, S2)
    np.testing.assert_allclose(u[:-1] / u[1:], (u[0] / u[-1]) ** (1 / (T - 1)), rtol=1e-9)
    assert optimal_schedule_gaussian.bound(beta, S2) == pytest.approx(top, abs=1e-12)
    np.testing.assert_allclose(optimal_schedule_gaussian.gradient(beta, S2)[2:], 0, atol=2e-4)  # a stationary point
    noise = np.random.default_rng(0)
    for _ in range(50):  # and no neighbour, near or far, is better
        other = 1 / (1 + np.exp(-np.log(beta / (1 - beta)) - noise.choice([0.1, 1.0]) * noise.normal(size=T)))
        other[0] = 0.05
        assert optimal_schedule_gaussian.bound(other, S2) <= top + 1e-12


def test_sampled_lines_are_unbiased_for_both_kernels():
    """Not a claim of the book by itself: the figures of its Gaussian table."""
    chains = enumeration.coupled_bits(0.8, BETA)
    kernel = forward_kernels.BinomialKernel(3, schedules.from_beta(torch.tensor([0.0, *BETA], dtype=torch.float64)))

    network = AffineNetwork(0.4 * randn(3, 3), 0.2 * randn(3, seed=1))
    model = DiffusionModel(kernel, BernoulliReverse(network, kernel))
    exact = bound_derivation.lines(enumeration.from_model(model, chains.data))
    picks = torch.multinomial(torch.from_numpy(chains.data), 20_000, replacement=True, generator=rng())
    drawn = bound_derivation.sampled(model, torch.from_numpy(enumeration.states(3))[picks], rng(1))
    for number in range(3, 11):
        assert set(drawn[number]) == set(exact[number])
        for name, values in drawn[number].items():
            close_mean(values, exact[number][name])
    for number in range(4, 8):  # path by path
        close(sum(drawn[number].values()), drawn[3]["log w"])
