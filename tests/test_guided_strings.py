"""Guided strings, drawn token by token: their exact law, and the weight that makes them the tilt."""

import itertools

import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.diffusion.guided_strings import guided, tilt
from dpm_lib.probability.strings import StringLaw


def two_laws(kinds=3, length=3, seed=0):
    """p(x | c) of half of all strings, and p(x) that mixes it with another class."""
    own, other = torch.rand(2, *(kinds,) * length, generator=seeded(seed), dtype=torch.float64)
    own = own * (own > 0.5)
    own, other = own / own.sum(), other / other.sum()
    return StringLaw(0.3 * own + 0.7 * other), StringLaw(own)


def naive(law, told, w, order, string):
    """The probability of one string and its log weight, from sums over the tables alone."""
    chance, log_weight = 1.0, 0.0
    for k, i in enumerate(order):
        known = order[:k]

        def conditional(table, token, i=i, known=known):
            rows = [
                (x, float(table[x]))
                for x in itertools.product(range(law.kinds), repeat=law.length)
                if all(x[j] == string[j] for j in known)
            ]
            return sum(p for x, p in rows if x[i] == token) / sum(p for _, p in rows)

        g = [conditional(law.joint, a) ** (1 - w) * conditional(told.joint, a) ** w for a in range(law.kinds)]
        chance *= g[string[i]] / sum(g)
        log_weight += torch.tensor(sum(g), dtype=torch.float64).log()
    return chance, float(log_weight)


@pytest.mark.parametrize("w", [0.5, 1.0, 2.5])
def test_law_and_weight_are_those_of_the_plain_sums(w):
    law, told = two_laws(2, 3)
    told = StringLaw(0.5 * told.joint + 0.5 * law.joint)
    drawn, log_weight = guided(law, told, w, (2, 0, 1))
    assert float(drawn.sum()) == pytest.approx(1, abs=1e-12)
    for string in itertools.product(range(2), repeat=3):
        chance, weight = naive(law, told, w, (2, 0, 1), string)
        assert float(drawn[string]) == pytest.approx(chance, abs=1e-12)
        assert float(log_weight[string]) == pytest.approx(weight, abs=1e-12)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
@pytest.mark.parametrize("w", [0.0, 1.0, 3.0])
def test_weighted_draws_are_the_tilt(w, order):
    law, told = two_laws()
    drawn, log_weight = guided(law, told, w, order)
    weighted = torch.where(drawn > 0, drawn * log_weight.exp(), 0.0)
    assert torch.allclose(weighted / weighted.sum(), tilt(law, told, w).joint, atol=1e-13)
    exact = [law.joint, told.joint]
    if w in (0, 1):  # then the weights are 1
        assert torch.allclose(drawn, exact[int(w)], atol=1e-13)
    else:
        assert (drawn - tilt(law, told, w).joint).abs().sum() > 0.1


def test_independent_tokens_need_no_weight():
    """Then Z of a token does not depend on what is shown."""
    shares = torch.tensor([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]], dtype=torch.float64)
    law = StringLaw(torch.einsum("a,b,c->abc", *shares))
    told = StringLaw(torch.einsum("a,b,c->abc", *shares.flip(-1)))
    drawn, log_weight = guided(law, told, 2.0, (0, 1, 2))
    assert float(log_weight.max() - log_weight.min()) < 1e-12
    assert torch.allclose(drawn, tilt(law, told, 2.0).joint, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"told": two_laws(2)[1]}, r"told: strings of shape \(2, 2, 2\): need those of law"),
        ({"law": two_laws()[1], "told": two_laws()[0]}, "told: has strings of probability 0 under law"),
        ({"w": -1.0}, "w: -1"),
        ({"w": float("nan")}, "w: nan"),
        ({"order": (0, 1, 1)}, r"order: \[0, 1, 1\]: need each token of 0..2 once"),
    ],
)
def test_a_bad_argument_is_named(change, message):
    law, told = two_laws()
    with pytest.raises(ValueError, match=message):
        guided(**{"law": law, "told": told, "w": 2.0, "order": (0, 1, 2)} | change)
