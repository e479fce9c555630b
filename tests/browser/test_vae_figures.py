"""The figures on Markovian VAEs: exact ladders in the page, and four models in training."""

import math

import numpy as np
import pytest
from figures import contest
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import Contest, Rungs
from dpm_lib.vae import four_bits

SETTINGS = [
    {"kind": kind, "rungs": rungs, "error": error, "coupling": coupling, "field": 0.3}
    for kind in four_bits.KINDS
    for rungs, error, coupling in ((1, 0.0, 0.8), (3, 0.25, -0.5), (4, 1.0, 1.2))
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s['kind']}-{s['rungs']}")
def test_every_number_of_a_ladder_is_the_library_s(js, settings):
    found = js("four.js", "(m, s) => m.account(m.ladder(s))", settings)
    ladder = four_bits.four_bits(**settings)
    assert found["limit"] == pytest.approx(-ladder.entropy, abs=1e-12)
    assert found["likelihood"] == pytest.approx(ladder.log_likelihood, abs=1e-12)
    assert found["elbo"] == pytest.approx(sum(ladder.terms().values()), abs=1e-12)
    assert found["cost"] == pytest.approx([-v for v in ladder.terms().values()], abs=1e-12)
    assert found["loss"] == pytest.approx(list(ladder.losses().values()), abs=1e-12)
    assert found["information"] == pytest.approx(ladder.information, abs=1e-12)
    if ladder.N < 4 or settings["kind"] != "diffusion":  # a million paths take a while
        assert found["elbo"] == pytest.approx(ladder.elbo, abs=1e-12)


def test_a_climb_has_the_encoder_s_law(js):
    code = """(m, s) => {
      const ladder = m.ladder(s);
      let seed = 7;
      const uniform = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
      const counts = [0, 0, 0, 0];
      for (let i = 0; i < 4000; i++) counts[m.climb(ladder, 3, uniform)[1]] += 1;
      return counts;
    }"""
    settings = {"kind": "vae", "rungs": 2, "error": 0.0, "coupling": 0.8, "field": 0.3}
    p = four_bits.four_bits(**settings).encoder[0][3]
    share = np.array(js("four.js", code, settings)) / 4000
    assert (np.abs(share - p) <= 4 * np.sqrt(p * (1 - p) / 4000)).all()


def test_frames_are_found_where_python_puts_them(js):
    figure = contest()
    about, points = figure.about, np.frombuffer(figure.points, "<i2") * figure.about["scale"]
    start = js("contest.js", "(m, about) => m.startOf(about, 2, 1, 1)", about)
    frames = np.random.default_rng(0)
    clouds = [frames.normal(size=(2, 3, 40, 2)) for _ in range(4)]
    close = points[start : start + 80].reshape(40, 2)
    assert np.abs(close - clouds[2][1, 1]).max() <= about["scale"]
    assert len(points) == 2 * (30 + 4 * 2 * 3 * 40)


def test_the_ladder_follows_its_controls(page, write_page):
    open_figures(page, write_page, Rungs())
    wanted = four_bits.four_bits("autoregressive", 2)
    assert float(data(page, "elbo")) == pytest.approx(wanted.elbo / math.log(2), abs=1e-10)
    page.get_by_role("combobox", name="Model").select_option("diffusion")
    page.get_by_role("slider", name="Rungs N").fill("3")
    page.get_by_role("slider", name="Error of the generator").fill("0.2")
    page.get_by_role("slider", name="Coupling").fill("0.5")
    settle(page)
    wanted = four_bits.four_bits("diffusion", 3, 0.2, 0.5)
    found = [float(data(page, name)) * math.log(2) for name in ("elbo", "likelihood", "limit")]
    assert found == pytest.approx([wanted.elbo, wanted.log_likelihood, -wanted.entropy], abs=1e-10)
    assert "slack of the bound" in page.locator(".dpm-now").text_content()


def test_forgetting_again_draws_another_way_up(page, write_page):
    open_figures(page, write_page, Rungs(kind="diffusion", rungs=4))
    seen = set()
    for _ in range(8):
        page.get_by_role("button", name="Forget again").click()
        settle(page)
        seen.add(data(page, "path"))
    assert len(seen) > 3 and all(path.startswith("3 ") for path in seen)
    page.get_by_role("combobox", name="String y").select_option("15")
    settle(page)
    assert data(page, "path").startswith("15 ")


def test_the_contest_plays_and_changes_seed(page, write_page):
    open_figures(page, write_page, contest())
    assert data(page, "frame") == "2" and data(page, "scores").split()[0] == "0.01"
    page.get_by_role("combobox", name="Seed").select_option("1")
    page.get_by_role("checkbox", name="Show data").check()
    page.get_by_role("slider", name="Budget spent").press("Home")
    settle(page)
    assert data(page, "frame") == "0" and data(page, "scores").split()[0] == "0.9"
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.frame !== '0'")
    page.get_by_role("button", name="Pause").click()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rungs(kind="gan"), "'gan', 2, 0.0"),
        (lambda: Rungs(error=1.5), "'autoregressive', 2, 1.5"),
        (lambda: Contest({}, {}, [], 1.0, np.zeros((1, 2))), "need the same models"),
        (lambda: Contest({"a": np.zeros((1, 2, 3, 2))}, {"a": [[1.0]]}, [0.5, 1.0], 1.0, np.zeros((1, 2))), "scores"),
        (lambda: Contest({"a": np.zeros((1, 1, 3, 2))}, {"a": [[1.0]]}, [1.0], 0.0, np.zeros((1, 2))), "floor: 0.0"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
