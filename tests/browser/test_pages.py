"""Every page of the built book, opened from its file with the network cut.

The book is looked for in the folder that the environment variable DPM_BOOK_HTML names, else in _build/html.
"""

import os
from pathlib import Path

import pytest
import yaml
from accessibility import violations

ROOT = Path(__file__).parents[2]
HTML = Path(os.environ.get("DPM_BOOK_HTML") or ROOT / "_build" / "html").resolve()


def toc_pages(entry):
    """The pages that a table of contents names, in reading order."""
    found = [entry[key] for key in ("root", "file") if key in entry]
    for key in ("parts", "chapters", "sections"):
        for child in entry.get(key, []):
            found += toc_pages(child)
    return [Path(page).with_suffix("").as_posix() if page.endswith((".md", ".ipynb")) else page for page in found]


ALL = toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
PAGES = [
    name for name in ALL if not name.startswith("book/api/") or name == "book/api/core"
]  # the others are made alike
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")


def open_page(profile, name, **options):
    """The page, after its figures are ready."""
    watched = profile(**options)
    page = watched.page
    page.goto((HTML / f"{name}.html").as_uri())
    page.wait_for_function("() => document.documentElement.dataset.equations")
    page.wait_for_function("() => !document.querySelector('[data-figure=loading]')")
    if page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count():
        page.wait_for_function("() => performance.getEntriesByName('figures-done').length")
    return watched


SHIFTS = """() => new Promise((done) => {
  const seen = [];
  const look = new PerformanceObserver((list) => seen.push(...list.getEntries().filter((e) => !e.hadRecentInput)));
  look.observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(seen.map(({ value, sources }) =>
    [value, sources[0]?.node?.parentElement?.textContent.trim().slice(0, 60)])), 50);
})"""


def nothing_has_jumped(page):
    """Of what is on the screen while the page is read; a tenth is what the field takes for good."""
    shifts = page.evaluate(SHIFTS)
    assert sum(value for value, _ in shifts) < 0.1, f"{shifts}: a new figure? run tools/figure_heights.py"


# --- By day, on a laptop ---


def is_whole(page):
    assert page.locator("h1").count() >= 1
    unset = page.locator(".math").filter(has_not=page.locator("math")).all_text_contents()
    assert not unset, "math is not set"
    status = "() => [...document.fonts].filter((f) => f.family.includes('Book Math')).map((f) => f.status)"
    assert page.evaluate(status) == ["loaded"] or not page.locator("math").count()
    views = page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    assert page.locator("[data-figure=ready]").count() == views
    assert page.locator("[data-figure=failed]").count() == 0
    if views:  # the first of them has not waited for the rest of the page
        read = "performance.getEntriesByType('navigation')[0].domInteractive"
        assert page.evaluate(f"() => performance.getEntriesByName('figures-start')[0].startTime < {read}")


def pictures_have_alternative_text(page):
    article = page.locator("article")
    missing = article.locator("img:not([alt]), img[alt='']").evaluate_all(
        "(all) => all.map((i) => i.outerHTML.slice(0, 120))"
    )
    assert not missing
    broken = article.locator("img").evaluate_all(
        "(all) => all.filter((i) => i.complete && i.currentSrc && !i.naturalWidth).map((i) => i.src.slice(0, 120))"
    )
    assert not broken


def does_not_overflow(page):
    wide = page.evaluate("""() => {
      const limit = document.documentElement.clientWidth;
      if (document.documentElement.scrollWidth <= limit) return [];
      return [...document.querySelectorAll("article *")]
        .filter((node) => node.getBoundingClientRect().right > limit + 1)
        .slice(0, 5).map((node) => node.outerHTML.slice(0, 120));
    }""")
    assert not wide, f"wider than the screen: {wide}"
    assert page.evaluate("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def equations_are_as_large_as_the_text(page):
    """A displayed formula, unless it is too wide, is not smaller than one in the text; and none is a stop for Tab."""
    page.wait_for_function("""() => {
      const size = (e) => parseFloat(getComputedStyle(e).fontSize);
      const text = document.querySelector('.bd-article p > .math > math:not([display])');
      const shown = [...document.querySelectorAll('.bd-article div.math')].filter((e) => e.querySelector('math'));
      const made = (e) => e.querySelector('math').style.fontSize; // smaller, since it was too wide
      const asLarge = (e) => size(e.querySelector('math')) > 0.99 * size(text);
      return !text || shown.every((e) => !e.clientWidth || made(e) || asLarge(e));
    }""")
    stops = page.locator(".math[tabindex='0']").evaluate_all(
        "(all) => all.filter((e) => e.scrollWidth <= e.clientWidth + 1).map((e) => e.outerHTML.slice(0, 120))"
    )
    assert not stops


# Words that stand at two neighbouring places of a slider: from either end, a tenth of a second each.
SAME_WORDS = """(range) => {
  const say = () => {
    range.dispatchEvent(new Event("input", { bubbles: true }));
    return range.getAttribute("aria-valuetext");
  };
  const here = range.value;
  const same = [];
  for (const [start, step] of [["min", "stepUp"], ["max", "stepDown"]]) {
    const end = performance.now() + 100;
    range.value = range[start];
    let [place, last] = [range.value, say()];
    for (range[step](); range.value !== place && performance.now() < end; range[step]()) {
      place = range.value;
      const words = say();
      if (words === last) same.push(words);
      last = words;
    }
  }
  range.value = here;
  say();
  return same.slice(0, 5).join("; ");
}"""


def press_until_it_moves(page, control, keys):
    """Whether one of the keys changes what the control says of itself, within a quarter of a second each."""
    handle = control.element_handle()
    before = control.get_attribute("aria-valuetext")
    for key in keys:
        control.press(key)
        moved = "([node, before]) => new Promise((done) => { let frames = 15; const look = () => {"
        moved += " if (node.getAttribute('aria-valuetext') !== before) done(true);"
        moved += " else if (frames--) requestAnimationFrame(look); else done(false); }; look(); })"
        if page.evaluate(moved, [handle, before]):
            return True
    return False


def every_control_does_something(page):
    for figure in page.locator(".dpm-figure").all():
        figure.scroll_into_view_if_needed()
        for play in figure.locator("button.dpm-play").all():
            moved = "step" if figure.get_attribute("data-step") else "t"  # what trains counts its steps
            before = [figure.element_handle(), moved, figure.get_attribute(f"data-{moved}")]
            play.press("Enter")
            page.wait_for_function("([figure, moved, t]) => figure.dataset[moved] !== t", arg=before)
            time = figure.locator(".dpm-time input")
            if moved == "step" or not time.count():
                play.press("Enter")
                continue
            for key in ("ArrowRight", "ArrowLeft"):  # at an end, one of them does nothing
                time.first.press(key)
            assert figure.get_attribute("data-playing") == "false", "whoever takes hold of time has it"
        for control in figure.locator("input[type=range]").all():
            assert not control.evaluate(SAME_WORDS), "two neighbouring places of a slider are told by the same words"
        for control in figure.locator("input[type=range], .dpm-handle").all():
            name = control.get_attribute("aria-label") or control.evaluate("(c) => c.labels[0].textContent")
            assert press_until_it_moves(page, control, ["ArrowLeft", "ArrowLeft", "ArrowRight"]), name
        for select in figure.locator("select").all():
            for value in select.locator("option:not([disabled])").evaluate_all("(all) => all.map((o) => o.value)"):
                select.select_option(value)
                assert select.input_value() == value
        for button in figure.locator("button:not(.dpm-play)").all():
            button.press("Enter")


def has_nothing_that_axe_holds_against_it(page):
    assert not violations(page, names=True)


# --- By night, on a phone ---


def can_be_read_in_the_dark(page):
    assert not violations(page, names=False)


def wide_equations_are_made_smaller(page):
    """Down to 12 pixels and no further; those that scroll even then can be scrolled by keys."""
    page.wait_for_function("""() => {
      const size = (e) => parseFloat(getComputedStyle(e).fontSize);
      const fits = (e) => e.scrollWidth <= e.clientWidth + 1;
      const shown = [...document.querySelectorAll('.bd-article div.math')].filter((e) => e.querySelector('math'));
      return shown.every((e) => {
        const s = size(e.querySelector('math'));
        return s > 11.9 && (fits(e) || (s < 12.1 && e.tabIndex === 0));
      });
    }""")


def no_figure_is_white(page):
    figures = page.locator(".dpm-figure")
    assert all(figure.get_attribute("data-dark") == "true" for figure in figures.all())
    boxes = page.evaluate("""() =>
      [...document.querySelectorAll(".cell_output *, .dpm-figure canvas")]
      .filter((node) => node.offsetWidth * node.offsetHeight > 400)
      .map((node) => [getComputedStyle(node).backgroundColor, node.outerHTML.slice(0, 100)])""")
    white = [box for box in boxes if box[0] in ("rgb(255, 255, 255)", "rgb(250, 251, 252)")]
    assert not white


# The spacing that a reader may ask for, WCAG 2.2, 1.4.12.
SPACING = """* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important }
p { margin-bottom: 2em !important }"""
CUT = """() => [...document.querySelectorAll("article *, .dpm-figure *")].filter((e) => {
  const style = getComputedStyle(e);
  const says = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
  const cuts = (how) => how === "hidden" || how === "clip";
  if (!says || !e.clientWidth || e.closest(".math") || style.display === "inline") return false; // a formula scrolls
  return (cuts(style.overflowX) && e.scrollWidth > e.clientWidth + 2)
    || (cuts(style.overflowY) && e.scrollHeight > e.clientHeight + 2);
}).slice(0, 5).map((e) => e.outerHTML.slice(0, 120))"""


def bears_wider_spacing(page):
    style = page.add_style_tag(content=SPACING)
    does_not_overflow(page)
    assert not page.evaluate(CUT)
    style.evaluate("(node) => node.remove()")


def bears_400_percent(page):
    """As large as four times on a screen of 1280 pixels: 320 of them are left."""
    size = page.viewport_size
    page.set_viewport_size({**size, "width": 320})
    does_not_overflow(page)
    page.set_viewport_size(size)


LAPTOP = {"width": 1280, "height": 740, "color_scheme": "light"}
PHONE = {"width": 375, "height": 740, "color_scheme": "dark"}
BY_DAY = [
    is_whole,
    pictures_have_alternative_text,
    does_not_overflow,
    equations_are_as_large_as_the_text,
    has_nothing_that_axe_holds_against_it,
    every_control_does_something,
]
BY_NIGHT = [
    wide_equations_are_made_smaller,
    does_not_overflow,
    no_figure_is_white,
    can_be_read_in_the_dark,
    bears_wider_spacing,
    bears_400_percent,
]


@pytest.mark.parametrize("name", PAGES)
def test_page(profile, subtests, name):
    """To open a page takes longer than to look at it. So it is opened once, and looked at twice.

    Every other page is opened on a phone at night, and then widened by day; the others go the other way.
    """
    visits = [(LAPTOP, BY_DAY), (PHONE, BY_NIGHT)][:: 1 if PAGES.index(name) % 2 else -1]
    watched = open_page(profile, name, **visits[0][0])
    with subtests.test(nothing_has_jumped.__name__):
        nothing_has_jumped(watched.page)
    for screen, checks in visits:
        watched.page.emulate_media(color_scheme=screen["color_scheme"])
        watched.page.set_viewport_size({"width": screen["width"], "height": screen["height"]})
        for check in checks:
            with subtests.test(check.__name__, width=screen["width"]):
                check(watched.page)
    watched.check()
