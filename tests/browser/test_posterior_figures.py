"""The figures of the chapter on posteriors: their numbers against dpm_lib, and what a reader can do."""

import base64
import math

import numpy as np
import pytest
import torch
from figures import record
from opening import data, open_figures, settle

from dpm_lib.diffusion import conditioning
from dpm_lib.diffusion.schedules import from_tau
from dpm_lib.diffusion.twists import Ending, ExactModel, Expected
from dpm_lib.figures.widgets import BiasOnALine, DigitStrip, PaintedPosterior
from dpm_lib.figures.widgets.posteriors import even_model, painted, string_of_beads
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.products_of_laws import blend_of, gaussian_tilt, times

DABS = [[-0.6, 1.1], [0.9, -0.5], [1.7, 1.3]]
R = {"dabs": DABS, "width": 0.3, "floor": 0.01}
ROLL = """const logWeights = Float64Array.from(a.weights, Math.log);
 const roll = { centres: a.centres.flat(), logWeights, variance: a.variance };
 const blend = new Float64Array(3 * 4096), out = new Float64Array(4 * 4096 * 15);"""


def roll() -> dict:
    figure = PaintedPosterior()
    return {"centres": figure.centres, "weights": figure.weights, "variance": figure.variance}


@pytest.mark.parametrize("kind", ["constant", "annealed", "twisted"])
def test_a_multiplied_step_is_that_of_the_library(js, kind):
    tau = torch.tensor([0.0, 0.01, 0.3, 2.0, 90.0])
    points = np.array([[0.3, -0.8], [-1.6, 0.4], [0.0, 2.0]])
    power = 0.35 if kind == "annealed" else 1.0
    code = f"""(m, a) => {{ {ROLL}
      const terms = m.termsOf(a.r, a.power);
      return [1, 2, 3, 4].flatMap((t) => a.points.map(([x, y]) => {{
        const log = m.perturbed(x, y, a.tau[t - 1], a.tau[t], roll, terms, a.twisted, blend, out);
        return [log, ...m.productMean(out)];
      }})); }}"""
    args = roll() | {
        "r": R,
        "power": power,
        "tau": tau.tolist(),
        "points": points.tolist(),
        "twisted": kind == "twisted",
    }
    found = np.array(js("paint.js", code, args)).reshape(4, 3, 3)
    model, r = ExactModel(string_of_beads(), from_tau(tau)), painted(DABS, 0.3)
    for t in (1, 2, 3, 4):
        x = torch.from_numpy(points)
        if kind == "twisted":
            psi = Expected(model, r)
            law, log_z, _ = conditioning.perturbed(model, Ending(psi, r), x, t - 1, farthest=1.0)
        else:
            law, log_z = times(model.reverse_step(x, t), r.power(power))
        np.testing.assert_allclose(found[t - 1, :, 0], log_z, atol=2e-5)
        np.testing.assert_allclose(found[t - 1, :, 1:], law.mean, atol=2e-5)


def test_cells_hold_the_exact_posterior(js):
    code = f"""(m, a) => {{ {ROLL} const exact = m.posterior(roll, m.termsOf(a.r));
      return [exact.logZ, m.cellMasses(exact)]; }}"""
    log_z, mass = js("paint.js", code, roll() | {"r": R})
    law, ours = times(blend_of(string_of_beads()), painted(DABS, 0.3))
    assert log_z == pytest.approx(float(ours), abs=1e-5)
    line = (torch.arange(160, dtype=torch.float64) + 0.5) / 32 - 2.5
    fine = law.log_prob(torch.cartesian_prod(line, line)).exp().reshape(20, 8, 20, 8).sum((1, 3)) / 32**2
    np.testing.assert_allclose(np.array(mass[:-1]).reshape(20, 20).T, fine, atol=6e-4)
    assert sum(mass) == pytest.approx(1, abs=1e-6)


def test_total_variation_and_its_floor(js):
    """Independent draws of the posterior are as far from it as the floor says, on average."""
    code = f"""(m, a) => {{ {ROLL}
      const exact = m.posterior(roll, m.termsOf(a.r)), mass = m.cellMasses(exact);
      let s = 7; const uniform = () => (s = (s * 16807) % 2147483647) / 2147483647;
      const n = 500, weights = new Float64Array(n).fill(1 / n), points = new Float64Array(2 * n), found = [];
      for (let run = 0; run < 20; run++) {{
        for (let i = 0; i < n; i++) m.draw(exact, uniform, points, i);
        found.push(m.cellDistance(mass, points, weights));
      }}
      return [m.noiseFloor(mass, n), found]; }}"""
    floor, found = js("paint.js", code, roll() | {"r": R})
    assert np.mean(found) == pytest.approx(floor, rel=0.06)


def test_chains_find_what_they_should(js):
    """Twisted and weighted chains end at the noise floor; the constant one is well above it."""
    code = f"""(m, a) => {{ {ROLL}
      const mass = m.cellMasses(m.posterior(roll, m.termsOf(a.r)));
      let s = 5; const uniform = () => (s = (s * 16807) % 2147483647) / 2147483647;
      return ["constant", "twisted", "particles"].map((method) => {{
        const chain = m.openChain(method, 20, roll, a.r, 1500, uniform);
        while (chain.t > 0) chain.step();
        return [m.cellDistance(mass, chain.points, chain.shares()), m.noiseFloor(mass, chain.size)];
      }}); }}"""
    constant, twisted, particles = js("paint.js", code, roll() | {"r": R})
    assert twisted[0] < 1.3 * twisted[1] and particles[0] < 2 * particles[1]
    assert constant[0] > 2.5 * constant[1]


def test_resampling_keeps_shares_and_the_mean_weight(js):
    code = """(m) => { const points = Float64Array.from({ length: 8 }, (_, i) => i);
      const logs = Float64Array.from([1, 2, 4, 1], Math.log);
      m.resample(points, logs, 0.5); return [points, logs]; }"""
    points, logs = js("paint.js", code)
    size = js("probability.js", "(m) => m.weigh([0, 0, -Infinity]).size")
    assert points == [0, 1, 2, 3, 4, 5, 4, 5] and size == pytest.approx(2)
    np.testing.assert_allclose(logs, math.log(2))


CLUMPS = ("two clumps", ([-1.0, 1.0], 0.1))


@pytest.mark.parametrize(
    "name, target, kind, twist",
    [
        ("a normal", ([0.0], 1.0), "constant", "constant"),
        (*CLUMPS, "annealed", "annealed"),
        (*CLUMPS, "plugin", "plug-in"),
    ],
)
def test_laws_on_a_line_are_those_of_the_library(js, name, target, kind, twist):
    centres, variance = target
    code = """(m, a) => { const r = { y: 1, s: 0.5 }, target = m.TARGETS[a.name];
      return [m.chainLaw(a.kind, 20, target, r), m.product(target, r)]; }"""
    found, exact = js("bias.js", code, {"kind": kind, "name": name})
    data = Mixture(torch.tensor(centres).reshape(-1, 1), torch.ones(len(centres)).double() / len(centres), variance)
    model, r = even_model(data, 20), gaussian_tilt(torch.ones(1), math.sqrt(0.5))
    x = torch.linspace(-4.5, 4.5, 181, dtype=torch.float64)
    np.testing.assert_allclose(
        found, conditioning.law_on_grid(model, conditioning.twist_of(model, r, twist), x), atol=1e-7
    )
    np.testing.assert_allclose(exact, times(blend_of(data), r)[0].log_prob(x.unsqueeze(1)).exp(), atol=1e-6)


DONE = "() => document.querySelector('.dpm-figure').dataset.t === '0'"


def test_painting(page, write_page):
    open_figures(page, write_page, PaintedPosterior(T=10, n=200))
    page.wait_for_function(DONE)
    assert data(page, "dabs") == "2" and float(data(page, "twisted")) < 0.4
    brush = page.get_by_role("application")
    brush.focus()
    for key in ("ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    settle(page)
    assert data(page, "dabs") == "3" and data(page, "brush") == "0.10,0.10"
    assert page.get_by_role("combobox", name="Likelihood").input_value() == "your own"
    page.keyboard.press("Backspace")
    settle(page)
    assert data(page, "dabs") == "2"
    box = brush.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40, steps=8)
    page.mouse.up()
    page.wait_for_function(DONE)
    assert int(data(page, "dabs")) >= 5
    page.get_by_role("button", name="Take back").click()
    page.get_by_role("combobox", name="Likelihood").select_option("nothing")
    page.wait_for_function(DONE)
    assert data(page, "dabs") == "0" and float(data(page, "constant")) < 1.6 * float(data(page, "floor"))
    before = data(page, "twisted")
    page.get_by_role("button", name="New draws").click()
    page.wait_for_function(DONE)
    settle(page)
    assert data(page, "twisted") != before
    page.get_by_role("combobox", name="Steps T").select_option("20")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(DONE)
    page.get_by_role("slider", name="Brush").press("End")
    page.wait_for_function(DONE)


def test_the_bias_stays(page, write_page):
    open_figures(page, write_page, BiasOnALine())
    ready = "() => document.querySelector('.dpm-figure').dataset.ready === '1'"
    page.wait_for_function(ready)
    assert float(data(page, "far")) == pytest.approx(0.1352, abs=2e-4)
    steps = page.get_by_role("slider", name="Steps T")
    steps.press("Home")
    settle(page)
    assert data(page, "steps") == "10" and float(data(page, "far")) == pytest.approx(0.0544, abs=2e-4)
    steps.press("End")
    settle(page)
    assert data(page, "steps") == "400" and float(data(page, "far")) > 0.14
    page.get_by_role("combobox", name="Twist").select_option("plugin")
    page.get_by_role("combobox", name="Data").select_option("two clumps")
    page.wait_for_function(ready)
    assert 0.05 < float(data(page, "far")) < 0.12
    page.get_by_role("slider", name="its variance").press("End")
    page.wait_for_function(ready)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="T: 7: need one of 10, 20, 40, 80"):
        PaintedPosterior(T=7)
    with pytest.raises(ValueError, match="n: 3: need at least 50"):
        PaintedPosterior(n=3)


def test_dragging_the_strip(page, write_page):
    made = record()
    open_figures(page, write_page, DigitStrip(made))
    pad = page.get_by_role("slider", name="First missing column")
    pad.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("combobox", name="Digit").select_option("1")
    settle(page)
    assert data(page, "place") == "1" and data(page, "digit") == "1" and data(page, "method") == "twisted"
    draws = np.frombuffer(base64.b64decode(made["draws"]["twisted"]), np.uint8).reshape(made["shape"])[1, 1]
    off = (draws.astype(float) - np.array(made["truth"][1])).reshape(-1, 8, 8)[:, :, 1:5]
    assert float(data(page, "far")) == pytest.approx(np.sqrt((off**2).mean()))
    box = pad.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.68 * box["width"], box["y"] + 30, steps=4)
    page.mouse.up()
    settle(page)
    assert data(page, "place") == "4"
    page.get_by_role("combobox", name="Method").select_option("clamped")
    settle(page)
    assert data(page, "method") == "clamped"


def test_records_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="record: shape"):
        DigitStrip(record() | {"shape": [2, 4, 6, 64]})
    with pytest.raises(ValueError, match="record: draws of 'clamped'"):
        DigitStrip(record() | {"shape": [2, 5, 7, 64]})
    with pytest.raises(ValueError, match="truth: need shape"):
        DigitStrip(record() | {"truth": [[0] * 64]})
