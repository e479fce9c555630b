"""The figures of the chapter on images: their numbers against dpm_lib, and what a reader can do."""

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.diffusion.dequantised_kernel import truncated
from dpm_lib.figures.widgets import ImagePlayer, LevelPosterior, TrainingCost
from dpm_lib.figures.widgets.images import sheet
from dpm_lib.training.catalogue import get
from dpm_lib.training.costs import Cost

EDGES = np.arange(18.0)


def frames(n: int = 4, side: int = 5, F: int = 6, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "held": rng.random((F, n, side, side)),
        "expected": rng.random((F, n, side, side)),
        "times": 20 * np.arange(F)[::-1],
    }


def player() -> ImagePlayer:
    return ImagePlayer({"first": frames(), "second": frames(9, 3, 4, seed=1)}, label="Pictures", caption="Press play.")


def pixel() -> LevelPosterior:
    flat, ends = np.ones(17), np.zeros(17)
    ends[0], ends[16] = 0.7, 0.3
    return LevelPosterior({"nothing": flat, "black or white": ends}, label="A pixel", caption="Drag it.")


COSTS = {
    "mnist": {"flop_per_row": 775e6, "state_bytes": 87.4e6, "bytes_per_row": 2.71e6, "batch": 256, "steps": 50_000},
    "digits": {"flop_per_row": 4.7e6, "state_bytes": 1.9e6, "bytes_per_row": 0.16e6, "batch": 256, "steps": 1000},
}


def training(**options) -> TrainingCost:
    groups = {"large": ["mnist"], "all": ["mnist", "digits"]}
    return TrainingCost(COSTS, groups, label="Cost", caption="Move the sliders.", **options)


@pytest.mark.parametrize(("y", "s"), [(8.5, 1.5), (0.2, 0.05), (16.9, 20.0), (3.0, 0.3), (12.4, 0.1)])
def test_a_pixel_is_that_of_the_library(js, y, s):
    weights = np.random.default_rng(1).random(17) ** 3
    code = "(m, a) => m.posterior(a.y, a.s, Array.from(a.edges), Array.from(a.w))"
    found = js("levels.js", code, {"y": y, "s": s, "edges": EDGES, "w": weights})
    edges, at = torch.from_numpy(EDGES), torch.tensor([y], dtype=torch.float64)
    log_mass, mean, variance = truncated(at, torch.full_like(at, s), edges)
    share = torch.softmax(log_mass + torch.from_numpy(weights).log(), -1)
    expected = (share * mean).sum()
    deviation = (share * (variance + (mean - expected).square())).sum().sqrt()
    np.testing.assert_allclose(found["share"], share.numpy(), atol=1e-7)
    np.testing.assert_allclose([found["mean"], found["deviation"]], [expected, deviation], rtol=1e-6)


def test_a_weight_of_zero_rules_a_level_out(js):
    code = "(m, a) => m.posterior(8, 1, Array.from(a.edges), Array.from(a.w))"
    weights = np.zeros(17)
    weights[[0, 16]] = 0.5
    found = js("levels.js", code, {"edges": EDGES, "w": weights})
    assert sum(found["share"][1:16]) == 0 and found["share"][0] > 0.5


def test_a_sheet_is_that_of_the_library(js):
    made = player()
    code = """(m, a) => { const at = m.places(a.sets);
      return at.map((p, i) => ["held", "expected"].map((key) =>
        [...m.sheetOf(a.bytes, p[key] + 2 * p.frame, a.sets[i].n, a.sets[i].side).grey])); }"""
    found = js("images.js", code, {"sets": made.sets, "bytes": np.frombuffer(made.pictures, "u1").astype("f8")})
    for one, shown in zip((frames(), frames(9, 3, 4, seed=1)), found, strict=True):
        for key, grey in zip(("held", "expected"), shown, strict=True):
            expected = sheet(np.rint(255 * one[key][2]).astype("u1"))
            assert grey == expected.flatten().tolist()


def test_the_player_plays_and_follows_its_slider(page, write_page):
    open_figures(page, write_page, player())
    assert data(page, "t") == "100"
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert data(page, "t") == "80"
    page.get_by_role("combobox").select_option("second")
    settle(page)
    assert data(page, "set") == "second" and data(page, "t") == "40"
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.playing === 'false'", timeout=15_000)
    settle(page)
    assert data(page, "t") == "0" and page.get_by_role("button", name="Play").count() == 1


def test_the_pixel_follows_key_mouse_and_opinion(page, write_page):
    open_figures(page, write_page, pixel())
    before = float(data(page, "mean"))
    handle = page.get_by_role("slider", name="noisy value")
    handle.focus()
    page.keyboard.press("PageUp")
    settle(page)
    assert float(data(page, "y")) == pytest.approx(0.55 * 17 + 1)
    assert float(data(page, "mean")) > before
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 200, box["y"] + 5)
    page.mouse.up()
    settle(page)
    assert float(data(page, "y")) < 8
    page.get_by_role("combobox").select_option("black or white")
    settle(page)
    assert float(data(page, "mean")) < 2 or float(data(page, "mean")) > 15


@pytest.mark.parametrize(("name", "gpus"), [("digits", 1), ("cifar10", 8), ("mnist-5k", 4), ("textures", 2)])
def test_time_and_memory_are_those_of_the_library(js, name, gpus):
    recipe, cost = get(name), Cost(parameters=1, flop_per_row=12_345, state_bytes=678, bytes_per_row=91)
    row = {"flop": 3 * 12_345, "state": 678, "kept": 91, "batch": recipe.batch, "steps": recipe.steps}
    code = "(m, a) => [m.hoursOf(a.row, 20, a.gpus), m.memoryOf(a.row, a.gpus)]"
    hours, memory = js("trainingcost.js", code, {"row": row, "gpus": gpus})
    assert hours == pytest.approx(cost.flop(recipe) / 20e12 / 3600 / gpus)
    assert memory["state"] + memory["kept"] == cost.bytes(recipe, gpus)


def test_times_and_bytes_in_words(js):
    times = js("trainingcost.js", "(m, a) => a.map(m.timeText)", [0.001, 0.5, 3.312, 47.9, 240, 5000])
    assert times == ["3.6 s", "30 min", "3.3 h", "48 h", "10 days", "208 days"]
    code = "(m, a) => a.map(([state, kept]) => m.bytesText({ state, kept }))"
    assert js("trainingcost.js", code, [[87.4e6, 694e6], [459e6, 1.844e9]]) == ["87 + 694 MB", "0.46 + 1.8 GB"]
    places = js("trainingcost.js", "(m, a) => a.map((v) => m.placeOf(v, [1, 100]))", [0.1, 1, 10, 1000])
    np.testing.assert_allclose(places, [0, 0, 0.5, 1], atol=1e-12)


def test_the_cost_follows_speed_number_and_price(page, write_page):
    open_figures(page, write_page, training(tflops=5.0))
    cell = page.locator("tbody td").first
    hours = 3 * 775e6 * 256 * 50_000 / 5e12 / 3600
    assert f"{hours:.2g} h, {2 * hours:.2g}" in cell.inner_text()
    assert "87 + 694 MB" in page.locator("tbody").inner_text()
    page.get_by_label("GPUs").select_option("8")
    settle(page)
    assert f"{60 * hours / 8:.2g} min, {2 * hours:.2g}" in cell.inner_text()  # sooner, for the same price
    assert "87 + 87 MB" in page.locator("tbody").inner_text()
    page.get_by_role("slider", name="Sustained").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.get_by_role("slider", name="A GPU hour costs").focus()
    page.keyboard.press("Home")
    page.get_by_label("Recipes").select_option("all")
    settle(page)
    assert float(data(page, "tflops")) == pytest.approx(10**1.7) and data(page, "rate") == "0"
    assert "min, 0" in cell.inner_text() and page.locator("tbody tr").count() == 2


def test_bad_data_is_named():
    for make, message in (
        (
            lambda: TrainingCost({"a": COSTS["mnist"] | {"steps": 0}}),
            r"\['a'\]\['steps'\]: 0: need a positive, finite number",
        ),
        (lambda: TrainingCost(COSTS, {"b": ["x"]}), r"groups\['b'\]: 'x': need one of 'mnist', 'digits'"),
        (lambda: training(gpus=3), "gpus: 3: need one of 1, 2, 4, 8"),
        (lambda: training(tflops=0.0), "tflops: 0.0: need a finite number, at least 0.01"),
        (lambda: training(rate=-1.0), "rate: -1.0: need a finite number, at least 0"),
        (lambda: ImagePlayer({}), "sets: need at least one"),
        (lambda: ImagePlayer({"a": frames(n=5)}), "need a square number of square pictures"),
        (lambda: ImagePlayer({"a": frames() | {"times": np.arange(6)}}), "need a fall to 0"),
        (lambda: LevelPosterior({}), "opinions: need at least one"),
        (lambda: LevelPosterior({"a": [-1, 2]}), "need weights, none negative"),
        (lambda: LevelPosterior({"a": [1, 2]}, (1, 2, 3)), r"spread: \[1, 2, 3\]: need"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_recorded_chains_are_those_of_the_model():
    """The first frame is noise at T, the last the sample itself, and what is expected there is what is held."""
    from dpm_lib.data.registry import load
    from dpm_lib.figures.widgets.images import record
    from dpm_lib.training import build, catalogue

    recipe = catalogue.get("digits").override(T=12, width=4)
    model, data = build.build(recipe, dim=64).requires_grad_(False), load("digits")
    made = record(model, data, n=4, frames=6)
    assert made["times"][0] == 12 and made["times"][-1] == 0 and made["times"] == sorted(made["times"])[::-1]
    drawn = data.pixels(model.sample(4, torch.Generator().manual_seed(0)))[:, 0] / 17
    torch.testing.assert_close(made["held"][-1], drawn)
    torch.testing.assert_close(made["expected"][-1], drawn)
    assert not torch.equal(made["expected"][0], made["held"][0])
