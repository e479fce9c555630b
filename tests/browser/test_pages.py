"""Every page of the built book, opened from its file with the network cut.

The book is looked for in the folder that the environment variable DPM_BOOK_HTML names, else in _build/html.
"""

import os
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HTML = Path(os.environ.get("DPM_BOOK_HTML") or ROOT / "_build" / "html").resolve()


def toc_pages(entry):
    """The pages that a table of contents names, in reading order."""
    found = [entry[key] for key in ("root", "file") if key in entry]
    for key in ("parts", "chapters", "sections"):
        for child in entry.get(key, []):
            found += toc_pages(child)
    return [Path(page).with_suffix("").as_posix() if page.endswith((".md", ".ipynb")) else page for page in found]


PAGES = toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")


def open_page(watch, name, **options):
    """The page, after its math is set and its figures are ready."""
    watched = watch(**options)
    page = watched.page
    page.goto((HTML / f"{name}.html").as_uri())
    if page.locator(".math").count():
        page.wait_for_function("() => window.MathJax?.startup?.promise")
        page.evaluate("() => MathJax.startup.promise")
    page.wait_for_function("() => !document.querySelector('[data-figure=loading]')")
    if page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count():
        page.wait_for_function("() => performance.getEntriesByName('figures-done').length")
    return watched


@pytest.fixture(params=PAGES)
def name(request):
    return request.param


def test_page_is_whole(watch, name):
    watched = open_page(watch, name)
    page = watched.page
    assert page.locator("h1").count() >= 1
    assert page.locator(".math").count() == 0 or page.locator("mjx-container").count() > 0
    unset = page.locator(".math").filter(has_not=page.locator("mjx-container")).all_text_contents()
    assert not unset, "math is not set"
    assert page.locator("mjx-merror, mjx-mtext[style*='color: red']").count() == 0, "unknown command in math"
    views = page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    assert page.locator("[data-figure=ready]").count() == views
    assert page.locator("[data-figure=failed]").count() == 0
    watched.check()


def test_pictures_have_alternative_text(watch, name):
    page = open_page(watch, name).page
    article = page.locator("article")
    missing = article.locator("img:not([alt]), img[alt='']").evaluate_all(
        "(all) => all.map((i) => i.outerHTML.slice(0, 120))"
    )
    assert not missing
    broken = article.locator("img").evaluate_all(
        "(all) => all.filter((i) => !i.naturalWidth).map((i) => i.src.slice(0, 120))"
    )
    assert not broken


@pytest.mark.parametrize("width", [375, 1280])
def test_page_does_not_overflow(watch, name, width):
    watched = open_page(watch, name, width=width, height=740)
    wide = watched.page.evaluate("""() => {
      const limit = document.documentElement.clientWidth;
      if (document.documentElement.scrollWidth <= limit) return [];
      return [...document.querySelectorAll("article *")]
        .filter((node) => node.getBoundingClientRect().right > limit + 1)
        .slice(0, 5).map((node) => node.outerHTML.slice(0, 120));
    }""")
    assert not wide, f"wider than the screen: {wide}"
    assert watched.page.evaluate("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_wide_equations_are_made_smaller_on_a_phone(watch, name):
    page = open_page(watch, name, width=375).page
    fits = """() => [...document.querySelectorAll('.bd-article mjx-container[display="true"]')].every((e) =>
      e.scrollWidth <= e.clientWidth + 1 || e.style.fontSize)"""
    page.wait_for_function(fits)


def test_no_figure_is_white_in_the_dark(watch, name):
    watched = open_page(watch, name, color_scheme="dark")
    figures = watched.page.locator(".dpm-figure")
    assert all(figure.get_attribute("data-dark") == "true" for figure in figures.all())
    boxes = watched.page.evaluate("""() =>
      [...document.querySelectorAll(".cell_output *, .dpm-figure canvas")]
      .filter((node) => node.offsetWidth * node.offsetHeight > 400)
      .map((node) => [getComputedStyle(node).backgroundColor, node.outerHTML.slice(0, 100)])""")
    white = [box for box in boxes if box[0] in ("rgb(255, 255, 255)", "rgb(250, 251, 252)")]
    assert not white


def test_every_control_of_every_figure_does_something(watch, name):
    watched = open_page(watch, name)
    page = watched.page
    for figure in page.locator(".dpm-figure").all():
        figure.scroll_into_view_if_needed()
        for play in figure.locator("button.dpm-play").all():
            t = figure.get_attribute("data-t")
            play.press("Enter")
            page.wait_for_function("([figure, t]) => figure.dataset.t !== t", arg=[figure.element_handle(), t])
            play.press("Enter")
        for control in figure.locator("input[type=range], .dpm-handle").all():
            before = control.get_attribute("aria-valuetext")
            control.press("ArrowLeft")
            control.press("ArrowLeft")
            page.wait_for_timeout(50)
            if control.get_attribute("aria-valuetext") == before:  # it stood at its lower end
                control.press("ArrowRight")
                page.wait_for_timeout(50)
            assert control.get_attribute("aria-valuetext") != before
        for select in figure.locator("select").all():
            for value in select.locator("option:not([disabled])").evaluate_all("(all) => all.map((o) => o.value)"):
                select.select_option(value)
                assert select.input_value() == value
        for button in figure.locator("button:not(.dpm-play)").all():
            button.press("Enter")
    watched.check()
