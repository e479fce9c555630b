"""The figures of the chapter on information: their numbers against dpm_lib, and what a reader can do."""

import math

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import InformationArea, InformationScales
from dpm_lib.figures.widgets.information import nested
from dpm_lib.information import i_mmse, mmse
from dpm_lib.probability.mixtures import Mixture

MIXTURES = [
    {"centers": [-1.0, 1.0], "weights": [0.5, 0.5], "variance": 0.0},
    {"centers": [-1.2, 0.2, 1.6], "weights": [0.5, 0.2, 0.3], "variance": 0.04},
    {"centers": [0.3], "weights": [1.0], "variance": 1.0},
    {"centers": [-2.0, -1.4, 0.1, 0.5, 1.9], "weights": [0.1, 0.2, 0.3, 0.15, 0.25], "variance": 0.0},
]


def twin(mixture: dict) -> Mixture:
    centers = torch.tensor(mixture["centers"], dtype=torch.float64).unsqueeze(1)
    return Mixture(centers, torch.tensor(mixture["weights"], dtype=torch.float64), mixture["variance"])


@pytest.mark.parametrize("mixture", MIXTURES)
def test_estimates_are_those_of_the_library(js, mixture):
    levels = [0.02, 0.3, 5.0, 2000.0]
    code = "(m, a) => a.levels.map((t) => m.estimate(a.mixture, t, m.lineRule(0.1)))"
    for t, found in zip(levels, js("immse.js", code, {"mixture": mixture, "levels": levels}), strict=True):
        assert found["mmse"] == pytest.approx(mmse.mmse(twin(mixture), t), abs=1e-9)
        assert found["entropy"] == pytest.approx(mmse.blurred_entropy(twin(mixture), t), abs=1e-9)


def test_equidistant_points_are_those_of_the_library(js):
    exact = mmse.Equidistant(5, math.sqrt(8))
    code = "(m, t) => m.estimateEquidistant(5, Math.sqrt(8), t)"
    for t in (0.1, 1.0, 30.0):
        found = js("immse.js", code, t)
        assert found["mmse"] == pytest.approx(exact.mmse(t), abs=1e-6)
        assert found["information"] == pytest.approx(exact.information(t), abs=1e-6)


@pytest.mark.parametrize("mixture", [*MIXTURES, {"count": 5, "distance": math.sqrt(8)}])
def test_area_and_rest_add_up_at_every_noise(js, mixture):
    """The areas come from the mmse, the rests from entropies: their sum is the entropy of the data."""
    found = js("immse.js", "(m, a) => m.table(a, -3, 4, 20)", mixture)
    area, known = np.array(found["area"]), np.array(found["known"])
    np.testing.assert_allclose(area, known, atol=2e-5)
    if "count" in mixture:
        assert found["entropy"] == pytest.approx(math.log(5))
        return
    place = 60  # t = 1
    assert area[place] == pytest.approx(i_mmse.mutual_information(twin(mixture), 1.0), abs=2e-6)
    if mixture["variance"] == 0:
        weights = np.array(mixture["weights"])
        assert found["entropy"] == pytest.approx(-weights @ np.log(weights), abs=1e-12)
    else:
        assert found["entropy"] == pytest.approx(i_mmse.entropy(twin(mixture)), abs=1e-8)


def test_equal_places_count_once(js):
    mixture = {"centers": [0.5, -1.0, 0.5], "weights": [0.25, 0.5, 0.25], "variance": 0}
    assert js("immse.js", "(m, a) => m.dataEntropy(a, m.lineRule(0.1))", mixture) == pytest.approx(math.log(2))


def test_levels_are_differences_of_nested_mmse(js):
    spacings = [30.0, 4.0, 0.6]
    code = "(m, a) => a.levels.map((t) => m.levelDensities(a.spacings, 10 ** -2.5, t, m.lineRule(0.1)))"
    levels = [0.01, 1.0, 60.0]
    for t, found in zip(levels, js("immse.js", code, {"spacings": spacings, "levels": levels}), strict=True):
        errors = [mmse.mmse(nested(spacings[k:]), t) for k in range(4)] + [0.0]
        np.testing.assert_allclose(found, -np.diff(errors) / (2 * t), atol=1e-8)


def test_each_choice_is_worth_one_bit(js):
    code = "(m, a) => { const r = m.lineRule(0.15), f = [];"
    code += " for (let k = -200; k <= 160; k++) f.push(m.levelDensities([30, 4, 0.6], 1e-9, 10 ** (k / 40), r));"
    code += " return [0, 1, 2].map((j) => f.reduce((s, row) => s + row[j], 0) * Math.LN10 / 40); }"
    np.testing.assert_allclose(js("immse.js", code), math.log(2), atol=2e-2)


def test_of_two_equal_spacings_the_coarser_choice_is_told_by_half(js):
    """Two of the places fall on one, so that I(c; y) is log 2 - 1/2 log 2."""
    code = "(m, a) => { const r = m.lineRule(0.15), f = [];"
    code += " for (let k = -240; k <= 160; k++) f.push(m.levelDensities([4, 4, 0.6], 1e-9, 10 ** (k / 40), r));"
    code += " return [0, 1, 2].map((j) => f.reduce((s, row) => s + row[j], 0) * Math.LN10 / 40); }"
    exact = [0.5 * math.log(2), math.log(2), math.log(2)]
    np.testing.assert_allclose(js("immse.js", code), exact, atol=2e-2)


# --- What a reader can do ---


def parts(page):
    return [float(data(page, name)) for name in ("area", "rest", "entropy")]


def test_area_answers_its_controls(page, write_page):
    open_figures(page, write_page, InformationArea())
    area, rest, entropy = parts(page)
    assert entropy == pytest.approx(math.log(2)) and area + rest == pytest.approx(entropy, abs=1e-4)
    page.get_by_role("slider", name="Noise t₀").press("Home")
    settle(page)
    assert parts(page)[0] == pytest.approx(math.log(2), abs=1e-4)
    for name, value in (
        ("the heartbeat's five strings", math.log(5)),
        ("a Gaussian", 0.5 * math.log(2 * math.pi * math.e)),
    ):
        page.get_by_role("combobox", name="Data").select_option(name)
        settle(page)
        area, rest, entropy = parts(page)
        assert entropy == pytest.approx(value, abs=1e-6) and area + rest == pytest.approx(entropy, abs=1e-4)
    page.get_by_role("slider", name="Width of each point").press("Home")
    settle(page)
    assert parts(page)[2] == pytest.approx(0, abs=1e-9)
    assert page.get_by_role("combobox", name="Data").input_value() == "your own"


def test_points_can_be_moved_by_key_and_by_hand(page, write_page):
    open_figures(page, write_page, InformationArea(data="five points"))
    before = parts(page)
    point = page.get_by_role("slider", name="Point 3 of 5: place, and weight")
    point.press("ArrowUp")
    settle(page)
    raised = parts(page)
    assert raised[2] < before[2]
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 60, box["y"] + box["height"] / 2 + 20, steps=3)
    page.mouse.up()
    settle(page)
    assert float(point.get_attribute("aria-valuenow")) < -0.2
    assert parts(page)[2] != raised[2]


def test_scales_answer_their_controls(page, write_page):
    open_figures(page, write_page, InformationScales())
    told = [float(v) for v in data(page, "told").split()]
    assert told[0] == pytest.approx(math.log(2), abs=1e-6) and 0 < told[2] < told[1] < told[0]
    page.get_by_role("slider", name="Look through noise t").press("End")
    settle(page)
    assert sum(float(v) for v in data(page, "told").split()) < 0.05
    handle = page.get_by_role("slider", name="Spacing: which point")
    handle.press("PageUp")
    settle(page)
    assert float(data(page, "spacings").split()[2]) == pytest.approx(0.6 * 10**0.3, rel=0.03)
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    settle(page)
    assert float(data(page, "spacings").split()[2]) > 2
    width = page.get_by_role("slider", name="Width of a blob")
    width.press("Home")
    settle(page)
    assert float(data(page, "told").split()[3]) < 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InformationArea("ones"), "data: 'ones': need one of 'two points'"),
        (lambda: InformationArea(t0=0), "t0: 0: need a finite number, at least 0.001"),
        (lambda: InformationScales([1.0, 2.0]), r"spacings: need shape \(3\)"),
        (
            lambda: InformationScales([1.0, 2.0, 200.0]),
            "spacings: 200.0: need a finite number, at least 0.02, at most 100",
        ),
    ],
)
def test_bad_figures_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
