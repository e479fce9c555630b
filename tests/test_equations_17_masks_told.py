"""Posteriors and guidance of strings that are unmasked token by token."""

import itertools

import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.diffusion.guided_strings import guided, tilt
from dpm_lib.probability.strings import StringLaw


def random_law(seed, kinds=2, length=4):
    joint = torch.rand((kinds,) * length, generator=seeded(seed), dtype=torch.float64).square()
    return StringLaw(joint / joint.sum())


@pytest.mark.equation("eq-mk-doob")
def test_one_token_of_the_posterior_is_a_tilted_token():
    """Tables of the posterior itself, against the model's conditionals times a ratio of expectations."""
    law = random_law(1)
    r = torch.rand(law.joint.shape, generator=seeded(2), dtype=torch.float64)
    told = StringLaw(law.joint * r / (law.joint * r).sum())
    for shown in ({}, {0: 1}, {1: 0, 3: 1}):

        def mean_r(known):
            rows = [x for x in itertools.product(range(2), repeat=4) if all(x[k] == v for k, v in known.items())]
            return sum(float(law.joint[x] * r[x]) for x in rows) / sum(float(law.joint[x]) for x in rows)

        at = tuple(shown.get(k, 2) for k in range(4))
        for token in range(2):
            by_rule = float(law.conditionals()[at][2, token]) * mean_r(shown | {2: token}) / mean_r(shown)
            assert by_rule == pytest.approx(float(told.conditionals()[at][2, token]), abs=1e-12)


@pytest.mark.equation("eq-mk-guided")
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_guided_draws_are_the_tilt_over_the_product_of_the_constants(order):
    law, told, w = random_law(3), random_law(4), 2.5
    drawn, log_weight = guided(law, told, w, order)
    numerator = law.joint ** (1 - w) * told.joint**w
    assert torch.allclose(drawn, numerator / log_weight.exp(), rtol=1e-11)
    weighted = drawn * log_weight.exp()
    assert torch.allclose(weighted / weighted.sum(), tilt(law, told, w).joint, rtol=1e-11)
    assert not torch.allclose(drawn, guided(law, told, w, order[::-1])[0], atol=1e-3)  # the order matters
    assert float(drawn.sum()) == pytest.approx(1, abs=1e-12)
