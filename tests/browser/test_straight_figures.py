"""The figures of the chapter on straight ways: the page's numbers against the library's, and the controls."""

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.diffusion import samplers
from dpm_lib.diffusion.interpolants import COSINE, LINEAR, exploding, follow
from dpm_lib.diffusion.mixture_flow import MixtureFlow, monotone_map
from dpm_lib.diffusion.reflow import line_budget
from dpm_lib.figures.widgets import FewSteps, ThreePaths, TwoLaws
from dpm_lib.figures.widgets.straight import METHODS, STEPS, distance
from dpm_lib.figures.widgets.tweedie import three_clumps
from dpm_lib.probability.mixtures import Mixture

MIX = three_clumps()
OTHER = Mixture([[-1.6], [1.4]], [0.3, 0.7], 0.2)
PATHS = {"linear": LINEAR, "cosine": COSINE, "exploding": exploding(4.0)}
FLOW = "const flow = { target: a.target, source: a.source, path: m.PATHS[a.path] };"


def page_law(law):
    return {"centers": law.centers[:, 0].tolist(), "weights": law.weights.tolist(), "variance": law.variance}


ARGUMENTS = {"target": page_law(MIX), "source": page_law(OTHER)}


@pytest.mark.parametrize("name", list(PATHS))
def test_the_velocity_and_what_it_cannot_tell_are_the_librarys(js, name):
    x = np.linspace(-3, 3, 9)
    code = f"(m, a) => {{ {FLOW} return [0, 0.3, 1].map((s) => Array.from(a.x, m.velocityAt(s, flow))); }}"
    flow = MixtureFlow(MIX, OTHER, PATHS[name])
    for s, row in zip((0.0, 0.3, 1.0), js("flows.js", code, {**ARGUMENTS, "path": name, "x": x}), strict=True):
        at = torch.from_numpy(x).unsqueeze(1)
        np.testing.assert_allclose([v["mean"] for v in row], flow.velocity(at, s)[:, 0], atol=1e-9)
        np.testing.assert_allclose([v["spread"] for v in row], flow.spread(at, s), atol=1e-9)


def test_quantiles_are_the_librarys_map(js):
    x = np.array([-7.5, -3.0, -0.4, 1.0, 5.0, 8.0])
    code = "(m, a) => Array.from(a.x, (v) => m.quantile(m.chances(v, a.source), a.target))"
    found = js("flows.js", code, {**ARGUMENTS, "x": x})
    np.testing.assert_allclose(found, monotone_map(OTHER, MIX, torch.from_numpy(x).unsqueeze(1))[:, 0], atol=1e-9)


@pytest.mark.parametrize("name", list(PATHS))
def test_the_budget_is_the_librarys(js, name):
    code = f"(m, a) => {{ {FLOW} return m.budget(flow); }}"
    found, exact = js("flows.js", code, {**ARGUMENTS, "path": name}), line_budget(MixtureFlow(MIX, OTHER, PATHS[name]))
    for part in ("pairs", "flow", "bend", "unknown"):
        assert found[part] == pytest.approx(getattr(exact, part), rel=0.01), part


@pytest.mark.parametrize("heun", [False, True])
def test_eulers_and_heuns_steps_are_the_librarys(js, heun):
    x = np.linspace(-2, 2, 7)
    code = f"(m, a) => {{ {FLOW} return m.solve(Array.from(a.x), 6, flow, a.heun).at(-1); }}"
    found = js("flows.js", code, {**ARGUMENTS, "path": "linear", "x": x, "heun": heun})
    flow, at = MixtureFlow(MIX, OTHER), torch.from_numpy(x).unsqueeze(1)
    if heun:  # its last step is Euler's, as that of the samplers
        at = follow(flow.velocity, at, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])[-1]
        wanted = follow(flow.velocity, at, [1 / 6, 0], "euler")[-1]
    else:
        wanted = follow(flow.velocity, at, np.linspace(1, 0, 7).tolist(), "euler")[-1]
    np.testing.assert_allclose(found, wanted[:, 0], atol=1e-9)


def test_the_multistep_method_is_the_librarys(js):
    x, steps = np.linspace(-2, 2, 9), 7
    found = js("flows.js", f"(m, a) => m.multistep(Array.from(a.x), {steps}, a.target)", {**ARGUMENTS, "x": x})
    model = samplers.MixtureDenoiser(MIX, LINEAR.schedule(steps))
    wanted = samplers.dpm_solver_2m(model, torch.from_numpy(x).unsqueeze(1), list(range(steps, -1, -1)))
    np.testing.assert_allclose(found, wanted[:, 0], atol=1e-9)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_distances_are_the_librarys(js, method):
    """As well as tables of 1500 places know them: where the map is steep, they are good to 1e-3."""
    code = """(m, a) => {
      const { x, cdf } = a.table;
      return a.steps.map((calls) => m.ends(a.method, calls, x, a.target));
    }"""
    count = 1501
    x = np.linspace(-7.5, 7.5, count)
    table = {"x": x.tolist(), "cdf": torch.special.ndtr(torch.from_numpy(x)).tolist()}
    steps = [1, 2, 4, 16, 64]
    rows = js("fewsteps.js", code, {"table": table, "method": method, "steps": steps, "target": page_law(MIX)})
    for calls, row in zip(steps, rows, strict=True):
        found = js("flows.js", "(m, a) => m.distanceTo(a.target, a.end, a.cdf)",
                   {"target": page_law(MIX), "end": row, "cdf": table["cdf"]})  # fmt: skip
        assert found == pytest.approx(distance(method, calls, MIX), rel=0.02, abs=1e-3), calls


def test_after_reflow_any_number_of_steps_is_exact(js):
    code = """(m, a) => m.straight(a.x, m.image(a.cdf, a.target), a.steps).at(-1)"""
    x = torch.linspace(-3, 3, 11, dtype=torch.float64)
    cdf = OTHER.cdf(x.unsqueeze(1))
    for steps in (1, 5):
        arguments = {"x": x.tolist(), "cdf": cdf.tolist(), "steps": steps, "target": page_law(MIX)}
        found = js("twolaws.js", code, arguments)
        np.testing.assert_allclose(found, monotone_map(OTHER, MIX, x.unsqueeze(1))[:, 0], atol=1e-8)


# --- On the page ---


def number(page, name):
    return float(data(page, name))


def test_the_path_moves_and_the_flow_does_not(page, write_page):
    open_figures(page, write_page, ThreePaths())
    assert number(page, "bend") == pytest.approx(line_budget(MixtureFlow(MIX)).bend, rel=0.02)
    same = page.locator(".dpm-unshrunk polyline").first.get_attribute("points")
    lines = page.locator(".dpm-lines polyline.dpm-thread").first.get_attribute("points")
    for name in ("cosine", "exploding"):
        page.get_by_role("combobox", name="Path").select_option(name)
        settle(page)
        assert number(page, "bend") == pytest.approx(line_budget(MixtureFlow(MIX, None, PATHS[name])).bend, rel=0.03)
        assert page.locator(".dpm-unshrunk polyline").first.get_attribute("points") == same
        assert page.locator(".dpm-lines polyline.dpm-thread").first.get_attribute("points") != lines
    page.get_by_role("combobox", name="Data").select_option("one")
    page.get_by_role("combobox", name="Path").select_option("cosine")
    settle(page)
    assert number(page, "bend") < 1e-6
    page.get_by_role("slider", name="Time s").focus()
    page.keyboard.press("Home")
    settle(page)
    assert number(page, "tau") == 0
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.s === '1'")
    page.get_by_role("checkbox", name="Pairs at random").check()
    settle(page)
    assert page.locator(".dpm-lines .dpm-pairline").count() == 30


def test_reflow_straightens_and_dragging_moves(page, write_page):
    open_figures(page, write_page, TwoLaws(steps=2))
    bent, cost, kept = (number(page, name) for name in ("off", "cost", "kept"))
    exact = line_budget(MixtureFlow(MIX))
    assert (cost, kept) == pytest.approx((exact.pairs, exact.flow), rel=0.01)
    assert bent > 0.1
    for view in ("once", "twice"):
        page.get_by_role("combobox", name="Lines").select_option(view)
        settle(page)
        assert number(page, "off") < 2e-3 and number(page, "bend") == 0
        assert number(page, "cost") == pytest.approx(kept)
    page.get_by_role("combobox", name="Lines").select_option("flow")
    knob = page.get_by_role("slider", name="clump 2 of the data")
    knob.focus()
    page.keyboard.press("PageUp")
    settle(page)
    moved = Mixture([[-1.5], [0.8], [1.2]], MIX.weights, 0.04)
    assert number(page, "kept") == pytest.approx(line_budget(MixtureFlow(moved)).flow, rel=0.01)
    assert page.get_by_role("combobox", name="Laws").input_value() == "your own"
    box = knob.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.up()
    settle(page)
    assert number(page, "kept") != pytest.approx(line_budget(MixtureFlow(moved)).flow, rel=0.01)
    for name in ("two clumps to two", "three to one"):
        page.get_by_role("combobox", name="Laws").select_option(name)
        settle(page)
        assert number(page, "kept") < number(page, "cost")
    page.get_by_role("slider", name="Euler steps").focus()
    page.keyboard.press("End")
    settle(page)
    assert data(page, "steps") == "32"
    page.get_by_role("combobox", name="Lines").select_option("pairs")
    settle(page)
    assert page.locator(".dpm-pairline").count() == 28


def test_few_steps_and_the_distance(page, write_page):
    students = {"two clumps": {"a student": [[1, 0.2], [2, 0.1]]}}
    open_figures(page, write_page, FewSteps(students, 8, "linear"))
    assert number(page, "off") == pytest.approx(distance("linear", 8), rel=0.01)
    assert page.locator(".dpm-dashed").count() == 1
    for method in METHODS:
        page.get_by_role("combobox", name="Method").select_option(method)
        settle(page)
        assert number(page, "off") == pytest.approx(distance(method, 8), rel=0.02)
    page.get_by_role("slider", name="Calls").focus()
    page.keyboard.press("End")
    settle(page)
    assert data(page, "calls") == str(STEPS[-1])
    page.get_by_role("combobox", name="Data").select_option("one normal, variance 1")
    page.get_by_role("combobox", name="Method").select_option("cosine")
    settle(page)
    assert number(page, "off") < 1e-6 and page.locator(".dpm-dashed").count() == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ThreePaths("sine"), "path: 'sine': need one of"),
        (lambda: TwoLaws("thrice"), "view: 'thrice': need one of"),
        (lambda: TwoLaws(steps=0), "steps: 0: need at least 1"),
        (lambda: TwoLaws(steps=33), "steps: 33: need at most 32"),
        (lambda: FewSteps(steps=5), "steps: 5: need one of"),
        (lambda: FewSteps(method="rk4"), "method: 'rk4': need one of"),
        (lambda: FewSteps({"two clumps": {"x": [1.0, 2.0]}}), r"students, two clumps, x: need shape \(n, 2\)"),
        (lambda: distance("rk4", 2), "method: 'rk4': need one of"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("name", list(PATHS))
def test_the_trajectories_are_the_librarys_flow(js, name):
    """Through the quantiles of the data, at three times of the path."""
    u = [0.02, 0.31, 0.5, 0.9]
    lows = js("flows.js", "(m, a) => a.u.map((v) => m.quantile([v, 1 - v], a.target))", {**ARGUMENTS, "u": u})
    flow = MixtureFlow(MIX, OTHER, PATHS[name])
    for s in (0.0, 0.4, 1.0):
        code = """(m, a) => { const law = m.lawAt(a.s, { target: a.target, source: a.source, path: m.PATHS[a.path] });
          return a.u.map((v) => m.quantile([v, 1 - v], law)); }"""
        found = js("flows.js", code, {**ARGUMENTS, "u": u, "s": s, "path": name})
        wanted = flow.map(torch.tensor(lows, dtype=torch.float64).unsqueeze(1), 0, s)[:, 0]
        np.testing.assert_allclose(found, wanted, atol=1e-8)
