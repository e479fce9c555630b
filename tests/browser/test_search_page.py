"""The search page of the built book, from its file: what is found, in which order, and what it says."""

import pytest
from test_pages import HTML

pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")


def test_names_numbers_and_words_are_found(page):
    page.goto(f"{(HTML / 'search.html').as_uri()}?q=swiss+roll")
    page.wait_for_selector(".search-hits li")

    def ask(query):
        page.fill("#book-search", query)
        page.keyboard.press("Enter")
        return page.locator(".search-hits a").evaluate_all("(all) => all.map((a) => a.getAttribute('href'))")

    def said():
        return page.locator(".search-status[role=status]").inner_text()

    assert page.locator(".search-hits a").first.get_attribute("href") == "book/06-swiss-roll.html"
    assert ask("eq-bound")[0] == "book/06-swiss-roll.html#equation-eq-bound"
    assert "book/06-swiss-roll.html#equation-eq-marginal" in ask("alpha_bar")
    assert ask(r"\bar\alpha_t")
    assert ask("figure 6.2") == ["book/06-swiss-roll.html#fig-6-2"] and said() == "1 result."
    assert ask("erase a constant amount")[0] == "book/06-swiss-roll.html#ex-constant-fraction"
    assert ask("detailed balance")[0].startswith("book/02-chains.html#")
    assert "\\" not in page.locator(".search-hits").inner_text() and said().endswith(" results.")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => document.activeElement.closest('.search-hits') !== null")
    assert not ask("no such words <b>") and said().startswith("Nothing found for “no such words <b>”.")
    assert "JavaScript" in page.locator("noscript").last.text_content()
