"""The converter of schedules: its numbers against dpm_lib, what it says of bad ones, and what a reader can do."""

import csv
import io
import json
import math
import re

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.diffusion import noise_levels, parametrisations
from dpm_lib.figures.widgets import LevelConverter
from dpm_lib.figures.widgets.converter import PREDICTIONS, SCHEDULES

LEVELS = torch.linspace(-14, 14, 29, dtype=torch.float64)


def floats(values) -> np.ndarray:
    return np.array([float(value) for value in values])


# --- Numbers ---


@pytest.mark.parametrize("name", noise_levels.NAMES)
def test_every_name_is_read_and_written_as_in_the_library(js, name):
    numbers = noise_levels.write(name, LEVELS)
    code = "(m, a) => ({ read: m.read(a.name, a.numbers).levels, write: m.write(a.name, a.levels) })"
    found = js("converter.js", code, {"name": name, "numbers": numbers.tolist(), "levels": LEVELS.tolist()})
    np.testing.assert_allclose(found["write"], numbers, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found["read"], noise_levels.read(name, numbers), rtol=1e-12, atol=1e-12)


def test_the_script_has_the_names_of_the_library_and_its_ranges(js):
    found = js("converter.js", "(m) => Object.entries(m.NAMES).map(([k, { range }]) => [k, range.map(String)])")
    assert [name for name, _ in found] == list(noise_levels.NAMES)
    for name, ends in found[1:]:
        row = noise_levels.LEVELS[name]
        assert [float(end.replace("Infinity", "inf")) for end in ends] == [row.low, row.high]


@pytest.mark.parametrize("T", [2, 37, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_named_schedules_are_those_of_the_library(js, name, T):
    code = """(m, a) => { const [name, values] = m.SCHEDULES[a.name](a.T);
      return m.read(name, values).levels.map((u) => (u === Infinity ? "inf" : u)); }"""
    found, true = floats(js("converter.js", code, {"name": name, "T": T})), SCHEDULES[name](T).log_tau[1:].numpy()
    ends = np.isinf(true)
    # beta of the published cosine is a difference; a last cos of nearly 0 is rounding alone
    close = 1e-9 if name.startswith("cosine") else 1e-12
    np.testing.assert_array_equal(np.isinf(found), ends)
    np.testing.assert_allclose(found[~ends], true[~ends], rtol=close, atol=close)


def test_there_and_back_through_every_name(js):
    """Forty schedules, written under each name and read again."""
    code = """(m, lists) => lists.flatMap((levels) => Object.keys(m.NAMES).map((name) => {
      const back = m.read(name, m.write(name, levels)).levels;
      return Math.max(...levels.map((u, k) => Math.abs(u - back[k]))); }))"""
    rng = np.random.default_rng(0)
    lists = [np.sort(rng.uniform(-12, 12, rng.integers(1, 30))).tolist() for _ in range(40)]
    assert max(js("converter.js", code, lists)) < 1e-9


@pytest.mark.parametrize("source", PREDICTIONS)
def test_predictions_become_each_other_as_in_the_library_and_as_the_formulas_say(js, source):
    code = """(m, a) => a.levels.map((u) => Object.keys(m.PREDICTIONS).map((to) => m.conversion(u, a.source, to)))"""
    found = np.array(js("converter.js", code, {"levels": LEVELS.tolist(), "source": source}))
    formulas = js("converter.js", "(m, source) => m.FORMULAS[source]", source)
    assert list(js("converter.js", "(m) => Object.keys(m.PREDICTIONS)")) == list(PREDICTIONS)
    assert set(formulas) == set(PREDICTIONS) - {source}
    for k, target in enumerate(PREDICTIONS):
        true = torch.stack(parametrisations.conversion(LEVELS, source, target), dim=-1)
        np.testing.assert_allclose(found[:, k], true, rtol=1e-12, atol=1e-12)
        if target == source:
            continue
        for sign, word in {"−": "-", "·": "*", "²": "**2", "xₜ": "x", "x₀": "y", "ε": "y", "S": "y", "u": "y"}.items():
            formulas[target] = formulas[target].replace(sign, word)
        alpha_bar, (P, Q) = 0.3, parametrisations.conversion(math.log(0.7 / 0.3), source, target)
        known = {"a": math.sqrt(alpha_bar), "s": math.sqrt(1 - alpha_bar), "x": 1.3, "y": -0.7, "v": -0.7}
        assert eval(formulas[target], known) == pytest.approx(float(P) * 1.3 - 0.7 * float(Q), rel=1e-12)


# --- What is typed ---


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[1e-4, 2E-3,\n.5]", [1e-4, 2e-3, 0.5]),
        ("tensor\n0.1;0.2\t3.", ["nan", 0.1, 0.2, 3.0]),
        ("−1 ∞ -inf Infinity", [-1.0, "inf", "-inf", "inf"]),
        ("0x10 1e 1,5", ["nan", "nan", 1.0, 5.0]),
        (" , ", []),
    ],
)
def test_numbers_in_a_text(js, text, values):
    code = """(m, text) => m.numbersIn(text).map(({ value: v, word, start }) =>
      [String(v), text.substr(start, word.length)])"""
    found = js("converter.js", code, text)
    names = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    assert floats(names.get(v, v) for v, _ in found) == pytest.approx(floats(values), nan_ok=True)
    assert [word for _, word in found] == [word for word in re.split(r"[\s,;\[\]]+", text) if word]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("beta", [0.1, "x", 0.2], [1, "is no number"]),
        ("beta", [0.1, 0.2, 1.5], [2, "need numbers from 0 to 1"]),
        ("beta", [0.1, 0, 0.2], [1, "only the first may be 0, which says that this level has no noise"]),
        ("beta", [0.1, 1, 0.2], [1, "only the last may be 1: nothing is left after it"]),
        ("beta", [0.1, 1e-30], [1, "too small: it takes nothing that 64 bits can hold"]),
        ("alpha_bar", [0.9, 0.5, 0.6, 0.1], [2, "comes after 0.5, but the list falls, from 0.9 to 0.1"]),
        ("sigma", [1, 2, 2, 3], [2, "comes after 2, but the list rises, from 1 to 3"]),
        ("sigma", [1, -2], [1, "need numbers from 0 to infinity"]),
        ("flow", [0, 0.5, 1], None),
        ("alpha_bar", [1, 0.5, 0], None),
    ],
)
def test_the_first_bad_number_is_named_with_its_reason(js, name, values, message):
    code = "(m, a) => { const f = m.read(a.name, a.values.map(Number)).fault; return f ? [f.k, f.why] : null; }"
    assert js("converter.js", code, {"name": name, "values": values}) == message


# --- What a reader can do ---


def table(page, name: str) -> list[list[str]]:
    rows = page.get_by_role("region", name=name).locator("tbody tr").all()
    return [row.locator("th, td").all_text_contents() for row in rows]


def test_the_figure_answers_its_controls(page, write_page):
    open_figures(page, write_page, LevelConverter("EDM, Karras", 18, "sigma"))
    assert data(page, "levels") == "18"
    text = page.get_by_role("textbox", name="Numbers")
    np.testing.assert_allclose(floats(text.input_value().split(", ")), SCHEDULES["EDM, Karras"](18).tau[1:].sqrt())
    page.get_by_role("slider", name="Level").press("End")
    settle(page)
    assert data(page, "chosen") == "18" and float(data(page, "u")) == pytest.approx(2 * math.log(80))
    assert ["σ (VE, EDM) = √τ", "80"] in [row[:2] for row in table(page, "At this level")]
    page.get_by_role("combobox", name="The numbers are").select_option("snr")  # the named one, in other numbers
    np.testing.assert_allclose(floats(text.input_value().split(", ")), SCHEDULES["EDM, Karras"](18).snr[1:])
    page.get_by_role("combobox", name="A network says").select_option("v")
    settle(page)
    assert table(page, "From one prediction")[0][:2] == ["x₀", "a·xₜ − s·v"]
    page.get_by_role("combobox", name="Time runs").select_option("noise")
    settle(page)
    assert [row[0] for row in table(page, "All levels")] == [str(k) for k in range(18, 0, -1)]
    page.locator(".dpm-levels").click(position={"x": 50, "y": 40})
    settle(page)
    assert data(page, "chosen") == "18"


def test_bad_numbers_are_told_and_nothing_is_lost(page, write_page):
    open_figures(page, write_page, LevelConverter(T=10))
    page.get_by_role("combobox", name="The numbers are").select_option("alpha_bar")
    text = page.get_by_role("textbox", name="Numbers")
    text.fill("[0.9, 0.5,\n0.6, 0.1]")
    settle(page)
    status = page.locator(".dpm-told")
    assert status.text_content().startswith("Number 3 of 4, 0.6: comes after 0.5, but the list falls, from 0.9 to 0.1.")
    assert data(page, "levels") == "10" and text.get_attribute("aria-invalid") == "true"
    page.get_by_role("button", name="Show it").press("Enter")
    assert page.evaluate("getSelection().toString()") == "0.6"
    text.fill("1, 0.5, 0.25, 0")
    settle(page)
    assert data(page, "levels") == "4" and text.get_attribute("aria-invalid") == "false"
    assert "SNR from ∞ to 0." in status.text_content() and "SNR 0" in status.text_content()
    page.get_by_role("slider", name="Level").press("End")
    settle(page)
    assert table(page, "From one prediction")[0][2] == "not told at this level"  # x0, of the noise alone
    text.fill("0.1 0.5 0.9")
    assert "They came from the noise on" in status.text_content()
    assert page.get_by_role("combobox", name="Schedule").input_value() == "your own"
    text.fill("")
    assert "Type numbers" in status.text_content()
    page.get_by_role("slider", name="How many").press("ArrowRight")
    settle(page)
    assert data(page, "levels") == "11"


def test_all_levels_can_be_taken_away(page, write_page):
    open_figures(page, write_page, LevelConverter("straight path (rectified flow)", 12, "flow"))
    true = SCHEDULES["straight path (rectified flow)"](12).log_tau[1:]
    found = {}
    for kind in ("CSV", "JSON", "Python lists"):
        page.get_by_role("combobox", name="as").select_option(kind)
        page.get_by_role("button", name="Copy all levels").press("Enter")
        page.wait_for_function("() => document.querySelector('textarea[readonly]')?.value.length > 100")
        found[kind] = page.get_by_role("textbox", name="All levels").input_value()
    rows = list(csv.DictReader(io.StringIO(found["CSV"])))
    lists: dict = {}
    exec(found["Python lists"], lists)
    for name in noise_levels.NAMES:
        want = noise_levels.write(name, true)
        for got in (
            [row[name] for row in rows],
            [row[name] for row in json.loads(found["JSON"])],
            lists["lambda_" if name == "lambda" else name],
        ):
            np.testing.assert_allclose(floats(got), want, rtol=1e-12, atol=1e-12)
    assert [row["from_noise"] for row in rows][:2] == ["12", "11"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LevelConverter("linear"), "schedule: 'linear': need one of"),
        (lambda: LevelConverter(T=1), "T: 1: need"),
        (lambda: LevelConverter(T=1001), "T: 1001: need"),
        (lambda: LevelConverter(quantity="t"), "quantity: 't': need one of"),
        (lambda: LevelConverter(source="edm"), "source: 'edm': need one of"),
    ],
)
def test_a_bad_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
