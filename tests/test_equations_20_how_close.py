"""How sure a comparison is: contrasts under drift, the range of ratios, ratios of errors, pairs, shares of time."""

import itertools
import math

import numpy as np
import pytest

from dpm_lib.core.random import normal, seeded
from dpm_lib.probability import comparisons


@pytest.mark.equation("eq-close-drift")
@pytest.mark.parametrize("n", [1, 3, 8])
def test_a_steady_drift_adds_to_the_contrast_by_the_distance_of_the_middles(n):
    slope = 0.3
    drift = slope * np.arange(2 * n)
    blocks, turns = comparisons.blocks(n), comparisons.turns(n)
    assert drift[n:].mean() - drift[:n].mean() == pytest.approx(slope * n)  # by hand, without signs
    assert comparisons.contrast(blocks, drift) == pytest.approx(slope * n)
    assert comparisons.contrast(turns, drift) == pytest.approx(slope)


@pytest.mark.equation("eq-close-thue")
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_the_thue_morse_order_forgets_polynomials_below_its_level_and_no_more(level):
    order = comparisons.thue_morse(level)
    k = np.arange(len(order), dtype=np.float64)
    for power in range(level):
        assert abs(order @ (k - 3.7) ** power) < 1e-9 * max(1.0, np.abs(k).max() ** power)  # given: any middle
    exact = math.factorial(level) * 2 ** (level * (level - 1) // 2)
    assert abs(order @ k**level) == pytest.approx(exact)
    x = 0.83
    product = math.prod(1 - x ** (2**i) for i in range(level))
    assert -(order @ x**k) == pytest.approx(product)
    every = (np.array(signs) for signs in itertools.product([-1.0, 1.0], repeat=len(order)) if level <= 3)
    flat = [s for s in every if all(abs(s @ k**power) < 1e-9 for power in range(level)) and s[0] < 0]
    if level in (1, 2):
        assert len(flat) == 1 and (flat[0] == order).all()  # of its length the only one


@pytest.mark.equation("eq-close-walk")
@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_walk_of_the_machine_blurs_blocks_more_with_every_run_and_turns_less(n):
    steps = np.tri(2 * n, k=0)[:, 1:]  # readings = steps @ increments
    for order, exact in ((comparisons.blocks(n), (2 * n * n + 1) / (3 * n)), (comparisons.turns(n), 1 / n)):
        weights = np.array([comparisons.contrast(order, steps[:, j]) for j in range(2 * n - 1)])
        assert (weights**2).sum() == pytest.approx(exact)
        assert comparisons.walk_variance(order) == pytest.approx(exact)


def test_contrasts_of_simulated_walks_spread_as_computed():
    n, repeats = 6, 40_000
    walks = normal((repeats, 2 * n), seeded(1)).numpy().cumsum(1)
    for order in (comparisons.blocks(n), comparisons.turns(n), comparisons.thue_morse(3)):
        found = comparisons.contrast(order, walks[:, : len(order)])
        exact = comparisons.walk_variance(order)
        assert abs(found.var() / exact - 1) < 4 * math.sqrt(2 / repeats)


@pytest.mark.equation("eq-close-range")
@pytest.mark.parametrize(("n", "cut"), [(1, 0), (2, 0), (5, 0), (5, 1), (7, 2)])
def test_the_range_misses_the_median_only_if_nearly_all_draws_fall_on_one_side(n, cut):
    sides = itertools.product([0, 1], repeat=n)  # of the median, all equally likely
    within = sum(cut < sum(side) < n - cut for side in sides) / 2**n
    assert comparisons.range_level(n, cut) == pytest.approx(within, abs=1e-12)
    if cut == 0:
        assert within == pytest.approx(1 - 2.0 ** (1 - n))


@pytest.mark.equation("eq-close-rmse")
def test_the_ratio_of_equal_errors_has_the_law_of_f():
    low, high = comparisons.rmse_ratio_interval(20)
    assert low * high == pytest.approx(1) and low == pytest.approx(0.6373, abs=1e-3)  # tables of F: 0.4058 for 20, 20
    n, m, repeats = 4, 3, 40_000
    x = normal((repeats, n + m), seeded(2)).numpy()
    ratio = np.sqrt((x[:, :n] ** 2).mean(1) / (x[:, n:] ** 2).mean(1))
    low, high = comparisons.rmse_ratio_interval(n, m, 0.9)
    for share, exact in ((ratio < low, 0.05), (ratio > high, 0.05)):
        assert abs(share.mean() - exact) < 4 * math.sqrt(exact * (1 - exact) / repeats)
    many = comparisons.rmse_ratio_interval(400)[1]
    assert many == pytest.approx(math.exp(1.96 / math.sqrt(400)), rel=2e-3)


@pytest.mark.equation("eq-close-pair")
def test_a_pair_on_the_same_points_forgets_what_both_share():
    points = normal((50_000, 2), seeded(3)).numpy()
    best = -0.5 * (points**2).sum(1)  # given: any two
    own = best - 0.02 - 0.1 * np.abs(points[:, 0])  # given
    apart = best.var(ddof=1) + own.var(ddof=1)
    shared = 2 * np.cov(best, own)[0, 1]
    assert (best - own).var(ddof=1) == pytest.approx(apart - shared, rel=1e-9)
    assert (best - own).var() < 0.004 * apart  # exactly .01 (1 - 2/pi) = .0036 beside 2 and more


@pytest.mark.equation("eq-close-share")
def test_a_part_that_is_made_faster_saves_no_more_than_its_share():
    parts, factor = np.array([5.0, 7.0, 3.0]), 4.0
    for k, part in enumerate(parts):
        quicker = parts.copy()
        quicker[k] /= factor
        share = part / parts.sum()
        assert quicker.sum() / parts.sum() == pytest.approx(1 - share + share / factor)
        assert quicker.sum() / parts.sum() > 1 - share


@pytest.mark.equation("eq-close-order")
@pytest.mark.parametrize(("a", "p"), [(1.0, 1.0), (2.0, 2.0), (1.5, 4.0)])
def test_cost_at_equal_error_has_the_slope_of_work_over_order(a, p):
    c, e = 3e-7, 0.2
    error, cost = (lambda n: e * n**-p), (lambda n: c * n**a)

    def steps_for(wanted):  # by halving, on reals
        low, high = 1e-3, 1e9
        for _ in range(200):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if error(middle) > wanted else (low, middle)
        return low

    found = [cost(steps_for(wanted)) for wanted in (1e-2, 1e-3)]
    assert found[1] / found[0] == pytest.approx(10 ** (a / p), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: comparisons.blocks(0), "runs: 0"),
        (lambda: comparisons.contrast([1.0, 1.0], [0.0, 0.0]), "order: need signs"),
        (lambda: comparisons.contrast([1.0, -1.0, 0.0], [0.0, 0.0, 0.0]), "order: need signs"),
        (lambda: comparisons.range_level(4, 2), "cut: 2: need less than half of the 4 draws"),
        (lambda: comparisons.rmse_ratio_interval(4, level=1.0), "level: 1.0"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
