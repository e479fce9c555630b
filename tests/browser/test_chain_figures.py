"""The chain editor and the walk between two wells: their numbers against dpm_lib, and what a reader can do."""

import numpy as np
import pytest
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import ChainEditor, DoubleWellWalk
from dpm_lib.figures.widgets.chains import PRESETS
from dpm_lib.markov import markov_chains


def random_chain(n: int, seed: int, zeros: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    P = rng.random((n, n)) ** 2 * (rng.random((n, n)) >= zeros)
    P[np.arange(n), rng.integers(0, n, n)] += 0.1
    return P / P.sum(1, keepdims=True)


def chains() -> list[np.ndarray]:
    made = [random_chain(n, seed) for n in (2, 3, 4, 5) for seed in range(4)]
    return made + [random_chain(5, seed, 0.7) for seed in range(20)] + [np.array(P) for P in PRESETS.values()]


# --- Numbers ---


def test_classes_periods_and_stationary_laws_are_those_of_the_library(js):
    code = """(m, Ps) => Ps.map((P) => {
      const classes = m.recurrentClasses(P);
      return { classes, periods: classes.map((c) => m.period(P, c)), pi: m.stationary(P, classes[0]) };
    })"""
    for P, found in zip(chains(), js("chain.js", code, [P.tolist() for P in chains()]), strict=True):
        classes = markov_chains.recurrent_classes(P)
        assert found["classes"] == [states.tolist() for states in classes]
        if len(classes) == 1:
            assert found["periods"] == [markov_chains.period(P)]
            np.testing.assert_allclose(found["pi"], markov_chains.stationary_distribution(P), atol=1e-13)


def test_eigenvalues_are_those_of_numpy(js):
    """As roots of the characteristic polynomial: a root of multiplicity m is good to about 1e-16^(1/m)."""
    found = js("chain.js", "(m, Ps) => Ps.map(m.eigenvalues)", [P.tolist() for P in chains()])
    for P, pairs in zip(chains(), found, strict=True):
        values = np.array(pairs) @ [1, 1j]
        exact = np.linalg.eigvals(P)
        assert values[0] == 1 and len(values) == len(exact)
        assert (np.diff(np.abs(values)) <= 1e-6).all()
        parted = min((abs(a - b) for i, a in enumerate(exact) for b in exact[:i]), default=1.0)
        tolerance = 1e-7 if parted > 1e-2 else 3e-3
        for value in exact:
            assert np.abs(values - value).min() < tolerance
        np.testing.assert_allclose(np.poly(values).real, np.poly(P), atol=1e-9)


def test_words_say_what_the_library_says(js):
    found = js("chain.js", "(m, Ps) => Ps.map(m.describeChain)", [P.tolist() for P in chains()])
    for P, about in zip(chains(), found, strict=True):
        assert about["ergodic"] == markov_chains.is_ergodic(P)
        assert 1 - about["second"] == pytest.approx(markov_chains.spectral_gap(P), abs=3e-3)
        assert (about["pi"] is None) == (len(markov_chains.recurrent_classes(P)) > 1)


def test_laws_over_time(js):
    P = random_chain(4, 0)
    found = js("chain.js", "(m, a) => m.lawsOverTime(a.P, a.p0, 9)", {"P": P.tolist(), "p0": [0, 1, 0, 0]})
    np.testing.assert_allclose(found, markov_chains.evolve(P, [0, 1, 0, 0], 9), atol=1e-14)


@pytest.mark.parametrize(
    ("row", "j", "value", "wanted"),
    [
        ([0.5, 0.3, 0.2], 0, 0.75, [0.75, 0.15, 0.1]),
        ([0.5, 0.5, 0.0], 0, 0.8, [0.8, 0.2, 0.0]),
        ([1.0, 0.0, 0.0], 0, 0.5, [0.5, 0.25, 0.25]),
        ([0.2, 0.3, 0.5], 1, 7.0, [0, 1, 0]),
        ([0.2, 0.3, 0.5], 1, -1.0, [2 / 7, 0, 5 / 7]),
    ],
)
def test_an_edited_row_still_sums_to_one(js, row, j, value, wanted):
    found = js("chain.js", "(m, a) => m.setEntry(a.row, a.j, a.value)", {"row": row, "j": j, "value": value})
    np.testing.assert_allclose(found, wanted, atol=1e-15)


@pytest.mark.parametrize("barrier", [0.0, 3.0, 8.0, 12.0])
def test_double_well_is_that_of_the_library(js, barrier):
    n = 30
    code = """(m, a) => {
      const { P, pi } = m.doubleWell(a.n, a.barrier);
      return { P, pi, gap: m.tridiagonalGap(P, a.n) };
    }"""
    found = js("wells.js", code, {"n": n, "barrier": barrier})
    P = markov_chains.double_well(n, barrier)
    np.testing.assert_allclose(np.reshape(found["P"], (n, n)), P, atol=1e-15)
    np.testing.assert_allclose(found["pi"], markov_chains.stationary_distribution(P), rtol=1e-11)
    assert found["gap"] == pytest.approx(markov_chains.spectral_gap(P), abs=2e-14, rel=1e-6)


@pytest.mark.parametrize("starts", [[2], [5, 6]])
def test_histories_are_the_laws_at_the_clock_times(js, starts):
    n, walkers = 12, 5000
    code = """(m, a) => {
      const times = m.clockTimes(a.octaves);
      const { P, pi } = m.doubleWell(a.n, 3);
      return { times, ...m.histories(P, a.n, pi, a.starts, times, a.walkers, 1) };
    }"""
    found = js("wells.js", code, {"n": n, "octaves": 12, "starts": starts, "walkers": walkers})
    P = markov_chains.double_well(n, 3)
    pi = markov_chains.stationary_distribution(P)
    times = found["times"]
    assert times[:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14] and times[-1] == 2**12
    laws, counts = np.reshape(found["laws"], (-1, n)), np.reshape(found["counts"], (-1, n))
    for t, law, count, distance in zip(times, laws, counts, found["distance"], strict=True):
        exact = np.linalg.matrix_power(P, t)[starts].mean(0)
        np.testing.assert_allclose(law, exact, atol=1e-12)
        assert distance == pytest.approx(float(markov_chains.total_variation(exact, pi)), abs=1e-12)
        assert count.sum() == walkers
        error = np.sqrt(exact * (1 - exact) / walkers)
        assert (np.abs(count / walkers - exact) <= 4.5 * error + 1e-9).all()  # 12 places x 45 times


# --- What a reader can do ---


def test_editing_by_keyboard_and_mouse_renormalises_the_row(page, write_page):
    open_figures(page, write_page, ChainEditor())
    boxes = page.locator(".dpm-box")
    assert boxes.count() == 9
    before = data(page, "second")
    boxes.nth(0).press("ArrowUp")
    settle(page)
    row = [float(boxes.nth(k).get_attribute("aria-valuenow")) for k in range(3)]
    assert row[0] == pytest.approx(0.65) and sum(row) == pytest.approx(1, abs=2e-3)
    assert data(page, "second") != before
    assert page.locator("select").first.input_value() == "your own"
    box = boxes.nth(4).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    settle(page)
    assert boxes.nth(4).get_attribute("aria-valuetext") == "0.50", "taking hold changes nothing"
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 100)
    page.mouse.up()
    settle(page)
    assert [boxes.nth(k).get_attribute("aria-valuetext") for k in (3, 4, 5)] == ["0", "1.00", "0"]


def test_shift_makes_a_fine_step_of_an_arrow_key(page, write_page):
    open_figures(page, write_page, ChainEditor())
    page.locator("select").first.select_option("slow")
    box = page.locator(".dpm-box").nth(6)
    box.press("Shift+ArrowDown")
    assert box.get_attribute("aria-valuetext") == "0.0175"


def test_the_first_preset_is_shown_first(page, write_page):
    open_figures(page, write_page, ChainEditor())
    assert page.locator("select").first.input_value() == next(iter(PRESETS)) == "forgets"
    options = page.locator("select").first.locator("option").all_text_contents()
    assert options == [*PRESETS, "your own"]


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_show_what_they_are_called_for(page, write_page, name):
    open_figures(page, write_page, ChainEditor())
    page.locator("select").first.select_option(name)
    settle(page)
    assert page.locator(".dpm-box").count() == len(PRESETS[name]) ** 2
    assert data(page, "ergodic") == str(markov_chains.is_ergodic(PRESETS[name])).lower()
    assert page.locator(".dpm-eigenvalue").count() == len(PRESETS[name]) - 1


def test_time_plays_and_the_distance_falls(page, write_page):
    open_figures(page, write_page, ChainEditor())
    page.locator(".dpm-play").press("Enter")
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.t) >= 2")
    page.locator(".dpm-play").press("Enter")
    page.locator(".dpm-time input").press("End")
    settle(page)
    assert data(page, "t") == "40"
    assert "0.0000" in page.locator(".dpm-now").text_content()


def test_a_higher_barrier_has_a_smaller_gap(page, write_page):
    open_figures(page, write_page, DoubleWellWalk(barrier=2.0))
    low = float(data(page, "gap"))
    page.locator("input[type=range]").first.press("End")
    settle(page)
    high = float(data(page, "gap"))
    assert high == pytest.approx(markov_chains.spectral_gap(markov_chains.double_well(30, 12.0)), rel=1e-5)
    assert high < low / 1000
    page.locator("select").select_option("top")
    page.locator(".dpm-time input").press("End")
    settle(page)
    assert float(data(page, "distance")) < 0.1, "from the top, half of the walkers go each way at once"


# --- The Python side ---


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"presets\['x'\]: P: need a sum of 1, got 0\.9 at index 0"):
        ChainEditor({"x": [[0.4, 0.5], [0.5, 0.5]]})
    with pytest.raises(ValueError, match=r"6 states: need 2 to 5"):
        ChainEditor({"x": np.eye(6)})
    with pytest.raises(ValueError, match="presets: need at least one"):
        ChainEditor({})
    with pytest.raises(ValueError, match="steps: 0: need at least 1"):
        ChainEditor(steps=0)
    for wrong, message in (
        ({"n": 7}, "n: 7: need an even number"),
        ({"n": 62}, "n: 62: need at most 60"),
        ({"barrier": 13.0}, "barrier: 13.0: need a finite number, at least 0, at most 12"),
        ({"octaves": 3}, "octaves: 3: need at least 4"),
    ):
        with pytest.raises(ValueError, match=message):
            DoubleWellWalk(**wrong)
