"""The figures of the chapter on sampling: their numbers against NumPy and dpm_lib, and what a reader can do."""

import math

import numpy as np
import pytest
import torch
from figures import ROWS, cost_row, costs, importance
from opening import data, open_figures, settle

from dpm_lib.figures.widgets.montecarlo import CostTable, ImportanceWeights, Walkers
from dpm_lib.montecarlo import mcmc_diagnostics
from dpm_lib.probability import weighted_samples
from dpm_lib.probability.target_densities import Banana, StandardNormal

BANANA = {"std": 2.0, "bend": 0.5}


# --- The numbers ---


def test_the_banana_of_the_page_is_that_of_the_library(js):
    points = np.random.default_rng(0).normal(size=(20, 2)) * 3
    found = js("walkers.js", "(m, a) => a.p.map((x) => m.bananaLogProb(x, a.b))", {"p": points.tolist(), "b": BANANA})
    np.testing.assert_allclose(found, Banana(2).log_prob(torch.as_tensor(points)).numpy(), rtol=1e-12)


def test_a_metropolis_step(js):
    code = """(m, { at, size, noise, us, b }) => us.map((u) => m.metropolisStep(at, size, noise, u, b))"""
    at, noise, size = np.array([1.0, -1.5]), np.array([0.5, 1.0]), 0.7
    log_p = lambda x: float(Banana(2).log_prob(torch.as_tensor(x)))  # noqa: E731
    ratio = math.exp(log_p(at + size * noise) - log_p(at))
    assert 0.01 < ratio < 0.99
    args = {"at": at.tolist(), "size": size, "noise": noise.tolist(), "b": BANANA}
    yes, no = js("walkers.js", code, args | {"us": [ratio - 1e-6, ratio + 1e-6]})
    assert yes["accepted"] and not no["accepted"]
    np.testing.assert_allclose(yes["point"], at + size * noise)
    np.testing.assert_allclose(no["point"], at)


@pytest.mark.parametrize("y", [-2.0, 0.0, 7.0])
def test_first_coordinate_given_the_second(js, y):
    us = np.linspace(0.02, 0.98, 25)
    found = js("walkers.js", "(m, a) => a.us.map((u) => m.drawFirst(a.y, u, a.b))", {"us": us, "y": y, "b": BANANA})
    grid = np.linspace(-12, 12, 100_001)
    p = np.exp(-0.5 * ((grid / 2) ** 2 + (y - 0.5 * (grid**2 - 4)) ** 2))
    np.testing.assert_allclose(np.interp(found, grid, p.cumsum() / p.sum()), us, atol=2e-3)


def test_the_walks_have_the_right_law(js):
    """Means and spreads of long walks on the banana, over 16 seeds."""
    code = """(m, { b, seeds, n }) => seeds.map((seed) => {
      const C = { uniforms(s) { let c = s; return () => (c = (c * 16807) % 2147483647) / 2147483647; } };
      const u = C.uniforms(seed * 7919 + 1);
      const normal = () => Math.sqrt(-2 * Math.log(u())) * Math.cos(2 * Math.PI * u());
      let walk = [0, -2], sweep = [0, -2];
      const sums = [0, 0, 0, 0];
      for (let i = 0; i < n; i++) {
        walk = m.metropolisStep(walk, 1.7, [normal(), normal()], u(), b).point;
        if (i % 20 === 0) sweep = m.gibbsSweep(sweep, normal(), u(), b);
        sums[0] += walk[0] ** 2 / n; sums[1] += walk[1] / n;
        if (i % 20 === 0) { sums[2] += sweep[0] ** 2 * 20 / n; sums[3] += sweep[1] * 20 / n; }
      }
      return sums;
    })"""
    seeds = list(range(1, 17))
    found = np.array(js("walkers.js", code, {"b": BANANA, "seeds": seeds, "n": 60_000}))
    error = found.std(0, ddof=1) / 4
    assert (np.abs(found.mean(0) - [4, 0, 4, 0]) < 4 * error).all()
    assert (error < 0.3).all(), "the test can tell"


@pytest.mark.parametrize("rho", [0.0, 0.7, 0.95])
def test_autocorrelation_time_is_the_librarys(js, rho):
    x = [0.0]
    for noise in np.random.default_rng(1).normal(size=999):
        x.append(rho * x[-1] + noise)
    found = js("walkers.js", "(m, x) => m.autocorrelationTime(Array.from(x))", np.array(x))
    exact = mcmc_diagnostics.autocorrelation_time(torch.tensor(x, dtype=torch.float64).unsqueeze(1))
    assert found == pytest.approx(float(exact), rel=1e-9)


def test_the_figure_promises_draws_only_when_the_library_would(js):
    """Below 50 autocorrelation times the library warns; the figure, below 100, says that the chain is too short."""
    words = js("walkers.js", "(m, a) => a.map(([n, tau]) => m.worth(n, tau))", [[500, 29.4], [9990, 100], [40000, 200]])
    assert [("too short" in text) for text in words] == [True, True, False]
    assert "17 autocorrelation times so far" in words[0] and words[2] == "worth about 200 independent draws"
    assert js("walkers.js", "(m) => m.LONG_ENOUGH") >= mcmc_diagnostics.LONG_ENOUGH


@pytest.mark.parametrize(("d", "mean", "width"), [(1, 0.8, 1.2), (5, -0.5, 0.8), (20, 0.2, 1.5)])
def test_weights_and_effective_size(js, d, mean, width):
    n = 400
    z = np.random.default_rng(2).normal(size=(n, d))
    code = """(m, { z, d, mean, width }) => {
      return { logW: m.logWeights(z, d, mean, width), limit: m.effectiveShare(d, mean, width) };
    }"""
    found = js("importance.js", code, {"z": z, "d": d, "mean": mean, "width": width})
    x = torch.as_tensor(mean + width * z)
    log_q = StandardNormal(d).log_prob(torch.as_tensor(z)) - d * math.log(width)
    weighted = weighted_samples.WeightedSamples(x, StandardNormal(d).log_prob(x) - log_q)
    np.testing.assert_allclose(found["logW"], weighted.log_weights.numpy(), rtol=1e-9, atol=1e-9)
    weighed = js("probability.js", "(m, w) => m.weigh(w)", weighted.log_weights.numpy())
    np.testing.assert_allclose(weighed["shares"], weighted.probabilities.numpy(), rtol=1e-9)
    assert weighed["size"] == pytest.approx(float(weighted.ess), rel=1e-9)
    grid = np.linspace(-30, 30, 200_001)
    p, q = np.exp(-(grid**2) / 2), np.exp(-(((grid - mean) / width) ** 2) / 2) / width
    rho = (p[q > 0] ** 2 / q[q > 0]).sum() * (grid[1] - grid[0]) / math.sqrt(2 * math.pi)
    assert found["limit"] == pytest.approx(rho**-d, rel=1e-6)


def test_a_proposal_with_thin_tails_has_no_effective_share(js):
    assert js("importance.js", "(m) => m.effectiveShare(1, 0, 0.7)") == 0


def test_order_of_the_rows(js):
    code = "(m, { rows, key, down }) => m.sorted(rows, key, down).map((r) => r.cost)"
    assert js("costs.js", code, {"rows": ROWS, "key": "cost", "down": False}) == [4, 12.3, 40, 3e51]
    assert js("costs.js", code, {"rows": ROWS, "key": "cost", "down": True}) == [3e51, 40, 12.3, 4]
    assert js("costs.js", code, {"rows": ROWS, "key": "error", "down": True}) == [4, 12.3, 40, 3e51], "none comes last"
    assert js("costs.js", code, {"rows": ROWS, "key": "method", "down": False}) == [4, 40, 12.3, 3e51]


def test_numbers_in_words(js):
    costs = js(
        "costs.js", "(m, a) => a.map(m.costText)", [3.14159, 45.2, 9.96, 12345.0, 99_998.0, 3.3e5, 9.7e5, 8.2e199]
    )
    assert costs == ["3.1", "45", "10", "12\u202f345", "99\u202f998", "3 × 10⁵", "1 × 10⁶", "8 × 10¹⁹⁹"]
    code = "(m, a) => a.map(([v, s]) => m.costWithError(v, s))"
    pairs = [[3.1344, 0.2936], [566.7, 12.66], [16_234.5, 1432.0], [3.3e5, 2.1e4], [45.2, None], [4.0, 0]]
    wanted = ["3.13 ± 0.29", "567 ± 13", "16\u202f235 ± 1\u202f432", "3 × 10⁵ ± 21\u202f000", "45", "4.0"]
    assert js("costs.js", code, pairs) == wanted
    code = "(m, a) => a.map(([e, s]) => m.errorText(e, s))"
    errors = js("costs.js", code, [[-0.0351, 0.0146], [1.86, 0.67], [None, None]])
    assert errors == ["−0.035 ± 0.015", "1.86 ± 0.67", "–"]


# --- What a reader sees and does ---


def test_walkers_step_play_and_restart(page, write_page):
    open_figures(page, write_page, Walkers())
    page.get_by_role("button", name="Step", exact=True).press("Enter")
    settle(page)
    assert data(page, "t") == "1"
    page.get_by_role("button", name="500 steps").press("Enter")
    settle(page)
    assert data(page, "t") == "501"
    about = page.locator(".dpm-detail").all_text_contents()
    assert "accepted 100%" in about[1] and "truth 0" in about[0]
    assert all("too short to tell its worth" in words for words in about), "500 steps are a few autocorrelation times"
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.t) > 505")
    page.get_by_role("button", name="Pause").press("Enter")
    page.get_by_role("button", name="New seed").press("Enter")
    settle(page)
    assert (data(page, "t"), data(page, "seed")) == ("0", "2")


def test_a_small_step_is_accepted_and_a_huge_one_is_not(page, write_page):
    open_figures(page, write_page, Walkers())
    rates = {}
    for key in ("Home", "End"):
        page.get_by_role("slider").press(key)
        page.get_by_role("button", name="500 steps").press("Enter")
        settle(page)
        rates[key] = int(data(page, "accepted")) / 500
    assert rates["Home"] > 0.9 and rates["End"] < 0.1


def test_play_goes_slower_for_readers_who_want_calm(page, write_page):
    page.emulate_media(reduced_motion="reduce")
    open_figures(page, write_page, Walkers())
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Pause").press("Enter")
    assert 0 < int(data(page, "t")) <= 25


def test_importance_controls_change_the_effective_size(page, write_page):
    open_figures(page, write_page, importance(0.0, 1.0))
    assert float(data(page, "ess")) == pytest.approx(1000, rel=1e-9), "the proposal is the target"
    page.get_by_label("Proposal mean").press("ArrowRight")
    settle(page)
    one = float(data(page, "ess"))
    page.get_by_label("Dimension").press("End")
    settle(page)
    assert one < 1000 and float(data(page, "ess")) < one
    assert "d = 50" in page.locator(".dpm-detail").text_content()


def test_what_a_drag_does_to_the_proposal(js):
    code = "(m, a) => a.map(([part, by]) => m.dragged(part, { mean: 0.8, width: 1.2 }, by))"
    moves = [["top", 0.52], ["flank", 0.52], ["top", -9], ["flank", -9], ["flank", 0.01]]
    found = js("importance.js", code, moves)
    pairs = [(1.3, 1.2), (0.8, 1.7), (-2.0, 1.2), (0.8, 0.5), (0.8, 1.2)]
    assert found == [{"mean": pytest.approx(m), "width": pytest.approx(w)} for m, w in pairs]


def test_dragging_the_proposal_moves_it_and_the_sliders(page, write_page):
    open_figures(page, write_page, importance(0.0, 1.0))
    plot, grips = page.locator("svg.dpm-dragged"), page.locator(".dpm-grip")
    unit = plot.bounding_box()["width"] / 10  # the axis runs from -5 to 5

    def drag(grip, by):
        box = grip.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + by * unit, y + 15, steps=3)
        page.mouse.up()
        page.mouse.move(x, y)  # let go: this must not count
        settle(page)
        return [page.get_by_label(f"Proposal {name}").input_value() for name in ("mean", "width")]

    assert drag(grips.first, 1.0) == ["1", "1"]
    assert float(data(page, "ess")) < 500
    assert drag(grips.last, 0.5) == ["1", "1.5"]
    assert drag(grips.first, -1.0) == ["0", "1.5"]
    page.get_by_label("Proposal mean").press("ArrowRight")
    settle(page)
    assert drag(grips.last, 0.0) == ["0.1", "1.5"], "sliders and pointer move the same proposal"


def test_dragging_the_proposal_by_touch(watch, write_page):
    watched = watch(width=375, height=740, has_touch=True, is_mobile=True)
    page = watched.page
    open_figures(page, write_page, importance(0.0, 1.0))
    box = page.locator(".dpm-grip").first.bounding_box()
    session = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind, points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", [{"x": x, "y": y}])
    for k in range(1, 6):
        touch("touchMove", [{"x": x + 8 * k, "y": y + 1}])
    touch("touchEnd", [])
    settle(page)
    assert float(page.get_by_label("Proposal mean").input_value()) >= 0.8
    watched.check()


def test_the_table_sorts_and_narrows(page, write_page):
    open_figures(page, write_page, costs())
    methods = page.locator("tbody th")
    cost = page.locator("thead th").nth(3)
    cost.get_by_role("button").press("Enter")
    settle(page)
    assert cost.get_attribute("aria-sort") == "ascending"
    assert methods.all_text_contents() == ["Gibbs (grid)", "importance", "Gibbs", "rejection"]
    cost.get_by_role("button").press("Enter")
    settle(page)
    assert cost.get_attribute("aria-sort") == "descending"
    assert methods.first.text_content() == "rejection"
    page.locator("select").nth(1).select_option("10")
    settle(page)
    assert methods.all_text_contents() == ["Gibbs (grid)"]
    assert "4.00 ± 0.31" in page.locator("tbody").text_content()
    assert "0.90 ± 0.10 !" in page.locator("tbody").text_content()
    assert page.get_by_role("status").first.text_content().startswith("1 rows, by evaluations")


# --- Python's side ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Walkers(std=0.0), "std: 0.0: need a positive"),
        (lambda: Walkers(bend=math.nan), "bend: nan: need a finite"),
        (lambda: ImportanceWeights(width=-1.0), "width: -1.0: need a positive"),
        (lambda: CostTable([]), "rows: need at least one"),
        (lambda: CostTable([{"method": "x"}]), r"rows\[0\]: need 'target', got \['method'\]"),
        (lambda: CostTable([cost_row("x", 2, math.inf)]), r"rows\[0\]\['cost'\]: inf: need a positive, finite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
