"""Tiny chains: their tables, and what they refuse. Sums over paths are checked in test_equations_07_bound."""

import itertools

import numpy as np
import pytest
import torch
from problems import AffineNetwork, randn, small_chains

from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.forward_kernels import BinomialKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import BernoulliReverse
from dpm_lib.exact import bound_derivation, enumeration


def test_states_count_upwards():
    assert enumeration.states(3).tolist() == [list(map(float, bits)) for bits in itertools.product((0, 1), repeat=3)]


def test_a_library_model_becomes_tables():
    kernel = BinomialKernel(2, schedules.from_beta(torch.tensor([0.0, 0.1, 0.3, 0.8], dtype=torch.float64)))
    model = DiffusionModel(kernel, BernoulliReverse(AffineNetwork(0.5 * randn(2, 2), 0.3 * randn(2)), kernel))
    found = enumeration.from_model(model, [0.1, 0.2, 0.3, 0.4])
    x = torch.from_numpy(enumeration.states(2))
    with torch.no_grad():
        for t, i, j in itertools.product((1, 2, 3), range(4), range(4)):
            assert found.forward[t, i, j] == pytest.approx(float(kernel.step(x[i], t).log_prob(x[j]).exp()))
            back = model.reverse_step(x[j : j + 1], t).log_prob(x[i])
            assert found.reverse[t, j, i] == pytest.approx(float(back.exp()))
            leap = kernel.marginal(x[i], t).log_prob(x[j]).exp()
            assert found.leaps[t, i, j] == pytest.approx(float(leap), abs=1e-12)
    values = [sum(terms.values()) for terms in bound_derivation.lines(found).values()]
    assert max(values[2:]) - min(values[2:]) < 1e-12 < values[0] - values[2]


@pytest.mark.equation("eq-bayes")
def test_a_step_back_given_both_ends_by_listing_paths():
    found, one = small_chains(), np.eye(8)
    for t in (1, 2):
        for k, j in itertools.product(range(8), range(8)):
            paths = one[k] if t == 1 else found.forward[1, k]  # the law of x_{t-1}, from x_0 = k
            law = [paths[i] * found.forward[t, i, j] for i in range(8)]
            assert found.posterior(t)[k, :, j] == pytest.approx(np.array(law) / sum(law))


def test_a_product_of_bits_keeps_the_chance_of_each():
    laws = np.random.default_rng(0).dirichlet(np.ones(8), 3)
    for row, product in zip(laws, enumeration.product_of_bits(laws), strict=True):
        ones = [sum(row[k] for k in range(8) if k & bit) for bit in (4, 2, 1)]  # the first bit is the highest
        for k in range(8):
            chances = [p if k & bit else 1 - p for p, bit in zip(ones, (4, 2, 1), strict=True)]
            assert product[k] == pytest.approx(np.prod(chances), rel=1e-12)


def test_strong_coupling_leaves_two_states():
    np.testing.assert_allclose(enumeration.ising(3, 400.0), [0.5, 0, 0, 0, 0, 0, 0, 0.5], atol=1e-15)


def fair_model(bits, T):
    kernel = BinomialKernel(bits, schedules.from_beta(torch.tensor([0.0] + [0.3] * T, dtype=torch.float64)))
    return DiffusionModel(kernel, BernoulliReverse(AffineNetwork(randn(bits, bits), randn(bits)), kernel))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small_chains(data=(0, -0.1)), r"data\[0\]: -0\.1: need a probability"),
        (lambda: small_chains(prior=(3, 0.5)), r"prior: need a sum of 1, got 1\.375"),
        (
            lambda: small_chains(reverse=((1, 2, 3), np.nan)),
            r"reverse\[1:\]\[0, 2, 3\]: nan",
        ),
        (lambda: small_chains(forward=((2, 4), [1, 0, 0, 0, 0, 0, 0, 0])), r"forward: is 0 at \[2, 4, 1\]"),
        (lambda: enumeration.coupled_bits(0.5, [0.1] * 7), "more than 1048576|of at most 1048576"),
        (lambda: enumeration.coupled_bits(0.5, [0.1]), "at least two rates"),
        (lambda: enumeration.coupled_bits(0.5, [0.1, 0.2], 1.5), "0 <= error <= 1"),
        (lambda: enumeration.flip_kernel(3, 0.0), "0 < beta <= 1"),
        (lambda: enumeration.states(11), "bits: 11 is not between 1 and 10"),
        (lambda: small_chains(prior=(slice(None), np.eye(8)[2])), "prior: is 0 at state 0"),
        (lambda: enumeration.coupled_bits(np.nan, [0.1, 0.2]), "coupling, field: nan, 0.3: need finite"),
        (lambda: enumeration.ising(3, 0.1, np.inf), "coupling, field: 0.1, inf: need finite"),
        (lambda: enumeration.from_model(fair_model(2, 2), [0.5, 0.5]), r"data: shape \(2,\), and \(4,\) is needed"),
        (
            lambda: enumeration.from_model(fair_model(6, 3), np.ones(64) / 64),
            "model: 6 bits, 3 steps: more than 1048576",
        ),
    ],
)
def test_bad_tables_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_tables_in_single_precision_are_renormalised():
    """As softmax and network make them: right to float32's rounding, and a law to float64's."""
    exact = small_chains()
    rough = {name: getattr(exact, name).astype(np.float32) for name in ("data", "prior", "forward", "reverse")}
    found = enumeration.FiniteChains(**rough)
    for t in range(1, found.T + 1):
        np.testing.assert_allclose(found.reverse[t].sum(-1), 1, rtol=1e-15)
    values = [sum(bound_derivation.lines(c)[9].values()) for c in (exact, found)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)
