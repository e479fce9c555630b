"""The claims of the section on text."""

import math
from itertools import permutations

import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.data.n_gram_conditionals import NGramConditionals
from dpm_lib.data.text_baselines import KneserNey
from dpm_lib.diffusion import masked_strings
from dpm_lib.networks.opinion_pool import OpinionPool

S = 3


def network(x):
    """Conditionals that belong to no joint law: they depend on what is seen, and on where."""
    table = torch.randn(S + 1, 4, 4, S, generator=seeded(5), dtype=torch.float64)
    places = torch.arange(x.shape[1])
    return sum(table[x[:, j], j][:, places] for j in range(x.shape[1]))


@pytest.mark.equation("eq-mk-text-orders")
def test_the_slack_of_the_bound_is_what_a_string_says_of_its_order():
    x = torch.tensor([[0, 2, 1, 1]])
    orders = torch.tensor(list(permutations(range(4))))
    log_p = masked_strings.log_prob(network, x.repeat(24, 1), orders, S)
    mean_p = log_p.exp().mean()
    posterior = log_p.softmax(0)
    even = torch.full((24,), 1 / 24, dtype=torch.float64)
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Categorical(even), torch.distributions.Categorical(posterior)
    )
    assert float(divergence) > 0.05
    assert float(-log_p.mean()) == pytest.approx(float(-mean_p.log() + divergence), abs=1e-12)
    many = x.repeat(40_000, 1)
    estimate = masked_strings.bound(network, many, S, seeded(1), 4)
    assert abs(float(estimate.mean() + log_p.mean())) < 4.5 * float(estimate.std()) / 200


TEXTS = (torch.randint(3, (30,), generator=seeded(0)), torch.tensor([2, 2, 0, 1, 0]))


def enumerated(model, x, S):
    """p of each character at each place of a string x (L,), by all fillings: those that are seen, certain."""
    gaps = torch.nonzero(x == S).flatten()
    found = torch.zeros(len(x), S, dtype=torch.float64)
    for filling in torch.cartesian_prod(*(torch.arange(S),) * len(gaps)).view(-1, len(gaps)):
        whole = x.clone()
        whole[gaps] = filling
        found[torch.arange(len(x)), whole] += model.log2_prob(whole).sum().exp2()
    return found / found.sum(1, keepdim=True)


@pytest.mark.equation("eq-mk-backoff")
@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_an_n_gram_says_exactly_what_a_gap_may_hold(order):
    """The fourth character is in no text: all that is known of it is its share at the shortest context."""
    model = KneserNey(TEXTS, 4, order)
    conditionals = NGramConditionals(model)
    for string in ([4, 0, 4, 1, 4, 4, 2], [4, 4, 4, 4], [0, 0, 0, 4, 3], [2, 1, 0, 4, 4, 4], [3, 4, 3, 4]):
        x = torch.tensor(string)
        found = conditionals(x.unsqueeze(0))[0].exp()[x == 4]
        torch.testing.assert_close(found, enumerated(model, x, 4)[x == 4], rtol=1e-12, atol=1e-15)


@pytest.mark.equation("eq-mk-backoff")
def test_an_n_gram_has_the_same_bits_in_every_order():
    model = KneserNey(TEXTS, 3, 4)
    conditionals = NGramConditionals(model)
    x = torch.randint(3, (5, 12), generator=seeded(1))
    orders = torch.rand(x.shape, generator=seeded(2)).argsort(1)
    own = torch.stack([model.log2_prob(row).sum() for row in x]) * math.log(2)
    found = masked_strings.log_prob(conditionals, x, orders, 3)
    torch.testing.assert_close(found, own, rtol=1e-12, atol=1e-12)


@pytest.mark.equation("eq-mk-pool")
def test_a_pool_is_the_product_of_powers():
    """As written, law by law; and the powers that it learns make the best of two laws that err in two ways."""
    generator = seeded(3)
    pool = OpinionPool(2, 1, 8, generator)
    log_p = torch.randn(5, 2, 4, generator=generator).log_softmax(-1)
    facts = torch.rand(5, 1, generator=generator)
    with torch.no_grad():
        pool.second.weight.normal_(generator=generator)
        powers = pool.weights(log_p, facts)
        product = (log_p[:, 0].exp() ** powers[:, :1]) * (log_p[:, 1].exp() ** powers[:, 1:])
        torch.testing.assert_close(pool(log_p, facts).softmax(-1), product / product.sum(1, keepdim=True))


def test_a_pool_finds_the_powers_of_the_law_that_was_there():
    """Laws q1 and q2 with p proportional to q1^1.5 q2^-0.5, drawn from: no pool is better than these powers."""
    generator = seeded(4)
    log_q = torch.randn(20_000, 2, 5, generator=generator).log_softmax(-1)
    powers = torch.tensor([1.5, -0.5])
    log_p = (powers[:, None] * log_q).sum(1).log_softmax(-1)
    y = torch.multinomial(log_p.exp(), 1, generator=generator).squeeze(1)
    facts, share = torch.zeros(len(y), 0), torch.ones(len(y))
    pool = OpinionPool(2, 0, 4, generator)
    pool.fit(log_q, facts, y, share, seeded(5), epochs=3)
    with torch.no_grad():
        found = pool.weights(log_q, facts).mean(0)
        mine = torch.nn.functional.cross_entropy(pool(log_q, facts), y, reduction="none")
        best = torch.nn.functional.cross_entropy(log_p, y, reduction="none")
    assert float((found - powers).abs().max()) < 0.1
    assert abs(float((mine - best).mean())) < 4 * float((mine - best).std()) / len(y) ** 0.5 + 1e-3
