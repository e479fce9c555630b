"""The figures on measuring: orders and contrasts against dpm_lib, simulations against closed forms, and the pages."""

import math

import numpy as np
import pytest
from figures import beside
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import BesideOthers, TakingTurns
from dpm_lib.probability import comparisons

ORDERS = {
    "blocks": lambda level: comparisons.blocks(2 ** (level - 1)),
    "turns": lambda level: comparisons.turns(2 ** (level - 1)),
    "mirrored": comparisons.thue_morse,
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_the_librarys_with_its_contrast_and_its_variance(js, name):
    readings = np.random.default_rng(0).normal(size=16)
    code = """(m, { name, readings }) => {
      const order = m.ORDERS[name](4);
      return [order, m.contrast(order, readings), m.walkVariance(order)];
    }"""
    order, contrast, variance = js("turns.js", code, {"name": name, "readings": readings.tolist()})
    exact = ORDERS[name](4)
    np.testing.assert_array_equal(order, exact)
    assert contrast == pytest.approx(float(comparisons.contrast(exact, readings)))
    assert variance == pytest.approx(comparisons.walk_variance(exact))


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("machine", ["slowing", "wandering", "calm"])
def test_simulated_contrasts_are_as_the_formulas_say(js, name, machine):
    code = """(m, { name, machine, n }) => {
      let s = 7;
      const u = () => (s = (s * 16807) % 2147483647) / 2147483647;
      const order = m.ORDERS[name](3);
      const found = Array.from({ length: n }, () => m.contrast(order, m.disturbed(machine, 8, u).all));
      return { found, ...m.expected(machine, order, 0) };
    }"""
    n = 4000
    told = js("turns.js", code, {"name": name, "machine": machine, "n": n})
    found = np.array(told["found"])
    assert abs(found.mean() - told["mean"]) < 4 * told["sd"] / math.sqrt(n)
    assert abs(found.std() / told["sd"] - 1) < 4 / math.sqrt(2 * n)
    exact = 4 / 8 * 0.03**2 + (0.06**2 if machine == "wandering" else 0) * comparisons.walk_variance(ORDERS[name](3))
    assert told["sd"] == pytest.approx(math.sqrt(exact))


def test_the_median_of_pairs_takes_the_runs_of_each_in_their_order(js):
    code = "(m, { r }) => [m.medianOfPairs([-1, 1, 1, -1, -1, 1], r), m.medianOfPairs([-1, -1, 1, 1], r.slice(0, 4))]"
    odd, even = js("turns.js", code, {"r": [0.0, 1.0, 5.0, 2.0, 10.0, 10.5]})
    assert odd == 1.0 and even == pytest.approx(0.5 * (5.0 + 1.0))  # 1, 3, .5; and 5, 1


def test_turns_by_keys(page, write_page):
    open_figures(page, write_page, TakingTurns(runs=4))
    told = lambda k: page.locator(".dpm-turns .dpm-detail[role=status]").nth(k).text_content()  # noqa: E731
    before = told(0)
    assert "By the formulas" in before
    page.get_by_role("slider", name="Runs of each").press("ArrowRight")
    settle(page)
    assert data(page, "runs") == "8" and told(0) != before
    page.get_by_label("Ratio by").select_option("median")
    settle(page)
    assert "By the formulas" not in told(1) and data(page, "how") == "median"


def test_rows_are_chosen_and_counted_by_what_their_intervals_say(page, write_page):
    open_figures(page, write_page, beside())
    words = page.locator(".dpm-beside .dpm-now")
    assert "better in 1, worse in 1, and 1 do not tell" in words.text_content()
    page.get_by_role("button", name="another solver").press("Enter")
    settle(page)
    assert (
        data(page, "chosen") == "1"
        and "another solver: 1.00 (0.80 to 1.30) of their time. Once." in words.text_content()
    )
    page.get_by_role("combobox", name="Of").select_option("sampler")
    settle(page)
    assert data(page, "shown") == "1" and "better in 0, worse in 1" in words.text_content()


ROW = {"topic": "t", "name": "n", "what": "time", "ratio": 1.0, "low": 0.5, "high": 2.0, "words": "w"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TakingTurns("cold"), "machine: 'cold'"),
        (lambda: TakingTurns(runs=3), "runs: 3"),
        (lambda: TakingTurns(ratio=2.0), "ratio: 2.0"),
        (lambda: BesideOthers([]), "rows: need at least one"),
        (lambda: BesideOthers([{**ROW, "low": 1.5}]), r"rows\[0\]: .* need low <= ratio <= high"),
        (lambda: BesideOthers([{**ROW, "high": math.inf}]), r"rows\[0\]\['high'\]: inf"),
        (lambda: BesideOthers([{k: v for k, v in ROW.items() if k != "words"}]), r"rows\[0\]\['words'\]: missing"),
    ],
)
def test_bad_input_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
