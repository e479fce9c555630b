"""The figure of bits along the noise: its sums against the library's densities, and what a reader can do."""

import math

import figures
import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import BitsAlong, RoundedStep
from dpm_lib.figures.widgets.bits_along import CELL
from dpm_lib.probability.discretised_gaussian import DiscretisedGaussian


def numbers(page, name: str) -> list[float]:
    return [float(part) for part in data(page, name).split()]


def left_of(values: bytes, low: float, cut: float, models: int) -> list[float]:
    rows = np.frombuffer(values).reshape(models, -1)
    return rows[:, : round((cut - low) / CELL)].sum(1) * CELL


def test_sums_and_steps(js):
    code = """(m) => ({ left: [-3, 0.1, 0.75, 9].map((x) => m.leftOf([2, 4, 1], 0, 0.5, x)),
      stairs: m.stairs([2, 4], 1, 0.5) })"""
    found = js("bitsalong.js", code)
    assert found["left"] == pytest.approx([0, 0.2, 2, 3.5])
    assert found["stairs"] == [[1, 2], [1.5, 2], [1.5, 4], [2, 4]]


def test_the_whole_area_is_the_number_of_bits(page, write_page):
    shown = figures.bits_along()
    rows = [figures.bits_along_row(), figures.bits_along_row(other=True)]
    open_figures(page, write_page, shown)
    whole = [float(np.sum(row["steps"])) + row["last_bits"] for row in rows]
    assert numbers(page, "all") == pytest.approx(whole, rel=1e-9)
    cut = float(data(page, "cut"))
    assert numbers(page, "left") == pytest.approx(left_of(shown.net, shown.low, cut, 2), rel=1e-9)
    page.get_by_role("slider", name="Cut at a noise of").press("End")
    settle(page)
    assert numbers(page, "left") == pytest.approx(whole, rel=1e-9)
    said = page.locator(".dpm-now").text_content()
    assert f"of {whole[0] + 0.01:.2f} bits" in said and f"of {whole[1] + 0.01:.2f} bits" in said


def test_what_l_simple_counts_is_a_share(page, write_page):
    shown = figures.bits_along(cut=1.0)
    open_figures(page, write_page, shown)
    page.get_by_role("combobox", name="Count").select_option("simple")
    settle(page)
    assert numbers(page, "all") == pytest.approx([1, 1]) and data(page, "counts") == "simple"
    assert numbers(page, "left") == pytest.approx(left_of(shown.simple, shown.low, 1.0, 2), rel=1e-9)
    # the same by the definition: |eps - eps_hat|^2 at DDPM's times, on a fine grid
    row = figures.bits_along_row()
    x = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = torch.as_tensor(row["steps"] / np.diff(row["log_tau"]))[((x + 9) / 0.45).floor().long().clamp(max=39)]
    total = torch.logaddexp(x - 2 * math.log(6), torch.zeros_like(x))  # -log alpha_bar = .1 s + 9.95 s^2
    time = (-0.1 + (0.01 + 39.8 * total).sqrt()) / 19.9
    counted = density[:-1] * time.diff() * (time[1:] <= 1)
    assert numbers(page, "left")[0] == pytest.approx(float(counted[x[:-1] < 1].sum() / counted.sum()), abs=2e-3)


def law(mean, deviation, count=17):
    one = torch.ones(1, dtype=torch.float64)
    return DiscretisedGaussian(mean * one, deviation * one, torch.arange(count, dtype=torch.float64))


@pytest.mark.parametrize(("mean", "deviation"), [(14.3, 1.0), (-1.7, 0.25), (8.2, 4.0), (3.5, 0.1)])
def test_the_levels_are_those_of_the_library(js, mean, deviation):
    """In both tails, down to probabilities of 1e-300."""
    found = js("rounded.js", "(m, [mean, deviation]) => m.masses(mean, deviation, 17)", [mean, deviation])
    exact = law(mean, deviation).log_masses.exp().squeeze(-1).numpy()
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-300)


def test_the_rounded_step_answers_its_sliders(page, write_page):
    open_figures(page, write_page, RoundedStep())
    for name, key in (("Guess", "ArrowRight"), ("Deviation", "ArrowRight"), ("True level", "ArrowLeft")):
        page.get_by_role("slider", name=name).press(key)
    settle(page)
    mean, deviation, level = (float(data(page, name)) for name in ("mean", "deviation", "level"))
    assert (mean, deviation, level) == pytest.approx((14.4, 1.05, 15))
    exact = law(mean, deviation)
    cost = -float(exact.log_prob(torch.tensor([level], dtype=torch.float64))) / math.log(2)
    assert float(data(page, "bits")) == pytest.approx(cost, rel=1e-9)
    assert float(data(page, "average")) == pytest.approx(float(exact.mean), rel=1e-9)
    assert f"Level 15 costs {cost:.2f} bits" in page.locator(".dpm-now").text_content()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BitsAlong({}), "models: need one to 3, got 0"),
        (lambda: BitsAlong({"a": figures.bits_along_row() | {"log_tau": [0.0]}}), r"steps: need shape \(0\)"),
        (lambda: BitsAlong({"a": figures.bits_along_row() | {"std": 0.0}}), "std: 0.0: need a positive, finite number"),
        (lambda: figures.bits_along(cut=99.0), "cut: 99.0: need a finite number"),
        (lambda: RoundedStep(count=1), "count: 1: need at least 2"),
        (lambda: RoundedStep(level=17), "level: 17: need one of 0 to 16"),
        (lambda: RoundedStep(mean=19.0), "mean: 19.0: need a finite number"),
        (lambda: RoundedStep(deviation=0.0), "deviation: 0.0: need a finite number"),
        (lambda: figures.bits_along(counts="nats"), "counts: 'nats': need one of 'bits', 'simple'"),
    ],
)
def test_a_bad_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
