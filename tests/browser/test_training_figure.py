"""Training in the page, as a reader does it: draw, train, change, compare, and take the result away."""

import hashlib
import json

import numpy as np
import pytest
from opening import data, open_figures, settle

from dpm_lib.core.files import load_tensors
from dpm_lib.core.random import seeded
from dpm_lib.data.registry import load
from dpm_lib.diffusion import bound
from dpm_lib.figures.widgets import LiveTraining
from dpm_lib.figures.widgets.training import CHOICES
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.training.catalogue import RECIPES
from dpm_lib.training.checkpoints import load_model

LOOKED = "(step) => Number(document.querySelector('.dpm-figure').dataset.step) >= step"
TABLE_IS_FRESH = """() => document.querySelector('.dpm-trained td').textContent
  === document.querySelector('.dpm-figure').dataset.step"""
FIRST = "(words) => document.querySelector('.dpm-trained tbody th').textContent.endsWith(words)"
SAID = "(words) => document.querySelector('.dpm-told').textContent.includes(words)"


def looked(page, step=0):
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.k")
    page.wait_for_function(LOOKED, arg=step)
    settle(page)


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def choose(page, name, value):
    page.get_by_role("combobox", name=name, exact=True).select_option(value)


def rows(page):
    return [row.locator("th, td").all_text_contents() for row in page.locator(".dpm-trained tbody tr").all()]


def read(words):
    return float(words.replace("−", "-"))


def test_a_model_that_the_page_trained_is_one_of_the_library(page, write_page, tmp_path):
    """Trained, sampled, saved, loaded: K of the file is K of the page."""
    open_figures(page, write_page, LiveTraining(T=10, width=16, steps=500))
    looked(page)
    law = SwissRoll(0.25)
    assert float(data(page, "limit")) == pytest.approx(-law.entropy() / np.log(2), abs=1e-8)
    before = float(data(page, "k"))
    button(page, "Train").click()
    looked(page, 80)
    assert data(page, "playing") == "true"
    button(page, "Pause").click()
    assert data(page, "playing") == "false"
    page.wait_for_function(TABLE_IS_FRESH)
    settle(page)
    [[about, steps, K, error, gap]] = rows(page)
    assert about.startswith("the bound K, T = 10, width 16, covariance full") and steps == data(page, "step")
    assert read(K) == pytest.approx(float(data(page, "k")), abs=6e-4)
    assert read(K) > before + 0.5
    assert read(K) + read(gap) == pytest.approx(float(data(page, "limit")), abs=2e-3)
    with page.expect_download() as saved:
        button(page, "Download weights").press("Enter")
    path = tmp_path / "model.safetensors"
    saved.value.save_as(path)
    model, recipe = load_model(path)
    assert recipe.settings() == RECIPES["swiss-roll"].override(T=10, width=16, steps=500).settings()
    assert (recipe.data, recipe.noise, recipe.T, recipe.width, recipe.beta_1) == ("swiss-roll", 0.25, 10, 16, 1e-6)
    x0 = law.sample(6000, seeded(1))
    gaps = (law.log_prob(x0, 0) - bound.terms(model, x0, seeded(2)).K) / np.log(2)
    spread = np.hypot(float(gaps.std()) / 6000**0.5, read(error))
    assert abs(float(gaps.mean()) - read(gap)) < 4 * spread
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ValueError, match="damaged"):
        load_tensors(path)


def test_a_drawing_is_trained_on_by_keys_taken_away_and_sent_as_a_link(page, write_page, tmp_path):
    address = write_page([LiveTraining(T=10, width=16)])
    page.goto(address)
    page.wait_for_selector("[data-figure=ready]")
    looked(page)
    choose(page, "Data", "drawn")
    page.wait_for_function(SAID, arg="The drawing is empty")
    assert button(page, "Train").is_disabled()
    pad = page.locator("canvas[role=application]")
    pad.focus()
    pad.press("Enter")
    page.wait_for_function(SAID, arg="One dot alone")
    for key in [*["ArrowLeft"] * 8, " ", *["ArrowUp"] * 6, " "]:
        pad.press(key)
    box = pad.bounding_box()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.8 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.pieces === '3'")  # no limit of fewer
    page.wait_for_function(SAID, arg="The limit of K")
    assert not button(page, "Train").is_disabled()
    limit = float(data(page, "limit"))
    blur = page.get_by_role("slider", name="Blur")
    value = blur.input_value()
    blur.press("Home")
    page.wait_for_function(SAID, arg="Without blur")
    blur.evaluate("(node, value) => { node.value = value; node.dispatchEvent(new Event('input')); }", value)
    page.wait_for_function("(x) => Math.abs(document.querySelector('.dpm-figure').dataset.limit - x) < 1e-9", arg=limit)
    with page.expect_download() as saved:
        button(page, "Download data").click()
    path = tmp_path / "drawing.npy"
    saved.value.save_as(path)
    x = np.load(path, allow_pickle=False)
    assert x.shape == (20000, 2) and load(str(path)).dim == 2  # what `dpm train --set data=drawing.npy` reads
    clump = (np.abs(x) < 3).all(1)  # of weight 4, beside curves of lengths 6 and about 20
    assert clump.mean() == pytest.approx(4 / (4 + 6 + np.hypot(0.2, 0.6) * 32), abs=0.02)
    assert np.abs(x[(x[:, 0] < -4)].mean(0) - [-8, 3]).max() < 0.2
    page.evaluate(
        "() => { navigator.clipboard.writeText = (words) => { window.taken = words; return Promise.resolve(); }; }"
    )
    button(page, "Copy link").click()
    page.wait_for_function("() => window.taken")
    link = page.evaluate("() => window.taken")
    assert len(link) - len(address) < 400
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("[data-figure=ready]")
    looked(page)
    assert data(page, "kind") == "drawn" and float(data(page, "limit")) == pytest.approx(limit, abs=2e-3)
    page.goto("about:blank")
    page.goto(f"{address}#train?kind=drawn&noise=1&strokes=zz.zz.zz&T=7000")  # damaged
    page.wait_for_selector("[data-figure=ready]")
    looked(page)
    assert data(page, "kind") == "roll"


def test_settings_change_and_two_trainings_stand_side_by_side(page, write_page):
    open_figures(page, write_page, LiveTraining("clumps", 0.8, T=10, width=16, steps=500))
    looked(page)
    for _ in range(3):
        button(page, "One step").press("Enter")
    looked(page, 3)
    choose(page, "T", "5")
    page.wait_for_function(SAID, arg="The weights go on, with a new schedule")
    looked(page, 3)
    assert rows(page)[0][0].startswith("the bound K, T = 5, width 16")
    choose(page, "Learn by", "simple")
    page.wait_for_function(FIRST, arg="covariance none of its own (fixed small), schedule fixed")
    page.wait_for_function(SAID, arg="The weights go on")
    choose(page, "Width", "32")
    page.wait_for_function(SAID, arg="The network begins anew")
    choose(page, "Learn by", "bound")
    choose(page, "Beside it, the same with", "steps10")
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.runs === '2'")
    button(page, "One step").press("Enter")
    looked(page, 1)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.dpm-trained tbody td:nth-child(2)')].every((c) => c.textContent === '1')"
    )
    first, second = rows(page)
    assert "T = 5" in first[0] and "T = 10" in second[0] and read(first[2]) != read(second[2])
    choose(page, "Pictures of", "1")
    time = page.get_by_role("slider", name="Time t")
    time.press("End")
    page.get_by_role("slider", name="One point").press("ArrowRight")
    page.get_by_role("checkbox", name="Drift").press(" ")
    settle(page)
    there = data(page, "spot")
    time.press("Home")
    settle(page)
    assert data(page, "t") == "0" and data(page, "spot") != there
    page.evaluate(
        "() => { navigator.clipboard.writeText = (words) => { window.taken = words; return Promise.resolve(); }; }"
    )
    button(page, "Copy numbers").click()
    page.wait_for_function("() => window.taken")
    lines = page.evaluate("() => window.taken").splitlines()
    assert [line[:4] for line in lines[:4]] == ["# 1:", "# 2:", "# li", "step"]
    assert len(lines[-1].split("\t")) == 7


def test_what_cannot_be_trained_on_is_not_trained_on(page, write_page):
    """A drawing of nothing ends the training before it: nothing of that is heard any more."""
    open_figures(page, write_page, LiveTraining(T=5, width=16, steps=2000))
    looked(page)
    untrained = float(data(page, "k"))
    button(page, "Train").click()
    page.wait_for_function("() => Number(document.querySelector('.dpm-trained td').textContent) >= 20")
    choose(page, "Data", "drawn")
    choose(page, "Beside it, the same with", "simple")
    choose(page, "Pictures of", "1")
    page.wait_for_timeout(500)
    assert [row[1] for row in rows(page)] == ["0", "0"]
    assert button(page, "Train").is_disabled()
    choose(page, "Data", "roll")
    page.wait_for_function("() => document.querySelectorAll('.dpm-trained td')[2].textContent !== '–'")
    assert len(rows(page)) == 2 and rows(page)[0][1] == "0"
    button(page, "Bring back").press("Enter")
    page.wait_for_function(SAID, arg="The weights go on, with their schedule")
    page.wait_for_function(LOOKED, arg=20)
    page.wait_for_function(TABLE_IS_FRESH)
    [[_, steps, K, _, _]] = rows(page)
    assert int(steps) >= 20 and read(K) > untrained + 0.05
    assert button(page, "Bring back").is_disabled()


def test_a_lost_worker_is_told_and_what_was_trained_is_kept(page, write_page):
    page.add_init_script(
        "const Own = Worker; window.Worker = class extends Own { constructor(a) { super(a); window.made = this; } };"
    )
    open_figures(page, write_page, LiveTraining("moons", 0.8, T=5, width=16))
    looked(page)
    button(page, "One step").press("Enter")
    looked(page, 1)
    page.evaluate("() => window.made.onerror(Object.assign(new Event('error'), { message: 'out of memory' }))")
    page.wait_for_function(SAID, arg="What was trained up to step 1 is kept")
    button(page, "One step").press("Enter")
    page.wait_for_function(SAID, arg="The weights go on")
    looked(page, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LiveTraining("drawn"), "kind: 'drawn': need one of"),
        (lambda: LiveTraining(noise=0), "noise: 0: need a positive"),
        (lambda: LiveTraining(T=7), "T: 7: need one of 5, 10"),
        (lambda: LiveTraining(width=20), "width: 20: need one of"),
    ],
)
def test_a_bad_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_page_follows_the_recipe(js):
    """In all that a reader cannot change, and offers what the class takes."""
    settings = js("training_run.js", "(m) => m.recipeSettings()")
    recipe = RECIPES["swiss-roll"].to_dict()
    assert {name: value for name, value in settings.items() if name != "steps"} == {
        name: recipe[name] for name in settings if name != "steps"
    }
    assert settings["T"] in CHOICES["T"] and settings["width"] in CHOICES["width"]


def test_files_are_written_as_python_writes_them(js):
    code = "(m, a) => [m.sha256(Uint8Array.from(a.bytes)), m.pythonJSON(a.value), m.simplified(a.line)]"
    value = {"b": [1e-06, 0.25, -3, 1.5e-7, 12345.678], "a": {"x": True, "y": None}, "": "two\nlines"}
    line = [[0, 0], [1, 0.01], [2, 0], [3, 4], [3.01, 6]]
    for size in (0, 3, 55, 56, 64, 1000):
        found = js(
            "training_files.js", code, {"bytes": [i * 37 % 256 for i in range(size)], "value": value, "line": line}
        )
        assert found[0] == hashlib.sha256(bytes(i * 37 % 256 for i in range(size))).hexdigest()
    assert found[1] == json.dumps(value, sort_keys=True)
    assert found[2] == [[0, 0], [2, 0], [3, 4], [3.01, 6]]
