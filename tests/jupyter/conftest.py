"""Jupyters for the tests, one of each kind, and a browser to open them in."""

from collections.abc import Callable, Iterator

import pytest
from chromium import chromium
from playwright.sync_api import Browser
from real import Server, Visit, started


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session", params=["lab", "notebook"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Callable[[str], Visit]]:
    """``visit("book/01-sampling.ipynb")`` opens it in a page of a fresh profile."""
    contexts = []

    def open_page(notebook: str) -> Visit:
        contexts.append(browser.new_context(viewport={"width": 1400, "height": 900}))
        return Visit(server, contexts[-1].new_page(), notebook)

    yield open_page
    for context in contexts:
        context.close()
