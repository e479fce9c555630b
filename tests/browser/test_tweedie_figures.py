"""The ways back, the field of guesses, and the two pictures of one path: numbers and controls."""

import math

import numpy as np
import pytest
import torch
from figures import two_pictures
from opening import data, open_figures, settle
from scipy.stats import kstest

from dpm_lib.diffusion import probability_flow, schedules, tweedie
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.diffusion.variance_exploding import brownian, falling_times
from dpm_lib.figures.widgets import GuessField, TwoPictures, WaysBack
from dpm_lib.figures.widgets.tweedie import FIVE, three_clumps
from dpm_lib.probability.mixtures import finite_set
from dpm_lib.sde.sde import SDE

MIX = three_clumps()
LINE = {"centers": MIX.centers[:, 0].tolist(), "weights": MIX.weights.tolist(), "variance": MIX.variance}
UNIFORM = "(() => { let s = 1; return () => (s = (48271 * s) % 2147483647) / 2147483647; })()"
Z = np.linspace(-3, 3, 25)


def column(z):
    return torch.from_numpy(np.asarray(z, dtype=float)).unsqueeze(1)


# --- Numbers ---


@pytest.mark.parametrize("t", [0.01, 0.5, 4.0])
def test_the_mixture_on_the_line_is_the_librarys(js, t):
    code = """(m, { z, t, data }) => ({ score: z.map((v) => m.lineScore(v, t, data)),
      density: z.map((v) => m.lineDensity(v, t, data)), cdf: z.map((v) => m.lineCdf(v, t, data)) })"""
    found = js("mixture.js", code, {"z": Z.tolist(), "t": t, "data": LINE})
    np.testing.assert_allclose(found["score"], MIX.score(column(Z), t)[:, 0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found["density"], MIX.log_prob(column(Z), t).exp(), rtol=1e-9, atol=1e-200)
    np.testing.assert_allclose(found["cdf"], MIX.cdf(column(Z), t), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("t", [0.01, 0.5, 4.0])
def test_moments_in_the_plane_are_the_librarys(js, t):
    target, z = finite_set(torch.tensor(FIVE)), torch.tensor([[0.3, 0.5], [-1.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    points = {"centers": target.centers.tolist(), "weights": [0.2] * 5, "variance": 0}
    code = "(m, { z, t, points }) => z.map((v) => m.moments(v, t, points))"
    found = js("mixture.js", code, {"z": z.tolist(), "t": t, "points": points})
    score, _ = tweedie.tweedie(target, z, t)
    for k, row in enumerate(found):
        np.testing.assert_allclose(row["mean"], target.posterior_mean(z, t)[k], atol=1e-10)
        np.testing.assert_allclose(row["covariance"], target.posterior_covariance(z, t)[k], atol=1e-10)
        np.testing.assert_allclose(row["score"], score[k], rtol=1e-9, atol=1e-9)
        assert row["logP"] == pytest.approx(float(target.log_prob(z, t)[k]), rel=1e-10)


def test_moments_of_a_mixture_with_a_variance(js):
    data = LINE | {"centers": [[c] for c in LINE["centers"]]}
    found = js(
        "mixture.js", "(m, { z, data }) => z.map((v) => m.moments([v], 0.3, data))", {"z": Z.tolist(), "data": data}
    )
    np.testing.assert_allclose([f["mean"][0] for f in found], MIX.posterior_mean(column(Z), 0.3)[:, 0], atol=1e-10)
    wanted = MIX.posterior_covariance(column(Z), 0.3)[:, 0, 0]
    np.testing.assert_allclose([f["covariance"][0][0] for f in found], wanted, atol=1e-10)


@pytest.mark.parametrize(("lam", "printed"), [(0.0, False), (0.5, False), (0.5, True), (2.0, False)])
def test_a_step_back_is_the_librarys(js, lam, printed):
    normals = np.random.default_rng(0).normal(size=len(Z))
    code = "(m, a) => m.stepBack(a.z, 0.4, 0.3, a.lam, a.printed, a.normals, a.data)"
    found = js("ways.js", code, {"z": Z, "lam": lam, "printed": printed, "normals": normals, "data": LINE})
    process = brownian().reverse(MIX.score, noise=lam)
    if printed:
        process = SDE(lambda z, t: -0.5 * (1 + lam) * MIX.score(z, t), lambda z, t: lam, backward=True)
    dw = math.sqrt(0.1) * torch.from_numpy(normals).reshape(1, -1, 1)
    times = torch.tensor([0.4, 0.3], dtype=torch.float64)
    wanted = process.simulate(column(Z), times, increments=dw)[-1, :, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_times_and_distance_are_the_librarys(js):
    close_to = js("ways.js", "(m) => m.fallingTimes(4, 0.01, 16)")
    np.testing.assert_allclose(close_to, falling_times(4.0, 0.01, 16), rtol=1e-12)
    z = np.random.default_rng(1).normal(size=300)
    gap = js("ways.js", "(m, a) => m.distance(a.z, 0.5, a.data)", {"z": z, "data": LINE})
    assert gap == pytest.approx(kstest(MIX.cdf(column(z), 0.5).numpy(), "uniform").statistic, abs=1e-10)


def test_walks_of_the_page_arrive_and_printed_ones_do_not(js):
    code = f"""(m, data) => [[1, false], [0.5, false], [0.5, true]].map(([lam, printed]) => {{
      const times = m.fallingTimes(4, 0.01, 256);
      const path = m.walkBack(times, 8000, lam, printed, data, {UNIFORM});
      return [m.distance(path[0], 4, data), m.distance(path[256], 0.01, data)];
    }})"""
    found = js("ways.js", code, LINE)
    critical = 1.95 / math.sqrt(8000)  # one in a thousand
    assert all(start < critical for start, _ in found)
    assert found[0][1] < critical + 0.003 and found[1][1] < critical + 0.003  # and the steps
    assert found[2][1] > 0.04


def test_the_flow_of_the_page_is_the_librarys(js):
    points = {"centers": [list(p) for p in FIVE], "weights": [0.2] * 5, "variance": 0}
    path = js("guess.js", "(m, data) => m.flowDown([0.3, 0.5], 0.5, 0.01, 40, data)", points)
    target, z = finite_set(torch.tensor(FIVE)), torch.tensor([[0.3, 0.5]], dtype=torch.float64)
    end, _ = probability_flow.transport(target.score, z, falling_times(0.5, 0.01, 40), lambda p, t: torch.zeros(len(p)))
    np.testing.assert_allclose(path[-1], end[0], atol=1e-9)


def test_the_ellipse_has_the_axes_of_the_covariance(js):
    C = np.array([[0.5, 0.2], [0.2, 0.3]])
    found = js("guess.js", "(m, C) => m.ellipse(C)", C.tolist())
    values, vectors = np.linalg.eigh(C)
    np.testing.assert_allclose([found["short"] ** 2, found["long"] ** 2], values)
    along = np.array([math.cos(found["angle"]), math.sin(found["angle"])])
    assert abs(along @ vectors[:, 1]) == pytest.approx(1)


def test_brownian_levels_and_the_carried_density(js):
    levels = np.array([0.1, 0.4, 2.0])
    w = js(
        "pictures.js",
        "(m, a) => m.brownian(a.levels, a.normals)",
        {"levels": levels, "normals": np.array([1.0, -2.0, 0.5])},
    )
    np.testing.assert_allclose(w, np.cumsum(np.sqrt(np.diff([0, *levels])) * [1, -2, 0.5]))
    data = LINE | {"centers": [[c] for c in LINE["centers"]]}
    found = js(
        "pictures.js", "(m, { x, data }) => x.map((v) => m.preserved(v, 2.5, data))", {"x": Z.tolist(), "data": data}
    )
    back = schedules.to_variance_preserving(2.5)
    z = back.inverse.point(column(Z))
    np.testing.assert_allclose([f["logP"] for f in found], back.log_prob(MIX.log_prob(z, 2.5), 1), rtol=1e-9)
    np.testing.assert_allclose([f["score"] for f in found], back.score(MIX.score(z, 2.5))[:, 0], atol=1e-10)
    union = js("pictures.js", "(m) => m.levelsOf({ a: [0, 1, 4], b: [0, 2, 4] }, 2)")
    assert union == sorted(union) and {1, 2, 4} <= set(union) and len(union) == 5


# --- What a reader can do ---


def test_noise_steps_and_drift(page, write_page):
    open_figures(page, write_page, WaysBack(noise=0.5, power=7))
    right, floor = float(data(page, "gap")), float(data(page, "floor"))
    assert right < 1.5 * floor
    page.get_by_role("combobox", name="Drift").select_option("printed")
    settle(page)
    assert float(data(page, "gap")) > 1.8 * floor and data(page, "printed") == "true"
    page.get_by_role("combobox", name="Drift").select_option("right")
    page.get_by_role("slider", name="Steps").press("Home")
    settle(page)
    assert data(page, "steps") == "4" and float(data(page, "gap")) > 2 * floor
    page.get_by_role("slider", name="Noise λ").press("Home")
    page.get_by_role("combobox", name="Data").select_option("points")
    page.get_by_role("button", name="New noise").click()
    settle(page)
    assert data(page, "noise") == "0" and data(page, "seed") == "2"
    page.get_by_role("slider", name="Time").press("Home")
    settle(page)
    assert data(page, "t") == "0"


def test_play_runs_to_the_data_and_stops(page, write_page):
    open_figures(page, write_page, WaysBack(power=4))
    page.get_by_role("slider", name="Time").press("PageDown")
    settle(page)
    assert 8 < int(data(page, "t")) < 16
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.t === '16'")
    page.get_by_role("button", name="Play").wait_for()


def test_points_move_by_keyboard_and_mouse(page, write_page):
    open_figures(page, write_page, GuessField())
    before = data(page, "mean")
    probe = page.get_by_role("slider", name="Noisy point z")
    probe.press("ArrowRight")
    probe.press("PageUp")
    settle(page)
    assert [float(v) for v in data(page, "z").split()] == pytest.approx([0.4, 1.0])
    mean = [float(v) for v in data(page, "mean").split()]
    z = torch.tensor([[0.4, 1.0]], dtype=torch.float64)
    np.testing.assert_allclose(mean, finite_set(torch.tensor(FIVE)).posterior_mean(z, 0.5)[0], atol=1e-2)
    assert data(page, "mean") != before
    point = page.get_by_role("slider", name="Data point 1")
    box = point.locator(".dpm-grip").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=3)
    page.mouse.up()
    settle(page)
    after = point.locator(".dpm-grip").bounding_box()
    assert (after["x"] - box["x"], after["y"] - box["y"]) == pytest.approx((60, 40), abs=2)
    assert float(point.get_attribute("aria-valuenow")) > FIVE[0][0]


def test_data_can_be_chosen_and_changed(page, write_page):
    open_figures(page, write_page, GuessField())
    page.get_by_role("button", name="Add a point").click()
    settle(page)
    assert data(page, "points") == "6" and page.get_by_role("slider", name="Data point").count() == 6
    page.get_by_role("combobox", name="Data").select_option("one")
    page.get_by_role("button", name="Remove one").click()
    settle(page)
    assert data(page, "points") == "1", "the last point stays"
    assert [float(v) for v in data(page, "mean").split()] == pytest.approx([0.8, 0.5])
    page.get_by_role("slider", name="Noise t").press("Home")
    page.get_by_label("Arrows").uncheck()
    settle(page)
    assert float(data(page, "t")) == pytest.approx(10**-2.3, rel=1e-6)


def test_touch_moves_a_point(watch, write_page):
    watched = watch(width=375, height=740, has_touch=True)
    open_figures(watched.page, write_page, GuessField())
    probe = watched.page.get_by_role("slider", name="Noisy point z")
    box = probe.locator(".dpm-grip").bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    client = watched.page.context.new_cdp_session(watched.page)
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
    client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": at["x"], "y": at["y"] + 40}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(watched.page)
    assert float(data(watched.page, "z").split()[1]) < 0.3
    watched.check()


def test_one_path_in_two_pictures(page, write_page):
    open_figures(page, write_page, two_pictures())
    x, z, tau = (float(data(page, name)) for name in ("x", "z", "tau"))
    assert z == pytest.approx(math.sqrt(1 + tau) * x)
    page.get_by_role("combobox", name="Schedule").select_option("linear")
    page.get_by_role("combobox", name="Axes on the right").select_option("whole")
    settle(page)
    assert float(data(page, "tau")) == pytest.approx(float(schedules.linear(12).tau[-1]))
    page.get_by_role("slider", name="Step k").press("Home")
    settle(page)
    assert float(data(page, "x")) == float(data(page, "z")) and float(data(page, "tau")) == 0
    page.get_by_role("button", name="New paths").click()
    page.get_by_role("slider", name="Step k").press("End")
    page.get_by_role("slider", name="Step k").press("ArrowLeft")
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.t === '12'")


# --- The Python side ---


def test_bad_arguments_are_named():
    endless = Schedule(torch.tensor([0.0, -1.0, -math.inf], dtype=torch.float64))
    for make, message in (
        (lambda: WaysBack(noise=5.0), "noise: 5.0: need a finite number, at least 0, at most 4"),
        (lambda: WaysBack(power=9), "power: 9: need at most 8"),
        (lambda: GuessField(t=0.0), "t: 0.0: need a finite number, at least 0.005"),
        (lambda: TwoPictures({}, MIX), "schedules: need at least one"),
        (lambda: TwoPictures({"a": endless}, MIX), r"schedules\['a'\], tau: inf at index"),
        (
            lambda: TwoPictures({"a": schedules.geometric(4)}, finite_set(torch.zeros(1, 1))),
            "target: d = ",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make()
