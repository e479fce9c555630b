"""The figures of the chapter on bits: their numbers against dpm_lib, and what a reader can do."""

import numpy as np
import pytest
import torch
from figures import course, strings, untrained
from opening import data, open_figures, settle

from dpm_lib.core.constants import LN2
from dpm_lib.core.results import path
from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.best_bound_bits import BitBound
from dpm_lib.figures.widgets import HeartbeatPlayer, LearningCourse, OwnBits
from dpm_lib.figures.widgets.bits import PRESETS
from dpm_lib.probability.codebooks import heartbeat
from dpm_lib.training.checkpoints import load_model


def network_of(figure: HeartbeatPlayer) -> dict:
    weights = np.frombuffer(figure.weights, "<f4")
    return {"w": weights, "shapes": figure.shapes, "f": figure.frequencies}


NETWORK = "const net = { layers: m.readLayers(a.net.w, a.net.shapes), frequencies: a.net.f };"


def test_a_reverse_step_is_that_of_the_library(js):
    model = untrained()
    tau = model.schedule.tau.numpy()
    x = np.random.default_rng(0).integers(2, size=(7, 20)).astype(float)
    for t in (2, 7, 12):
        args = {"net": network_of(HeartbeatPlayer.from_model(model, steps=[12])), "x": x.tolist(), "tau": tau, "t": t}
        code = f"(m, a) => {{ {NETWORK} return a.x.map((x) => m.reverseRates(x, a.tau[a.t - 1], a.tau[a.t], net)); }}"
        found = np.array(js("bits.js", code, args))
        np.testing.assert_allclose(found, model.reverse_step(torch.from_numpy(x), t).mean.numpy(), atol=2e-6)


def test_evidence_is_that_of_the_library(js):
    model = untrained()
    tau = model.schedule.tau.numpy()
    code = "(m, tau) => [...tau.slice(1)].map((v, i) => [m.evidence(v), m.stepEvidence(tau[i], v)])"
    found = np.array(js("bits.js", code, tau))
    np.testing.assert_allclose(found[:, 0], model.kernel.evidence[1:].numpy(), rtol=1e-10)
    np.testing.assert_allclose(found[:, 1], model.kernel.evidence_of_step[1:].numpy(), rtol=1e-8)


def test_forward_chain_flips_with_the_right_rate(js):
    """Bits of x_t agree with x_0 with probability (1 + alpha_bar_t) / 2, at every level."""
    tau = np.array([0.0, 0.05, 0.4, 3.0, 50.0])
    code = """(m, tau) => { const x0 = Array.from({ length: 20000 }, (_, i) => i % 5 === 0 ? 1 : 0);
      let s = 7; const uniform = () => (s = (s * 16807) % 2147483647) / 2147483647;
      return m.flipped(x0, tau, uniform).map((x) => x.reduce((sum, bit, i) => sum + (bit === x0[i]), 0) / 20000); }"""
    found = np.array(js("bits.js", code, tau))
    expected = 0.5 * (1 + 1 / (1 + tau))
    assert (np.abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / 20_000) + 1e-12).all()


def test_thinned_keeps_both_ends(js):
    found = js("bits.js", "(m, tau) => [2, 3, 11].map((n) => m.thinned(tau, n))", np.arange(12.0))
    assert found == [[0, 1, 11], [0, 1, 6, 11], list(range(12))]


def test_the_trained_network_draws_heartbeats_in_the_page(js):
    """All but a few of 300 strings in 100 steps, and far fewer in 2."""
    model, _ = load_model(path("heartbeat.safetensors"))
    args = {"net": network_of(HeartbeatPlayer.from_model(model)), "tau": model.schedule.tau.numpy()}
    code = f"""(m, a) => {{ {NETWORK}
      let s = 11; const uniform = () => (s = (s * 16807) % 2147483647) / 2147483647;
      return [2, 100].map((steps) => {{
        const x = m.unflipped(300, 20, m.thinned(Array.from(a.tau), steps), net, uniform)[0];
        return Array.from({{ length: 300 }}, (_, k) => m.isHeartbeat(x, k, 20, 5)).filter(Boolean).length;
      }}); }}"""
    few, many = js("bits.js", code, args)
    assert many > 270 and few < 150


def test_kinds_are_those_of_the_library(js):
    found = js("bits.js", "(m) => m.heartbeatKinds(5, 4)")
    classes = BitBound(heartbeat())
    ours = {tuple(k["ones"]): k["count"] for k in found}
    twin = {
        tuple(map(int, ones)): count
        for ones, count in zip(classes.ones.tolist(), classes.log_count.exp().tolist(), strict=True)
    }
    assert len(found) == 126 and ours.keys() == twin.keys() and sum(ours.values()) == 2**20
    for ones, count in ours.items():
        assert count == pytest.approx(twin[ones], rel=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_the_exact_bound_is_that_of_the_library(js, name):
    preset = PRESETS[name]
    code = """(m, a) => { const tau = m.bentTau(a.T, 10 ** a.log10_beta_1, a.knots);
      return [tau, m.exactBits(tau, m.heartbeatKinds(5, 4), 5, 4)]; }"""
    tau, found = js("bits.js", code.replace("return [tau,", "return [Array.from(tau, String),"), preset)
    levels = torch.tensor([float(v.replace("Infinity", "inf")) for v in tau], dtype=torch.float64)
    schedule = schedules.Schedule(-torch.log1p(levels))
    u = np.interp(np.linspace(0, 1, preset["T"]), np.linspace(0, 1, 7), preset["knots"])
    np.testing.assert_allclose(schedule.alpha_bar[1:].numpy(), (1 - 10 ** preset["log10_beta_1"]) * u, atol=1e-12)
    classes = BitBound(heartbeat())
    losses = classes.losses(schedule)
    assert found["K"] == pytest.approx(float(classes.best_bound(schedule)), abs=1e-9)
    for key, value in (("edge", losses["edge"]), ("end", losses["end"]), ("apart", losses["steps"].sum())):
        assert found[key] == pytest.approx(float(value), abs=1e-9)
    np.testing.assert_allclose(found["steps"], losses["steps"].numpy(), atol=1e-10)
    np.testing.assert_allclose(found["kl"][2:], classes.step_costs(schedule)[2:].numpy(), atol=1e-10)


def test_betas_of_the_course(js):
    log_tau = np.array([-9.0, -2.0, 0.5, 4.0])
    tau = np.concatenate([[0], np.exp(log_tau)])
    found = js("learning.js", "(m, v) => m.betas([...v])", log_tau)
    np.testing.assert_allclose(found, np.diff(tau) / (1 + tau[1:]), rtol=1e-12)


def test_strings_answer_their_controls(page, write_page):
    open_figures(page, write_page, strings())
    assert data(page, "t") == "0" and data(page, "data") == "40"
    page.get_by_role("slider", name="Time").press("End")
    settle(page)
    assert data(page, "t") == "12" and int(data(page, "data")) < 5
    page.get_by_role("combobox", name="Steps T").select_option("2")
    settle(page)
    assert data(page, "t") == "2"
    page.get_by_role("slider", name="Time").press("Home")
    settle(page)
    before = data(page, "model")
    for _ in range(5):
        page.get_by_role("button", name="New draws").click()
        settle(page)
        if data(page, "model") != before:
            break
    assert data(page, "t") == "0" and data(page, "data") == "40"
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.t) === 2")


def test_course_answers_its_controls(page, write_page):
    open_figures(page, write_page, course())
    assert data(page, "step") == "0"
    page.get_by_role("slider", name="Training").press("End")
    settle(page)
    assert data(page, "step") == "900" and float(data(page, "best")) == pytest.approx(-2.44)
    page.get_by_role("combobox", name="Bars").select_option("kl_bits")
    page.get_by_role("combobox", name="Model").select_option("roll")
    settle(page)
    assert data(page, "step") == "900"
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.frame === '0'")


def test_own_schedule_answers_its_controls(page, write_page):
    open_figures(page, write_page, OwnBits())
    classes = BitBound(heartbeat())
    assert float(data(page, "k")) == pytest.approx(float(classes.best_bound(schedules.even(100))) / LN2, abs=1e-9)
    page.get_by_role("combobox", name="Schedule").select_option("even after a tiny step")
    settle(page)
    even = float(data(page, "k"))
    assert even == pytest.approx(float(classes.best_bound(schedules.even(100, 1e-6))) / LN2, abs=1e-9)
    page.get_by_role("slider", name="alpha bar at 50 percent of the way").press("PageDown")
    settle(page)
    assert float(data(page, "k")) != even
    assert page.get_by_role("combobox", name="Schedule").input_value() == "your own"
    page.get_by_role("slider", name="Steps T").press("End")
    settle(page)
    assert float(data(page, "k")) > even
    page.get_by_role("slider", name="First step").press("End")
    settle(page)
    assert float(data(page, "k")) < -5


def test_a_knob_can_be_dragged(page, write_page):
    open_figures(page, write_page, OwnBits())
    knob = page.get_by_role("slider", name="alpha bar at 50 percent of the way")
    box = knob.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 - 15, steps=4)
    page.mouse.up()
    settle(page)
    assert float(knob.get_attribute("aria-valuenow")) > 0.52


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: HeartbeatPlayer([(np.zeros((19, 22)), np.zeros(19))], [1.0], [0.0, 1.0], steps=[2]),
            "layers: 19 outputs: need 20",
        ),
        (lambda: HeartbeatPlayer([], [1.0], [1.0, 0.0], steps=[2]), "log_tau: need levels that increase"),
        (lambda: HeartbeatPlayer([], [1.0], [0.0, 1.0], steps=[3]), "steps: 3: need at most 2"),
        (
            lambda: HeartbeatPlayer([], [1.0], [0.0, 1.0], period=3, steps=[2]),
            "period: 3: need a divisor of length, 20",
        ),
        (lambda: LearningCourse({}), "runs: need at least one"),
        (
            lambda: LearningCourse({"a": {"T": 3, "limit": 0, "frames": []}}),
            r"runs\['a'\]: 0 frames: need at least two",
        ),
        (
            lambda: OwnBits({"a": {"T": 50, "log10_beta_1": -2, "knots": [1, 1, 0]}}),
            r"presets\['a'\]\['knots'\]: need a fall",
        ),
        (
            lambda: OwnBits({"a": {"T": 5, "log10_beta_1": -2, "knots": [1, 0.5, 0]}}),
            r"presets\['a'\]\['T'\]: 5: need at least 10",
        ),
    ],
)
def test_bad_figures_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
