"""An n-gram model and lossless coders on text."""

import math
from collections import Counter, defaultdict

import pytest
import torch

from dpm_lib.data import text
from dpm_lib.data.text_baselines import CODERS, KneserNey, coded, n_gram

ABC = "\nabc"
PARTS = ("abcabcaabbccabcab", "bcabacbaab\nabc", "cabbage".replace("g", "c").replace("e", "b"))


def slowly(parts, order, context, character):
    """Chen and Goodman's interpolated model, by its recursion on strings: p(character | context)."""
    grams = {order: Counter(("\n" * (order - 1) + p)[i : i + order] for p in parts for i in range(len(p)))}
    for n in range(order - 1, 0, -1):
        lefts = defaultdict(set)
        for gram in grams[n + 1]:
            lefts[gram[1:]].add(gram[0])
        grams[n] = Counter({gram: len(left) for gram, left in lefts.items()})

    def discount(n, count):
        of = [sum(c == k for c in grams[n].values()) or 1 for k in (1, 2, 3, 4)]
        k = min(count, 3)
        d = k - (k + 1) * of[0] / (of[0] + 2 * of[1]) * of[k] / of[k - 1]
        return min(max(d, 0.05 * k / 3), k - 0.05)

    def p(n, context):
        if n == 0:
            return 1 / len(ABC)
        seen = {g: c for g, c in grams[n].items() if g[:-1] == context}
        total = sum(seen.values())
        if not total:
            return p(n - 1, context[1:])
        c = seen.get(context + character, 0)
        kept = sum(discount(n, c) for c in seen.values()) / total
        return (c - discount(n, c) if c else 0) / total + kept * p(n - 1, context[1:])

    return p(order, ("\n" * order + context)[len(context) + 1 :])


@pytest.mark.parametrize("order", [1, 2, 4])
def test_kneser_ney_is_the_recursion(order):
    model = KneserNey([text.encode(part, ABC) for part in PARTS], len(ABC), order)
    for context in ("", "a", "bb", "cab", "accc"):
        string = context + "b"
        expected = math.log2(slowly(PARTS, order, context, "b"))
        assert float(model.log2_prob(text.encode(string, ABC))[-1]) == pytest.approx(expected, abs=1e-12)


def test_its_probabilities_sum_to_one():
    data = text.book()
    model = KneserNey(data.train[:2], data.characters, 5)
    for context in ("the bound of", "zqx*", ""):
        rows = [data.encode(context + character) for character in data.alphabet]
        assert sum(2 ** float(model.log2_prob(row)[-1]) for row in rows) == pytest.approx(1, abs=1e-12)


def test_the_order_is_chosen_on_validation():
    repeated = tuple(torch.tensor([0, 0, 1, 1, 2, 0, 1] * 20) for _ in range(1))
    data = text.Text("abc", ABC, 4, repeated, repeated, repeated)
    model, order = n_gram(data)
    cost = [-float(KneserNey(repeated, 4, n).log2_prob(repeated[0]).mean()) for n in range(2, 10)]
    assert order == 2 + cost.index(min(cost)) and model.order == order
    with pytest.raises(ValueError, match=r"order: 12: 49\^12 strings: need at most"):
        KneserNey(repeated, 49, 12)
    with pytest.raises(ValueError, match="parts: need a text, got none"):
        KneserNey([], 4, 2)


def test_coders_learn_from_the_training_text():
    words = "to be or not to be, that is the question. "
    own = text.encode(words, "".join(sorted(set(words))))
    data = text.Text("words", "".join(sorted(set(words))), 8, (own.repeat(30),), (own,), (own,))
    for name, coder in CODERS.items():
        alone, after = coded(data, coder, after_training=False), coded(data, coder)
        assert alone == pytest.approx(8 * len(coder(words.encode())) / len(words)), name
        assert after < 0.3 * alone, name
