"""Masked models of any order: on laws of short strings with exact conditionals, and with a network that is wrong."""

import itertools
import math

import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.diffusion import masked_strings

S, L = 3, 4
STRINGS = torch.tensor(list(itertools.product(range(S), repeat=L)))
LAW = torch.rand(S**L, generator=seeded(3), dtype=torch.float64) ** 3
LAW = LAW / LAW.sum()


def exact(x):
    """Logits of each place given what is seen, for the law; (n, L, S)."""
    fits = ((x.unsqueeze(1) == STRINGS) | (x.unsqueeze(1) == S)).all(2) * LAW  # (n, strings)
    return (fits @ torch.nn.functional.one_hot(STRINGS, S).double().view(-1, L * S)).view(-1, L, S).log()


def wrong(x):
    """Another conditional law, which belongs to no joint law: it leans on the place to the left."""
    return exact(x) * 0.7 + 0.5 * torch.nn.functional.one_hot(x.roll(1, 1) % S, S).double()


def all_orders(x, network):
    """log p along each of the L! orders, (orders, n)."""
    orders = torch.tensor(list(itertools.permutations(range(L))))
    return torch.stack([masked_strings.log_prob(network, x, order.expand(len(x), L), S) for order in orders])


def bound_by_subsets(x, network):
    """The bound, by all sets of hidden places: (n,)."""
    total = torch.zeros(len(x), dtype=torch.float64)
    for at in itertools.product([False, True], repeat=L):
        if k := sum(at):
            row = torch.tensor(at).expand(len(x), L)
            total += masked_strings.masked_cross_entropy(network, x, row, S).sum(1) / k / math.comb(L, k)
    return total


def test_with_exact_conditionals_every_order_has_the_law():
    assert torch.allclose(all_orders(STRINGS, exact), LAW.log().expand(24, -1), atol=1e-12)
    assert torch.allclose(bound_by_subsets(STRINGS, exact), -LAW.log(), atol=1e-12)


def test_the_bound_is_the_mean_over_orders():
    orders = all_orders(STRINGS, wrong)
    assert float(orders.std(0).mean()) > 0.05  # the orders disagree
    assert torch.allclose(bound_by_subsets(STRINGS, wrong), -orders.mean(0), atol=1e-12)
    assert bool((-orders.mean(0) > -orders.exp().mean(0).log() + 1e-4).all())


def test_estimates_of_the_bound_are_unbiased():
    rows = STRINGS[::20]
    many = rows.repeat(400, 1)
    expected = bound_by_subsets(rows, wrong)
    for draws in (1, 3, L):
        values = masked_strings.bound(wrong, many, S, seeded(draws), draws).view(400, -1)
        assert bool(((values.mean(0) - expected).abs() < 4.5 * values.std(0) / 20).all()), draws
    losses = torch.stack([masked_strings.loss(wrong, rows, S, seeded(seed)) for seed in range(800)])
    assert abs(float(losses.mean() - expected.mean() / L)) < 4.5 * float(losses.std()) / 800**0.5


def test_counts_stand_on_a_comb():
    counts = masked_strings.comb(12, 6, seeded(0))
    assert sorted(counts.tolist()) == sorted(2 * [1, 2, 3, 4, 5, 6])
    assert masked_strings.hidden((12, 6), counts, seeded(1)).sum(1).tolist() == counts.tolist()
    one = torch.cat([masked_strings.comb(1, 4, seeded(seed)) for seed in range(400)]).bincount()[1:]
    assert one.min() > 70 and len(one) == 4


def test_fillings_have_the_law():
    start = torch.tensor([[S, 1, S, S]]).repeat(20_000, 1)
    given = LAW * (STRINGS[:, 1] == 1)
    given = given / given.sum()
    place = S ** torch.arange(L - 1, -1, -1)
    drawn = (masked_strings.fill(exact, start, S, seeded(0)) @ place).bincount(minlength=S**L) / len(start)
    apart = (drawn - given).abs().max()
    assert apart < 4.5 * float((given * (1 - given)).max() / len(start)) ** 0.5
    parts = exact(start[:1])[0].exp()
    together = torch.stack([parts[i, STRINGS[:, i]] / parts[i].sum() for i in range(L)]).prod(0)
    drawn = masked_strings.fill(exact, start, S, seeded(0), together=3) @ place
    at_once = drawn.bincount(minlength=S**L) / len(start)
    assert (at_once - together).abs().max() < 0.015 < (together - given).abs().max()


@pytest.mark.parametrize("order", [(2,), (0, 3), (3, 0), (3, 0, 2), (2, 3, 0)])
def test_the_law_of_a_gap(order):
    x = STRINGS[46].clone()
    x[list(order)] = S
    table = masked_strings.gap_law(wrong, x, order, S, S)
    assert float(table.exp().sum()) == pytest.approx(1)
    for fill in itertools.product(range(S), repeat=len(order)):
        string = x.clone()
        string[sorted(order)] = torch.tensor(fill)
        expected = masked_strings.log_prob(wrong, string.unsqueeze(0), torch.tensor([order]), S)
        assert float(table[fill]) == pytest.approx(float(expected))


def test_what_is_hidden_stays_hidden():
    """Of p(x_0, x_3) alone, the other places hidden all the time."""
    unseen = torch.zeros_like(STRINGS, dtype=torch.bool)
    pair = masked_strings.log_prob(exact, STRINGS, torch.tensor([[3, 0]]).expand(len(STRINGS), 2), S, unseen)
    joint = torch.zeros(S, S, dtype=torch.float64).index_put((STRINGS[:, 0], STRINGS[:, 3]), LAW, accumulate=True)
    assert torch.allclose(pair.exp(), joint[STRINGS[:, 0], STRINGS[:, 3]], atol=1e-12)


def test_bad_input():
    x = torch.tensor([0, S, S, 1])
    with pytest.raises(ValueError, match=r"order: \(1, 3\): need the one, two or three hidden places"):
        masked_strings.gap_law(exact, x, (1, 3), S, S)
    with pytest.raises(ValueError, match="draws: 0: need at least 1"):
        masked_strings.bound(exact, STRINGS, S, seeded(0), 0)
    with pytest.raises(ValueError, match="together: 0: need at least 1"):
        masked_strings.fill(exact, x.unsqueeze(0), S, seeded(0), 0)
