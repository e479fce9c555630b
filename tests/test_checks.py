"""Probabilities in any precision: right as they are in float64, renormalised from float32, refused from less."""

import numpy as np
import pytest
import torch
from problems import randn
from scipy import sparse

from dpm_lib.core import check_laws, checks
from dpm_lib.markov import kolmogorov, markov_chains, time_reversal
from dpm_lib.probability import mixtures

TABLE = torch.softmax(2 * randn(60, 60), 1)
RATES = TABLE - torch.diag(TABLE.sum(1))


def test_single_precision_is_taken_and_renormalised():
    single = torch.softmax(2 * randn(60, 60).float(), 1)
    assert (single.double().sum(1) - 1).abs().max() > 1e-8, "or else there is nothing to mend"
    for given in (single, single.numpy(), sparse.csr_array(single.numpy())):
        assert np.abs(check_laws.chain("P", given).sum(1) - 1).max() < 1e-15
        np.testing.assert_allclose(
            markov_chains.stationary_distribution(given), markov_chains.stationary_distribution(TABLE), rtol=1e-5
        )
    for law in (single[0], single[0].numpy()):
        assert abs(check_laws.laws("p", law).sum() - 1) < 1e-15
    found = time_reversal.relative_entropy(single[:2], single[1:3])
    np.testing.assert_allclose(found, time_reversal.relative_entropy(TABLE[:2], TABLE[1:3]), rtol=1e-5)
    thirds = mixtures.Mixture(torch.zeros(3, 1), torch.tensor([1.0, 1.0, 1.0]) / 3, 1.0)
    assert abs(float(thirds.weights.sum()) - 1) < 1e-15


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_rates_in_single_precision_get_a_diagonal_that_fits(make):
    rates = kolmogorov.checked_generator(make(RATES.float().numpy()))
    dense = rates.toarray() if sparse.issparse(rates) else rates
    assert np.abs(dense.sum(1)).max() < 1e-15
    np.testing.assert_allclose(dense, RATES, atol=1e-6)
    assert sparse.issparse(rates) == (make is sparse.csr_array)


def test_double_precision_is_left_as_it_is():
    assert (check_laws.chain("P", TABLE) == TABLE.numpy()).all()
    assert (check_laws.laws("p", [0.3, 0.3, 0.4]) == [0.3, 0.3, 0.4]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_laws.laws("p", [0.5, 0.5 + 1e-6]), r"p: need a sum of 1, got 1.000001; single precision\?"),
        (lambda: check_laws.laws("p", torch.tensor([0.5, 0.5001])), "p: need a sum of 1, got 1.0001"),
        (lambda: check_laws.laws("p", torch.tensor([0.5, 0.5]).half()), "p: half precision"),
        (lambda: check_laws.laws("p", torch.tensor([0.5, 0.5]).bfloat16()), "p: half precision"),
        (lambda: check_laws.laws("p", np.array([0.5, 0.5], np.float16)), "p: half precision"),
        (lambda: check_laws.laws("p", [0.5, 0.5j]), "p: complex numbers"),
        (lambda: check_laws.laws("p", np.array([0.5, 0.5j])), "p: complex numbers"),
        (lambda: check_laws.laws("p", [[0.5, 0.5], [1.0]]), "p: need numbers in rows of one length"),
        (lambda: check_laws.laws("p", 1.0), r"p: need one .* got shape \(\)"),
        (lambda: check_laws.laws("p", [0.5, 0.5, float("nan")]), r"p\[2\]: nan: need a probability"),
        (lambda: checks.float64("P", sparse.eye_array(5000)), r"P: a sparse matrix of shape \(5000, 5000\): need at"),
        (lambda: markov_chains.period(["a"]), "P: need real numbers"),
        (
            lambda: check_laws.chain("P", (TABLE.float() * (1 + 1e-5)).double()),
            "need a sum of 1, .* single precision",
        ),
        (
            lambda: kolmogorov.checked_generator(torch.tensor([[-1.0, 1.01], [1.0, -1.0]])),
            "rows that sum to 0, got 0.0.* in row 0",
        ),
    ],
)
def test_what_is_no_law_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checks.count("n", 6, 2, 5), "n: 6: need at most 5"),
        (lambda: checks.count("n", 1, 2, 5), "n: 1: need at least 2"),
        (lambda: checks.one_of("kind", "c", ("a", "b")), "kind: 'c': need one of 'a', 'b'"),
        (lambda: checks.some("rows", {}), "rows: need at least one, got none"),
    ],
)
def test_counts_choices_and_what_is_empty(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_right_is_given_back():
    rows = [0]
    assert [checks.count("n", np.int64(n), 2, 5) for n in (2, 5)] == [2, 5]
    assert type(checks.one_of("std", 1, (0.5, 1.0))) is float
    assert checks.some("rows", rows) is rows
