"""Every page of the built book in Firefox and in WebKit: equations, figures, first controls, links into the page."""

import time

import pytest
from chapters import ROOT, pages

PAGES = [path.relative_to(ROOT).with_suffix("").as_posix() for path in pages()]

IS_READY = """() => (document.documentElement.dataset.equations || !document.querySelector("article math"))
  && (!document.querySelector('script[type="application/vnd.jupyter.widget-view+json"]')
      || performance.getEntriesByName("figures-done").length > 0)"""
COUNTS = """() => ({
  markers: document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').length,
  ready: document.querySelectorAll("[data-figure=ready]").length,
  unset: [...document.querySelectorAll(".math")].filter((e) => !e.querySelector("math")).length,
  flat: [...document.querySelectorAll("article .math > math")]
    .filter((e) => e.getClientRects().length && e.parentElement.checkVisibility?.() !== false)
    .filter((e) => e.getBoundingClientRect().width < 2).length,
  fonts: [...document.fonts].filter((f) => f.family.includes("Book Math")).map((f) => f.status),
  math: document.querySelectorAll("article math").length,
  beyond: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  noted: window.noted,
})"""
# The first control of a figure that can be reached by Tab and is shown; what the figure shows, without that control.
FIRST = """(index) => {
  const figure = document.querySelectorAll(".dpm-figure")[index];
  const all = [...figure.querySelectorAll("button, input, select, textarea, .dpm-handle, [tabindex='0']")];
  const control = all.find((c) => !c.disabled && c.tabIndex >= 0 && c.getClientRects().length);
  if (!control) return null;
  figure.scrollIntoView({ block: "center" });
  control.focus();
  window.look = () => {
    const copy = figure.cloneNode(true);
    const canvases = [...figure.querySelectorAll("canvas")].filter((c) => c.width * c.height);
    return JSON.stringify([figure.dataset, copy.innerHTML, canvases.map((c) => c.toDataURL())]);
  };
  return new Promise((done) => setTimeout(() => {
    window.before = window.look();
    done([control.localName, control.type ?? "", control.className.baseVal ?? control.className,
      document.activeElement === control]);
  }, 100));
}"""
HAS_CHANGED = "() => window.look() !== window.before"
ENTER, SPACE, DOWN, LEFT, RIGHT = "\ue007", " ", "\ue015", "\ue012", "\ue014"
LANDED = """() => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const { scrollHeight } = document.documentElement;
  return [target.getBoundingClientRect().top, innerHeight, scrollY + innerHeight, scrollHeight];
}"""
LAST_SECTION = """() => [...document.querySelectorAll("article section[id]")].at(-1)?.id"""


def wait_until(browser, function, seconds=30):
    patience = time.monotonic() + seconds
    while time.monotonic() < patience:
        if browser.call(function):
            return True
        time.sleep(0.1)
    return False


def open_page(browser, address, width=1280, height=900):
    browser.open(address, width, height)
    assert wait_until(browser, IS_READY, 60), "the page is not ready"


def keys_for(kind, variety):
    """Keys one of which must do something to a control of this kind, wherever it stands."""
    if kind == "input" and variety == "checkbox":
        return [SPACE]
    if kind == "select":
        return [DOWN, "\ue013"]
    return [ENTER] if kind == "button" else [LEFT, RIGHT, DOWN, ENTER]


@pytest.mark.parametrize("name", PAGES)
def test_page(browser, site, subtests, name):
    open_page(browser, (site / f"{name}.html").as_uri())
    shown = browser.call(COUNTS)
    assert shown["ready"] == shown["markers"]
    assert not shown["unset"] and not shown["flat"]
    assert shown["fonts"] == ["loaded"] or not shown["math"]
    assert shown["beyond"] <= 0, "the page scrolls sideways"
    for index in range(shown["ready"]):
        with subtests.test("control", figure=index):
            kind, variety, style, focused = browser.call(FIRST, index)
            assert focused, (kind, variety, style)
            moved = False
            for key in keys_for(kind, variety):
                browser.press(key)
                moved = moved or wait_until(browser, HAS_CHANGED, 1)
            assert moved, (kind, variety, style)
            if kind == "button":
                browser.press(ENTER)  # it may be playing
    last = browser.call(LAST_SECTION)
    if last and shown["markers"]:
        with subtests.test("link into the page"):
            open_page(browser, (site / f"{name}.html").as_uri() + f"#{last}")
            time.sleep(0.5)
            top, height, bottom, whole = browser.call(LANDED)
            assert 0 <= top < height / 3 or bottom >= whole - 2, (top, height)
    with subtests.test("a phone"):
        open_page(browser, (site / f"{name}.html").as_uri(), 320, 640)
        assert browser.call(COUNTS)["beyond"] <= 0, "the page scrolls sideways"
    assert not shown["noted"] and not browser.call("() => window.noted")
