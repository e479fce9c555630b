"""What holds for every figure: its name, its size, its controls, its colours, and its poster."""

import figures
import pytest
from opening import data, open_figures, settle

from dpm_lib.figures import widgets
from dpm_lib.figures.widgets import montecarlo

NEED_NO_DATA = [
    widgets.AnnealedParticles,
    widgets.BentPotential,
    widgets.BiasOnALine,
    widgets.BlindShare,
    widgets.ChainEditor,
    widgets.ClosingGap,
    widgets.ContinuousBound,
    widgets.DoubleWellWalk,
    widgets.FewSteps,
    widgets.GuessField,
    widgets.GuidedMixture,
    widgets.InformationArea,
    widgets.InformationScales,
    widgets.LangevinLevels,
    widgets.Ledger,
    widgets.LevelConverter,
    widgets.LiveTraining,
    widgets.LossFloor,
    widgets.LossWeights,
    widgets.MaskedEntropy,
    widgets.MaskedString,
    widgets.OwnBits,
    widgets.PaintedPosterior,
    widgets.ParallelDecoding,
    widgets.RatePlayground,
    widgets.RoundedStep,
    widgets.Rungs,
    widgets.StepBack,
    widgets.StepsOfOneNoise,
    widgets.TakingTurns,
    widgets.ThreePaths,
    widgets.TwoLaws,
    widgets.WalkLimit,
    widgets.WaysBack,
    widgets.WorkHistograms,
    montecarlo.Walkers,
]
MAKERS = [
    *NEED_NO_DATA,
    figures.band,
    figures.beside,
    figures.bits_along,
    figures.contest,
    figures.costs,
    figures.course,
    figures.guided_digits,
    figures.images,
    figures.importance,
    figures.jump_walkers,
    figures.pixel,
    figures.player,
    figures.race,
    figures.sampler,
    figures.schedule,
    figures.strings,
    figures.strip,
    figures.text_unmasking,
    figures.training_cost,
    figures.two_pictures,
]
CONTROLS = "button, input, select, textarea, [tabindex='0']"
NAME = """(control) => {
  const words = (control.labels?.[0] ?? control).cloneNode(true);
  words.querySelectorAll("option, .dpm-value").forEach((part) => part.remove()); // what it stands at is no name
  return control.getAttribute("aria-label") || words.textContent.trim();
}"""


def has_its_name_and_caption(page):
    assert page.get_by_role("group", name="A <b>figure</b>", exact=True).count() == 1
    assert page.locator("figcaption").text_content() == "Try <i>this</i>."
    assert page.locator(".figure-poster:visible").count() == 0


def stands_still_for_readers_who_want_calm(page):
    if page.locator(".dpm-play").count() and not page.get_by_role("application").count():  # a brush: it computes
        shown = "() => { const { t, k, frame, playing } = document.querySelector('.dpm-figure').dataset;"
        shown += " return [t, k, frame, playing]; }"
        before = page.evaluate(shown)
        for _ in range(5):
            settle(page)
        assert page.evaluate(shown) == before
        assert before[-1] == "false"


def is_dark(page):
    assert data(page, "dark") == "true"
    colour = page.evaluate("() => getComputedStyle(document.querySelector('.dpm-figure')).color")
    assert colour == "rgb(230, 232, 236)"


def has_drawn_its_canvases(page):
    shades = page.evaluate("""() => [...document.querySelectorAll("canvas")].filter((c) => c.offsetWidth).map((c) =>
      new Set(new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer)).size)""")
    assert all(count > 5 for count in shades)


def fits_every_screen(page):
    for width in (320, 375, 800, 1280):
        page.set_viewport_size({"width": width, "height": 740})
        settle(page)
        over = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(over) <= 0, width
        cut_off = """() => [...document.querySelectorAll(".dpm-figure *")]
          .filter((node) => node.getBoundingClientRect().right > innerWidth + 1 && !node.closest("svg, .dpm-scroll *"))
          .map((node) => node.outerHTML.slice(0, 120))"""
        assert not page.evaluate(cut_off), width


def controls_have_names_and_room_for_a_finger(page):
    page.set_viewport_size({"width": 375, "height": 740})
    settle(page)
    controls = page.locator(f"{CONTROLS}, [tabindex]").all()
    assert controls, "nothing to press, to move or to choose"
    for control in controls:
        name = control.evaluate(NAME)
        assert name, control.evaluate("(c) => c.outerHTML.slice(0, 120)")
        box = control.locator("xpath=ancestor-or-self::label | self::*").first.bounding_box()
        assert box["height"] >= 24 and box["width"] >= 24, name


def the_keyboard_reaches_every_control(page):
    stops = f":is({CONTROLS}):not([tabindex='-1'], :disabled)"
    reached, hidden = set(), []
    for _ in range(page.locator(stops).count()):
        page.keyboard.press("Tab")
        at, seen = page.evaluate(
            """(stops) => {
              const node = document.activeElement, grip = node.querySelector(".dpm-grip") ?? node;
              const seen = getComputedStyle(node).outlineStyle !== "none" || getComputedStyle(grip).stroke !== "none";
              return [[...document.querySelectorAll(stops)].indexOf(node), seen];
            }""",
            stops,
        )
        reached.add(at)
        if not seen:
            hidden.append(at)
    assert reached == set(range(page.locator(stops).count()))
    assert not hidden, "focus must be visible"


def turns_light_with_the_page(page):
    dark = page.locator(".dpm-figure").screenshot()
    page.emulate_media(color_scheme="light")
    settle(page)
    assert data(page, "dark") == "false"
    assert page.locator(".dpm-figure").screenshot() != dark


SETTINGS = """() => [
  ...[...document.querySelectorAll(".dpm-figure :is(select, input[type=range])")].map((c) => c.value),
  ...[...document.querySelectorAll(".dpm-figure input[type=checkbox]")].map((c) => c.checked),
  ...[...document.querySelectorAll(".dpm-figure [role=slider]")].map((c) => c.getAttribute("aria-valuetext")),
]"""
SET_ALL = """() => {
  Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => (window.copied = text) } });
  const all = (selector) => [...document.querySelectorAll(`.dpm-figure ${selector}`)];
  const typed = (control, type) => control.dispatchEvent(new Event(type, { bubbles: true }));
  for (const select of all("select")) {
    const options = [...select.options].filter((option) => !option.disabled);
    select.value = options[(options.findIndex((option) => option.selected) + 1) % options.length]?.value;
    typed(select, "change");
  }
  for (const box of all("input[type=checkbox]")) {
    box.checked = !box.checked;
    typed(box, "change");
  }
  for (const range of all("input[type=range]")) {
    const before = range.value;
    range.stepUp();
    if (range.value === before) range.stepDown();
    typed(range, "input");
  }
  for (const handle of all("[role=slider]")) {
    for (const key of ["ArrowUp", "ArrowUp", "ArrowRight", "ArrowLeft", "ArrowLeft"])
      handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  }
}"""


def can_be_put_back_and_sent_to_others(page):
    """Everything set otherwise, then put back; and a link brings all of it to another reader."""
    if page.locator(".dpm-training").count():
        return  # has a link and a way to start again of its own: see test_training_figure.py
    foot = page.locator(".dpm-foot")
    foot.get_by_role("button", name="Reset").click()
    settle(page)
    at_first = page.evaluate(SETTINGS)
    page.evaluate(SET_ALL)
    settle(page)
    changed = page.evaluate(SETTINGS)
    foot.get_by_role("button", name="Copy link").click()
    link = page.evaluate("() => window.copied")
    foot.get_by_role("button", name="Reset").click()
    settle(page)
    assert page.evaluate(SETTINGS) == at_first
    assert page.evaluate("() => document.activeElement.textContent") == "Reset"
    page.goto(link)
    page.wait_for_selector("[data-figure=ready]")
    settle(page)
    assert page.evaluate(SETTINGS) == changed


CHECKS = [
    has_its_name_and_caption,
    stands_still_for_readers_who_want_calm,
    is_dark,
    has_drawn_its_canvases,
    fits_every_screen,
    controls_have_names_and_room_for_a_finger,
    the_keyboard_reaches_every_control,
    turns_light_with_the_page,
    can_be_put_back_and_sent_to_others,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_figure(watch, write_page, subtests, make):
    """One visit, at night, on a narrow phone, by a reader who wants calm."""
    watched = watch(width=320, height=740, color_scheme="dark", reduced_motion="reduce")
    open_figures(watched.page, write_page, make(label="A <b>figure</b>", caption="Try <i>this</i>."))
    for check in CHECKS:
        with subtests.test(check.__name__):
            check(watched.page)
    watched.check()


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_poster_is_a_small_picture(make):
    png = make().poster()
    assert png.startswith(b"\x89PNG") and 1000 < len(png) < 60_000


def test_no_figure_is_left_out():
    made = {type(make()).__name__ for make in MAKERS}
    assert made >= set(widgets.__all__) - {"Figure"}


HELD = """(handle) => {
  handle.scrollIntoView({ block: "center" });
  Object.assign(window, { moves: 0, cancels: 0 });
  handle.addEventListener("pointermove", () => window.moves++);
  handle.addEventListener("pointercancel", () => window.cancels++);
  window.started = scrollY;
  const { x, y, width, height } = (handle.querySelector(".dpm-grip") ?? handle).getBoundingClientRect();
  return { x: x + width / 2, y: y + height / 2 };
}"""


def test_a_finger_drags_every_kind_of_handle_and_does_not_scroll_the_page(watch, write_page):
    """Six moves up and down: the first one or two of a finger come through even where the browser then scrolls."""
    watched = watch(width=375, height=740, has_touch=True, is_mobile=True)
    page = watched.page
    shown = [widgets.ChainEditor, widgets.BentPotential, widgets.RatePlayground, widgets.OwnBits, widgets.GuessField]
    open_figures(page, write_page, *(maker() for maker in shown), figures.schedule())
    client = page.context.new_cdp_session(page)
    seen = 0
    for figure in page.locator(".dpm-figure:has(.dpm-handle)").all():
        handle = figure.locator(".dpm-handle:visible").first
        at = handle.evaluate(HELD)
        client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        for k in range(1, 7):
            point = {"x": at["x"] + k, "y": at["y"] - 12 * k}
            client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        settle(page)
        name = figure.get_attribute("class")
        assert page.evaluate("[cancels, scrollY - started]") == [0, 0], name
        assert page.evaluate("moves") == 6, name
        seen += 1
    assert seen == 6
    watched.check()


def test_a_figure_keeps_its_keys_and_leaves_chords_to_the_notebook(page, write_page):
    open_figures(page, write_page, widgets.BentPotential())
    page.evaluate("""() => {
      window.heard = [];
      document.addEventListener("keydown", (event) => window.heard.push(event.key));
    }""")
    for key in ("ArrowRight", "b", "PageUp", "Control+s", "Alt+x"):
        page.locator("input[type=range]").first.press(key)
    assert page.evaluate("heard.filter((key) => !['Control', 'Alt'].includes(key))") == ["s", "x"]


def test_a_figure_keeps_its_keys_from_who_hears_them_first(page, write_page):
    """Notebook listens on the way down, and passes over a key whose target has an attribute."""
    open_figures(page, write_page, widgets.BentPotential())
    page.evaluate("""() => {
      window.kept = {};
      const note = ({ key, target }) => (window.kept[key] = target.hasAttribute("data-lm-suppress-shortcuts"));
      document.addEventListener("keydown", note, true);
    }""")
    for key in ("ArrowRight", "b", "Control+s", "Alt+x"):
        page.locator("input[type=range]").first.press(key)
    assert page.evaluate("kept") == {
        "ArrowRight": True,
        "b": True,
        "Control": False,
        "s": False,
        "Alt": False,
        "x": False,
    }


def test_play_goes_on_when_a_figure_leaves_and_returns_at_once(profile, write_page):
    """Both reports then come in one list, and the last one holds."""
    page = profile().page
    page.add_init_script("""window.IntersectionObserver = class {
      constructor(report) { window.report = report; }
      observe() {}
      disconnect() {}
    };""")
    open_figures(page, write_page, widgets.BentPotential())
    page.evaluate("report([{ isIntersecting: false }, { isIntersecting: true }])")
    page.locator(".dpm-play").press("Enter")
    before = data(page, "t")
    page.wait_for_function("(t) => document.querySelector('.dpm-figure').dataset.t !== t", arg=before)
    page.evaluate("report([{ isIntersecting: true }, { isIntersecting: false }])")
    settle(page)
    stopped = data(page, "t")
    page.wait_for_timeout(150)
    assert data(page, "t") == stopped


COLOURED = """() => [...document.querySelectorAll(".dpm-figure *")].flatMap((e) => [null, "::before"].map((part) => {
  const style = getComputedStyle(e, part);
  const shown = part ? !["none", "normal"].includes(style.content) : e.clientWidth * e.clientHeight > 0;
  const glyph = part && style.content.includes("—");
  const colour = glyph ? style.color : style.backgroundColor;
  const [r, g, b, a = 1] = colour.match(/[0-9.]+/g).map(Number);
  const vivid = Math.max(r, g, b) - Math.min(r, g, b) > 60 && a > 0.5;  // ink, panels and lines are greys
  return shown && vivid && !e.closest("button, input, select") ? [`${e.className} ${part ?? ""}`, colour] : null;
})).filter(Boolean)"""


@pytest.mark.parametrize(
    "make", [widgets.InformationArea, widgets.MaskedString, figures.bits_along, figures.training_cost]
)
def test_marks_keep_their_colours_where_colours_are_forced(watch, write_page, make):
    """Keys and bars, too, which are text and boxes to the browser: what is drawn keeps its colours by itself."""
    watched = watch(width=900, height=740, color_scheme="light")
    page = watched.page
    open_figures(page, write_page, make())
    before = page.evaluate(COLOURED)
    page.emulate_media(forced_colors="active")
    assert before and page.evaluate(COLOURED) == before
    button = page.locator(".dpm-figure button:visible").first
    button.focus()
    assert button.evaluate("(b) => getComputedStyle(b).outlineStyle") != "none"
    page.emulate_media(forced_colors="none")


@pytest.mark.parametrize(("make", "words"), [(widgets.LossWeights, "Cut at {}."), (figures.bits_along, "noise of {}:")])
def test_a_slider_tells_the_place_where_it_is(watch, write_page, make, words):
    """Also where its words come from the figure, and not from its own number: they were those of the place before."""
    page = watch(width=900, height=740, color_scheme="light").page
    open_figures(page, write_page, make())
    slider = page.locator("input[type=range]").first
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        slider.press(key)
        settle(page)
        said = slider.get_attribute("aria-valuetext")
        assert words.format(said) in page.locator(".dpm-figure").text_content(), (key, said)
