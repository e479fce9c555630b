"""The slides of a chapter, from its built page: all fit, figures live, keys and addresses; nothing from elsewhere."""

import nbformat
import pytest
import slides
from built_page import HTML, read_page
from chapters import ROOT

NAME = "02-chains"
pytestmark = pytest.mark.skipif(not HTML.exists(), reason="no built book: run make book first")
SHOWN = """[...document.querySelectorAll(".slide")].flatMap(
  (slide, k) => (getComputedStyle(slide).visibility === "visible" ? [k + 1] : []))"""
CROWD = """() => {
  const slide = document.querySelectorAll(".slide")[1];
  slide.querySelector("li").textContent += " too much".repeat(400);
  delete slide.dataset.fit;
}"""


@pytest.fixture(scope="module")
def deck(tmp_path_factory):
    page = read_page(HTML / "book" / f"{NAME}.html")
    chapter = slides.Chapter(nbformat.read(ROOT / "book" / f"{NAME}.ipynb", as_version=4), page)
    sheets = [(HTML / "_static" / name).read_text("utf8") for name in ("mathematics.css", "pygments.css")]
    path = tmp_path_factory.mktemp("slides") / f"{NAME}.html"
    path.write_text(slides.deck(chapter, page.title, "", *sheets), encoding="utf8")
    return path


def test_slides(deck, watch):
    watched = watch(1280, 720)
    page = watched.page
    page.goto(deck.as_uri())
    fits = page.evaluate(slides.MEASURE)
    assert 10 <= len(fits) <= 25 and set(fits) == {"fits"}
    assert page.locator("[data-figure=ready]").count() >= 2 and page.locator("[data-figure=failed]").count() == 0
    assert page.locator("math").count() > 20 and page.evaluate("document.fonts.check('20px \"Book Math\"')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.evaluate(SHOWN) == [1] and page.url.endswith("#1")
    shown = []
    for key in ("ArrowRight", " ", "End", "ArrowRight", "PageUp", "Home", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
        shown.append(page.evaluate(SHOWN))
    last = len(fits)
    assert shown == [[2], [3], [last], [last], [last - 1], [1], [1], [2]]
    assert page.get_by_role("status").last.inner_text().startswith(f"Slide 2 of {last}: What this chapter is for")
    page.goto(f"{deck.as_uri()}#1")
    page.locator(".slide.shown .dpm-figure [tabindex='0'], .slide.shown .dpm-figure button").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(SHOWN) == [1], "an arrow within a figure is the figure's"
    page.keyboard.press("PageDown")
    assert page.evaluate(SHOWN) == [2]
    page.keyboard.press("o")
    page.get_by_role("link", name="The factor by which").click()
    assert "The factor by which" in page.locator(".slide.shown h2").inner_text()
    page.keyboard.press("d")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.emulate_media(media="print")
    assert page.locator(".dpm-poster img").first.is_visible() and not page.locator(".dpm-figure").first.is_visible()
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 375, "height": 700})
    assert len(page.evaluate(SHOWN)) == last, "on a phone all stand below each other"
    page.set_viewport_size({"width": 1280, "height": 720})
    page.evaluate(CROWD)
    assert page.evaluate(slides.MEASURE)[1] == "too full"
    watched.check()
