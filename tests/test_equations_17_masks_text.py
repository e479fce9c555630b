"""The claims of the section on text."""

from itertools import permutations

import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.diffusion import masked_strings

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
    posterior = log_p.exp() / (24 * mean_p)
    even = torch.full((24,), 1 / 24, dtype=torch.float64)
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Categorical(even), torch.distributions.Categorical(posterior)
    )
    assert float(divergence) > 0.05
    assert float(-log_p.mean()) == pytest.approx(float(-mean_p.log() + divergence), abs=1e-12)
    many = x.repeat(40_000, 1)
    estimate = masked_strings.bound(network, many, S, seeded(1), 4)
    assert abs(float(estimate.mean() + log_p.mean())) < 4.5 * float(estimate.std()) / 200
