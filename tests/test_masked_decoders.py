"""Exact laws of decoders of masked strings, against paths that are summed one by one; and draws of them."""

import itertools
import math

import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.diffusion import first_hitting
from dpm_lib.diffusion.first_hitting import leap_chance, left_by_leaps, mean_calls, step_chance
from dpm_lib.exact import any_order
from dpm_lib.exact.masked_decoders import MaskedDecoder, divergence, total_variation
from dpm_lib.probability.strings import StringLaw


def table(kinds=3, length=3, seed=0):
    joint = torch.rand((kinds,) * length, generator=seeded(seed), dtype=torch.float64) ** 3
    return StringLaw(joint / joint.sum())


def noisy(law, seed=1):
    """A model of no one joint law: the conditionals, disturbed."""
    c = law.conditionals()
    noise = torch.randn(c.shape, generator=seeded(seed), dtype=torch.float64)
    return (c.log().clamp(min=-30) + 0.5 * noise).softmax(-1)


def step_by_step(conditionals, choose):
    """The law of strings where ``choose(masked string)`` gives [(set of tokens, chance)], by recursion over paths."""
    d, S = conditionals.ndim - 2, conditionals.shape[-1]
    law = torch.zeros((S,) * d, dtype=torch.float64)

    def walk(x, weight):
        if S not in x:
            law[x] += weight
            return
        for tokens, chance in choose(x):
            for values in itertools.product(range(S), repeat=len(tokens)):
                p, y = weight * chance, list(x)
                for i, v in zip(tokens, values, strict=True):
                    p, y[i] = p * float(conditionals[x][i, v]), v
                walk(tuple(y), p)

    walk((S,) * d, 1.0)
    return law


def masked(x):
    return [i for i, v in enumerate(x) if v == 3]


def pairs(x):
    sets = list(itertools.combinations(masked(x), min(2, len(masked(x)))))
    return [(s, 1 / len(sets)) for s in sets]


def test_the_bound_is_the_mean_over_all_orders():
    law = table(3, 4)
    model = noisy(law)
    bound, orders = any_order.bound(model), any_order.by_orders(model)
    assert orders.shape == (24, 3, 3, 3, 3)
    assert float((bound - orders.mean(0)).abs().max()) < 1e-12
    x = (2, 0, 1, 1)
    assert float(orders[5][x]) == pytest.approx(
        sum(
            float(model[tuple(x[j] if j in order[:k] else 3 for j in range(4))][order[k], x[order[k]]].log())
            for order in [list(itertools.permutations(range(4)))[5]]
            for k in range(4)
        ),
        abs=1e-12,
    )
    cost = any_order.cross_entropies(law, model)
    assert float(cost.sum()) == pytest.approx(-float((law.joint * bound).sum()), abs=1e-12)
    drawn = any_order.one_at_a_time(model)
    assert float(drawn.sum()) == pytest.approx(1, abs=1e-12) and bool((drawn.log() > bound + 1e-6).any())
    assert float((any_order.bound(law.conditionals()) - law.joint.log()).abs().max()) < 1e-12


def test_a_model_that_is_wrong_only_where_nothing_is_asked_is_right():
    law = table()
    c = law.conditionals()
    c[0, 3, 3, 0] = 1 / 3  # what it says of a token that is shown
    assert float((any_order.bound(c) - law.joint.log()).abs().max()) < 1e-12


def test_decoders_draw_what_their_paths_add_up_to():
    law = table()
    model = noisy(law)
    decoder = MaskedDecoder(model)
    assert torch.allclose(decoder.law([decoder.at_random(1)] * 3), any_order.one_at_a_time(model), atol=1e-14)
    assert torch.allclose(decoder.law([decoder.at_random(2)] * 2), step_by_step(model, pairs), atol=1e-14)

    def surest(x, sign=1, size=2):
        worth = {i: sign * float(model[x][i].max()) for i in masked(x)}
        return [(sorted(worth, key=lambda i: -worth[i])[:size], 1.0)]

    assert torch.allclose(decoder.law([decoder.by_confidence(2)] * 2), step_by_step(model, surest), atol=1e-14)
    drawn = decoder.by_drawn_confidence(2)  # what the model says of tokens that stand is not asked for
    assert float((drawn.sum(-1) - 1).abs().max()) < 1e-12
    least = step_by_step(model, lambda x: surest(x, -1))
    assert torch.allclose(decoder.law([decoder.by_least_confidence(2)] * 2), least, atol=1e-14)


def test_one_token_at_a_time_is_exact_in_any_order_that_sees_only_what_stands():
    law = table()
    decoder = MaskedDecoder(law.conditionals())
    for kernel in (decoder.at_random(1), decoder.by_confidence(1), decoder.by_least_confidence(1)):
        assert total_variation(decoder.law([kernel] * 3), law.joint) < 1e-14


def test_an_order_that_looks_at_what_was_drawn_is_not():
    law = table(3, 2)
    decoder = MaskedDecoder(law.conditionals())
    found = decoder.law([decoder.by_drawn_confidence(1)] * 2)
    first, second = law.joint.sum(1), law.joint.sum(0)
    by_hand = torch.zeros(3, 3, dtype=torch.float64)
    for a, b in itertools.product(range(3), repeat=2):
        weight = float(first[a] * second[b])
        if first[a] >= second[b]:
            by_hand[a] += weight * law.joint[a] / first[a]
        else:
            by_hand[:, b] += weight * law.joint[:, b] / second[b]
    assert torch.allclose(found, by_hand, atol=1e-14) and total_variation(found, law.joint) > 0.1


def test_correctors():
    law = table()
    decoder = MaskedDecoder(law.conditionals())
    whole, gibbs = decoder.independently(1.0), decoder.redraw(1)
    gaps = [divergence(law.joint, decoder.law([whole] + [gibbs] * m)) for m in (0, 1, 4, 40)]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-6
    assert gaps[0] == pytest.approx(law.total_correlation(range(3)), abs=1e-12)
    pair = decoder.law([whole] + [decoder.redraw(2)] * 60)
    assert divergence(law.joint, pair) > 1e-3  # two at once: another law stays
    hidden = decoder.remask(0.25)
    x = decoder.strings.tolist().index([0, 1, 2])
    assert float(hidden[x, decoder.strings.tolist().index([3, 1, 3])]) == pytest.approx(0.25**2 * 0.75, abs=1e-15)
    with pytest.raises(ValueError, match=r"steps: 1: need no chance that a mask is left"):
        decoder.law([whole, decoder.remask(1.0)])


def test_leaps():
    law = table()
    decoder = MaskedDecoder(law.conditionals())
    u = [k / 8 for k in range(9)]
    steps = [decoder.independently(leap_chance(a, b)) for a, b in itertools.pairwise(u)]
    left = decoder.draws(steps).sum((1, 2))[-1]  # the first token is still a mask
    assert float(left) == pytest.approx(left_by_leaps(8), abs=1e-14)
    assert left_by_leaps(10**5) * 10**5 == pytest.approx(math.exp(-0.5772156649), rel=1e-4)
    even = [decoder.independently(step_chance(a, b)) for a, b in itertools.pairwise(u)]
    assert float(decoder.draws(even[:3]).sum((1, 2))[-1]) == pytest.approx(5 / 8, abs=1e-14)
    calls = mean_calls(2, torch.tensor([0.0, 0.5, 1.0]))
    assert calls == pytest.approx(1.5, abs=1e-14)  # both in one half with chance 1/2


def test_first_hitting_has_the_law_and_the_times():
    law, n = table(2, 3), 20_000
    c = law.conditionals()
    x, times = first_hitting.first_hitting(lambda z: c[tuple(z.T)], 3, 2, n, seeded(3))
    seen = torch.zeros(2, 2, 2, dtype=torch.float64)
    seen.index_put_(tuple(x.T), torch.ones(n, dtype=torch.float64) / n, accumulate=True)
    assert float(((seen - law.joint) / (law.joint * (1 - law.joint) / n).sqrt()).abs().max()) < 4
    for share in (0.25, 0.5, 0.9):  # uniform, each and all together
        off = ((times < share).double().mean(0) - share) / math.sqrt(share * (1 - share) / n)
        assert float(off.abs().max()) < 4
        none = float((times > share).all(1).double().mean())
        p = (1 - share) ** 3
        assert abs(none - p) < 4 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MaskedDecoder(torch.ones(4, 4, 2, 2) / 2), "conditionals: shape .* need"),
        (lambda: MaskedDecoder(torch.ones(3, 3, 2, 2)), "conditionals: need a sum of 1"),
        (lambda: MaskedDecoder(table().conditionals()).independently(1.5), "chance: need probabilities"),
        (lambda: MaskedDecoder(table().conditionals()).remask(-0.5), "chance: -0.5: need"),
        (lambda: MaskedDecoder(table().conditionals()).at_random(0), "size: 0: need"),
        (lambda: any_order.bound(torch.ones(3, 2, 2) / 2), "conditionals: shape"),
        (lambda: any_order.by_orders(StringLaw(torch.ones((2,) * 8) / 256).conditionals()), "8 tokens: need at most 7"),
        (lambda: step_chance(0.5, 0.25), "u: 0.5: need"),
        (lambda: left_by_leaps(0), "steps: 0: need"),
        (lambda: first_hitting.first_hitting(lambda z: torch.ones(4), 3, 2, 5, seeded(0)), "conditionals: answers"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_total_variation_of_laws_apart_is_one():
    one, other = torch.tensor([[0.5, 0.5], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.25, 0.75]])
    assert total_variation(one, other) == 1.0 and total_variation(one, one) == 0.0
