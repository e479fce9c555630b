"""A browser of each kind, and the pages of the built book with a script in front that writes errors down."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from remote import BROWSERS, Browser

ROOT = Path(__file__).parents[2]
HTML = Path(os.environ.get("DPM_BOOK_HTML") or ROOT / "_build" / "html").resolve()
NOTE = """<head><script>
  window.noted = [];
  addEventListener("error", (event) => noted.push(event.message ?? `cannot read ${event.target.src}`), true);
  addEventListener("unhandledrejection", (event) => noted.push(String(event.reason)));
  const report = console.error;
  console.error = (...words) => { noted.push(words.join(" ")); report(...words); };
</script>"""


@pytest.fixture(scope="session", params=BROWSERS)
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with BROWSERS[request.param](tmp_path_factory.mktemp(request.param)) as browser:
        yield browser


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for path in HTML.rglob("*.html"):
        if "_static" in path.relative_to(HTML).parts:
            continue
        copy = folder / path.relative_to(HTML)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8").replace("<head>", NOTE, 1), encoding="utf-8")
    (folder / "_static").symlink_to(HTML / "_static")
    return folder
