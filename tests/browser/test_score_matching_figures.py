"""The figures of the chapter on score matching: their numbers against dpm_lib, and what a reader can do."""

import itertools
import math

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.core.random import normal, seeded, uniform
from dpm_lib.diffusion import langevin, probability_flow, variance_exploding
from dpm_lib.figures.widgets import BlindShare, LangevinLevels, LossFloor
from dpm_lib.figures.widgets.score_matching import measured_losses, two_modes
from dpm_lib.information import mmse
from dpm_lib.montecarlo import annealed_importance_sampling
from dpm_lib.montecarlo.annealing_path import RandomWalk
from dpm_lib.probability.mixtures import Mixture

# --- The floor of the loss ---

DATA = [
    {"centers": [-1.0, 1.0], "weights": [0.3, 0.7], "variance": 0.05},
    {"centers": [-1.2, 0.2, 1.6], "weights": [0.5, 0.2, 0.3], "variance": 0.0},
]
WRONG = {"keep": 0.7, "bias": -0.2}


def twin(found: dict) -> Mixture:
    centers = torch.tensor(found["centers"], dtype=torch.float64).unsqueeze(1)
    return Mixture(centers, torch.tensor(found["weights"], dtype=torch.float64), found["variance"])


def wrong_guess(target: Mixture, z: torch.Tensor, t: float) -> torch.Tensor:
    mean = float(target.weights @ target.centers[:, 0])
    return mean + WRONG["keep"] * (target.posterior_mean(z, t) - mean) + WRONG["bias"]


@pytest.mark.parametrize("given", DATA)
def test_the_floor_and_the_wrong_denoiser_are_those_of_the_library(js, given):
    target = twin(given)
    code = """(m, { data, levels, wrong, fine, coarse }) => levels.map((t) => ({
      ...m.floorAndLoss(data, t, wrong, fine), fisher: m.fisherOf(data, t, wrong, fine),
      direct: m.squaredError(data, t, wrong, coarse) }))"""
    fine, coarse = (dict(zip(("nodes", "weights"), mmse.line_rule(step), strict=True)) for step in (0.1, 0.2))
    levels = [0.02, 0.3, 7.0]
    args = {"data": given, "wrong": WRONG, "levels": levels, "fine": fine, "coarse": coarse}
    for t, found in zip(levels, js("floor.js", code, args), strict=True):
        z = torch.linspace(-30, 30, 60_001, dtype=torch.float64).unsqueeze(1)
        weight = target.log_prob(z, t).exp() * (z[1] - z[0])
        off = (wrong_guess(target, z, t) - target.posterior_mean(z, t))[:, 0]
        floor, fisher = mmse.mmse(target, t), float(weight @ off.square()) / t**2
        assert found["floor"] == pytest.approx(floor, rel=1e-8)
        assert found["fisher"] == pytest.approx(fisher, rel=1e-8)
        assert found["loss"] == pytest.approx(floor + t**2 * fisher, rel=1e-8)
        assert found["direct"] == pytest.approx(floor + t**2 * fisher, rel=1e-6)


def test_measured_losses_are_the_floor_for_the_best_guess():
    target, levels = two_modes(0.7, 1.0, 0.05), [0.05, 0.6, 8.0]
    losses, errors = measured_losses(target.posterior_mean, target, levels, 20_000, seeded(0))
    for t, loss, error in zip(levels, losses, errors, strict=True):
        assert abs(loss - mmse.mmse(target, t)) < 4 * error < 0.1 * loss


# --- The blind share ---


def divergences(m: float, variance: float, w: float, v: float, t: float) -> tuple[float, float]:
    z = torch.linspace(-60, 60, 240_001, dtype=torch.float64).unsqueeze(1)
    data, model = two_modes(w, m, variance), two_modes(v, m, variance)
    log_p, log_q, h = data.log_prob(z, t), model.log_prob(z, t), float(z[1] - z[0])
    off = (data.score(z, t) - model.score(z, t))[:, 0]
    return h * float(log_p.exp() @ off.square()), h * float(log_p.exp() @ (log_p - log_q))


@pytest.mark.parametrize(("m", "t"), [(4.0, 0.3), (4.0, 2.0), (4.0, 40.0), (1.0, 0.01)])
def test_divergences_are_those_of_the_library(js, m, t):
    args = {"modes": {"m": m, "variance": 0.1}, "t": t}
    found = js("blind.js", "(m, a) => m.divergences(a.modes, 0.8, 0.3, a.t)", args)
    fisher, kl = divergences(m, 0.1, 0.8, 0.3, t)
    assert found["fisher"] == pytest.approx(fisher, rel=1e-6)
    assert found["kl"] == pytest.approx(kl, rel=1e-9)
    assert found["fisher"] < found["bound"]


def test_blindness_is_exact_where_a_difference_would_be_rounding(js):
    """At u = variance + t = 0.15, by logarithms of the difference, in mpmath's stead: NumPy's longdouble."""
    found = js("blind.js", "(m) => m.divergences({ m: 4, variance: 0.1 }, 0.8, 0.3, 0.05)")
    z = np.linspace(-3, 3, 200_001, dtype=np.longdouble)
    right, left = (np.exp(-((z - s) ** 2) / 0.3) / np.sqrt(0.3 * np.longdouble(math.pi)) for s in (4, -4))
    p, q = 0.8 * right + 0.2 * left, 0.3 * right + 0.7 * left
    off = 8 / np.longdouble(0.15) * (0.8 * right / p - 0.3 * right / q)
    exact = float((p * off**2).sum() * (z[1] - z[0]))
    assert 1e-26 < exact < 1e-18
    assert found["fisher"] == pytest.approx(exact, rel=1e-4)


def test_half_the_area_of_the_fisher_divergence_is_the_kl(js):
    code = "(m) => m.blindTable({ m: 3, variance: 0.2 }, 0.8, 0.3, -2, 5, 20)"
    found = js("blind.js", code)
    np.testing.assert_allclose(found["area"][:101], [row["kl"] for row in found["rows"]][:101], rtol=2e-4)


# --- Langevin down a ladder ---

SETTING = {"share": 0.8, "m": 1.5, "variance": 0.1, "top": 9.0, "bottom": 0.02, "ratio": 0.5, "level": 0.3, "walk": 0.8}
N, CALLS = 40, 16
RUN = """(m, a) => { let k = 0, j = 0;
  const rows = m.WAYS[a.name].run(a.setting, a.calls, () => a.noise[k++], () => a.chance[j++]);
  return { rows, used: [k, j] }; }"""


def start() -> Mixture:
    w, m = SETTING["share"], SETTING["m"]
    variance = SETTING["variance"] + 4 * w * (1 - w) * m * m + SETTING["top"]
    return Mixture(torch.tensor([[(2 * w - 1) * m]], dtype=torch.float64), torch.ones(1), variance)


TARGET = two_modes(SETTING["share"], SETTING["m"], SETTING["variance"])


class Told(Mixture):
    """A start whose draws are made of the next numbers of the generator, as the page makes them."""

    def sample(self, n, generator):
        return self.centers + math.sqrt(self.variance) * normal((n, 1), generator)


def told() -> Told:
    return Told(start().centers, torch.ones(1), start().variance)


def run(js, name: str, seed: int = 3) -> dict:
    """The way in the page, with the numbers that a generator of this seed would give to the library."""
    generator = seeded(seed)
    noise = [normal((N,), generator).numpy() for _ in range(CALLS + 2)]
    args = {"name": name, "setting": SETTING, "calls": CALLS, "noise": noise, "chance": []}
    return js("ladder.js", RUN, args)


def rungs(count: int) -> torch.Tensor:
    return torch.tensor(np.geomspace(SETTING["top"], SETTING["bottom"], count))


def test_one_level_is_the_librarys(js):
    found, generator, seen = run(js, "one"), seeded(3), []
    step = SETTING["ratio"] * SETTING["level"]
    z = told().sample(N, generator)
    langevin.langevin(TARGET.score, z, SETTING["level"], step, CALLS, generator, lambda k, t, z: seen.append(z))
    assert len(found["rows"]) == CALLS + 1
    for row, exact in zip(found["rows"], [z, *seen], strict=True):
        np.testing.assert_allclose(row["x"], exact[:, 0], atol=1e-10)


def test_the_ladder_is_the_librarys(js):
    found, generator = run(js, "annealed"), seeded(3)
    z = told().sample(N, generator)
    exact = langevin.annealed_langevin(TARGET.score, z, rungs(CALLS // 4), 4, generator, SETTING["ratio"])
    np.testing.assert_allclose(found["rows"][-1]["x"], exact[:, 0], atol=1e-10)
    assert len(found["rows"]) == CALLS + 1


def test_the_weighted_ladder_is_the_librarys(js):
    found = run(js, "weighted")
    exact = langevin.weighted_langevin(TARGET, told(), rungs(CALLS // 4), 3, N, seeded(3), SETTING["ratio"])
    np.testing.assert_allclose(found["rows"][-1]["x"], exact.x[:, 0], atol=1e-10)
    np.testing.assert_allclose(found["rows"][-1]["logWeights"], exact.log_weights, atol=1e-9)
    assert len(found["rows"]) == CALLS + 1


def test_temperatures_are_the_librarys(js):
    """The library's Metropolis moves draw in single precision: the page is told the same numbers."""
    noise, chance = [], []

    def move(path, x, ends, b, k, generator):
        state = generator.get_state()
        noise.append(torch.randn(x.shape, generator=generator, dtype=torch.float32).double()[:, 0].numpy())
        chance.append(uniform((N,), generator).numpy())
        generator.set_state(state)
        return RandomWalk(SETTING["walk"])(path, x, ends, b, k, generator)

    generator = seeded(3)
    first = normal((N,), seeded(3)).numpy()
    log_target = lambda x: TARGET.log_prob(x, SETTING["bottom"])  # noqa: E731
    exact = annealed_importance_sampling(log_target, told(), torch.linspace(0, 1, CALLS + 1), N, generator, move)
    args = {"name": "tempered", "setting": SETTING, "calls": CALLS, "noise": [first, *noise], "chance": chance}
    found = js("ladder.js", RUN, args)
    np.testing.assert_allclose(found["rows"][-1]["x"], exact.x[:, 0], atol=1e-10)
    np.testing.assert_allclose(found["rows"][-1]["logWeights"], exact.log_weights, atol=1e-9)
    assert 0 < np.mean(found["rows"][-1]["x"] != found["rows"][0]["x"])


def test_the_reverse_chain_takes_the_librarys_steps(js):
    found, generator = run(js, "chain"), seeded(3)
    z, levels = told().sample(N, generator), rungs(CALLS + 1).tolist()
    for t, after in itertools.pairwise(levels):
        dt = t - after
        mean = variance_exploding.step_back(TARGET, z, t, dt)[0]
        z = mean + math.sqrt(dt * (1 - dt / t)) * normal((N, 1), generator)
    np.testing.assert_allclose(found["rows"][-1]["x"], z[:, 0], atol=1e-10)
    assert len(found["rows"]) == CALLS + 1


def test_the_flow_is_the_librarys(js):
    found = run(js, "flow")
    no_change = lambda z, t: torch.zeros(len(z), dtype=z.dtype)  # noqa: E731
    exact, _ = probability_flow.transport(TARGET.score, told().sample(N, seeded(3)), rungs(CALLS // 2 + 1), no_change)
    np.testing.assert_allclose(found["rows"][-1]["x"], exact[:, 0], atol=1e-10)
    assert len(found["rows"]) == CALLS + 1 and found["used"] == [1, 0]


def test_summary_is_a_weighted_mean_with_its_error(js):
    x, log_w = np.array([1.0, -2.0, 3.0, 0.5]), np.log([1.0, 2.0, 3.0, 2.0])
    found = js("ladder.js", "(m, a) => m.summary({ x: a.x, logWeights: a.w }, 2)", {"x": x, "w": log_w})
    shares = np.exp(log_w) / 8
    assert found["share"] == pytest.approx(0.75)
    assert found["error"] == pytest.approx(math.sqrt(shares**2 @ ((x > 0) - 0.75) ** 2))
    assert found["spread"] == pytest.approx(shares @ (np.abs(x) - 2) ** 2)
    assert found["size"] == pytest.approx(1 / (shares**2).sum())
    plain = js("ladder.js", "(m, a) => m.summary({ x: a, logWeights: null }, 2)", x)
    assert [plain["share"], plain["size"]] == pytest.approx([0.75, 4])


def test_exact_share_and_spread(js):
    found = js("ladder.js", "(m, s) => m.exactly(s, 0.02)", SETTING)
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64).unsqueeze(1)
    weight = TARGET.log_prob(z, 0.02).exp() * (z[1] - z[0])
    assert found["share"] == pytest.approx(1 - float(TARGET.cdf(torch.zeros(1, 1), 0.02)))
    assert found["spread"] == pytest.approx(float(weight @ (z[:, 0].abs() - 1.5).square()), rel=1e-6)


def test_weights_make_both_ladders_fair_in_the_page(js):
    """The mean weight over 60 runs of 100 particles is 1, and so is that of right ones the share."""
    code = """(m, a) => Array.from({ length: 60 }, (_, seed) => {
      const { x, logWeights } = m.wholeWay(a.name, a.setting, 16, 100, seed).at(-1);
      const w = Array.from(logWeights, Math.exp);
      return [w.reduce((s, v) => s + v, 0) / 100, w.reduce((s, v, i) => s + (x[i] > 0 ? v : 0), 0) / 100]; })"""
    exact = np.array([1.0, 1 - float(TARGET.cdf(torch.zeros(1, 1), SETTING["bottom"]))])
    for name in ("weighted", "tempered"):
        found = np.array(js("ladder.js", code, {"name": name, "setting": SETTING}))
        assert (abs(found.mean(0) - exact) < 4 * found.std(0) / math.sqrt(60)).all(), name
        assert (found.std(0) / math.sqrt(60) < 0.05).all()


# --- What a reader can do ---


def number(page, name):
    return float(data(page, name))


def drag(page, node, dx, dy):
    box = node.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + dx, box["y"] + box["height"] / 2 + dy, steps=3)
    page.mouse.up()
    settle(page)


def test_floor_answers_its_controls(page, write_page):
    target, levels = two_modes(0.7, 1.0, 0.05), [0.05, 0.6, 8.0]
    losses = measured_losses(target.posterior_mean, target, levels, 500, seeded(0))
    open_figures(page, write_page, LossFloor(target, levels, *losses))
    assert page.locator(".dpm-by-level .dpm-network").count() == 3

    def adds_up():
        t = number(page, "t")
        assert number(page, "loss") == pytest.approx(number(page, "floor") + t**2 * number(page, "fisher"), rel=1e-6)
        return number(page, "loss") - number(page, "floor")

    first = adds_up()
    keep = page.get_by_role("slider", name="What it keeps of the guess")
    bias = page.get_by_role("slider", name="Bias of the wrong denoiser")
    keep.press("ArrowDown")
    settle(page)
    assert adds_up() > first and number(page, "keep") == pytest.approx(0.78)
    bias.press("PageUp")
    settle(page)
    assert number(page, "bias") == pytest.approx(0.3)
    drag(page, bias, 0, 40)
    assert number(page, "bias") < 0.2
    drag(page, keep, 0, 25)
    assert number(page, "keep") < 0.7
    adds_up()
    words = page.locator(".dpm-now").text_content()
    page.get_by_role("combobox", name="Loss").select_option("epsilon")
    settle(page)
    assert data(page, "unit") == "epsilon" and page.locator(".dpm-now").text_content() != words
    page.get_by_role("slider", name="Noise t").press("End")
    settle(page)
    assert number(page, "t") == pytest.approx(100)
    adds_up()


def test_a_perfect_denoiser_is_on_the_floor(page, write_page):
    open_figures(page, write_page, LossFloor(keep=1.0, bias=0.0))
    assert number(page, "loss") == pytest.approx(number(page, "floor"), rel=1e-6)
    assert number(page, "fisher") < 1e-20
    assert page.locator(".dpm-network").count() == 0


def test_blindness_answers_its_controls(page, write_page):
    open_figures(page, write_page, BlindShare())
    assert number(page, "fisher") < 1e-15 and number(page, "kl") > 0.5
    assert number(page, "area") == pytest.approx(number(page, "kl"), rel=1e-3)
    page.get_by_role("slider", name="Noise t").press("End")
    settle(page)
    far = number(page, "fisher")
    assert far == pytest.approx(4 * 16 * 0.25 / 1000**2, rel=0.1)
    page.get_by_role("slider", name="Noise t").press("PageDown")
    settle(page)
    assert number(page, "fisher") > far
    model = page.get_by_role("slider", name="Share w′ of the right mode in the model")
    model.press("PageUp")
    settle(page)
    assert number(page, "v") == pytest.approx(0.4)
    truth = page.get_by_role("slider", name="Share w of the right mode in the data")
    truth.press("Home")
    settle(page)
    assert number(page, "w") == pytest.approx(0.01)
    drag(page, model, -60, 0)
    assert number(page, "v") < 0.35
    drag(page, truth, 90, 0)
    assert number(page, "w") > 0.05
    page.get_by_role("slider", name="Modes at ±m, m").press("Home")
    settle(page)
    assert number(page, "fisher") > 1e-8


def test_equal_shares_diverge_in_nothing(page, write_page):
    open_figures(page, write_page, BlindShare(share=0.5, guess=0.5))
    assert [number(page, name) for name in ("fisher", "kl", "area")] == pytest.approx([0, 0, 0], abs=1e-12)


def test_ladder_answers_its_controls(page, write_page):
    open_figures(page, write_page, LangevinLevels())
    page.get_by_role("slider", name="Calls").press("ArrowLeft")
    way = page.get_by_role("combobox", name="Way")
    assert number(page, "exact") == pytest.approx(0.8, abs=1e-6)
    shares = {}
    for name in ("one", "annealed", "weighted", "tempered", "chain", "flow"):
        way.select_option(name)
        settle(page)
        shares[name] = number(page, "share")
        fair = abs(shares[name] - 0.8) < 3 * number(page, "error")
        assert fair == (name not in ("one", "annealed")), name
    assert page.get_by_role("slider", name="Langevin step over t").count() == 0
    way.select_option("one")
    settle(page)
    page.get_by_role("slider", name="The one level t").press("End")
    settle(page)
    assert number(page, "spread") > 1
    page.get_by_role("slider", name="Calls").press("ArrowLeft")
    settle(page)
    assert data(page, "calls") == data(page, "k") == "16"
    page.get_by_role("button", name="Step").click()
    settle(page)
    assert data(page, "k") == "0"
    page.get_by_role("slider", name="After call").press("ArrowRight")
    settle(page)
    assert data(page, "k") == "1"
    before = number(page, "share")
    page.get_by_role("button", name="New run").click()
    settle(page)
    assert data(page, "seed") == "2" and number(page, "share") != before
    page.get_by_role("slider", name="Langevin step over t").press("ArrowRight")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.k) > 3")
    page.get_by_role("button", name="Pause").click()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LossFloor(Mixture(torch.zeros(1, 2), torch.ones(1), 1.0)),
            "target: 1 components in 2 dimensions: need",
        ),
        (lambda: LossFloor(levels=[0.1, 0.2], losses=[1.0], errors=[0.1, 0.1]), r"losses: need shape \(2\)"),
        (
            lambda: LossFloor(levels=[0.1], losses=[1.0], errors=[-0.1]),
            "errors: -0.1: need a finite number, at least 0",
        ),
        (lambda: LossFloor(losses=[1.0]), r"levels: need shape|levels: need one number"),
        (lambda: LossFloor(keep=2.0), "keep: 2.0: need a finite number, at least 0, at most 1.5"),
        (lambda: LossFloor(t=math.nan), "t: nan: need a finite"),
        (lambda: BlindShare(share=1.0), "share: 1.0: need a finite"),
        (lambda: BlindShare(m=9), "m: 9: need a finite"),
        (lambda: LangevinLevels(bottom=10), "bottom: 10: need a finite number, at least 0.001, at most 8"),
        (lambda: LangevinLevels(ratio=4), "ratio: 4: need a finite"),
        (lambda: LangevinLevels(n=1), "n: 1: need at least 2"),
    ],
)
def test_bad_figures_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
