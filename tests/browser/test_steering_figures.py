"""Guidance on a line: the page's densities against the library's laws, and the controls."""

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.diffusion.guidance import Guided
from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.diffusion.samplers import MixtureDenoiser, family, heun
from dpm_lib.diffusion.schedules import geometric
from dpm_lib.diffusion.tilted_law import TiltedLaw
from dpm_lib.figures.widgets import GuidedMixture
from dpm_lib.figures.widgets.steering import CENTERS, SHARES, VARIANCE, class_and_all
from dpm_lib.probability.mixtures import Mixture

DATA = {"centers": CENTERS, "weights": SHARES, "variance": VARIANCE, "members": [False, True, True]}
CONDITIONAL, UNCONDITIONAL = class_and_all()
PLACES = np.linspace(-4, 5, 301)
WAYS = {"flow": (heun, {}, "flowLaw", 0.01), "SDE": (family, {"lam": 1.0}, "sdeLaw", 0.03)}


def far(law, density) -> float:
    """Total variation of a law's table and a density of the page, over the page's cells."""
    edges = torch.from_numpy(np.append(PLACES - 0.015, PLACES[-1] + 0.015))
    return 0.5 * float((law.below(edges).diff() - 0.03 * torch.tensor(density, dtype=torch.float64)).abs().sum())


@pytest.mark.parametrize(("way", "w"), [("flow", 0.5), ("flow", 1.0), ("flow", 3.0), ("SDE", 3.0)])
def test_the_guided_law_is_the_librarys(js, way, w):
    sampler, own, name, allowed = WAYS[way]
    schedule = geometric(240, beta_1=1e-3, tau_T=1e6)
    model = Guided(MixtureDenoiser(CONDITIONAL, schedule), MixtureDenoiser(UNCONDITIONAL, schedule), w)
    law = sampler_law(sampler, model, range(240, -1, -1), places=801, **own)
    found = js("guided.js", f"(m, a) => m.{name}(a.w, a.data)", {"w": w, "data": DATA})
    assert far(law, found["plain"]) < allowed
    tilt = TiltedLaw(CONDITIONAL, UNCONDITIONAL, w)
    assert far(tilt.law(), found["weighted"]) < allowed + (0.02 if way == "SDE" else 0)
    assert w == 1 or far(tilt.law(), found["plain"]) > 0.1


@pytest.mark.parametrize("w", [0.0, 1.0, 2.5, 5.0])
def test_the_tilt_and_its_moments_are_the_librarys(js, w):
    code = """(m, a) => { const { own, tilt } = m.wanted(a.w, a.data); return { own, tilt, at: m.momentsOf(tilt) }; }"""
    found = js("guided.js", code, {"w": w, "data": DATA})
    tilt, z = TiltedLaw(CONDITIONAL, UNCONDITIONAL, w), torch.from_numpy(PLACES).unsqueeze(1)
    assert found["at"]["mean"] == pytest.approx(tilt.mean(), abs=1e-6)
    assert found["at"]["spread"] == pytest.approx(tilt.std(), abs=1e-6)
    np.testing.assert_allclose(found["own"], CONDITIONAL.log_prob(z).exp(), atol=1e-9)


def test_the_centres_given_a_place_are_the_librarys(js):
    points = Mixture(CONDITIONAL.centers, CONDITIONAL.weights, 0.0)
    everything = Mixture(UNCONDITIONAL.centers, UNCONDITIONAL.weights, 0.0)
    for z, width in ((0.3, 0.2), (-40.0, 0.12), (2.0, 9.0)):
        found = js(
            "guided.js", "(m, a) => m.centersGiven(a.z, a.width, a.data)", {"z": z, "width": width, "data": DATA}
        )
        at = torch.tensor([[z]], dtype=torch.float64)
        for law, mean, variance in ((everything, "all", "allVar"), (points, "own", "ownVar")):
            assert found[mean] == pytest.approx(float(law.posterior_mean(at, width)), abs=1e-9)
            assert found[variance] == pytest.approx(float(law.posterior_covariance(at, width)), abs=1e-9)


def test_the_scale_the_weights_and_the_way_back(page, write_page):
    open_figures(page, write_page, GuidedMixture(label="A <b>figure</b>", caption="x"))
    page.wait_for_function("document.querySelector('.dpm-figure').dataset.ready === '1'")
    assert float(data(page, "far")) > 0.4 > 0.02 > float(data(page, "near"))
    assert float(data(page, "mean")) > float(data(page, "tilt")) + 0.2
    page.get_by_role("checkbox", name="With weights").check()
    settle(page)
    assert page.locator(".dpm-curve-weighted").count() == 1
    assert "with weights" in page.locator(".dpm-now").text_content()
    of_flow = float(data(page, "mean"))
    page.get_by_role("combobox", name="Way back").select_option("SDE")
    settle(page)
    assert float(data(page, "tilt")) + 0.05 < float(data(page, "mean")) < of_flow
    page.get_by_role("slider", name="Scale w").fill("1")
    settle(page)
    assert float(data(page, "far")) < 0.01


def test_clumps_are_dragged_and_leave_the_class(page, write_page):
    open_figures(page, write_page, GuidedMixture(label="A", caption="x"))
    settle(page)
    grip = page.get_by_role("slider", name="Place of clump C")
    before = float(data(page, "mean"))
    grip.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    settle(page)
    assert float(grip.get_attribute("aria-valuenow")) == pytest.approx(1.8)
    assert float(data(page, "mean")) > before + 0.1
    page.keyboard.press("ArrowUp")
    settle(page)
    assert "40% of all, in the class" in grip.get_attribute("aria-valuetext")
    assert page.get_by_role("combobox", name="Clumps").input_value() == "your own"
    page.get_by_role("checkbox", name="C", exact=True).uncheck()
    settle(page)
    assert "not in the class" in grip.get_attribute("aria-valuetext")
    box = grip.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 40, box["y"] + 20)
    page.mouse.up()
    settle(page)
    assert float(grip.get_attribute("aria-valuenow")) < 1.8
    page.get_by_role("checkbox", name="B", exact=True).click()
    settle(page)
    assert page.get_by_role("checkbox", name="B", exact=True).is_checked()  # the last of the class stays in it
