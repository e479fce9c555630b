"""Laws of short strings against sums written out by hand."""

import itertools
import math

import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.probability.codebooks import heartbeat
from dpm_lib.probability.strings import StringLaw, chain_mean_entropies

START = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
P = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.4, 0.3, 0.3]], dtype=torch.float64)


def table(kinds=3, length=4, seed=0):
    joint = torch.rand((kinds,) * length, generator=seeded(seed), dtype=torch.float64) ** 3
    return StringLaw(joint / joint.sum())


def entropy_of(law, tokens):
    """H of some tokens, by adding up strings one at a time."""
    p = {}
    for x in itertools.product(range(law.kinds), repeat=law.length):
        seen = tuple(x[i] for i in tokens)
        p[seen] = p.get(seen, 0.0) + float(law.joint[x])
    return -sum(v * math.log(v) for v in p.values() if v)


def test_what_a_masked_string_shows():
    law = table()
    shown = law.joint[1, :, 0].sum(-1)
    conditionals = law.conditionals()
    assert torch.allclose(conditionals[1, 3, 0, 3, 1], shown / shown.sum(), atol=1e-15, rtol=0)
    assert conditionals[1, 3, 0, 3, 2].tolist() == [1.0, 0.0, 0.0]
    assert float(law.marginals()[1, 3, 0, 3]) == pytest.approx(float(shown.sum()), abs=1e-15)
    assert float((conditionals.sum(-1) - 1).abs().max()) < 1e-14


def test_what_cannot_be_shown_leaves_hidden_tokens_uniform():
    law = StringLaw.from_strings(torch.tensor([[0, 0], [1, 1]]), 2)
    assert law.conditionals()[0, 2].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    impossible = StringLaw.from_strings(torch.tensor([[0, 0, 1], [1, 1, 0]]), 2).conditionals()[0, 1, 2]
    assert impossible.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]


def test_entropies_of_subsets():
    law = table()
    H = law.subset_entropies()
    for tokens in ((), (1,), (0, 2), (1, 2, 3), (0, 1, 2, 3)):
        index = tuple(int(i in tokens) for i in range(4))
        assert float(H[index]) == pytest.approx(entropy_of(law, tokens), abs=1e-13)
    h = law.mean_entropies()
    for k in range(5):
        sets = list(itertools.combinations(range(4), k))
        assert float(h[k]) == pytest.approx(sum(entropy_of(law, A) for A in sets) / len(sets), abs=1e-13)
    lost = entropy_of(law, (0, 2)) + entropy_of(law, (0, 3)) - entropy_of(law, (0,)) - entropy_of(law, (0, 2, 3))
    assert law.total_correlation([2, 3], given=[0]) == pytest.approx(lost, abs=1e-13)


def test_the_heartbeat_tells_all_by_two_tokens_or_one():
    law = StringLaw.from_strings(heartbeat(6, 3).rows, 2)
    assert float(law.mean_entropies()[-1]) == pytest.approx(math.log(3), abs=1e-14)
    assert law.total_correlation(range(6)) == pytest.approx(6 * entropy_of(law, (0,)) - math.log(3), abs=1e-13)
    assert law.total_correlation([1, 4], given=[0]) == pytest.approx(entropy_of(law, (0, 1)) - entropy_of(law, (0,)))


def test_a_chain_of_any_length_has_its_mean_entropies_without_a_table():
    for n in (1, 2, 6):
        law = StringLaw.markov_chain(START, P, n)
        assert torch.allclose(law.mean_entropies(), chain_mean_entropies(START, P, n), atol=1e-13, rtol=0)
    assert float(law.joint[0, 1, 1, 2, 0, 0]) == pytest.approx(0.2 * 0.2 * 0.9 * 0.05 * 0.4 * 0.7, abs=1e-16)


def test_draws_have_the_law():
    law, n = table(2, 3), 40_000
    x = law.sample(n, seeded(1))
    seen = torch.zeros(2, 2, 2).index_put_(tuple(x.T), torch.ones(n), accumulate=True) / n
    spread = (law.joint * (1 - law.joint) / n).sqrt()
    assert float(((seen - law.joint) / spread).abs().max()) < 4
    assert torch.equal(law.log_prob(x[:5]), law.joint[tuple(x[:5].T)].log())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: StringLaw(torch.ones(2, 3) / 6), r"joint: shape \(2, 3\): need d axes"),
        (lambda: StringLaw(torch.ones(2, 2)), "joint: need a sum of 1"),
        (lambda: StringLaw(torch.ones((2,) * 14) / 2**14), r"need \(S \+ 1\)\^d <= 2000000"),
        (lambda: StringLaw.from_strings(torch.tensor([[0, 2]]), 2), r"strings: 2 at index \(0, 1\): need a token"),
        (lambda: StringLaw.from_strings(torch.tensor([[0, 1]]), 2, torch.ones(2) / 2), r"weights: need shape \(1,\)"),
        (lambda: StringLaw.markov_chain(START, P.T, 3), "transition: "),
        (lambda: table().total_correlation([0, 1], [1]), "block, given: .* need separate sets"),
        (lambda: table().total_correlation([4]), "block, given: .* tokens 0..3"),
        (lambda: table().log_prob(torch.zeros(3)), r"x: need shape \(..., 4\)"),
        (lambda: table().sample(0, seeded(0)), "n: 0: need"),
    ],
)
def test_what_is_no_law_of_strings(make, words):
    with pytest.raises(ValueError, match=words):
        make()
