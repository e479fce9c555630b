"""Training in the page: laws, the bound and its gradients, against dpm_lib on the same numbers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from dpm_lib.core.random import seeded
from dpm_lib.diffusion import bound
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.training.build import build
from dpm_lib.training.catalogue import RECIPES
from dpm_lib.training.objective import Objective, learning_rate, step_weights, times
from dpm_lib.training.weight_average import update_average

ROLL = {"kind": "roll", "noise": 0.25}
ROWS = 300  # two whole blocks, and a part of one, which no 4 divides evenly when less one
SETTINGS = """const settings = (a) => ({ ...m.recipeSettings(), ...a.settings });
const open = (a) => m.openRun({ drawing: { kind: "roll", noise: 0.25 }, settings: settings(a) });
"""


def recipe(**settings):
    return RECIPES["swiss-roll"].override(**settings)


def problem(rec, rows=ROWS - 1):
    """A model whose weights are all drawn, and a batch."""
    model = build(rec, seed=3)
    generator = seeded(4)
    model.reverse.network.wake(generator)
    with torch.no_grad():
        for layer in model.reverse.network.linear:
            layer.bias.normal_(std=0.3, generator=generator)
        if rec.learn_schedule:
            steps = model.schedule.log_increments
            steps.add_(0.3 * torch.randn(steps.shape, generator=generator, dtype=steps.dtype))
    x0 = SwissRoll(0.25).sample(rows, generator)
    t = times(rec, torch.arange(rows) + torch.rand(1, generator=generator, dtype=torch.float64))
    return model, x0, t, torch.randn(x0.shape, generator=generator, dtype=torch.float64)


def sent(model):
    """Weights of the network, and theta, as the page takes them."""
    tensors = {name: value.numpy().copy() for name, value in model.reverse.network.state_dict().items()}
    theta = np.zeros(model.T + 1)
    if hasattr(model.schedule, "log_increments"):
        theta[2:] = model.schedule.log_increments.detach().numpy()
    else:
        theta[2:] = np.log(np.diff(model.schedule.log_tau.numpy()[1:]))
    return {"tensors": tensors, "theta": theta}


GRADIENTS = f"""(m, a) => {{
  {SETTINGS}
  const first = open(a);
  const kept = {{ shape: first.network.shape, tensors: a.tensors, theta: a.theta }};
  const run = m.openRun({{ drawing: {{ kind: "roll", noise: 0.25 }}, settings: settings(a), wasm: a.wasm, kept }});
  const found = run.gradients(a.x0, Int32Array.from(a.t), a.noise);
  const slopes = Object.entries(run.network.named(run.network.slopes)).map(([name, one]) => [name, one.values]);
  return {{ ...found, theta: run.thetaSlopes, slopes: Object.fromEntries(slopes), fast: run.network.fast }};
}}"""
CASES = [
    {},
    {"covariance": "diagonal", "T": 10, "width": 32, "depth": 2},
    {"covariance": "isotropic", "T": 12, "learn_schedule": False, "width": 16, "depth": 1},
    {"covariance": "posterior", "T": 40, "width": 16},
    {"covariance": "fixed_large", "objective": "simple", "learn_schedule": False, "T": 15, "width": 16},
    {"covariance": "posterior", "objective": "flow", "learn_schedule": False, "T": 20, "width": 16, "frequencies": 0},
]


@pytest.mark.parametrize("wasm", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(v) for v in case.values()) or "recipe")
def test_the_loss_and_its_gradients_are_those_of_torch(js, case, wasm):
    rec = recipe(**case)
    model, x0, t, noise = problem(rec)
    loss, K = Objective(model, weights=step_weights(rec))(x0, t, noise)
    loss.backward()
    arguments = {"settings": case, "wasm": wasm, "x0": x0.numpy(), "noise": noise.numpy(), "t": t.tolist()}
    found = js("training_run.js", GRADIENTS, arguments | sent(model))
    assert found["fast"] == wasm
    assert found["K"] == pytest.approx(K.item(), rel=1e-5) and found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.reverse.network.named_parameters():
        true = parameter.grad.numpy().ravel()
        size = np.abs(true).max(initial=0)
        np.testing.assert_allclose(found["slopes"][name], true, rtol=0, atol=1e-5 * size, err_msg=name)
    if rec.learn_schedule:
        true = model.schedule.log_increments.grad.numpy()
        np.testing.assert_allclose(found["theta"][2:], true, rtol=0, atol=1e-5 * np.abs(true).max())
    else:
        assert not np.any(found["theta"])


STEPS = f"""(m, a) => {{
  {SETTINGS}
  const kept = {{ shape: open(a).network.shape, tensors: a.tensors, theta: a.theta }};
  const run = m.openRun({{ drawing: {{ kind: "roll", noise: 0.25 }}, settings: settings(a), kept }});
  const K = a.batches.map(({{ x0, t, noise }}) => {{
    const found = run.gradients(x0, Int32Array.from(t), noise);
    run.update();
    return found.K;
  }});
  const averages = Object.fromEntries(Object.entries(run.tensors()).map(([name, one]) => [name, one.values]));
  return {{ K, averages }};
}}"""


def test_steps_of_training_are_those_of_torch(js):
    """Warm-up, Adam, the cosine, the average, and the schedule that is learned with it."""
    rec = recipe(T=10, width=16, steps=12, batch=64)
    model, *_ = problem(rec)
    first = sent(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=rec.lr, betas=(0.9, 0.99))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    batches, K = [], []
    generator = seeded(11)
    for step in range(rec.steps):
        x0 = SwissRoll(0.25).sample(rec.batch, generator)
        t = times(rec, torch.arange(rec.batch) + 0.5)
        noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        batches.append({"x0": x0.numpy(), "t": t.tolist(), "noise": noise.numpy()})
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(rec, step)
        loss = -bound.estimate(model, x0, t, noise).mean()
        K.append(-loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update_average(average, model, step + 1, rec.ema)
    settings = {"T": 10, "width": 16, "steps": 12, "batch": 64}
    found = js("training_run.js", STEPS, {"settings": settings, "batches": batches} | first)
    np.testing.assert_allclose(found["K"], K, rtol=2e-4)
    assert set(found["averages"]) == set(average)
    for name, value in average.items():
        true = value.numpy().ravel()
        true, got = true[np.isfinite(true)], np.array(found["averages"][name], dtype=float)
        np.testing.assert_allclose(got[-len(true) :], true, atol=2e-5 * max(1, np.abs(true).max()), err_msg=name)


# --- Laws ---

LAW = """(m, { drawing, points }) => {
  const run = m.openRun({ drawing, settings: { ...m.recipeSettings(), width: 8, depth: 1 } });
  const { below, ...law } = run.law;
  return { ...law, log: points ? m.logOf(run.law, points) : null };
}"""
DRAWN = {
    "kind": "drawn",
    "noise": 0.9,
    "strokes": [[[-10, -8], [-3, 9], [5, -9], [12, 8]], [[-12, 12], [13, 11.5]]],
    "dots": [[0, 13], [14, -13]],
}


def test_the_roll_of_the_page_is_that_of_the_library(js):
    law = SwissRoll(0.25)
    points = law.sample(200, seeded(0)) * torch.linspace(0.8, 1.2, 200, dtype=torch.float64).unsqueeze(1)
    found = js("training_run.js", LAW, {"drawing": ROLL, "points": points.numpy()})
    assert found["scale"] == pytest.approx(law.scale, rel=1e-9)
    assert found["entropy"] == pytest.approx(law.entropy(), abs=1e-8) and found["entropyError"] < 1e-9
    near = law.log_prob(points, 0) > -20
    np.testing.assert_allclose(np.array(found["log"])[near], law.log_prob(points, 0)[near].numpy(), atol=1e-7)


@pytest.mark.parametrize(
    "drawing",
    [DRAWN, *({"kind": k, "noise": n} for k, n in {"moons": 1, "k": 0.5, "s": 2, "clumps": 0.8}.items())],
    ids=lambda drawing: drawing["kind"],
)
def test_the_entropy_of_a_drawing_is_that_of_its_density(js, drawing):
    """On a grid of the density as dpm_lib has it, whose spacing has nothing to do with the page's."""
    found = js("training_run.js", LAW, {"drawing": drawing})
    centers, weights = np.array(found["centers"]).reshape(-1, 2), np.array(found["weights"])
    law = Mixture(torch.tensor(centers), torch.tensor(weights), found["variance"])
    assert law.mean_square == pytest.approx(2, rel=1e-12) and weights @ centers == pytest.approx(0, abs=1e-12)
    width = math.sqrt(found["variance"])
    sides = [np.arange(c.min() - 8.2 * width, c.max() + 8.2 * width, 0.41 * width) for c in centers.T]
    grid = torch.tensor(np.stack(np.meshgrid(*sides), -1).reshape(-1, 2))
    log = law.log_prob(grid, 0)
    assert log.exp().sum() * (0.41 * width) ** 2 == pytest.approx(1, abs=1e-9)
    assert found["entropy"] == pytest.approx(-float((log.exp() * log).sum()) * (0.41 * width) ** 2, abs=1e-7)
    assert found["entropyError"] < 1e-4


def test_a_clump_and_a_curve_share_the_weight_by_length(js):
    found = js("training_run.js", LAW, {"drawing": DRAWN})
    lengths = [sum(math.dist(p, q) for p, q in pairwise(s)) for s in DRAWN["strokes"]]
    assert found["weights"][-1] == pytest.approx(4 / (sum(lengths) + 8)) == pytest.approx(found["weights"][-2])
    centers, weights = np.array(found["centers"]).reshape(-1, 2), np.array(found["weights"])
    high = centers[:, 1] / found["scale"] + found["shift"][1] > 11  # of the drawing: the second curve, and a dot
    assert weights[high].sum() == pytest.approx((lengths[1] + 4) / (sum(lengths) + 8))


WHY = "(m, drawings) => drawings.map((d) => m.refused(d))"


def test_what_cannot_be_trained_on_is_refused_in_words(js):
    drawn = {"kind": "drawn", "noise": 1}
    empty, point, dot, thin, good = js(
        "training_run.js",
        WHY,
        [
            drawn,
            drawn | {"strokes": [[[1, 1], [1, 1]]]},
            drawn | {"dots": [[3, 4], [3, 4]]},
            ROLL | {"noise": 0},
            drawn | {"dots": [[3, 4], [4, 4]]},
        ],
    )
    assert empty == point and empty.startswith("The drawing is empty")
    assert dot.startswith("One dot alone") and thin.startswith("Without blur") and good is None


def test_draws_follow_the_law(js):
    code = """(m, drawing) => {
      const run = m.openRun({ drawing, settings: { ...m.recipeSettings(), width: 8, depth: 1 } });
      const { below, ...law } = run.law;
      return { ...law, x: run.draw(20000) };
    }"""
    found = js("training_run.js", code, DRAWN)
    x = np.array(found["x"]).reshape(-1, 2)
    law = Mixture(
        torch.tensor(found["centers"]).reshape(-1, 2).double(),
        torch.tensor(found["weights"], dtype=torch.float64),
        found["variance"],
    )
    log = law.log_prob(torch.tensor(x), 0).numpy()
    assert abs(-log.mean() - found["entropy"]) < 4 * log.std() / math.sqrt(len(x))
    for c in (1.0, 2.0):
        waves = np.exp(1j * c * x @ np.array([1.0, 0.7]))
        blur = math.exp(-0.5 * found["variance"] * c**2 * 1.49)
        true = blur * (found["weights"] @ np.exp(1j * c * law.centers.numpy() @ np.array([1.0, 0.7])))
        assert abs(waves.mean() - true) < 5 / math.sqrt(len(x))


# --- What is told of a model ---

TOLD = f"""(m, a) => {{
  {SETTINGS}
  const kept = {{ shape: open(a).network.shape, tensors: a.tensors, theta: a.theta }};
  const run = m.openRun({{ drawing: {{ kind: "roll", noise: 0.25 }}, settings: settings(a), kept }});
  return {{ look: run.look(1500), path: run.sample(1500), drift: a.times.map((t) => run.drift(a.points, t)) }};
}}"""


def test_k_its_terms_the_draws_and_the_drift_are_those_of_the_model(js):
    rec = recipe(T=12, width=32, depth=2)
    model, *_ = problem(rec)
    with torch.no_grad():
        model.reverse.network.linear[-1].weight.mul_(0.3)
    law, generator = SwissRoll(0.25), seeded(5)
    x0 = law.sample(4000, generator)
    terms = bound.terms(model, x0, generator)
    points = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    settings = {"T": 12, "width": 32, "depth": 2}
    found = js(
        "training_run.js", TOLD, {"settings": settings, "points": points.numpy(), "times": [1, 2, 7, 12]} | sent(model)
    )
    look = found["look"]
    K = terms.K
    error = math.hypot(look["error"], float(K.std()) / math.sqrt(len(K)))
    assert abs(look["K"] - float(K.mean())) < 4 * error
    gap = law.log_prob(x0, 0) - K
    assert look["error"] == pytest.approx(float(gap.std()) / math.sqrt(1500), rel=0.25)
    assert look["K"] == pytest.approx(-law.entropy() - look["gap"], abs=1e-7)
    for t in range(2, 13):
        spread = float(terms.kl[t].std()) * math.sqrt(1 / 1500 + 1 / 4000)
        assert abs(look["kl"][t] - float(terms.kl[t].mean())) < 4.5 * spread, t
    for t, drift in zip([1, 2, 7, 12], found["drift"], strict=True):
        np.testing.assert_allclose(np.array(drift).reshape(-1, 2), model.drift(points, t).numpy(), atol=2e-5)
    path = np.array(found["path"]).reshape(13, 1500, 2)
    true = model.reverse_trajectory(4000, generator).numpy()
    for t in range(13):
        for power in (1, 2):
            a, b = path[t] ** power, true[t] ** power
            allowed = 4.5 * np.sqrt(a.var(0) / 1500 + b.var(0) / 4000)
            assert (abs(a.mean(0) - b.mean(0)) < allowed).all(), (t, power)
        cross = [q[:, 0] * q[:, 1] for q in (path[t], true[t])]
        assert abs(cross[0].mean() - cross[1].mean()) < 4.5 * math.sqrt(sum(c.var() / len(c) for c in cross)), t
