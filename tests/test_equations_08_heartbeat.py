"""Every claim of the chapter on bits, by two routes: formulas of the chapter, and sums over all strings."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import all_bits, bit_model, close, close_mean, randn, rng, short_schedule
from scipy.special import rel_entr

from dpm_lib.diffusion import bound, schedules
from dpm_lib.diffusion.best_bound_bits import BitBound
from dpm_lib.diffusion.forward_kernels import BinomialKernel
from dpm_lib.diffusion.schedules import from_beta
from dpm_lib.exact.enumeration import FiniteChains, flip_kernel, product_of_bits, states
from dpm_lib.probability.codebooks import Codebook, heartbeat
from dpm_lib.probability.distributions import Bernoulli

BETA = torch.tensor([0.0, 0.15, 0.4, 0.7], dtype=torch.float64)
BOOK = Codebook(
    torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]), torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
)


def flip(beta: float) -> torch.Tensor:
    """One bit: with probability 1 - beta keep it, else throw a coin. Row: before, column: after."""
    return (1 - beta) * torch.eye(2, dtype=torch.float64) + beta * torch.full((2, 2), 0.5, dtype=torch.float64)


def string_matrix(beta: float, d: int) -> torch.Tensor:
    """The same for strings of d bits, (2^d, 2^d), by Kronecker products."""
    whole = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(d):
        whole = torch.kron(whole, flip(beta))
    return whole


def entropy(p: torch.Tensor) -> float:
    return -float(torch.xlogy(p, p).sum())


class Chain:
    """Joint laws of a codebook's chain over all strings, by matrices alone: q0 (2^d), steps, marginals."""

    def __init__(self, book: Codebook = BOOK, beta: torch.Tensor = BETA) -> None:
        self.book, self.d, self.T = book, book.dim, len(beta) - 1
        self.bits = all_bits(book.dim)
        place = (2 ** torch.arange(self.d - 1, -1, -1)).double()
        start = torch.zeros(2**self.d, dtype=torch.float64)
        self.rows = (book.rows @ place).long()
        start[self.rows] = book.weights
        self.step = [torch.eye(2**self.d, dtype=torch.float64)] + [string_matrix(float(b), self.d) for b in beta[1:]]
        self.leap = [self.step[0]]  # q(x_t | x_0)
        for matrix in self.step[1:]:
            self.leap.append(self.leap[-1] @ matrix)
        self.start, self.law = start, [start @ leap for leap in self.leap]

    def pair(self, t: int) -> torch.Tensor:
        """q(x_{t-1}, x_t)."""
        return self.law[t - 1].unsqueeze(1) * self.step[t]

    def triple(self, t: int) -> torch.Tensor:
        """q(x_0, x_{t-1}, x_t)."""
        return self.start[:, None, None] * self.leap[t - 1][:, :, None] * self.step[t][None]

    def bit_given(self, t: int) -> torch.Tensor:
        """q(x_{t-1,i} = 1 | x_t), (2^d, d)."""
        return (self.pair(t) / self.law[t]).T @ self.bits

    def apart(self, t: int) -> float:
        """C_t: the sum of the bits' conditional entropies less that of the string."""
        on = self.bit_given(t)
        each = -(torch.xlogy(on, on) + torch.xlogy(1 - on, 1 - on)).sum(-1)
        return float((self.law[t] * each).sum()) - (entropy(self.pair(t)) - entropy(self.law[t]))

    def information(self, t: int) -> float:
        """I(X_t; X_0)."""
        return entropy(self.law[t]) + entropy(self.start) - entropy(self.start.unsqueeze(1) * self.leap[t])

    def least_kl(self, t: int) -> float:
        """E KL(q(x_{t-1} | x_t, x_0) || product of its own marginals given x_t), by brute force."""
        joint, on = self.triple(t), self.bit_given(t)
        given = joint / joint.sum(1, keepdim=True).clamp(min=1e-300)
        log_p = self.bits @ on.log().T + (1 - self.bits) @ (1 - on).log().T  # (x_{t-1}, x_t)
        return float((joint * (given.clamp(min=1e-300).log() - log_p.unsqueeze(0))).sum())


@pytest.mark.equation("eq-bits-marginal")
def test_signs_fade():
    kernel, leap = BinomialKernel(1, from_beta(BETA)), torch.eye(2, dtype=torch.float64)
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    for t in range(1, 4):
        leap = leap @ flip(float(BETA[t]))
        kept = float((1 - BETA[1 : t + 1]).prod())
        close(leap @ signs, kept * signs)
        for x0 in (0, 1):
            close(leap[x0, 1], kept * x0 + 0.5 * (1 - kept))
            close(kernel.marginal(torch.tensor([float(x0)]).double(), t).mean[0], leap[x0, 1])


@pytest.mark.equation("eq-bits-posterior")
def test_log_odds_add():
    """Bayes' rule over paths of one bit, against two artanhs."""
    kernel, leap = BinomialKernel(1, from_beta(BETA)), torch.eye(2, dtype=torch.float64)
    for t in range(1, 4):
        step = flip(float(BETA[t]))
        for x0, xt in itertools.product((0, 1), (0, 1)):
            if t > 1:
                odds = math.log(leap[x0, 1] * step[1, xt]) - math.log(leap[x0, 0] * step[0, xt])
                kept = float((1 - BETA[1:t]).prod())
                claim = 2 * math.atanh(1 - float(BETA[t])) * (2 * xt - 1) + 2 * math.atanh(kept) * (2 * x0 - 1)
                assert odds == pytest.approx(claim, rel=1e-10)
                states = (torch.tensor([float(v)]).double() for v in (x0, xt))
                close(kernel.posterior(*states, t).logits[0], odds)
        leap = leap @ step


@pytest.mark.equation("eq-bits-K")
def test_the_bound_for_bits_is_the_mean_log_weight_of_paths():
    """K of an untrained model of 2 bits, T = 3, over all 4^3 paths from each x_0; and the library's terms."""
    model = bit_model(from_beta(BETA), 2)
    bits, kernel = all_bits(2), model.kernel
    with torch.no_grad():
        forward = [None] + [string_matrix(float(b), 2) for b in BETA[1:]]
        back = [None] + [torch.stack([model.reverse_step(bits, t).log_prob(x) for x in bits], 1) for t in (1, 2, 3)]
        for start in range(4):
            total = 0.0
            for path in itertools.product(range(4), repeat=3):
                states, p, log_w = (start, *path), 1.0, -2 * math.log(2)
                for t in (1, 2, 3):
                    q = float(forward[t][states[t - 1], states[t]])
                    p, log_w = p * q, log_w + float(back[t][states[t], states[t - 1]]) - math.log(q)
                total += p * log_w
            x0 = bits[start]
            K = -2 * math.log(2) + float(kernel.marginal(x0, 3).entropy - kernel.marginal(x0, 1).entropy)
            for t in (2, 3):
                p = kernel.marginal(x0, t).log_prob(bits).exp()
                K -= float((p * kernel.posterior(x0, bits, t).kl(model.reverse(bits, t, kernel))).sum())
            assert total == pytest.approx(K, abs=1e-12)
            close_mean(bound.terms(model, x0.expand(4000, 2), rng(start)).K, K)


@pytest.mark.equation("eq-bits-entropy")
def test_the_entropy_of_the_flips():
    chain = Chain()
    for t in (1, 2, 3):
        p = 0.5 * (1 + float((1 - BETA[1 : t + 1]).prod()))
        claim = -4 * (p * math.log(p) + (1 - p) * math.log(1 - p))
        for row in chain.rows:
            assert entropy(chain.leap[t][row]) == pytest.approx(claim, rel=1e-10)
            close(chain.leap[t][row, row], p**4)  # the entropy does not tell p from 1 - p; staying as it was does


@pytest.mark.equation("eq-bits-best")
def test_the_best_product_of_bits():
    """Its KL is the sum of entropies; any other product is worse, by its divergence from the best."""
    chain = Chain()
    for t in (2, 3):
        joint, on = chain.triple(t), chain.bit_given(t)
        each = -(torch.xlogy(on, on) + torch.xlogy(1 - on, 1 - on)).sum(-1)
        known = entropy(joint) - entropy(joint.sum(1))
        least = chain.least_kl(t)
        assert least == pytest.approx(float((chain.law[t] * each).sum()) - known, abs=1e-12)
        given = joint / joint.sum(1, keepdim=True).clamp(min=1e-300)
        for seed in range(5):
            other = torch.sigmoid(torch.logit(on) + 0.3 * randn(*on.shape, seed=seed))  # given
            log_p = chain.bits @ other.log().T + (1 - chain.bits) @ (1 - other).log().T
            found = float((joint * (given.clamp(min=1e-300).log() - log_p)).sum())
            a, b = on.numpy(), other.numpy()
            worse = float(chain.law[t].numpy() @ (rel_entr(a, b) + rel_entr(1 - a, 1 - b)).sum(-1))
            assert found == pytest.approx(least + worse, abs=1e-12) and worse > 1e-3
    close(BitBound(BOOK).step_costs(from_beta(BETA))[2:], [chain.least_kl(2), chain.least_kl(3)])


@pytest.mark.equation("eq-bits-mixture")
def test_a_bit_back_needs_only_its_own_start():
    chain, kernel = Chain(), BinomialKernel(4, from_beta(BETA))
    for t in (2, 3):
        posterior = (chain.start.unsqueeze(1) * chain.leap[t]) / chain.law[t]
        on = posterior.T @ chain.bits  # P(x_{0,i} = 1 | x_t)
        one, zero = (kernel.posterior(torch.full_like(chain.bits, b), chain.bits, t).mean for b in (1.0, 0.0))
        close(on * one + (1 - on) * zero, chain.bit_given(t), rtol=1e-9)


@pytest.mark.equation("eq-bits-bayes")
def test_the_beat_is_a_softmax_of_counts():
    book = heartbeat(8, 4)
    kernel, bits = BinomialKernel(8, short_schedule()), all_bits(8)
    for t in (1, 3):
        log_joint = kernel.marginal(book.rows.unsqueeze(1), t).log_prob(bits)
        counts = (bits @ book.rows.T).T
        kept = float(kernel.schedule.alpha_bar[t])
        close(torch.softmax(log_joint, 0), torch.softmax(2 * math.log((1 + kept) / (1 - kept)) * counts, 0))


@pytest.mark.equation("eq-bits-kinds")
def test_the_kinds_of_string_are_counted_right():
    """A million strings are too many for a naive count in a test: three groups of four, 4096 strings; then 2^20."""
    naive = Counter(tuple(sorted(x)) for x in (bits.reshape(4, 3).sum(0).int().tolist() for bits in all_bits(12)))

    def strings(ones: tuple[int, ...]) -> int:
        orders = math.factorial(len(ones)) // math.prod(math.factorial(m) for m in Counter(ones).values())
        return orders * math.prod(math.comb(4, n) for n in ones)

    assert naive == {ones: strings(ones) for ones in naive} and len(naive) == math.comb(3 + 4, 4)
    kinds = list(itertools.combinations_with_replacement(range(5), 5))
    assert len(kinds) == math.comb(9, 4) == 126 and sum(map(strings, kinds)) == 2**20
    classes = BitBound(heartbeat())
    for ones, log_count in zip(classes.ones.int().tolist(), classes.log_count.tolist(), strict=True):
        assert math.exp(log_count) == pytest.approx(strings(tuple(ones)), rel=1e-12)


@pytest.mark.equation("eq-bits-erased")
def test_the_information_that_a_step_erases():
    chain = Chain()
    for t in (2, 3):
        joint = chain.triple(t)
        given_xt = entropy(chain.pair(t)) - entropy(chain.law[t])
        given_both = entropy(joint) - entropy(joint.sum(1))
        assert chain.information(t - 1) - chain.information(t) == pytest.approx(given_xt - given_both, abs=1e-12)


@pytest.mark.equation("eq-bits-released")
def test_a_kl_is_information_and_a_loss():
    chain, losses = Chain(), BitBound(BOOK).losses(from_beta(BETA))
    for t in (2, 3):
        erased = chain.information(t - 1) - chain.information(t)
        assert chain.least_kl(t) == pytest.approx(erased + chain.apart(t), abs=1e-12)
        assert chain.apart(t) > 1e-3
        close(losses["steps"][t], chain.apart(t))


@pytest.mark.equation("eq-bits-ledger")
def test_the_three_losses():
    """K by its definition, with brute-force KLs, against entropies of three marginals and the C_t."""
    chain = Chain()
    flips = [entropy(chain.leap[t][chain.rows[0]]) for t in (1, 3)]
    K = -4 * math.log(2) + flips[1] - flips[0] - chain.least_kl(2) - chain.least_kl(3)
    edge = entropy(chain.law[1]) - entropy(chain.start)
    end = 4 * math.log(2) - entropy(chain.law[3])
    assert K == pytest.approx(-entropy(chain.start) - edge - end - chain.apart(2) - chain.apart(3), abs=1e-12)
    close(BitBound(BOOK).best_bound(from_beta(BETA)), K)
    losses = BitBound(BOOK).losses(from_beta(BETA))
    close(losses["edge"], edge)
    close(losses["end"], end)
    assert min(edge, end) > 0.01


@pytest.mark.equation("eq-bits-edge")
def test_the_edge_is_where_the_flips_were():
    chain = Chain()
    p = float(BETA[1]) / 2
    flips = -4 * (p * math.log(p) + (1 - p) * math.log(1 - p))
    unknown = entropy(chain.start.unsqueeze(1) * chain.leap[1]) - entropy(chain.law[1])
    assert entropy(chain.law[1]) - entropy(chain.start) == pytest.approx(flips - unknown, abs=1e-12)
    close(BitBound(BOOK).losses(from_beta(BETA))["edge"], flips - unknown)


@pytest.mark.equation("eq-bits-coin")
def test_the_edge_with_coins_of_the_datas_own_activity():
    """One 1 in three bits, and coins that show 1 a third of the time: K by all paths, and the four losses by tables."""
    coin, beta = 1 / 3, [0.1, 0.3, 0.6]
    data = np.where(states(3).sum(1) == 1, 1 / 3, 0.0)
    step = [np.eye(8)] + [flip_kernel(3, b, coin) for b in beta]
    chains = FiniteChains(data, flip_kernel(3, 1.0, coin)[0], np.stack(step), np.stack(step))
    back = [product_of_bits(chains.reversal(t)) for t in (2, 3)]
    chains = replace(chains, reverse=np.stack([*step[:2], *back]))
    K, law = chains.mean(chains.log_weights), torch.from_numpy(chains.marginals)
    unknown = entropy(law[0].unsqueeze(1) * torch.from_numpy(step[1])) - entropy(law[1])

    def h(p):
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    edge = 2 * h(coin * 0.1) + h((1 - coin) * 0.1) - unknown
    assert edge == pytest.approx(entropy(law[1]) - entropy(law[0]), abs=1e-12)
    end = 3 * h(coin) - entropy(law[3])
    apart = sum(
        float((law[t].numpy()[:, None] * rel_entr(chains.reversal(t), chains.reverse[t])).sum()) for t in (2, 3)
    )
    assert abs(-math.log(3) - edge - end - apart - K) < 1e-12 < min(edge, end, apart)


@pytest.mark.equation("eq-bits-even")
def test_the_papers_schedule_is_a_straight_line():
    for T in (3, 10, 2000):
        kept = 1.0
        for t in range(1, T + 1):
            kept *= 1 - 1 / (T - t + 1)
            assert kept == pytest.approx(1 - t / T, abs=1e-12)
        close(schedules.even(T).alpha_bar, 1 - torch.arange(T + 1) / torch.tensor(T, dtype=torch.float64), atol=1e-12)


def small_step(law: torch.Tensor, alpha_bar: float, d: int) -> float:
    """f of the chapter from ratios of probabilities of strings that differ in one bit or two."""
    total = 0.0
    for i, k in itertools.combinations(range(d), 2):
        index = torch.arange(2**d)
        a, b = 2 ** (d - 1 - i), 2 ** (d - 1 - k)
        ri, rk, rik = law[index ^ a] / law, law[index ^ b] / law, law[index ^ a ^ b] / law
        total += float((law * (rik * (rik / (ri * rk)).log() - rik + ri * rk)).sum())
    return total / (4 * alpha_bar**2)


@pytest.mark.equation("eq-bits-pairs")
@pytest.mark.parametrize("alpha_bar", [0.9, 0.5, 0.2])
def test_a_small_step_loses_by_pairs(alpha_bar):
    """C / Delta^2 tends to f, with an error of order Delta."""
    chain = Chain(beta=torch.tensor([0.0, 1 - alpha_bar], dtype=torch.float64))
    f = small_step(chain.law[1], alpha_bar, 4)
    errors = []
    for stride in (0.004, 0.002):
        schedule = from_beta(torch.tensor([0.0, 1 - alpha_bar, stride / alpha_bar], dtype=torch.float64))
        errors.append(abs(float(BitBound(BOOK).losses(schedule)["steps"][2]) / stride**2 - f))
    assert errors[1] < 0.03 * f
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.1)


@pytest.mark.equation("eq-bits-equal")
def test_equal_losses_are_least():
    """The inequality for any strides; and, for short ones along a bell f, levels of equal loss against levels moved."""

    def excess(f: torch.Tensor, strides: torch.Tensor) -> float:
        return float((f * strides**2).sum() - (f.sqrt() * strides).sum() ** 2 / 9)

    for seed in range(20):
        f = randn(9, seed=seed).exp()
        assert excess(f, torch.softmax(randn(9, seed=50 + seed), 0)) > 1e-4
        close(excess(f, f.rsqrt()), 0.0, atol=1e-12)

    def bell(level: torch.Tensor) -> torch.Tensor:
        return 0.2 + 10 * torch.exp(-30 * (level - 0.55) ** 2)  # given: an f with a peak

    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    root = torch.cumulative_trapezoid(bell(grid).sqrt(), grid)  # the integral of the root of f, up to each level
    levels = torch.from_numpy(np.interp(np.linspace(0, float(root[-1]), 401), [0, *root], grid))

    def total(levels: torch.Tensor) -> float:
        return float((bell(0.5 * (levels[1:] + levels[:-1])) * levels.diff() ** 2).sum())

    assert total(levels) == pytest.approx(float(root[-1]) ** 2 / 400, rel=1e-4)
    losses = bell(0.5 * (levels[1:] + levels[:-1])) * levels.diff() ** 2
    close(losses, losses.mean(), rtol=2e-3)  # equal, for steps so short
    for k in (1, 2, 3):
        moved = levels + 0.02 * torch.sin(k * math.pi * levels)
        assert total(moved) > 1.001 * total(levels)
    assert total(torch.linspace(0, 1, 401).double()) == pytest.approx(float(bell(grid).mean()) / 400, rel=1e-3)


@pytest.mark.equation("eq-bits-equal")
def test_the_law_of_the_steps_holds_for_the_heartbeat():
    """What the steps lose at large T is the integral over T - 1, for even strides."""
    classes, totals = BitBound(heartbeat()), []
    for T in (200, 400):
        totals.append((T - 1) * float(classes.losses(schedules.even(T, 1e-6))["steps"].sum()))
    assert totals[0] == pytest.approx(totals[1], rel=5e-3)


@pytest.mark.equation("eq-bits-score")
def test_the_gradient_of_a_mean_over_bits():
    """d/db sum_x q_b(x) g_b(x), by differences, against the expectation of the two parts."""
    slope, x = randn(3), all_bits(3)

    def law(b: torch.Tensor) -> Bernoulli:
        return Bernoulli((slope * b + 0.3).expand(8, 3))  # given

    def g(b: torch.Tensor) -> torch.Tensor:
        return (b * x.sum(-1)).sin() + b**2  # given

    b, h = torch.tensor(0.7, dtype=torch.float64, requires_grad=True), 1e-6
    up, down = (float((law(v).log_prob(x).exp() * g(v)).sum()) for v in (b.detach() + h, b.detach() - h))
    q = law(b).log_prob(x).exp().detach()
    parts = q * (g(b) + g(b).detach() * law(b).log_prob(x))
    (claim,) = torch.autograd.grad(parts.sum(), b)
    assert float(claim) == pytest.approx((up - down) / (2 * h), rel=1e-7)
    (dropped,) = torch.autograd.grad((q * g(b)).sum(), b)  # without the score's part, which is not small
    (score,) = torch.autograd.grad((q * g(b).detach() * law(b).log_prob(x)).sum(), b)
    close(dropped + score, claim)
    assert abs(float(score)) > 1e-3
    (carried,) = torch.autograd.grad((q * g(b) * law(b).ratio(x)).sum(), b)
    close(carried, claim)
