"""Rates to edit, walkers that jump, one step back: their numbers against dpm_lib, and what a reader can do."""

import numpy as np
import pytest
from figures import jump_walkers
from opening import data, open_figures, settle
from scipy import stats
from scipy.linalg import expm

from dpm_lib.exact.reverse_step_on_a_grid import step_back, two_clumps
from dpm_lib.figures.widgets import RatePlayground, StepBack
from dpm_lib.figures.widgets.kolmogorov import RATES
from dpm_lib.markov import kolmogorov, time_reversal

RING = RATES["one way round"]


def matrices() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = [rng.exponential(size=(n, n)) * (rng.random((n, n)) > 0.3) for n in (2, 3, 4, 5)]
    for Q in made:
        np.fill_diagonal(Q, 0)
    return [Q - np.diag(Q.sum(1)) for Q in made] + [np.array(Q) for Q in RATES.values()]


# --- Numbers ---


@pytest.mark.parametrize("t", [0.0, 1e-6, 0.025, 1.7, 200.0])
def test_transition_matrices_are_those_of_scipy(js, t):
    found = js(
        "rates.js", "(m, a) => a.Qs.map((Q) => m.transition(Q, a.t))", {"Qs": [Q.tolist() for Q in matrices()], "t": t}
    )
    for Q, P in zip(matrices(), found, strict=True):
        np.testing.assert_allclose(P, expm(Q * t), atol=1e-12)
        np.testing.assert_allclose(P, kolmogorov.transition_matrix(Q, t), atol=1e-13)


def test_a_chain_that_never_moves(js):
    assert js("rates.js", "(m) => m.transition([[0, 0], [0, 0]], 3)") == [[1, 0], [0, 1]]


def test_laws_functions_and_reversals_are_those_of_the_library(js):
    code = """(m, a) => {
      const ways = m.bothWays(a.Q, a.p0, a.target, 0.05, 40);
      return { ...ways, back: m.reversedLaws(ways), R: m.reverseRates(a.Q, ways.laws[7]) };
    }"""
    for Q in matrices():
        n = len(Q)
        p0 = np.arange(1, n + 1) / (n * (n + 1) / 2)
        found = js("rates.js", code, {"Q": Q.tolist(), "p0": p0.tolist(), "target": n - 1})
        times = np.linspace(0, 2, 41)
        p, u = kolmogorov.forward(p0, Q, times), kolmogorov.backward(np.eye(n)[-1], Q, times)
        np.testing.assert_allclose(found["laws"], p, atol=1e-12)
        np.testing.assert_allclose(found["functions"], u, atol=1e-12)
        for k in (0, 13, 39):
            B = time_reversal.reverse_kernel(expm(Q * (2 - times[k])), p[k])
            np.testing.assert_allclose(found["back"][k], B[-1], atol=1e-11)
        np.testing.assert_allclose(found["R"], time_reversal.reverse_generator(Q, p[7]), rtol=1e-9, atol=1e-10)


def test_an_end_that_cannot_be_has_no_reversal(js):
    code = "(m) => m.reversedLaws(m.bothWays([[0, 0], [1, -1]], [1, 0], 1, 0.1, 3))"
    assert js("rates.js", code) == [None] * 4


def test_an_edited_row_still_sums_to_zero(js):
    changed = np.array(js("rates.js", "(m, Q) => m.setRate(Q, 1, 0, 2.5)", RING))
    wanted = np.array(RING)
    wanted[1, 0], wanted[1, 1] = 2.5, -2.5 - RING[1][2]
    np.testing.assert_allclose(changed, wanted, atol=1e-15)


@pytest.mark.parametrize(("std", "x"), [(0.5, 0.3), (0.2, -1.1), (1.0, 2.0)])
@pytest.mark.parametrize("beta", [0.002, 0.05, 0.6])
def test_step_back_is_that_of_the_library(js, std, x, beta):
    code = """(m, a) => {
      const { mean, variance, kl } = m.stepBack(a.std, a.x, a.beta);
      return { mean, variance, kl, log: m.twoClumps(a.x, a.std), third: m.thirdDerivative(a.x, a.std) };
    }"""
    found = js("stepback.js", code, {"std": std, "x": x, "beta": beta})
    back = step_back(lambda y: two_clumps(y, std), x, beta)
    assert found["mean"] == pytest.approx(back.mean, rel=1e-9)
    assert found["variance"] == pytest.approx(back.variance, rel=1e-9)
    assert found["kl"] == pytest.approx(back.kl, rel=1e-6, abs=1e-13)
    assert found["log"] == pytest.approx(float(two_clumps(np.array(x), std)), rel=1e-12)
    h = 0.01 * std**2
    third = sum(c * two_clumps(np.array(x + k * h), std) for c, k in ((1, 2), (-2, 1), (2, -1), (-1, -2))) / (2 * h**3)
    assert found["third"] == pytest.approx(third, rel=5e-3, abs=2e-3 / std**6)


def test_walkers_follow_the_law_and_wait_exponentially(js):
    code = """(m, a) => {
      let state = a.seed; // a generator of its own: the module does not export the book's
      const uniform = () => ((state = (state * 48271) % 2147483647) / 2147483647);
      const paths = Array.from({ length: a.n }, () => m.jumpPath(a.Q, 0, a.t, uniform));
      const counts = m.census(paths, 3, a.t);
      return { counts, waits: paths.map((p) => p.times[1] ?? null), chi: m.chiSquare(counts, a.law) };
    }"""
    Q, t, n = np.array(RING), 1.3, 20_000
    law = expm(Q * t)[0]
    found = js("jumps.js", code, {"Q": RING, "t": t, "n": n, "seed": 12345, "law": law.tolist()})
    assert stats.chisquare(found["counts"], n * law).pvalue > 1e-3
    assert found["chi"] == pytest.approx(stats.chisquare(found["counts"], n * law).statistic)
    waits = np.array([w for w in found["waits"] if w is not None])
    assert abs(len(waits) / n - (1 - np.exp(Q[0, 0] * t))) < 4 * 0.5 / np.sqrt(n)
    cut = stats.truncexpon(-Q[0, 0] * t, scale=-1 / Q[0, 0])
    assert stats.kstest(waits, cut.cdf).pvalue > 1e-3


def test_state_at_a_time_is_that_of_the_last_jump(js):
    code = "(m, ts) => ts.map((t) => m.stateAt({ times: [0, 1, 2.5], states: [4, 0, 2] }, t))"
    assert js("jumps.js", code, [0, 0.99, 1, 2.4, 2.5, 9]) == [4, 4, 0, 0, 2, 2]


def test_laws_of_the_figure_are_those_of_the_library():
    figure = jump_walkers(horizon=4.0)
    np.testing.assert_allclose(figure.laws[1][100], expm(np.array(RING) * 2.0)[1], atol=1e-8)


# --- What a reader can do ---


def test_rates_are_edited_by_keyboard_and_mouse(page, write_page):
    open_figures(page, write_page, RatePlayground())
    boxes = page.locator(".dpm-handle.dpm-box")
    assert boxes.count() == 6, "the diagonal is not to be dragged"
    boxes.nth(0).press("ArrowUp")
    settle(page)
    assert boxes.nth(0).get_attribute("aria-valuetext") == "1.10"
    assert page.locator(".dpm-matrix .dpm-entry").first.text_content() == "−1.20"
    assert page.locator("select").first.input_value() == "your own"
    boxes.nth(0).press("Home")
    settle(page)
    assert boxes.nth(0).get_attribute("aria-valuetext") == "0"
    box = boxes.nth(3).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 130)
    page.mouse.up()
    settle(page)
    assert boxes.nth(3).get_attribute("aria-valuetext") == "3.00"
    page.get_by_role("button", name="Reset").click()
    settle(page)
    assert boxes.nth(3).get_attribute("aria-valuetext") == "0.50"


@pytest.mark.parametrize("name", list(RATES))
def test_presets_and_reversal(page, write_page, name):
    open_figures(page, write_page, RatePlayground())
    page.locator("select").first.select_option(name)
    settle(page)
    n = len(RATES[name])
    assert page.locator(".dpm-matrix .dpm-entry").count() == n * n
    assert page.locator(".dpm-law").count() == 2 * n
    ahead = page.locator(".dpm-now").text_content()
    assert "sum 1.000. u" in ahead
    page.get_by_label("Reverse").check()
    settle(page)
    assert data(page, "reverse") == "true"
    assert "reversed law" in page.locator(".dpm-now").text_content()
    p0 = 3.0 ** -np.arange(n)
    Q = np.array(RATES[name])
    law = kolmogorov.forward(p0 / p0.sum(), Q, [0, 0.75])[-1]  # a quarter of the way to 3
    R = time_reversal.reverse_generator(Q, law)
    shown = [float(t.replace("−", "-")) for t in page.locator(".dpm-circle .dpm-entry").all_text_contents()]
    np.testing.assert_allclose(shown, R.ravel(), atol=6e-3)


def test_the_expectation_is_the_same_at_every_time(page, write_page):
    open_figures(page, write_page, RatePlayground())
    seen = set()
    for key in ("Home", "PageUp", "End"):
        page.locator(".dpm-time input").press(key)
        settle(page)
        seen.add(page.locator(".dpm-now").text_content().split("Σ")[1])
    assert len(seen) == 1


def test_reversed_time_plays_backwards(page, write_page):
    open_figures(page, write_page, RatePlayground())
    page.get_by_label("Reverse").check()
    page.locator(".dpm-time input").press("End")
    page.locator(".dpm-play").press("Enter")
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.k) < 118")
    page.locator(".dpm-play").press("Enter")
    assert data(page, "playing") == "false"


def test_start_in_a_state_has_no_rates_from_elsewhere_at_zero(page, write_page):
    open_figures(page, write_page, RatePlayground())
    page.locator("select").nth(1).select_option("0")
    page.get_by_label("Reverse").check()
    page.locator(".dpm-time input").press("Home")
    settle(page)
    entries = page.locator(".dpm-circle .dpm-entry").all_text_contents()
    assert entries[:3] == ["0", "0", "0"] and set(entries[3:]) == {"–"}


def test_x_t_is_moved_by_keyboard_and_mouse(page, write_page):
    open_figures(page, write_page, StepBack())
    pin = page.get_by_role("slider", name="x_t")
    pin.press("ArrowRight")
    settle(page)
    assert data(page, "x") == "0.35"
    pin.press("Home")
    settle(page)
    assert data(page, "x") == "-2"
    box = page.locator(".dpm-rail").bounding_box()
    at = pin.bounding_box()
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + 16)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, at["y"] + 16)
    page.mouse.up()
    settle(page)
    assert abs(float(data(page, "x"))) <= 0.02


def test_small_steps_are_nearly_gaussian(page, write_page):
    open_figures(page, write_page, StepBack())
    first = float(data(page, "kl"))
    assert first == pytest.approx(step_back(lambda y: two_clumps(y, 0.5), 0.3, 0.5).kl, rel=1e-6)
    page.get_by_role("slider", name="Step β").press("Home")
    page.get_by_label("Zoom in").check()
    settle(page)
    assert float(data(page, "kl")) < 1e-6 * first
    assert "× 10⁻⁸ nats" in page.locator(".dpm-now").text_content()
    page.get_by_label("Width of a clump").select_option("0.2")
    settle(page)
    assert data(page, "std") == "0.2"


def test_walkers_are_played_and_drawn_anew(page, write_page):
    open_figures(page, write_page, jump_walkers())
    page.locator(".dpm-play").press("Enter")
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.k) > 5")
    page.locator(".dpm-play").press("Enter")
    page.locator(".dpm-time input").press("End")
    settle(page)
    words = page.locator(".dpm-now").text_content()
    assert "2 degrees of freedom" in words
    page.get_by_role("button", name="New walkers").click()
    settle(page)
    assert page.locator(".dpm-now").text_content() != words and data(page, "seed") == "2"
    page.locator("select").nth(1).select_option("3000")
    settle(page)
    assert data(page, "count") == "3000"


# --- The Python side ---


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"presets\['x'\]: Q: need rows that sum to 0, got 1 in row 0"):
        RatePlayground({"x": [[0, 1], [1, -1]]})
    with pytest.raises(ValueError, match=r"presets\['x'\]: 1 states: need 2 to 5"):
        RatePlayground({"x": [[0]]})
    with pytest.raises(ValueError, match=r"a rate of 4\.0: need at most 3"):
        RatePlayground({"x": [[-4, 4], [1, -1]]})
    with pytest.raises(ValueError, match="presets: need at least one"):
        RatePlayground({})
    with pytest.raises(ValueError, match=r"horizon: -1\.0: need a positive"):
        jump_walkers(horizon=-1.0)
    for wrong, message in (
        ({"x_t": 3}, "x_t: 3: need a finite number, at least -2, at most 2"),
        ({"beta": 0.0}, "beta: 0.0: need a finite number, at least 0.001, at most 0.9"),
        ({"std": 0.3}, "std: 0.3: need one of 0.2, 0.35, 0.5, 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            StepBack(**wrong)
