"""Codebooks: the sums over kinds of string against sums over all strings, and the best reverse kernel."""

import math

import pytest
import torch
from problems import all_bits, close, close_mean, randn, random_schedule, rng, short_schedule

from dpm_lib.core import results
from dpm_lib.core.constants import LN2
from dpm_lib.diffusion import best_bound, best_bound_bits, bound, schedules
from dpm_lib.diffusion.best_bound_bits import BitBound, ExactReverse
from dpm_lib.diffusion.forward_kernels import BinomialKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import LearnedSchedule
from dpm_lib.probability.codebooks import Codebook, heartbeat
from dpm_lib.training import evaluation

SKEW = Codebook(
    torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]), torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
)
SMALL = {"skew": SKEW, "beat": heartbeat(6, 3), "one": Codebook(torch.tensor([[1, 0, 1]]))}


def joint(book: Codebook, kernel: BinomialKernel, t: int) -> torch.Tensor:
    """q(row, x_t) over all strings, (k, 2^d)."""
    return book.weights.unsqueeze(1) * kernel.marginal(book.rows.unsqueeze(1), t).log_prob(all_bits(book.dim)).exp()


def cost(book: Codebook, kernel: BinomialKernel, t: int) -> float:
    """E KL of the best reverse step: every row and string, and the law of each bit as a plain mean of posteriors."""
    bits, q = all_bits(book.dim), joint(book, kernel, t)
    posterior = kernel.posterior(book.rows.unsqueeze(1), bits, t).mean  # (k, 2^d, d)
    best = ((q / q.sum(0)).unsqueeze(-1) * posterior).sum(0)
    kl = posterior * (posterior / best).log() + (1 - posterior) * ((1 - posterior) / (1 - best)).log()
    return float((q.unsqueeze(-1) * kl).sum())


def entropy(p: torch.Tensor) -> float:
    return -float(torch.xlogy(p, p).sum())


@pytest.mark.parametrize("name", SMALL)
def test_costs_entropies_and_losses_are_sums_over_all_strings(name):
    book, schedule = SMALL[name], short_schedule()
    kernel, losses = BinomialKernel(book.dim, schedule), BitBound(book).losses(schedule)
    costs = BitBound(book).step_costs(schedule)
    entropies, informations = [book.entropy()], [book.entropy()]
    for t in range(1, 5):
        q = joint(book, kernel, t)
        entropies.append(entropy(q.sum(0)))
        informations.append(entropies[-1] - float(kernel.marginal(book.rows[0], t).entropy))
        close(BitBound(book).entropy(kernel.evidence[t]), entropies[-1])
    close(losses["edge"], entropies[1] - book.entropy(), atol=1e-11)
    close(losses["end"], book.dim * LN2 - entropies[-1], atol=1e-11)
    close(-best_bound.ceiling(book, schedule), entropies[1])
    for t in (2, 3, 4):
        close(costs[t], cost(book, kernel, t), atol=1e-12)
        close(losses["steps"][t], costs[t] - informations[t - 1] + informations[t], atol=1e-11)
    total = book.entropy() + float(losses["edge"] + losses["end"] + losses["steps"].sum())
    close(BitBound(book).best_bound(schedule), -total)


def test_a_learned_edge_step_costs_what_is_not_known_of_each_bit():
    book, schedule = SKEW, short_schedule()
    kernel = BinomialKernel(4, schedule)
    q = joint(book, kernel, 1)
    on = (q / q.sum(0)).T @ book.rows  # P(x_0,i = 1 | x_1)
    unknown = -(torch.xlogy(on, on) + torch.xlogy(1 - on, 1 - on)).sum(-1)
    cost = float((q.sum(0) * unknown).sum())
    close(BitBound(book).step_costs(schedule)[1], cost)
    difference = BitBound(book).best_bound(schedule, learned_edge=True) - BitBound(book).best_bound(schedule)
    close(difference, float(kernel.marginal(book.rows[0], 1).entropy) - cost)


def test_kinds_of_the_heartbeat():
    classes = BitBound(heartbeat())
    assert classes.symmetric and len(classes.ones) == 126 == math.comb(9, 4)
    close(classes.log_count.exp().sum(), 2.0**20)
    plain = Codebook(heartbeat().rows, torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2]) + torch.tensor([1, -1, 0, 0, 0]) * 1e-3)
    assert not BitBound(plain).symmetric and len(BitBound(plain).ones) == 5**5


def test_merging_kinds_changes_nothing(monkeypatch):
    schedule = random_schedule(6)
    merged = BitBound(heartbeat(8, 4))
    monkeypatch.setattr(best_bound_bits.BitBound, "symmetric", False)
    plain = best_bound_bits.BitBound(heartbeat(8, 4))
    assert len(plain.ones) == 81 and len(merged.ones) == 15
    close(plain.step_costs(schedule), merged.step_costs(schedule))
    close(plain.best_bound(schedule), merged.best_bound(schedule))


def test_the_limits_of_the_paper():
    """The scouted figures of its schedule, in bits, from T = 100 to its own T = 2000."""
    for T, limit in ((100, -3.280), (1000, -2.451), (2000, -2.3914)):
        assert float(BitBound(heartbeat()).best_bound(schedules.even(T))) / LN2 == pytest.approx(limit, abs=5e-4)


def test_the_best_reverse_kernel_reaches_the_limit():
    schedule, n = schedules.even(12, 0.02), 4000
    kernel, book = BinomialKernel(20, schedule), heartbeat()
    model = DiffusionModel(kernel, ExactReverse(book, kernel))
    K = bound.terms(model, book.sample(n, rng()), rng(1)).K
    close_mean(K, float(BitBound(book).best_bound(schedule)))
    close(evaluation.excess(model, book, book.sample(50, rng()), rng(1)), 0.0, atol=1e-10)


def test_the_start_is_bayes_rule():
    kernel, bits = BinomialKernel(4, short_schedule()), all_bits(4)
    for t in (1, 3):
        q = joint(SKEW, kernel, t)
        close(SKEW.start(bits, kernel.evidence[t]).mean, (q / q.sum(0)).T @ SKEW.rows)


def test_the_bound_has_a_gradient_in_the_schedule():
    schedule = LearnedSchedule(short_schedule())
    (gradient,) = torch.autograd.grad(BitBound(SKEW).best_bound(schedule), schedule.log_increments)
    for i in range(3):
        values = []
        for h in (1e-5, -1e-5):
            with torch.no_grad():
                schedule.log_increments[i] += h
                values.append(float(BitBound(SKEW).best_bound(schedule)))
                schedule.log_increments[i] -= h
        assert float(gradient[i]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_the_best_schedule_is_better_than_its_neighbours():
    book = heartbeat(6, 3)
    best = best_bound_bits.best_schedule(book, 8, beta_1=1e-3)
    top = float(BitBound(book).best_bound(best))
    close(best.beta[1], 1e-3, rtol=1e-9)
    for seed in range(10):
        other = LearnedSchedule(best)
        with torch.no_grad():
            other.log_increments += 0.05 * randn(7, seed=seed)
        assert float(BitBound(book).best_bound(other).detach()) <= top + 1e-9
    assert top > float(BitBound(book).best_bound(schedules.cosine(8, 1e-3, 1e3)))


def test_samples_and_log_prob():
    x = SKEW.sample(20_000, rng())
    close_mean((x.unsqueeze(1) == SKEW.rows).all(-1).double(), SKEW.weights)
    close(SKEW.log_prob(SKEW.rows), SKEW.weights.log())
    assert float(SKEW.log_prob(torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=torch.float64))) == -math.inf
    close(SKEW.entropy(), -sum(p * math.log(p) for p in (0.5, 0.2, 0.3)))


def test_the_heartbeat():
    book = heartbeat()
    assert book.rows.shape == (5, 20) and bool((book.rows.sum(1) == 4).all())
    assert book.rows[2].nonzero().flatten().tolist() == [2, 7, 12, 17]
    close(book.entropy() / LN2, math.log2(5))
    with pytest.raises(ValueError, match="period: 6 does not divide the length 20"):
        heartbeat(20, 6)


@pytest.mark.parametrize(
    ("rows", "weights", "message"),
    [
        (torch.zeros(3), None, r"rows: need shape \(n, d\), .* got \(3,\)"),
        (torch.tensor([[0.0, 0.5]]), None, r"rows: 0\.5 at index \(0, 1\): neither 0 nor 1"),
        (torch.tensor([[0, 1], [0, 1]]), None, "rows: two of them are the same"),
        (torch.tensor([[0, 1], [1, 1]]), torch.tensor([0.0, 1.0]), "weights: need 2 positive numbers that sum to 1"),
        (torch.tensor([[0, 1], [1, 1]]), torch.tensor([1.0]), "weights: need 2 positive numbers"),
    ],
)
def test_bad_codebooks_are_refused(rows, weights, message):
    with pytest.raises(ValueError, match=message):
        Codebook(rows, weights)


def test_too_many_kinds_are_refused():
    with pytest.raises(ValueError, match=r"rows: 262144 kinds of string are more than 100000"):
        _ = BitBound(Codebook(torch.cat([torch.eye(18), torch.zeros(1, 18)])))


# --- Edges ---


def test_a_constant_column_keeps_gradients_finite():
    rows = torch.tensor([[1.0, 0, 1, 0], [1, 1, 0, 0]], dtype=torch.float64)
    learned = schedules.LearnedSchedule(schedules.cosine(6, 1e-3, 1e3))
    BitBound(Codebook(rows)).best_bound(learned).backward()
    assert all(torch.isfinite(p.grad).all() for p in learned.parameters())


def test_merged_kinds_are_counted_after_merging():
    """Sorted counts stand for all their orders: together as many as there are strings."""
    for length, period, kinds in ((20, 5, 126), (40, 10, 1001), (60, 5, 6188)):
        classes = BitBound(heartbeat(length, period))
        assert len(classes.ones) == kinds
        close(classes.log_count.logsumexp(0), length * math.log(2))


def test_long_strings_do_not_overflow():
    classes = BitBound(Codebook(torch.ones(1, 1100, dtype=torch.float64)))
    close(classes.log_count.logsumexp(0), 1100 * math.log(2))
    assert torch.isfinite(classes.best_bound(schedules.even(5)))


def test_whole_numbers_are_states_and_infinite_evidence_is_refused():
    book, evidence = heartbeat(), torch.tensor(1.0, dtype=torch.float64)
    x = book.rows[0]
    close(book.start(x.long(), evidence).logits, book.start(x, evidence).logits)
    for ask in (lambda e: book.start(x, e), BitBound(book).entropy):
        with pytest.raises(ValueError, match="evidence: inf: at t = 0 nothing is hidden"):
            ask(torch.tensor(math.inf))


def test_the_measured_runs_keep_their_promises():
    """What the chapter quotes: near the exact limit, and above the paper's figure with a twentieth of its steps."""
    run = results.read("heartbeat.json")
    assert run["exact_limit_bits"] - run["bound_bits_paired"] < 0.005 and run["settings"]["T"] <= 100
    assert run["bound_bits_paired"] - 3 * run["gap_bits_stderr"] > -2.414


def test_weights_in_single_precision_are_renormalised():
    """A softmax of a thousand numbers is off by more than rounding in float64 could be."""
    rows = all_bits(10)
    weights = torch.softmax(3 * randn(1024).float(), 0)
    book = Codebook(rows, weights)
    assert float(book.weights.sum()) == pytest.approx(1, abs=1e-14) and book.weights.dtype == torch.float64
    close(book.weights, weights.double() / weights.double().sum())
    with pytest.raises(ValueError, match=r"weights: need a sum of 1, got 1\.1"):
        Codebook(torch.tensor([[0, 1], [1, 1]]), torch.tensor([0.5, 0.6]))
