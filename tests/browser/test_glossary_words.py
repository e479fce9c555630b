"""The definition of a word is shown to the pointer, the keyboard and a finger, and nothing on the page moves."""

import pytest
from chapters import ROOT

PAGE = ROOT / "_build" / "html" / "book" / "02-chains.html"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason=f"no built book at {PAGE}: run make book first")


def test_definition_by_pointer_and_keys(page):
    page.goto(PAGE.as_uri(), wait_until="domcontentloaded")
    word = page.locator("a.glossary-word", has_text="total variation").first
    shown = page.locator(".glossary-shown")
    word.scroll_into_view_if_needed()
    before = word.bounding_box()
    height = page.evaluate("document.documentElement.scrollHeight")
    word.hover()
    shown.wait_for()
    assert "half the sum of absolute differences" in shown.inner_text()
    assert not shown.locator("a, button, [tabindex]").count()
    assert page.evaluate("document.documentElement.scrollHeight") == height
    assert word.bounding_box() == before
    page.keyboard.press("Escape")
    assert not shown.count()
    page.keyboard.press("Tab")  # the keyboard is in use: what gets the focus now shows it
    word.focus()
    shown.wait_for()
    said = page.locator(f"[id='{word.get_attribute('aria-describedby')}']")
    assert said.text_content().split() == shown.text_content().split()
    box, view = shown.bounding_box(), page.viewport_size
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= view["width"]
    page.keyboard.press("Escape")
    assert not shown.count()
    assert page.evaluate("document.activeElement.className") == "glossary-word"


def test_first_touch_shows_and_second_follows(watch):
    watched = watch(375, 700, has_touch=True)
    page = watched.page
    page.goto(PAGE.as_uri(), wait_until="domcontentloaded")
    word = page.locator("a.glossary-word", has_text="total variation").first
    word.scroll_into_view_if_needed()
    word.tap()
    shown = page.locator(".glossary-shown")
    shown.wait_for()
    box = shown.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 375
    word.tap()
    page.wait_for_url("**/glossary.html#term-total-variation")
    watched.check()
