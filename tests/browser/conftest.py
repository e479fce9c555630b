"""A headless browser with the network cut, and small pages that hold figures as the built book holds them."""

import base64
import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from ipywidgets.embed import dependency_state
from playwright.sync_api import Browser, BrowserContext, Page

from dpm_lib.figures.scripts import bundle
from dpm_lib.figures.widgets.base import Figure

STATIC = Path(__file__).parents[2] / "book" / "_static"
LOCAL = ("file:", "data:", "blob:", "about:")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


class Watched:
    """A page whose requests and errors are written down; `check` fails on any that should not be."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clear()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)

    def clear(self) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []

    def check(self) -> None:
        outside = [url for url in self.requests if not url.startswith(LOCAL)]
        assert not outside, f"requests off the machine: {outside[:5]}"
        assert not self.errors, f"errors in the console: {self.errors[:5]}"


def open_profile(browser: Browser, **options: Any) -> BrowserContext:
    context = browser.new_context(offline=True, **options)
    context.set_default_timeout(20_000)
    context.set_default_navigation_timeout(60_000)  # a long chapter, on a busy machine
    return context


@pytest.fixture
def profile(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """``profile(width=1280, height=800, **context options)`` opens a page in a fresh profile, offline."""
    contexts: list[BrowserContext] = []

    def open_page(width: int = 1280, height: int = 800, **options: Any) -> Watched:
        contexts.append(open_profile(browser, viewport={"width": width, "height": height}, **options))
        return Watched(contexts[-1].new_page())

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def shared(browser: Browser) -> Iterator[Watched]:
    """One page for all tests that need no profile of their own: opening one takes longer than most tests."""
    with open_profile(browser) as context:
        yield Watched(context.new_page())


@pytest.fixture
def watch(profile: Callable[..., Watched], shared: Watched) -> Iterator[Callable[..., Watched]]:
    """``watch(width, height, color_scheme, reduced_motion)`` is the shared page, empty, with that look.

    Whoever asks for more (``has_touch=True``, ...) gets a page in a fresh profile.
    """

    def open_page(width: int = 1280, height: int = 800, **options: Any) -> Watched:
        if not options.keys() <= {"color_scheme", "reduced_motion"}:
            return profile(width, height, **options)
        shared.page.set_viewport_size({"width": width, "height": height})
        shared.page.emulate_media(
            **{"media": "null", "color_scheme": "light", "reduced_motion": "no-preference"} | options
        )
        shared.page.mouse.up()
        shared.page.mouse.move(0, 0)
        shared.clear()
        return shared

    yield open_page
    shared.page.goto("about:blank")  # else a figure would go on, beside the tests that follow


@pytest.fixture
def page(watch: Callable[..., Watched]) -> Iterator[Page]:
    """A page of 1280 x 800; the test fails if it asked the network for anything, or logged an error."""
    watched = watch()
    yield watched.page
    watched.check()


def to_js(value: Any) -> Any:
    """Arguments for the page: an array becomes the typed array of its dtype, tagged for `js` to revive."""
    if isinstance(value, np.ndarray):
        kinds = {"f4": "Float32Array", "f8": "Float64Array", "i2": "Int16Array"}
        return {"typed": kinds[value.dtype.str[1:]], "bytes": base64.b64encode(value.tobytes()).decode("ascii")}
    if isinstance(value, dict):
        return {key: to_js(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_js(item) for item in value]
    return value


CALL = """async ({ source, code, args }) => {
  const revive = (v) => {
    if (v === null || typeof v !== "object") return v;
    if (v.typed) return new globalThis[v.typed](Uint8Array.from(atob(v.bytes), (c) => c.charCodeAt(0)).buffer);
    if (Array.isArray(v)) return v.map(revive);
    return Object.fromEntries(Object.entries(v).map(([key, item]) => [key, revive(item)]));
  };
  const flatten = (v) => {
    if (ArrayBuffer.isView(v)) return Array.from(v);
    if (v === null || typeof v !== "object") return v;
    if (Array.isArray(v)) return v.map(flatten);
    return Object.fromEntries(Object.entries(v).map(([key, item]) => [key, flatten(item)]));
  };
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const module = await import(address);
  return flatten(await (0, eval)(code)(module, revive(args)));
}"""


@pytest.fixture
def js(shared: Watched) -> Iterator[Callable[..., Any]]:
    """``js("schedule.js", "(module, args) => ...", args)``: imports a figure's module and calls the function.

    NumPy arrays in ``args`` arrive as typed arrays (flat); typed arrays in the result come back as lists.
    """

    def call(module: str, code: str, args: Any = None) -> Any:
        return shared.page.evaluate(CALL, {"source": bundle(module), "code": code, "args": to_js(args)})

    shared.clear()
    yield call
    shared.check()


def script(kind: str, value: object) -> str:
    body = json.dumps(value).replace("</", r"<\/")
    return f'<script type="application/vnd.jupyter.widget-{kind}+json">{body}</script>'


NO_POSTER = '<div class="dpm-poster"><img class="figure-poster" alt="" src="data:,"></div>'


def page_html(
    figures: list[Figure], state: dict | None = None, loader: str | None = None, posters: bool = False
) -> str:
    """A page with figures, as the book's build writes them: posters, markers, the state, the loader.

    Drawing a poster takes longer than opening the page, and the loader removes it: most pages do without.
    """
    if state is None:
        state = dependency_state(figures, drop_defaults=False)
    loader = (STATIC / "figures.js").as_uri() if loader is None else loader
    cells = "".join(
        f'<div class="cell_output">{figure.poster_html() if posters else NO_POSTER}'
        f"{script('view', {'version_major': 2, 'version_minor': 0, 'model_id': figure.model_id})}</div>"
        for figure in figures
    )
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Figures</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="{html.escape((STATIC / "book.css").as_uri())}">
<style>
html {{ --pst-color-text-muted: #48566b; font-family: sans-serif; background: #fff }}
@media (prefers-color-scheme: dark) {{ html:not([data-theme]) {{ background: #14181e; color: #ced6dd }} }}
html[data-theme=dark] {{ background: #14181e; color: #ced6dd }}
body {{ margin: 0 auto; max-width: 720px; padding: 12px }}
</style><script src="{loader}"></script></head>
<body>{cells}{script("state", {"version_major": 2, "version_minor": 0, "state": state})}</body></html>"""


@pytest.fixture
def write_page(tmp_path: Path) -> Callable[..., str]:
    """``write_page([figure, ...])`` writes a page and returns its file:// address."""

    def write(figures: list[Figure], **options: Any) -> str:
        path = tmp_path / "page.html"
        path.write_text(page_html(figures, **options), encoding="utf-8")
        return path.as_uri()

    return write
