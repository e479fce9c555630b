"""The numbers that the figures compute in the page, against twins in NumPy and against dpm_lib."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from dpm_lib.diffusion import best_bound
from dpm_lib.figures.widgets import ScheduleBars
from dpm_lib.figures.widgets.schedule import kl_bits
from dpm_lib.probability.swiss_roll import SwissRoll

T, D = 12, 2


# --- common.js ---


def test_normals_are_normal_and_follow_the_seed(js):
    code = "(m, seeds) => seeds.map((s) => m.fillNormals(new Float64Array(20000), m.uniforms(s)))"
    first, again, other = np.array(js("common.js", code, [1, 1, 2]))
    assert (first == again).all()
    n = len(first)
    for values in (first, other):
        assert abs(values.mean()) < 4 / math.sqrt(n)
        assert abs(values.var() - 1) < 4 * math.sqrt(2 / n)
        assert abs((values**4).mean() - 3) < 4 * math.sqrt(96 / n)
    for lag in (1, 2, 3):
        assert abs(np.mean(first[lag:] * first[:-lag])) < 4 / math.sqrt(n)
    assert abs(np.mean(first * other)) < 4 / math.sqrt(n)


def test_fixed_point_is_read_from_an_unaligned_view(js):
    values = np.array([-32767, -1, 0, 5, 32767], dtype="<i2")
    code = """(m, { values }) => {
      const bytes = new Uint8Array(1 + values.byteLength);
      bytes.set(new Uint8Array(values.buffer), 1);
      return m.fixedPoint(new DataView(bytes.buffer, 1), 0.5);
    }"""
    np.testing.assert_array_equal(js("common.js", code, {"values": values}), values * 0.5)


# --- plot.js ---

PLOT = """(m, a) => {
  const node = { clientWidth: 300, clientHeight: 120 };
  const plot = m.scales(node, { left: 40, right: 10, top: 10, bottom: 20 }, a.x, a.y, a.options);
  return a.points.map(plot.place);
}"""


@pytest.mark.parametrize(
    "options, x, y, points, places",
    [
        ({}, [-1, 1], [0, 2], [[-1, 0], [1, 2], [0, 3]], [[40, 100], [290, 10], [165, -35]]),
        ({"held": "y"}, [-1, 1], [0, 2], [[0, 3], [2, -1]], [[165, 10], [415, 100]]),
        ({"log": "xy", "held": "y"}, [1, 100], [0.01, 1], [[10, 0.1], [1000, -5]], [[165, 55], [415, 100]]),
    ],
)
def test_places_on_a_plot(js, options, x, y, points, places):
    """Also of values that have no logarithm, on an axis that holds them at its ends."""
    found = js("plot.js", PLOT, {"options": options, "x": x, "y": y, "points": points})
    np.testing.assert_allclose(found, places, atol=1e-9)


def test_a_pointer_is_where_the_scale_puts_a_value(js):
    code = """(m) => {
      const margins = { left: 40, right: 10, top: 10, bottom: 20 };
      const box = { left: 7, top: 3, width: 300, height: 120 };
      const node = { clientWidth: 300, clientHeight: 120, getBoundingClientRect: () => box };
      const plot = m.scales(node, margins, [0, 1], [0, 1]);
      return m.sharesAt({ clientX: 7 + plot.x(0.3), clientY: 3 + plot.y(0.8) }, node, margins);
    }"""
    assert js("plot.js", code) == pytest.approx({"x": 0.3, "y": 0.8})


def test_numbers_in_words(js):
    code = "(m) => [m.fixed(-0.0004), m.fixed(-1.25, 1), m.short(0.0123456), m.short(-1234), m.power(-12), m.power(0)]"
    assert js("plot.js", code) == ["0.000", "−1.3", "0.012", "−1200", "10⁻¹²", "1"]


def test_keys_of_a_handle(js):
    assert js("plot.js", "(m) => Object.entries(m.keySteps(2, 0, 9))") == [
        *(["ArrowUp", 2], ["ArrowRight", 2], ["ArrowDown", -2], ["ArrowLeft", -2]),
        *(["Home", -9], ["End", 9]),
    ]


# --- player.js ---


def test_points_between_two_steps(js):
    frames = np.random.default_rng(0).normal(size=(4, 5, 2)).astype("f4")
    code = "(m, a) => a.times.map((t) => m.pointsAt(a.frames, t, 5, 3, new Float32Array(6)))"
    at = js("player.js", code, {"frames": frames, "times": [0, 3, 1.25]})
    wanted = [frames[0, :3], frames[3, :3], 0.75 * frames[1, :3] + 0.25 * frames[2, :3]]
    np.testing.assert_allclose(at, [w.ravel() for w in wanted], atol=1e-6)


def test_play_goes_up_rests_comes_down_and_starts_again(js):
    code = """(m) => {
      let state = { t: 0, direction: 1, rest: 0 };
      return Array.from({ length: 14 }, () => (state = m.advance(state, 1.5, 4, 2)).t);
    }"""
    assert js("player.js", code) == [1.5, 3, 4, 4, 4, 2.5, 1, 0, 0, 0, 1.5, 3, 4, 4]


# --- schedule.js ---


def table(rng):
    grid = np.linspace(-9.0, 4.0, 14)
    log_c = {"full": rng.normal(-2, 1, size=(14, 6, D)), "constant": rng.normal(-2, 1, size=(14, 1, D))}
    return grid, {form: c.astype("f4") for form, c in log_c.items()}


def schedule_twin(beta, grid, log_c):
    """KL_2..T and K in nats, in float64, from the formulas."""
    log_alpha_bar = np.log1p(-beta).cumsum()
    tau = np.expm1(-log_alpha_bar)
    kl = []
    for before, now in pairwise(tau):
        flat = log_c.reshape(len(grid), -1)
        at = np.array([np.interp(np.log(now), grid, column) for column in flat.T]).reshape(log_c.shape[1:])
        kl.append(0.5 * np.log1p((1 / before - 1 / now) * np.exp(at)).sum(-1).mean())
    entropy = lambda variance: D / 2 * np.log(2 * np.pi * np.e * variance)  # noqa: E731
    K = entropy(-np.expm1(log_alpha_bar[-1])) - entropy(beta[0]) - entropy(1.0) - sum(kl)
    return np.array(kl), K


@pytest.mark.parametrize("form", ["full", "constant"])
@pytest.mark.parametrize("beta", [np.geomspace(1e-5, 0.9, T), np.linspace(1e-3, 0.3, T), np.full(T, 1e-7)])
def test_schedule_bars(js, form, beta):
    grid, log_c = table(np.random.default_rng(0))
    code = "(m, a) => m.scheduleBars(a.beta, { d: 2, logTauGrid: a.grid, logC: a.logC }, a.form)"
    found = js("schedule.js", code, {"beta": beta, "grid": grid, "logC": log_c, "form": form})
    kl, K = schedule_twin(beta, grid, log_c[form].astype("f8"))
    assert found["kl"][:2] == [0, 0]
    np.testing.assert_allclose(found["kl"][2:], kl, rtol=1e-8)
    np.testing.assert_allclose(kl_bits(beta, grid, log_c[form]), kl / math.log(2), rtol=1e-8)
    assert found["total"] == pytest.approx(kl.sum(), rel=1e-9)
    assert found["K"] == pytest.approx(K, rel=1e-9)


@pytest.mark.parametrize("form", ["full", "diagonal", "constant"])
def test_schedule_bars_are_those_of_the_library(js, form):
    """The page's K is that of ``best_bound.BestReverse`` for a schedule that visits the table's own levels."""
    best = best_bound.BestReverse(SwissRoll(0.5), 1e-3, 30.0, levels=20, n=64)
    path = torch.tensor([0, 2, 5, 6, 9, 13, 16, 19])
    cost = best.step_costs(form)
    figure = ScheduleBars.from_best(best, {"visited": best.schedule(path)})
    code = "(m, a) => m.scheduleBars(a.beta, { d: 2, logTauGrid: a.grid, logC: a.logC }, 'only')"
    log_c = best.variances[form].log().numpy().astype("f4")
    table = {"only": log_c.ravel()}
    got = js("schedule.js", code, {"beta": figure.beta, "grid": figure.log_tau_grid, "logC": table})
    np.testing.assert_allclose(got["kl"][2:], cost[path[:-1], path[1:]], rtol=1e-5)
    # the figure's K takes E|x0|^2 = d, which the roll was scaled to have
    assert got["K"] == pytest.approx(best.bound(path, cost), abs=1e-5)


def test_schedule_bars_survive_extreme_betas(js):
    grid, log_c = table(np.random.default_rng(0))
    code = "(m, a) => m.scheduleBars(a.beta, { d: 2, logTauGrid: a.grid, logC: a.logC }, 'full')"
    found = js("schedule.js", code, {"beta": np.array([1e-12, 1.0, 1.0, 1e-12]), "grid": grid, "logC": log_c})
    assert np.isfinite(found["kl"]).all() and np.isfinite(found["K"])


def test_bend_moves_one_handle_and_nothing_beyond_its_neighbours(js):
    beta = np.geomspace(1e-4, 0.1, T)
    bent = np.array(js("schedule.js", "(m, { beta }) => m.bend(beta, 6, 2, 9, 3)", {"beta": beta}))
    assert bent[5] == pytest.approx(3 * beta[5])
    np.testing.assert_array_equal(bent[[0, 1, 8, 9, 10, 11]], beta[[0, 1, 8, 9, 10, 11]])
    ratio = bent / beta
    assert (np.diff(ratio[1:6]) > 0).all() and (np.diff(ratio[5:9]) < 0).all()


def test_bend_leaves_beta_1_alone_and_stays_below_one(js):
    beta = np.geomspace(1e-4, 0.1, T)
    bent = np.array(js("schedule.js", "(m, { beta }) => m.bend(beta, 2, 1, 4, 1e6)", {"beta": beta}))
    assert bent[0] == beta[0]
    assert bent[1] == 1 - 1e-9


# --- sampler.js ---


def network(rng, covariance, F=5, E=3, width=16):
    outputs = 5 if covariance == "full" else 4
    sizes = [D + 2 * F + 2 * E, width, width + 2, outputs]
    layers = [(rng.normal(size=(o, i)) / np.sqrt(i), 0.3 * rng.normal(size=o)) for i, o in pairwise(sizes)]
    parts = [rng.normal(size=(D, F)), rng.normal(size=E), *[a for layer in layers for a in layer]]
    log_tau = np.concatenate([[-np.inf], np.linspace(-9, 5, T)])
    exported = {
        "weights": np.concatenate([part.ravel() for part in parts]).astype("f4"),
        "shapes": [list(W.shape) for W, _ in layers],
        "d": D,
        "F": F,
        "E": E,
        "covariance": covariance,
        "logTau": log_tau,
    }
    return parts[0], parts[1], layers, log_tau, exported


def forward_twin(x, g, B, w, layers):
    tail = np.concatenate([np.sin(g * w), np.cos(g * w)])
    h = np.concatenate([x, np.sin(x @ B), np.cos(x @ B), np.tile(tail, (len(x), 1))], axis=1)
    for k, (W, b) in enumerate(layers):
        h = h @ W.T + b
        if k < len(layers) - 1:
            h = h / (1 + np.exp(-h))
    return h


def step_twin(x, t, noise, B, w, layers, log_tau, covariance):
    tau, before = np.exp(log_tau[t]), np.exp(log_tau[t - 1])
    alpha_bar, alpha_bar_before = 1 / (1 + tau), 1 / (1 + before)
    if t == 1:
        return np.sqrt(alpha_bar) * x + np.sqrt(1 - alpha_bar) * noise
    out = forward_twin(x, log_tau[t], B, w, layers)
    L = np.zeros((len(x), D, D))
    L[:, range(D), range(D)] = np.exp(out[:, D : 2 * D])
    if covariance == "full":
        L[:, 1, 0] = out[:, 2 * D]
    r = before / tau
    x0 = np.sqrt(alpha_bar) * x + np.sqrt(1 - alpha_bar) * out[:, :D]
    C = (1 - alpha_bar) * L @ L.transpose(0, 2, 1)
    mean = np.sqrt(alpha_bar_before) * (r * x / np.sqrt(alpha_bar) + (1 - r) * x0)
    cov = alpha_bar_before * (before * (1 - r) * np.eye(D) + (1 - r) ** 2 * C)
    return mean + np.einsum("nij,nj->ni", np.linalg.cholesky(cov), noise)


def test_network_forward(js):
    rng = np.random.default_rng(0)
    B, w, layers, log_tau, exported = network(rng, "full")
    x = rng.normal(size=(7, D)).astype("f4")
    code = "(m, a) => m.networkForward(a.x, 7, a.g, m.readModel(a.model))"
    found = np.array(js("sampler.js", code, {"x": x, "g": log_tau[4], "model": exported})).reshape(7, 5)
    np.testing.assert_allclose(found, forward_twin(x.astype("f8"), log_tau[4], B, w, layers), atol=1e-5)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("t", [1, 2, 6, T])
def test_reverse_step_on_a_grid(js, covariance, t):
    rng = np.random.default_rng(1)
    B, w, layers, log_tau, exported = network(rng, covariance)
    x, noise = rng.normal(size=(2, 9, D)).astype("f4")
    code = "(m, a) => m.reverseStep(a.x, a.t, a.noise, m.readModel(a.model))"
    found = np.array(js("sampler.js", code, {"x": x, "t": t, "noise": noise, "model": exported})).reshape(9, D)
    wanted = step_twin(x.astype("f8"), t, noise.astype("f8"), B, w, layers, log_tau, covariance)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_weights_of_a_wrong_length_are_refused(js):
    exported = network(np.random.default_rng(0), "full")[-1]
    exported["weights"] = exported["weights"][:-1]
    code = "(m, a) => { try { m.readModel(a); } catch (error) { return error.message; } }"
    assert "weights where the shapes need" in js("sampler.js", code, exported)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_reverse_step_of_a_figure_is_that_of_its_model(js, covariance):
    torch = pytest.importorskip("torch")
    from dpm_lib.diffusion import schedules
    from dpm_lib.diffusion.forward_kernels import GaussianKernel
    from dpm_lib.diffusion.model import DiffusionModel
    from dpm_lib.diffusion.reverse_kernels import GaussianReverse, outputs
    from dpm_lib.figures.widgets import LiveSampler
    from dpm_lib.networks.mlp import MLP

    generator = torch.Generator().manual_seed(0)
    kernel = GaussianKernel(D, schedules.geometric(T))
    net = MLP(D, outputs(D, covariance), width=16, depth=2, frequencies=4, scale=1.0, generator=generator)
    torch.nn.init.normal_(net.layers[-1].weight, std=0.2, generator=generator)
    torch.nn.init.normal_(net.layers[0].bias, generator=generator)
    model = DiffusionModel(kernel, GaussianReverse(net, kernel, covariance))
    state = LiveSampler.from_model(model, torch.zeros(3, D)).get_state()
    exported = {name: state[name] for name in ("shapes", "d", "F", "E", "covariance")}
    exported["weights"] = np.frombuffer(state["weights"], "f4")
    exported["logTau"] = np.frombuffer(state["log_tau"], "f8")

    x = torch.randn(9, D, generator=generator, dtype=torch.float64)
    noise = torch.randn(9, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    times = [1, 2, 7, T]
    code = "(m, a) => a.times.map((t) => m.reverseStep(a.x, t, a.noise, m.readModel(a.model)))"
    arguments = {"x": x.float().numpy(), "noise": noise.float().numpy(), "times": times, "model": exported}
    for t, step in zip(times, js("sampler.js", code, arguments), strict=True):
        with torch.no_grad():
            wanted = model.reverse_step(x, t).sample(torch.Generator().manual_seed(1))  # the same noise
        np.testing.assert_allclose(np.reshape(step, (9, D)), wanted.numpy(), atol=1e-4)
