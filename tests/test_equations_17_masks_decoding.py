"""The labelled equations of masks and jumps on orders, decoding, jumps and noise: each broken by a wrong factor."""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import close_mean

from dpm_lib.core.random import seeded
from dpm_lib.diffusion import first_hitting, parallel_decoding
from dpm_lib.diffusion.first_hitting import leap_chance, mean_calls, step_chance
from dpm_lib.exact import any_order
from dpm_lib.exact.masked_decoders import MaskedDecoder, divergence, total_variation
from dpm_lib.information import erasure
from dpm_lib.probability.finite_gumbel import argmax_law, kept
from dpm_lib.probability.strings import StringLaw, chain_mean_entropies

D, S = 4, 3


@pytest.fixture(scope="module")
def law():
    joint = torch.rand((S,) * D, generator=seeded(5), dtype=torch.float64) ** 3
    return StringLaw(joint / joint.sum())


@pytest.fixture(scope="module")
def model(law):
    c = law.conditionals()
    return (c.log() + 0.4 * torch.randn(c.shape, generator=seeded(6), dtype=torch.float64)).softmax(-1)


def sets(tokens):
    return [A for k in range(len(tokens) + 1) for A in itertools.combinations(tokens, k)]


def seen(x, A):
    return tuple(x[i] if i in A else S for i in range(D))


def entropy(law, A):
    return float(law.subset_entropies()[tuple(int(i in A) for i in range(D))])


def E_of(law, u):
    """sum_i E H(x_i | x_A), one set at a time."""
    total = 0.0
    for i in range(D):
        for A in sets([j for j in range(D) if j != i]):
            weight = u ** len(A) * (1 - u) ** (D - 1 - len(A))
            total += weight * (entropy(law, (*A, i)) - entropy(law, A))
    return total


@pytest.mark.equation("eq-mk-one-step")
def test_a_step_costs_masked_cross_entropies(model):
    """The divergence of the two laws of x_{t-1}, all masked strings summed, for one string x."""
    x, u, v = (2, 0, 1, 1), 0.3, 0.55
    r, cost = (v - u) / (1 - u), 0.0
    for A in sets(range(D)):
        at = model[seen(x, A)]
        hidden = [i for i in range(D) if i not in A]
        for B in sets(hidden):  # q(x_{t-1} | x_t, x_0) shows these
            q = r ** len(B) * (1 - r) ** (len(hidden) - len(B))
            p = q * math.prod(float(at[i, x[i]]) for i in B)
            cost += u ** len(A) * (1 - u) ** len(hidden) * q * math.log(q / p)
    E = 0.0
    for i in range(D):
        for A in sets([j for j in range(D) if j != i]):
            E -= u ** len(A) * (1 - u) ** (D - 1 - len(A)) * math.log(model[seen(x, A)][i, x[i]])
    assert cost == pytest.approx((v - u) * E, abs=1e-12)


@pytest.mark.equation("eq-mk-bound")
def test_the_integral_is_the_mean_over_orders(model):
    x, nodes = (2, 0, 1, 1), np.polynomial.legendre.leggauss(8)
    total = 0.0
    for s, w in zip(*nodes, strict=True):
        u = (s + 1) / 2
        for i in range(D):
            for A in sets([j for j in range(D) if j != i]):
                chance = u ** len(A) * (1 - u) ** (D - 1 - len(A))
                total -= w / 2 * chance * math.log(model[seen(x, A)][i, x[i]])
    orders = [
        -sum(math.log(model[seen(x, o[:k])][o[k], x[o[k]]]) for k in range(D)) for o in itertools.permutations(range(D))
    ]
    assert total == pytest.approx(sum(orders) / 24, abs=1e-12)
    assert -float(any_order.bound(model)[x]) == pytest.approx(total, abs=1e-12)
    assert math.exp(-total) < 0.999 * any_order.one_at_a_time(model)[x]


@pytest.mark.equation("eq-mk-mixture")
def test_what_is_drawn_is_the_mixture_of_the_orders(model):
    decoder = MaskedDecoder(model)
    assert total_variation(decoder.law([decoder.at_random(1)] * D), any_order.one_at_a_time(model)) < 1e-13


@pytest.mark.equation("eq-mk-area")
def test_the_area_is_the_entropy(law):
    s, w = np.polynomial.legendre.leggauss(8)
    area = sum(w / 2 * E_of(law, (s + 1) / 2) for s, w in zip(s, w, strict=True))
    direct = -float(torch.xlogy(law.joint, law.joint).sum())
    assert area == pytest.approx(direct, abs=1e-12)


@pytest.mark.equation("eq-mk-bernstein")
def test_the_curve_is_a_polynomial_of_mean_entropies(law):
    h = [np.mean([entropy(law, A) for A in itertools.combinations(range(D), k)]) for k in range(D + 1)]
    for u in (0.0, 0.2, 0.7, 1.0):
        terms = [(h[k + 1] - h[k]) * math.comb(D - 1, k) * u**k * (1 - u) ** (D - 1 - k) for k in range(D)]
        assert D * sum(terms) == pytest.approx(E_of(law, u), abs=1e-12)


@pytest.mark.equation("eq-mk-slope")
def test_the_slope_is_the_information_of_pairs(law):
    u, pairs = 0.4, 0.0
    for i, j in itertools.permutations(range(D), 2):
        for A in sets([k for k in range(D) if k not in (i, j)]):
            know = entropy(law, (*A, i)) + entropy(law, (*A, j)) - entropy(law, A) - entropy(law, (*A, i, j))
            pairs += u ** len(A) * (1 - u) ** (D - 2 - len(A)) * know
    e = 1e-4
    assert (E_of(law, u - e) - E_of(law, u + e)) / (2 * e) == pytest.approx(pairs, abs=1e-6)
    assert float(erasure.pair_information(law.mean_entropies(), u)) == pytest.approx(pairs, abs=1e-12)


@pytest.mark.equation("eq-mk-lost")
def test_a_step_loses_the_multi_information(law):
    apart, c = 0.0, law.conditionals()
    for a in range(S):  # x_0 stands, x_1 and x_3 are drawn
        whole = law.joint[a].sum(1) / law.joint[a].sum()
        each = torch.outer(c[a, S, S, S, 1], c[a, S, S, S, 3])
        apart += float(law.joint[a].sum()) * divergence(whole, each)
    assert law.total_correlation([1, 3], [0]) == pytest.approx(apart, abs=1e-12)


@pytest.mark.equation("eq-mk-riemann")
def test_the_loss_is_that_of_the_sets_averaged(law):
    sizes, mean = (1, 2, 1), 0.0
    for order in itertools.permutations(range(D)):
        mean += law.total_correlation(order[1:3], order[:1]) / 24
    assert parallel_decoding.loss_of_sizes(law.mean_entropies(), sizes) == pytest.approx(mean, abs=1e-12)
    levels, thrown = (0.0, 0.35, 1.0), 0.0
    for first in sets(range(D)):
        rest = [i for i in range(D) if i not in first]
        weight = 0.35 ** len(first) * 0.65 ** len(rest)
        thrown += weight * (law.total_correlation(first) + law.total_correlation(rest, first))
    found = parallel_decoding.loss_of_levels(law.mean_entropies(), torch.tensor(levels, dtype=torch.float64))
    assert found == pytest.approx(thrown, abs=1e-12)


@pytest.mark.equation("eq-mk-ends")
def test_one_step_and_very_many(law):
    h = law.mean_entropies()
    alone = sum(entropy(law, (i,)) for i in range(D))
    rest = sum(entropy(law, range(D)) - entropy(law, [j for j in range(D) if j != i]) for i in range(D))
    assert parallel_decoding.loss_of_sizes(h, [D]) == pytest.approx(alone - float(h[-1]), abs=1e-12)
    many = parallel_decoding.loss_of_levels(h, torch.linspace(0, 1, 4001, dtype=torch.float64))
    assert 4000 * many == pytest.approx((alone - rest) / 2, rel=1e-3)


@pytest.mark.equation("eq-mk-floor")
def test_the_best_of_many_steps_come_to_the_floor():
    """Against exact optima: dynamic programming over a fine grid of levels, and over whole tokens."""
    P = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    h = chain_mean_entropies(torch.tensor([2 / 3, 1 / 3], dtype=torch.float64), P, 128)
    u = torch.linspace(0, 1, 401, dtype=torch.float64)
    step = (u[None] - u[:, None]) * erasure.masked_cross_entropy(h, u)[:, None]
    step[u[None] <= u[:, None]] = torch.inf
    best, steps = step[0], 32
    for _ in range(steps - 1):
        best = (best[:, None] + step).amin(0)
    floor = parallel_decoding.floor(h, steps)
    assert float(best[-1] - h[-1]) == pytest.approx(floor, rel=0.02)
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    length = float(erasure.pair_information(h, (grid[1:] + grid[:-1]) / 2).sqrt().mean())
    assert floor == pytest.approx(length**2 / (2 * steps), rel=1e-4)
    assert parallel_decoding.length(h) == pytest.approx(length, rel=1e-4)
    whole = floor - float(h[1] - (h[-1] - h[-2])) / 2
    assert parallel_decoding.floor(h, steps, whole=True) == pytest.approx(whole, rel=1e-12)
    assert parallel_decoding.best_sizes(h, steps)[1] == pytest.approx(whole, rel=0.03)


@pytest.mark.equation("eq-mk-adaptive")
def test_any_order_that_sees_only_what_stands_is_exact(law):
    """An order drawn anew for each masked string."""
    decoder, generator = MaskedDecoder(law.conditionals()), seeded(7)
    for _ in range(3):
        wish = torch.rand(decoder.masked.shape, generator=generator, dtype=torch.float64)
        first = torch.where(decoder.masked, wish, -1.0).argmax(-1)
        one = torch.nn.functional.one_hot(first, D).to(torch.float64)
        assert total_variation(decoder.law([decoder.independently(one)] * D), law.joint) < 1e-13
    by_draw = decoder.law([decoder.by_drawn_confidence(1)] * D)
    assert total_variation(by_draw, law.joint) > 0.05


@pytest.mark.equation("eq-mk-below")
def test_the_law_is_nearer_than_the_loss_says(law):
    decoder, h = MaskedDecoder(law.conditionals()), law.mean_entropies()
    for k in (2, 4):
        p = decoder.law([decoder.at_random(k)] * (D // k))
        loss = parallel_decoding.loss_of_sizes(h, [k] * (D // k))
        assert divergence(law.joint, p) <= loss + 1e-12
    scaled = []
    for n in (64, 128):
        chances = [step_chance(j / n, (j + 1) / n) for j in range(n)]
        p = decoder.law([decoder.independently(c) for c in chances])
        loss = parallel_decoding.loss_of_levels(h, torch.linspace(0, 1, n + 1, dtype=torch.float64))
        scaled.append((n * total_variation(law.joint, p), n * loss, divergence(law.joint, p) / loss))
    assert scaled[1][0] == pytest.approx(scaled[0][0], rel=0.02)
    assert scaled[1][1] == pytest.approx(scaled[0][1], rel=0.02)
    assert 0.4 < scaled[1][2] / scaled[0][2] < 0.75  # one more power of 1/n, up to a slow factor


@pytest.mark.equation("eq-mk-stay")
def test_gibbs_keeps_the_law_and_two_at_once_do_not(law):
    decoder = MaskedDecoder(law.conditionals())
    start = torch.zeros((S + 1,) * D, dtype=torch.float64)
    start[(slice(0, S),) * D] = law.joint
    start = start.reshape(-1)
    assert total_variation(start @ decoder.redraw(1), start) < 1e-13
    assert total_variation(start @ decoder.redraw(2), start) > 1e-3


@pytest.mark.equation("eq-mk-hitting")
def test_the_times_of_first_hitting_are_those_of_uniform_clocks():
    n, d = 20_000, 4
    uniform = torch.full((n, d, 2), 0.5, dtype=torch.float64)
    _, times = first_hitting.first_hitting(lambda x: uniform, d, 2, n, seeded(8))
    rank = times.sort(1).values
    for k in range(d):  # the k-th of d uniforms has mean (k+1)/(d+1)
        mean = (k + 1) / (d + 1)
        close_mean(rank[:, k], mean)
        close_mean((rank[:, k] - mean).square(), mean * (1 - mean) / (d + 2))
    assert abs(float((times[:, 0] < times[:, 3]).double().mean()) - 0.5) < 4 * 0.5 / n**0.5


@pytest.mark.equation("eq-mk-calls")
def test_the_steps_that_show_something(law):
    levels = torch.tensor([0.0, 0.1, 0.5, 1.0], dtype=torch.float64)
    idle = 0.0  # steps in which none of D tokens comes
    for when in itertools.product(range(3), repeat=D):
        weight = math.prod((0.1, 0.4, 0.5)[k] for k in when)
        idle += weight * (3 - len(set(when)))
    assert mean_calls(D, levels) == pytest.approx(3 - idle, abs=1e-12)
    assert 3.99 < mean_calls(D, torch.linspace(0, 1, 2001, dtype=torch.float64)) <= D


@pytest.mark.equation("eq-mk-left")
def test_leaps_leave_masks(law):
    decoder, n = MaskedDecoder(law.conditionals()), 8
    kernels = [decoder.independently(leap_chance(j / n, (j + 1) / n)) for j in range(n)]
    left = float(decoder.draws(kernels)[S].sum())
    assert left == pytest.approx(math.exp(-sum(1 / k for k in range(1, n + 1))), abs=1e-12)
    assert first_hitting.left_by_leaps(n) == pytest.approx(left, abs=1e-12)
    harmonic = sum(1 / k for k in range(1, 100_001))
    assert math.exp(-harmonic) * 100_000 == pytest.approx(0.56, abs=0.005)


@pytest.mark.equation("eq-mk-planck")
def test_few_bits_cut_small_chances_by_planck():
    p, m, bits = np.array([4.0, 1.0, 0.4]) * 2.0**-18, 300, 18
    law = argmax_law(np.append(p, 1 - m * p.sum()), np.array([m, m, m, 1]), bits)[:-1]
    x = 2.0**-bits / p
    assert np.allclose(law / (m * p), x / np.expm1(x), rtol=0.02)
    assert np.allclose(kept(p, bits), x / np.expm1(x), rtol=1e-12)
