"""The crowd in a bent potential, the limit of small steps, and steps of one noise: numbers and controls."""

import math

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle
from scipy.stats import binom, norm

from dpm_lib.figures.widgets import BentPotential, StepsOfOneNoise, WalkLimit
from dpm_lib.figures.widgets.diffusion import TWO_WELLS, bent_langevin, potential
from dpm_lib.markov.matrix_exponential import backward_euler
from dpm_lib.sde import brownian_motion, fokker_planck, grids, sde

REACH, CELLS = 3.0, 121
X = np.linspace(-REACH, REACH, CELLS)
UNIFORM = "(() => { let s = 1; return () => (s = (48271 * s) % 2147483647) / 2147483647; })()"
HEIGHTS = [TWO_WELLS, (1.0,) * 7, (5.0, 0.0, 5.0, 0.0, 5.0, 0.0, 5.0), (0.3, 2.2, 1.1, 4.0, 0.1, 0.0, 3.0)]


# --- Numbers ---


@pytest.mark.parametrize("heights", HEIGHTS)
def test_potential_and_force_are_those_of_the_library(js, heights):
    x = np.linspace(-REACH, REACH, 77)
    found = js("bend.js", "(m, a) => a.x.map((v) => m.potential(v, a.h, 3))", {"x": x.tolist(), "h": list(heights)})
    U, slope = potential(x, heights, REACH)
    np.testing.assert_allclose(np.array(found), np.stack([U, slope], 1), atol=1e-12)
    assert potential(np.arange(-3.0, 4.0), heights, REACH)[0] == pytest.approx(heights)
    fine = np.linspace(x[:-1], x[1:], 401)
    rises = np.trapezoid(potential(fine.ravel(), heights, REACH)[1].reshape(fine.shape), fine, axis=0)
    np.testing.assert_allclose(rises, np.diff(U), atol=1e-4)


@pytest.mark.parametrize("heights", HEIGHTS)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_rates_rest_and_steps_are_those_of_the_library(js, heights, temperature):
    """The page's rates are fokker_planck.generator's, its step is backward_euler, its law of rest is stationary."""
    code = """(m, a) => {
      const U = a.x.map((v) => m.potential(v, a.heights, 3)[0]);
      const flow = m.rates(U, a.h, a.temperature);
      return { ...flow, rest: m.restingLaw(U, a.temperature), next: m.implicitStep(a.p, flow, a.dt) };
    }"""
    h = grids.cell_volume(X)
    p = norm.pdf(X, -1, 0.4)
    p /= p.sum()
    given = {"x": X.tolist(), "heights": list(heights), "h": h, "temperature": temperature, "p": p, "dt": 0.05}
    found = js("bend.js", code, given)
    process = bent_langevin(heights, REACH, temperature)
    Q = fokker_planck.generator(process, X)
    np.testing.assert_allclose(found["up"], Q.diagonal(1), rtol=1e-10)
    np.testing.assert_allclose(found["down"], Q.diagonal(-1), rtol=1e-10)
    np.testing.assert_allclose(found["rest"], h * fokker_planck.stationary(process, X), rtol=1e-10)
    np.testing.assert_allclose(found["next"], backward_euler(Q, 0.05)(p), rtol=1e-10, atol=1e-15)
    assert sum(found["next"]) == pytest.approx(1, abs=1e-12) and min(found["next"]) >= 0


def test_a_particle_step_is_the_librarys(js):
    x = np.linspace(-2.9, 2.9, 40)
    noise = np.random.default_rng(0).normal(size=40)
    code = "(m, a) => { m.particleStep(a.x, a.noise, 0.01, 0.7, a.heights, 3, 9); return a.x; }"
    found = js("bend.js", code, {"x": x, "noise": noise, "heights": list(TWO_WELLS)})
    process = bent_langevin(TWO_WELLS, REACH, 0.7)
    dw = torch.from_numpy(0.1 * noise).reshape(1, -1, 1)
    times = torch.tensor([0.0, 0.01], dtype=torch.float64)
    wanted = process.simulate(torch.from_numpy(x).unsqueeze(1), times, increments=dw)[-1, :, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_walls_reflect(js):
    found = js("bend.js", "(m, x) => { m.particleStep(x, [8, -8], 1, 0.5, [1, 1, 1], 3, 3); return x; }", np.zeros(2))
    assert found == pytest.approx([-2.0, 2.0])


def test_particles_and_density_of_the_page_agree(js):
    """5000 particles and the density, both by the page, after 2 units of time: Kolmogorov-Smirnov at 1 in 1000."""
    code = """(m, a) => {
      const U = a.places.map((v) => m.potential(v, a.heights, 3)[0]);
      const flow = m.rates(U, a.h, 0.5);
      let p = a.p;
      for (let k = 0; k < 500; k++) {
        m.particleStep(a.x, a.noise.subarray(k * 5000, (k + 1) * 5000), 0.004, 0.5, a.heights, 3, 3 + a.h / 2);
        p = m.implicitStep(p, flow, 0.004);
      }
      return { gap: m.kolmogorovDistance(a.x, p, 3, a.h), sum: p.reduce((s, v) => s + v, 0) };
    }"""
    rng = np.random.default_rng(1)
    p = norm.pdf(X, -2, 0.15)
    noise = rng.normal(size=500 * 5000).astype("f4")
    found = js(
        "bend.js",
        code,
        {
            "places": X.tolist(),
            "heights": list(TWO_WELLS),
            "h": X[1] - X[0],
            "p": p / p.sum(),
            "x": -2 + 0.15 * rng.normal(size=5000),
            "noise": noise,
        },
    )
    assert found["sum"] == pytest.approx(1, abs=1e-11)
    assert found["gap"] < 1.95 / math.sqrt(5000) + 0.004  # and the first-order steps of both


def test_walks_their_squares_and_their_ends(js):
    code = """(m, a) => {
      const uniform = UNIFORM;
      const steps = m.coinTosses(64, uniform);
      const path = m.scaledWalk(steps);
      return { steps: Array.from(steps), path, squares: [1, 8, 64].map((k) => m.squaredIncrements(path, k)),
        long: m.absoluteIncrements(path, 64), ends: m.walkEnds(5, 9, uniform) };
    }"""
    found = js("limit.js", code.replace("UNIFORM", UNIFORM))
    steps = np.array(found["steps"])
    assert set(steps) == {-1, 1}
    path = np.concatenate([[0], steps.cumsum() / 8])
    np.testing.assert_allclose(found["path"], path, atol=1e-12)
    wanted = [(np.diff(path[:: 64 // k]) ** 2).sum() for k in (1, 8, 64)]
    np.testing.assert_allclose(found["squares"], wanted, atol=1e-12)
    assert found["squares"][2] == pytest.approx(1) and found["long"] == pytest.approx(8)
    assert set(np.round(np.array(found["ends"]) * 3).astype(int)) <= set(range(-9, 10, 2))


@pytest.mark.parametrize("n", [1, 5, 40, 4096])
def test_ends_have_the_binomial_law(js, n):
    ends = np.array(js("limit.js", f"(m, n) => m.walkEnds(4000, n, {UNIFORM})", n))
    assert abs(ends.mean()) < 4 / math.sqrt(4000)
    assert abs(ends.var() - 1) < 4 * math.sqrt(2 / 4000)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1024, 16384])
def test_distance_to_the_normal_law(js, n):
    found = js("limit.js", "(m, n) => ({ gap: m.distanceToNormal(n), law: m.endLaw(n) })", n)
    k = np.arange(n + 1)
    np.testing.assert_allclose(found["law"], binom.pmf(k, n, 0.5), rtol=1e-9, atol=1e-300)
    normal = norm.cdf((2 * k - n) / math.sqrt(n))
    gap = max(np.abs(binom.cdf(k, n, 0.5) - normal).max(), np.abs(binom.cdf(k - 1, n, 0.5) - normal).max())
    assert found["gap"] == pytest.approx(gap, rel=1e-8)


def test_normal_distribution_function(js):
    z = [-30.0, -20.0, -9.0, -5.0, -3.001, -3.0, -1.2, 0.0, 0.4, 2.999, 3.001, 6.0]
    np.testing.assert_allclose(js("probability.js", "(m, z) => z.map(m.normalCdf)", z), norm.cdf(z), rtol=1e-12)


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
def test_errors_of_the_page_are_those_of_the_library(js, kind):
    drift, sigma, start = {
        "multiplicative": (lambda x, t: x / 2, lambda x, t: (1 + x**2).sqrt(), 0.5),
        "additive": (lambda x, t: -2 * x, lambda x, t: 1.0, 1.5),
    }[kind]
    dw = np.random.default_rng(2).normal(size=(20, 64)) / 8
    found = js("orders.js", "(m, a) => m.strongErrors(a.kind, a.dw, 20, 4)", {"kind": kind, "dw": dw})
    increments = torch.from_numpy(dw.T.copy()).unsqueeze(-1)
    process, x0 = sde.SDE(drift, sigma), torch.full((20, 1), start, dtype=torch.float64)

    def end(steps):
        times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        return process.simulate(x0, times, increments=brownian_motion.coarsen(increments, 64 // steps))[-1]

    exact = torch.sinh(math.asinh(0.5) + increments.sum(0)) if kind == "multiplicative" else end(64)
    wanted = [float((end(2**k) - exact).square().mean().sqrt()) for k in range(5)]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_weak_errors(js):
    found = js("orders.js", "(m) => [m.weakError('multiplicative', 4), m.weakError('additive', 4)]")
    assert found == pytest.approx([0.5 * (math.exp(0.5) - 1.125**4), 1.5 * abs(math.exp(-2) - 0.5**4)])


# --- What a reader can do ---


def test_bending_by_keyboard_and_mouse(page, write_page):
    open_figures(page, write_page, BentPotential())
    handles = page.get_by_role("slider", name="Potential at x")
    assert handles.count() == 7
    before = float(data(page, "away"))
    handle = page.get_by_role("slider", name="Potential at x = 2", exact=True)
    handle.press("PageUp")
    handle.press("ArrowUp")
    settle(page)
    assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(TWO_WELLS[5] + 1.2)
    assert float(data(page, "away")) != before
    assert page.get_by_role("combobox", name="Potential").input_value() == "your own"
    box = handle.locator(".dpm-grip").bounding_box()
    page.mouse.move(box["x"] + 16, box["y"] + 16)
    page.mouse.down()
    page.mouse.move(box["x"] + 16, box["y"] - 20, steps=3)
    page.mouse.up()
    settle(page)
    assert float(handle.get_attribute("aria-valuenow")) > TWO_WELLS[5] + 1.5
    handle.press("Home")
    settle(page)
    assert float(handle.get_attribute("aria-valuenow")) == 0


def test_the_crowd_moves_towards_rest_and_stays_with_its_density(page, write_page):
    open_figures(page, write_page, BentPotential())
    start = float(data(page, "away"))
    for _ in range(6):
        page.get_by_role("button", name="Half a unit on").click()
    settle(page)
    assert float(data(page, "t")) == pytest.approx(3.0, abs=0.01)
    assert float(data(page, "away")) < start - 0.1
    assert float(data(page, "gap")) < 1.95 / math.sqrt(1000) + 0.01
    page.get_by_role("slider", name="Temperature").press("End")
    settle(page)
    assert data(page, "temperature") == "2"
    page.get_by_role("combobox", name="Start").select_option("everywhere")
    settle(page)
    assert float(data(page, "t")) == 0


def test_play_and_pause(page, write_page):
    open_figures(page, write_page, BentPotential())
    page.locator(".dpm-play").press("Enter")
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.t) > 0.3")
    page.locator(".dpm-play").press("Enter")
    page.wait_for_timeout(100)  # a frame may be on its way
    stopped = data(page, "t")
    page.wait_for_timeout(200)
    assert data(page, "t") == stopped


def test_touch_bends(watch, write_page):
    watched = watch(width=375, height=740, has_touch=True)
    open_figures(watched.page, write_page, BentPotential())
    handle = watched.page.get_by_role("slider", name="Potential at x = 0", exact=True)
    box = handle.locator(".dpm-grip").bounding_box()
    at = {"x": box["x"] + 16, "y": box["y"] + 16}
    client = watched.page.context.new_cdp_session(watched.page)
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [at | {"y": at["y"] + 30}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(watched.page)
    assert float(handle.get_attribute("aria-valuenow")) < TWO_WELLS[3] - 0.4
    watched.check()


def test_steps_and_lens(page, write_page):
    open_figures(page, write_page, WalkLimit())
    steps, lens = page.get_by_role("slider", name="Steps n"), page.get_by_role("slider", name="Lens")
    first = float(data(page, "distance"))
    steps.press("End")
    settle(page)
    assert data(page, "n") == "16384" and float(data(page, "distance")) < first / 20
    assert float(data(page, "squares")) == pytest.approx(1)
    lens.press("End")
    settle(page)
    assert data(page, "lens") == "7"
    steps.press("Home")
    settle(page)
    assert data(page, "lens") == "0", "there is nothing to see below one step"
    page.get_by_role("button", name="New coins").click()
    settle(page)


def test_orders_of_the_page(page, write_page):
    open_figures(page, write_page, StepsOfOneNoise())
    assert float(data(page, "slope")) == pytest.approx(0.5, abs=0.12)
    page.get_by_role("combobox", name="Noise").select_option("additive")
    settle(page)
    assert float(data(page, "slope")) == pytest.approx(1, abs=0.12)
    page.get_by_role("slider", name="Steps").press("ArrowRight")
    settle(page)
    assert data(page, "steps") == "16"


# --- The Python side ---


def test_bad_arguments_are_named():
    for make, wrong, message in (
        (BentPotential, {"n": 5}, "n: 5: need at least 10"),
        (BentPotential, {"reach": -1.0}, "reach: -1.0: need a positive, finite number"),
        (BentPotential, {"cells": 120}, "cells: 120: need one more than a multiple of 6"),
        (WalkLimit, {"power": 15}, "power: 15: need at most 14"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**wrong)
