"""The figures of the chapter on the bound: their numbers against dpm_lib, and what a reader can do."""

import math

import numpy as np
import pytest
import torch
from figures import band, clumps
from opening import data, open_figures, settle

from dpm_lib.diffusion import forward_kernels, schedules
from dpm_lib.exact import bound_derivation, entropy_bounds, enumeration
from dpm_lib.figures.widgets import ClosingGap, EntropyBand, Ledger
from dpm_lib.figures.widgets.bound import entropy_rows, entropy_table

SETTINGS = [
    {"coupling": 0.8, "field": 0.3, "coin": 0.5, "beta": [0.04, 0.4, 0.7], "error": 0.1, "joint": False},
    {"coupling": -1.2, "field": 0.6, "coin": 0.3, "beta": [0.2, 0.5, 0.3], "error": 0.45, "joint": False},
    {"coupling": 1.5, "field": -1.0, "coin": 0.9, "beta": [0.01, 1.0], "error": 0.0, "joint": True},
    {"coupling": 0.3, "field": 0.0, "coin": 0.5, "beta": [0.1, 0.2, 0.3, 0.4], "error": 1.0, "joint": True},
]


# --- Numbers ---


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_line_and_account_is_that_of_the_library(js, settings):
    found = js("tiny.js", "(m, s) => m.account(m.coupledBits(s))", settings)
    chains = enumeration.coupled_bits(**settings)
    for number, terms in bound_derivation.lines(chains).items():
        line = found["lines"][number - 1]
        assert [name for name, _ in line["terms"]] == sorted(terms, key=[name for name, _ in line["terms"]].index)
        for name, value in line["terms"]:
            assert value == pytest.approx(terms[name], abs=1e-10), (number, name)
        assert line["value"] == pytest.approx(sum(terms.values()), abs=1e-10)
        assert line["spread"] < 1e-12
    exact = bound_derivation.account(chains)
    assert set(found["parts"]) == set(exact)
    for name, value in exact.items():
        assert found["parts"][name] == pytest.approx(value, abs=1e-10), name


@pytest.mark.parametrize("settings", SETTINGS[:2])
def test_weights_of_one_start(js, settings):
    law = law_of_weights(js, settings)
    found = law | js("closing.js", "(m, law) => m.moments(law)", law)
    w, q = (rows[5] for rows in enumeration.coupled_bits(**settings).weight_laws)
    p = float(w @ q)
    np.testing.assert_allclose(np.sort(found["w"]), np.sort(w), rtol=1e-11)
    assert found["p"] == pytest.approx(p, rel=1e-12)
    assert found["elbo"] == pytest.approx(float(q @ np.log(w)), abs=1e-11)
    assert found["variance"] == pytest.approx(float(q @ (w / p - 1) ** 2), rel=1e-10)


def law_of_weights(js, settings):
    law = js("tiny.js", "(m, s) => m.weightLaw(m.coupledBits(s), 5)", settings)
    return {name: np.array(law[name]) if name != "p" else law[name] for name in law}


def test_drawn_gaps_are_right_in_the_mean(js):
    settings = SETTINGS[0] | {"error": 0.4}
    code = """(m, law) => {
      let state = 1;
      const uniform = () => ((state = (state * 48271) % 2147483647) / 2147483647);
      const draw = m.drawer(law, uniform);
      return [1, 2, 40].map((n) => Array.from(m.means(draw, n, 3000), (mean) => m.shortfall(mean, law.p)));
    }"""
    gaps = np.array(js("closing.js", code, law_of_weights(js, settings)))
    w, q = (rows[5] for rows in enumeration.coupled_bits(**settings).weight_laws)
    p = float(w @ q)
    exact = [math.log(p) - q @ np.log(w), math.log(p) - q @ np.log((w[:, None] + w) / 2) @ q]
    V = float(q @ (w / p - 1) ** 2)
    for values, wanted in zip(gaps, [*exact, V / 80], strict=True):
        assert abs(values.mean() - wanted) < 4 * values.std() / math.sqrt(3000) + (V / 80) ** 2


@pytest.mark.parametrize(("name", "T"), [("geometric", 12), ("constant fraction", 9)])
@pytest.mark.parametrize("variance", [0.4, 1.0, 5.0])
def test_entropies_are_those_of_the_library(js, name, T, variance):
    table = entropy_table(clumps())
    args = {"name": name, "T": T, "v": variance, "table": table}
    code = "(m, a) => { const b = m.schedule(a.name, a.T); return { b, rows: m.entropyRows(b, a.table, a.v) }; }"
    found = js("entropy.js", code, args)
    twin = entropy_rows(found["b"], table, variance)
    kernel = forward_kernels.GaussianKernel(
        1, schedules.from_beta(torch.tensor([0.0, *found["b"]], dtype=torch.float64))
    )
    limits = entropy_bounds.step_bounds(kernel, 0.5 * (variance - 1))
    exact = entropy_bounds.reverse_entropies(clumps(variance), kernel)
    for t, (row, other) in enumerate(zip(found["rows"], twin, strict=True), 1):
        for key in ("step", "printed", "upper", "exact"):
            assert row[key] == pytest.approx(other[key], abs=1e-10), (t, key)
        assert row["printed"] == pytest.approx(float(limits.printed[t]), abs=1e-9)
        assert row["upper"] == pytest.approx(float(limits.upper[t]), abs=1e-9)
        assert row["exact"] == pytest.approx(float(exact[t]), abs=3e-3)  # the table's own precision
        if t > 1:
            assert row["lower"] == pytest.approx(float(limits.lower[t]), abs=1e-9)
    if name == "geometric":
        np.testing.assert_allclose(found["b"], schedules.geometric(T, 0.001, 50.0).beta[1:], rtol=1e-9)


# --- What a reader can do ---


def test_ledger_lines_open_by_click_and_by_key(page, write_page):
    open_figures(page, write_page, Ledger())
    lines = page.locator(".dpm-line-button")
    assert lines.count() == 10 and data(page, "line") == "3"
    lines.nth(8).click()
    settle(page)
    assert data(page, "line") == "9"
    assert lines.nth(8).get_attribute("aria-expanded") == "true"
    shown = page.locator(".dpm-chosen-line .dpm-term-value").all_text_contents()
    terms = bound_derivation.lines(Ledger().chains())[9]
    kl = -(terms["KL 2"] + terms["KL 3"])
    wanted = [terms["prior"], terms["edge"], kl, terms["entropy T"], -terms["entropy 1"]]
    assert [float(v.replace("−", "-")) for v in shown] == pytest.approx([v / math.log(2) for v in wanted], abs=6e-4)
    for key, line in (("ArrowDown", "10"), ("ArrowDown", "10"), ("Home", "1"), ("ArrowDown", "2"), ("End", "10")):
        page.keyboard.press(key)
        settle(page)
        assert data(page, "line") == line
    assert page.evaluate("() => document.activeElement.textContent").startswith("10")


def test_ledger_sliders_recompute_every_line(page, write_page):
    open_figures(page, write_page, Ledger())
    assert float(data(page, "printed")) == pytest.approx(float(data(page, "k")), abs=1e-12)
    page.get_by_role("slider", name="Prior's coin").fill("0.3")
    page.get_by_role("slider", name="β₂").fill("0.2")
    page.get_by_role("slider", name="Reverse steps' error").fill("0.5")
    page.get_by_role("combobox", name="Reverse step").select_option("joint")
    settle(page)
    chains = enumeration.coupled_bits(0.8, [0.04, 0.2, 0.7], 0.5, field=0.3, coin=0.3, joint=True)
    value = {n: sum(terms.values()) / math.log(2) for n, terms in bound_derivation.lines(chains).items()}
    found = [float(data(page, name)) for name in ("likelihood", "k", "printed")]
    assert found == pytest.approx([value[1], value[9], value[10]], abs=1e-10)
    worth = [float(v.replace("−", "-")) for v in page.locator(".dpm-worth").all_text_contents()]
    assert worth == pytest.approx([value[n] for n in range(1, 11)], abs=6e-5)


def test_ledger_warns_when_the_printed_formula_is_no_bound(page, write_page):
    open_figures(page, write_page, Ledger(field=0.6, coin=0.3))
    assert "bounds nothing" in page.locator(".dpm-account-words").text_content()


def test_the_printed_entropy_bound_fails_beyond_unit_variance(page, write_page):
    open_figures(page, write_page, band())
    assert data(page, "outside") == "0"
    variance = page.get_by_role("slider", name="Variance of the data")
    variance.fill("0.6")
    settle(page)
    assert int(data(page, "outside")) > 0
    page.get_by_role("combobox", name="Data").select_option("normal")
    settle(page)
    assert data(page, "outside") == "19"  # every step
    step = page.get_by_role("slider", name="Step t")
    step.press("ArrowRight")
    settle(page)
    assert data(page, "chosen") == "3" and step.get_attribute("aria-valuetext").startswith("t = 3:")
    page.get_by_role("slider", name="Steps T").press("ArrowLeft")
    settle(page)
    assert data(page, "outside") == "18"


def test_the_gap_closes_while_it_plays(page, write_page):
    open_figures(page, write_page, ClosingGap())
    before = int(data(page, "runs"))
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("(n) => Number(document.querySelector('.dpm-figure').dataset.runs) > n + 400", arg=before)
    page.get_by_role("button", name="Pause").click()
    first = float(data(page, "gap"))
    page.get_by_role("slider", name="Trajectories n").press("End")
    settle(page)
    assert data(page, "n") == "256" and 0 < float(data(page, "gap")) < first / 50


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ledger(beta=(0.1,)), "beta: 1 rates: need 2 to 4"),
        (lambda: Ledger(error=2.0), "0 <= error <= 1"),
        (lambda: Ledger(coin=1.0), "0 < coin < 1"),
        (lambda: band(variance=20.0), "variance: 20.0: need a finite number, at least 0.1, at most 10"),
        (lambda: band(T=2), "T: 2: need at least 3"),
        (lambda: EntropyBand({}), "tables: need at least one"),
        (
            lambda: EntropyBand({"a": {"grid": [0, 1, 3], "short": [0, 0, 0], "dim": 1}}),
            "need two or more, increasing and even",
        ),
        (lambda: entropy_table(clumps(2.0)), r"E\|y\|\^2 = 2.0: need 1"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
