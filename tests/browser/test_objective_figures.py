"""The figure of objectives: its numbers against dpm_lib, and what a reader can do."""

import math

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.diffusion.loss_weights import TABLE, loss_density
from dpm_lib.figures.widgets import LossWeights

LEVELS = torch.linspace(-9.0, 9.5, 38, dtype=torch.float64)
ERROR = 5 * LEVELS.exp() / (1 + LEVELS.exp()) * (1 + 0.3 * torch.sin(LEVELS))
GIVEN = {"levels": LEVELS.tolist(), "error": ERROR.tolist()}


def running(density: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumulative_trapezoid(density, LEVELS)])


def number(page, name: str) -> float:
    return float(data(page, name))


@pytest.mark.parametrize("name", TABLE)
def test_every_objective_is_that_of_the_library(js, name):
    code = """(m, { levels, error, name }) => ({ share: levels.map((x) => m.counts(name, x)),
      over: levels.map((x) => m.overBound(name, x)), density: m.lossDensity(name, levels, error),
      falls: m.fallsAt(name, levels) })"""
    found = js("weights.js", code, GIVEN | {"name": name})
    row = TABLE[name]
    np.testing.assert_allclose(found["share"], row.share(LEVELS), rtol=1e-12)
    np.testing.assert_allclose(found["over"], row.over_bound(LEVELS), rtol=1e-12)
    np.testing.assert_allclose(found["density"], loss_density(row, LEVELS, ERROR), rtol=1e-12)
    down = row.over_bound(LEVELS).log().diff() < -1e-9
    assert found["falls"] == (float(LEVELS[:-1][down][0]) if down.any() else None)


def test_the_script_has_the_table_and_no_other_row(js):
    assert js("weights.js", "(m) => Object.keys(m.OBJECTIVES)") == list(TABLE)


def test_areas_quantiles_and_what_two_have_in_common(js):
    code = """(m, { levels, error }) => { const [a, b] = ["bound", "EDM"].map((n) => m.lossDensity(n, levels, error));
      const sums = m.running(levels, a);
      return { sums, common: m.common(levels, a, b), ends: [0, 0.05, 0.5, 1].map((v) => m.reached(levels, sums, v)),
        heights: [-9, -4.1, 9.5].map((x) => m.heightAt(levels, sums, x)) }; }"""
    found = js("weights.js", code, GIVEN)
    a, b = (loss_density(TABLE[name], LEVELS, ERROR) for name in ("bound", "EDM"))
    sums = running(a)
    np.testing.assert_allclose(found["sums"], sums, atol=1e-12)
    assert found["common"] == pytest.approx(float(torch.trapezoid(torch.minimum(a, b), LEVELS)), rel=1e-12)
    np.testing.assert_allclose(found["ends"], np.interp([0, 0.05, 0.5, 1], sums, LEVELS), rtol=1e-9)
    np.testing.assert_allclose(found["heights"], np.interp([-9, -4.1, 9.5], LEVELS, sums), atol=1e-12)


def test_the_figure_answers_its_controls(page, write_page):
    open_figures(page, write_page, LossWeights(LEVELS, ERROR, 5, "bound", "NCSN"))
    assert number(page, "common") == pytest.approx(1)  # one and the same
    assert data(page, "first-falls") == data(page, "second-falls") == "never"
    page.get_by_role("combobox", name="Second").select_option("simple")
    settle(page)
    assert number(page, "common") < 0.9 and data(page, "second-falls") != "never"
    bound, simple = (running(loss_density(TABLE[name], LEVELS, ERROR)) for name in ("bound", "simple"))
    for sums, which in ((bound, "first"), (simple, "second")):
        cut = number(page, "cut")
        assert number(page, f"{which}-below") == pytest.approx(float(np.interp(cut, LEVELS, sums)), rel=1e-9)
        ends = [float(part) for part in data(page, f"{which}-ends").split()]
        np.testing.assert_allclose(ends, np.interp([0.05, 0.95], sums, LEVELS), rtol=1e-9)
    assert number(page, "first-below") > number(page, "second-below")  # simple looks away from small noise
    words = page.locator(".dpm-now").text_content()
    page.get_by_role("slider", name="Cut").press("End")
    settle(page)
    assert number(page, "first-below") == pytest.approx(1) and page.locator(".dpm-now").text_content() != words
    page.get_by_role("combobox", name="First").select_option("EDM")
    settle(page)
    assert data(page, "first") == "EDM" and "No mixture of bounds" in page.locator(".dpm-now").text_content()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossWeights([0.0, 1.0], [1.0, 1.0]), "log_tau: need three levels or more that rise, got"),
        (lambda: LossWeights([0.0, 2.0, 1.0], [1.0] * 3), "log_tau: need three levels or more that rise, got"),
        (lambda: LossWeights([0.0, 1.0, 40.0], [1.0] * 3), "log_tau: 40.0: need a finite number"),
        (lambda: LossWeights([0.0, 1.0, 2.0], [1.0] * 4), r"error: need shape \(3\)"),
        (lambda: LossWeights([0.0, 1.0, 2.0], [1.0, -1.0, 1.0]), "error: -1.0: need a finite number"),
        (lambda: LossWeights([0.0, 1.0, 2.0], [1.0, math.nan, 1.0]), r"error: nan at index \(1,\)"),
        (lambda: LossWeights(first="eps"), "first: 'eps': need one of 'bound', 'VDM'"),
        (lambda: LossWeights(second="eps"), "second: 'eps': need one of"),
        (lambda: LossWeights(cut=20.0), "cut: 20.0: need a finite number"),
        (lambda: LossWeights(dim=0), "dim: 0: need at least 1"),
    ],
)
def test_a_bad_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
