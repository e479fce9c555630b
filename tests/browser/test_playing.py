"""What a playing figure leaves alone: the page around it, and the elements that it has."""

import re

from opening import open_figures, settle
from test_every_figure import MAKERS

PLAY = re.compile(r"figure\.play(?:Button|Steps)\(")  # once in what all figures share
WATCH = """() => {
  window.made = {};
  window.outside = [];
  const note = ({ target, addedNodes }) => {
    const figure = (target.nodeType === Node.TEXT_NODE ? target.parentNode : target).closest(".dpm-figure");
    if (!figure) return window.outside.push(target.outerHTML?.slice(0, 200));
    const fresh = [...addedNodes].filter((node) => node.nodeType === Node.ELEMENT_NODE).length;
    window.made[figure.classList[1]] = (window.made[figure.classList[1]] ?? 0) + fresh;
  };
  const watch = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver((records) => records.forEach(note)).observe(document.documentElement, watch);
}"""
HELD = """() => [...document.querySelectorAll(".figure-place")]
  .filter((place) => !/size.*layout|strict/.test(getComputedStyle(place).contain)
    || Math.abs(place.clientHeight - place.firstChild.offsetHeight) > 1)
  .map((place) => place.firstChild.className)"""


def test_playing_changes_nothing_outside_and_makes_no_new_elements(watch, write_page):
    """An element that is made anew is styled and laid out anew, and a page that is not held is laid out with it."""
    page = watch(height=16_000).page  # all are on the screen
    shown = [figure for figure in (make() for make in MAKERS) if len(PLAY.findall(str(figure._esm))) > 1]
    assert len(shown) >= 18
    open_figures(page, write_page, *shown)
    assert page.evaluate(HELD) == []
    page.evaluate("() => document.querySelectorAll('.dpm-play').forEach((button) => button.click())")
    page.wait_for_timeout(600)
    page.evaluate(WATCH)
    page.wait_for_function("() => Object.keys(window.made).length > 10")
    page.wait_for_timeout(600)
    settle(page)
    assert page.evaluate("outside") == []
    made = page.evaluate("made")
    assert {name: count for name, count in made.items() if count > 40} == {}
    assert page.evaluate(HELD) == []
