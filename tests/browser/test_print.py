"""A chapter on paper, printed from its dark page: what can be read there, what is gone, and how full its pages are."""

import io

import pypdf
import pytest
from chapters import ROOT

PAGE = ROOT / "_build" / "html" / "book" / "02-chains.html"
FEWEST = 350  # characters on a page that holds no picture
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="no built book: run make book first")

INK = """() => [...document.querySelectorAll(".bd-article :is(p, h1, h2, li, math, pre)")].filter(
  (element) => element.offsetWidth && getComputedStyle(element).color !== "rgb(0, 0, 0)").length"""


def test_a_dark_page_is_printed_black_on_white_with_all_that_is_folded(watch):
    watched = watch(color_scheme="dark")
    page = watched.page
    page.goto(PAGE.as_uri())
    page.wait_for_function("() => document.querySelectorAll('[data-figure=ready]').length > 1")
    page.wait_for_function("() => document.querySelector('.toggle-hidden') !== null")
    before = page.evaluate("document.documentElement.dataset.theme"), page.locator(".toggle-hidden").count()
    page.evaluate(
        "addEventListener('beforeprint', () => (window.themeOnPaper = document.documentElement.dataset.theme))"
    )
    paper = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4")))
    texts = [sheet.extract_text() for sheet in paper.pages]
    whole = " ".join(" ".join(texts).split())
    # from dark to light and back
    assert before[0] == "dark" and page.evaluate("window.themeOnPaper") == "light"
    assert before == (page.evaluate("document.documentElement.dataset.theme"), page.locator(".toggle-hidden").count())
    assert [line.strip() for line in texts[0].split("\n")][:2] == ["1", "2. Chains that forget"]  # the page's number
    assert "watch the chain only while it is in the" in whole, "a fold of the text"
    assert "The trace is 2" in whole, "a solution"
    assert "Drag an entry of the matrix" in whole, "a figure's legend"
    for gone in ("Show code cell", "Click to show", "previous page", "All such boxes", "Contents"):
        assert gone not in whole, gone
    assert len([picture for sheet in paper.pages for picture in sheet.images]) >= 3, "posters and still figures"
    thin = [k + 1 for k, sheet in enumerate(paper.pages[:-1]) if len(texts[k]) < FEWEST and not len(sheet.images)]
    assert thin == [], "pages that are nearly empty"
    page.emulate_media(media="print")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.evaluate(INK) == 0
    watched.check()
