"""What holds for every figure: it fits, its controls can be found and pressed, and it is dark at night."""

import pytest
from opening import data, open_figures, settle

from dpm_lib import schedules
from dpm_lib.widgets import (
    BentPotential,
    BiasOnALine,
    ChainEditor,
    DoubleWellWalk,
    GuessField,
    InformationArea,
    InformationScales,
    JumpWalkers,
    PaintedPosterior,
    RatePlayground,
    Rungs,
    StepBack,
    StepsOfOneNoise,
    TrainingCost,
    TwoPictures,
    WalkLimit,
    WaysBack,
)
from dpm_lib.widgets.kolmogorov import RATES
from dpm_lib.widgets.tweedie import three_clumps


def jump_walkers(**options):
    return JumpWalkers(RATES["one way round"], **options)


def two_pictures(**options):
    return TwoPictures({"even": schedules.geometric(12)}, three_clumps(), **options)


def training_cost(**options):
    names = ("flop_per_row", "state_bytes", "bytes_per_row", "batch", "steps")
    cost = dict(zip(names, (4.7e9, 4.6e8, 7.2e6, 256, 200_000), strict=True))
    return TrainingCost({"a-recipe-of-a-long-name": cost, "digits": cost}, **options)


MAKERS = [
    ChainEditor,
    DoubleWellWalk,
    BentPotential,
    WalkLimit,
    StepsOfOneNoise,
    RatePlayground,
    jump_walkers,
    StepBack,
    WaysBack,
    GuessField,
    two_pictures,
    Rungs,
    InformationArea,
    InformationScales,
    PaintedPosterior,
    BiasOnALine,
    training_cost,
]


@pytest.mark.parametrize("make", MAKERS)
def test_nothing_overflows(watch, write_page, make):
    watched = watch(width=320, height=740)
    open_figures(watched.page, write_page, make(caption="Try it."))
    over = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for width in (320, 375, 800, 1280):
        watched.page.set_viewport_size({"width": width, "height": 740})
        settle(watched.page)
        assert watched.page.evaluate(over) <= 0, width
    watched.check()


@pytest.mark.parametrize("make", MAKERS)
def test_every_control_has_a_name_and_room_for_a_finger(watch, write_page, make):
    watched = watch(width=375, height=740)
    open_figures(watched.page, write_page, make())
    for control in watched.page.locator("button, input, select, [tabindex]").all():
        name = control.evaluate("(c) => (c.labels?.[0] ?? c).textContent.trim() || c.getAttribute('aria-label')")
        assert name
        box = control.locator("xpath=ancestor-or-self::label | self::*").first.bounding_box()
        assert box["height"] >= 24 and box["width"] >= 24, name


@pytest.mark.parametrize("make", MAKERS)
def test_dark_figures_are_dark(watch, write_page, make):
    watched = watch(color_scheme="dark")
    open_figures(watched.page, write_page, make())
    assert data(watched.page, "dark") == "true"
    colour = watched.page.evaluate("() => getComputedStyle(document.querySelector('.dpm-figure')).color")
    assert colour == "rgb(230, 232, 236)"
    watched.check()
