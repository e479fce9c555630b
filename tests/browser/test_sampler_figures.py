"""The race of samplers and the schedule to drag: the page's numbers against the library's, and the controls."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.core import results
from dpm_lib.diffusion import continuous_bound, samplers
from dpm_lib.diffusion.continuous_bound import Pace
from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.figures.widgets import ContinuousBound, SamplerRace
from dpm_lib.figures.widgets.samplers import race_schedule
from dpm_lib.figures.widgets.tweedie import three_clumps
from dpm_lib.probability.mixtures import Mixture

MIX = three_clumps()
LINE = {"centers": MIX.centers[:, 0].tolist(), "weights": MIX.weights.tolist(), "variance": MIX.variance}
UNEVEN = Pace(torch.tensor([0.0, 0.3, 0.8, 1.0]), torch.tensor([-6.0, -2.5, 0.5, 4.0], dtype=torch.float64))
U, LOG_TAU = UNEVEN.u.tolist(), UNEVEN.log_tau.tolist()
WAYS = {
    "ddpm": ("ddim", 1.0, samplers.ancestral, {}),
    "ddim": ("ddim", 0.0, samplers.ddim, {}),
    "eta": ("ddim", 0.5, samplers.ddim, {"eta": 0.5}),
    "heun": ("heun", 0.0, samplers.heun, {}),
    "2m": ("2m", 0.0, samplers.dpm_solver_2m, {}),
}


RULE = """(() => {
  const g = Array.from({ length: 121 }, (_, i) => -9 + 0.15 * i), w = g.map((v) => Math.exp(-v * v / 2));
  const total = w.reduce((a, b) => a + b);
  return { nodes: g, weights: w.map((v) => v / total) };
})()"""


@pytest.mark.parametrize("clock", ["log tau", "karras", "sigma"])
def test_the_levels_are_the_librarys(js, clock):
    found = js("race.js", "(m, clock) => Array.from(m.levels(7, clock, 400, 0.002))", clock)
    np.testing.assert_allclose(found, race_schedule(7, clock).tau.flip(0), rtol=1e-9)


@pytest.mark.parametrize("way", list(WAYS))
def test_a_walk_is_the_librarys(js, way):
    """The same start, and the same noise at each step."""
    name, eta, sampler, own = WAYS[way]
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=20), rng.normal(size=(6, 20))
    code = """(m, a) => {
      const rows = a.noise.map((row) => Float64Array.from(row));
      const blur = (means, width) => { const row = rows.shift(); return means.map((v, i) => v + width * row[i]); };
      return Array.from(m.walk(a.name, m.levels(6, "karras", 400, 0.002), Float64Array.from(a.x), blur, a.eta, a.data));
    }"""
    found = js("race.js", code, {"name": name, "eta": eta, "x": x, "noise": noise.tolist(), "data": LINE})
    rows = iter(torch.from_numpy(noise).unsqueeze(2))
    model = samplers.MixtureDenoiser(MIX, race_schedule(6, "karras"))
    wanted = sampler(
        model,
        torch.from_numpy(x).unsqueeze(1),
        list(range(6, -1, -1)),
        lambda mean, width: mean + width * next(rows),
        **own,
    )
    np.testing.assert_allclose(found, wanted[:, 0], atol=1e-9)


RACE = results.read("sampler-race.json")
RUNNERS = {"ddpm": "ddpm", "ddim": "ddim 0", "eta": "ddim 0.5", "heun": "heun", "2m": "2m"}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize(("clock", "calls"), [("log tau", 8), ("sigma", 5)])
def test_the_distances_are_the_librarys(way, clock, calls):
    name, _, sampler, own = WAYS[way]
    steps = samplers.steps_of(name, calls)
    model = samplers.MixtureDenoiser(MIX, race_schedule(steps, clock))
    exact = sampler_law(sampler, model, list(range(steps, -1, -1)), **own).wasserstein(MIX)
    found = RACE["wasserstein"]["three clumps"][clock][RUNNERS[way]][RACE["calls"].index(calls)]
    assert found == pytest.approx(exact, rel=2e-3)


def test_the_race_is_of_the_mixture_of_the_page():
    assert RACE["targets"]["three clumps"] == LINE


def test_calls_and_steps(js):
    assert js("race.js", "(m) => [1, 2, 7, 8].map((n) => [m.stepsOf('heun', n), m.stepsOf('2m', n)])") == [
        [1, 1], [1, 2], [4, 7], [4, 8],
    ]  # fmt: skip
    assert [samplers.steps_of("heun", n) for n in (1, 7)] == [1, 4]


@pytest.mark.parametrize("target", [MIX, Mixture([[0.3]], [1.0], 0.3)])
def test_moments_of_the_error_are_the_librarys(js, target):
    line = {"centers": target.centers[:, 0].tolist(), "weights": target.weights.tolist(), "variance": target.variance}
    code = f"(m, data) => [0.01, 0.3, 5].map((t) => m.errorMoments(data, t, {RULE}))"
    for t, found in zip((0.01, 0.3, 5), js("paces.js", code, line), strict=True):
        exact = continuous_bound.error_moments(target, t)
        for part in ("second", "fourth", "squared"):
            assert found[part] == pytest.approx(getattr(exact, part), rel=1e-6)


def test_the_bounds_of_a_pace_are_the_librarys(js):
    code = f"""(m, a) => {{
      const pace = {{ u: a.u, logTau: a.logTau }}, rule = {RULE};
      const {{ loss, spread }} = m.lossAndSpread(pace, a.data, rule, 4);
      const steps = m.stepLosses(pace, 20, a.data, rule);
      const edges = m.fixedTerms(pace, a.data);
      return {{ loss, spread, edges, K: edges - steps.reduce((x, y) => x + y),
        at: [0, 0.1, 0.3, 0.77, 1].map((u) => m.paceAt(pace, u)), count: steps.length }};
    }}"""
    found = js("paces.js", code, {"u": U, "logTau": LOG_TAU, "data": LINE})
    assert found["loss"] == pytest.approx(continuous_bound.loss(MIX, UNEVEN, 40), rel=1e-7)
    assert found["spread"] == pytest.approx(continuous_bound.spread(MIX, UNEVEN, 40), rel=1e-6)
    assert found["K"] == pytest.approx(continuous_bound.bound(MIX, UNEVEN.schedule(20)), rel=1e-7)
    limit = continuous_bound.limit(MIX, math.exp(-6), math.exp(4))
    assert found["edges"] - found["loss"] == pytest.approx(limit, rel=1e-7)
    np.testing.assert_allclose(
        found["at"], UNEVEN.at(torch.tensor([0, 0.1, 0.3, 0.77, 1], dtype=torch.float64)), rtol=1e-7
    )
    assert found["count"] == 19


def test_the_pace_of_a_density_is_the_librarys(js):
    found = js("paces.js", "(m) => m.paceOf((v) => 1 / Math.cosh(v / 2), -6, 4, 9)")
    pace = continuous_bound.pace_of(lambda v: 1 / math.cosh(v / 2), math.exp(-6), math.exp(4), 120)
    np.testing.assert_allclose(found, pace.at(torch.linspace(0, 1, 9, dtype=torch.float64)), rtol=1e-9)


def test_bending_keeps_the_schedule_rising(js):
    rising = [0, 1, 2, 3, 4, 5, 6]
    assert js("paces.js", "(m, v) => m.bend(v, 3, 0, 6, 0.6)", rising) == pytest.approx([0, 1.2, 2.4, 3.6, 4.4, 5.2, 6])
    much = js("paces.js", "(m, v) => m.bend(v, 3, 0, 6, 30)", rising)
    assert all(b > a for a, b in pairwise(much)) and much[3] > 3.5
    assert js("paces.js", "(m, v) => m.bend(v, 0, 0, 2, -1)", rising) == [-1, 0.5, 2, 3, 4, 5, 6]


# --- On the page ---


def number(page, name):
    return float(data(page, name))


def test_the_race_shows_what_it_says(page, write_page):
    open_figures(page, write_page, SamplerRace(RACE, "ddpm", 8))
    first = number(page, "exact")
    assert first == RACE["wasserstein"]["three clumps"]["log tau"]["ddpm"][RACE["calls"].index(8)]
    choose = page.get_by_role("combobox", name="Sampler").select_option
    choose("2m")
    settle(page)
    assert number(page, "exact") < 0.5 * first
    page.get_by_role("slider", name="Calls").focus()
    page.keyboard.press("End")
    settle(page)
    assert (data(page, "calls"), data(page, "steps")) == ("40", "40")
    choose("heun")
    settle(page)
    assert data(page, "steps") == "20"
    for name in ("ddim 0.5", "ddim 0"):
        choose(name)
        settle(page)
        assert number(page, "exact") == RACE["wasserstein"]["three clumps"]["log tau"][name][-1]
    page.get_by_role("combobox", name="Levels even in").select_option("sigma")
    page.get_by_role("combobox", name="Data").select_option("one normal")
    settle(page)
    assert (data(page, "clock"), data(page, "name")) == ("sigma", "one normal")
    page.get_by_role("button", name="New noise").click()
    settle(page)
    assert data(page, "seed") == "2"
    page.get_by_role("slider", name="Step").focus()
    page.keyboard.press("Home")
    settle(page)
    assert data(page, "k") == "0"
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.k === '40'")


def test_dragging_moves_all_but_the_limit(page, write_page):
    open_figures(page, write_page, ContinuousBound())
    before = {name: number(page, name) for name in ("limit", "k", "error")}
    exact = continuous_bound.limit(MIX, 1e-3, 100.0)
    assert before["limit"] == pytest.approx(exact, abs=1e-6)
    knob = page.get_by_role("slider", name="log tau at u = 0.5")
    knob.focus()
    page.keyboard.press("PageDown")
    settle(page)
    after = {name: number(page, name) for name in ("limit", "k", "error")}
    assert after["limit"] == pytest.approx(exact, abs=1e-6)
    assert abs(after["k"] - before["k"]) > 0.02 and abs(after["error"] - before["error"]) > 0.01
    assert page.get_by_role("combobox", name="Schedule").input_value() == "your own"
    box = knob.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 30)
    page.mouse.up()
    settle(page)
    assert number(page, "limit") == pytest.approx(exact, abs=1e-6) and number(page, "k") != after["k"]
    spreads = {}
    for name in ("even in log τ", "cosine", "least spread", "least loss at large T"):
        page.get_by_role("combobox", name="Schedule").select_option(name)
        settle(page)
        spreads[name] = number(page, "error")
        assert number(page, "limit") == pytest.approx(exact, abs=1e-6)
    assert spreads["least spread"] < 1.002 * min(spreads.values())  # its 64 lines are not the curve
    page.get_by_role("slider", name="log tau at the first level").focus()
    page.keyboard.press("PageDown")
    settle(page)
    assert abs(number(page, "limit") - exact) > 1e-3
    page.get_by_role("slider", name="Levels T").focus()
    page.keyboard.press("End")
    settle(page)
    assert data(page, "t") == "200" and 0 < number(page, "limit") - number(page, "k") < 0.2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SamplerRace({}), "race: has no 'tau_T': need a record with tau_T, tau_1, targets, calls, wasserstein"),
        (lambda: SamplerRace(RACE | {"calls": [2, 8]}), "race, three clumps, log tau, ddpm: need shape"),
        (lambda: SamplerRace(RACE, "euler"), "sampler: 'euler' is not one of ddpm, ddim 0.5, ddim 0, heun, 2m"),
        (lambda: SamplerRace(RACE, calls=7), r"calls: 7: need one of \[2, 3, 4, 5"),
        (lambda: SamplerRace(RACE, target="bumps"), "target: 'bumps' is not one of "),
        (lambda: SamplerRace(RACE, clock="t"), "clock: 't' is not one of log tau, karras, sigma"),
        (lambda: ContinuousBound(2), "T: 2: need at least 3"),
        (lambda: ContinuousBound(201), "T: 201: need at most 200"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()
