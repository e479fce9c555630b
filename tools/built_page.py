"""A page of the built book, taken apart: its text, the sheets that it needs, and the saved states of its figures."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from chapters import ROOT, pages

HTML = ROOT / "_build" / "html"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


class NoBook(RuntimeError):
    """The book has not been built, or not this page of it."""


@dataclass
class BuiltPage:
    """``path`` below the folder of the site; ``sheets`` as addresses relative to that folder."""

    path: str
    article: Tag
    sheets: list[str]
    states: dict[str, Any]  # of the widgets, by name: as they stand in the page

    @property
    def name(self) -> str:
        return Path(self.path).stem

    @property
    def title(self) -> str:
        heading = self.article.find("h1")
        assert isinstance(heading, Tag)
        return words(heading)


def words(tag: Tag) -> str:
    """What a heading says, without the mark that links to it."""
    return "".join(
        text for text in tag.strings if not (text.parent and "headerlink" in text.parent.get("class", []))
    ).strip()


def built_pages(root: Path = ROOT, html: Path = HTML) -> list[Path]:
    """The built page of each entry of `_toc.yml`, in order. Raises `NoBook`."""
    found = [html / path.relative_to(root).with_suffix(".html") for path in pages(root)]
    if missing := [path.name for path in found if not path.exists()]:
        raise NoBook(f"{missing[0]}: need a page in {html}: run make book first")
    return found


def read_page(path: Path, html: Path = HTML) -> BuiltPage:
    """The page at ``path``, a file in the folder ``html``. Raises `NoBook`."""
    if not path.exists():
        raise NoBook(f"{path.name}: need a page in {html}: run make book first")
    soup = BeautifulSoup(path.read_text(encoding="utf8"), "html.parser")
    article = soup.find("article")
    if not isinstance(article, Tag):
        raise NoBook(f"{path.name}: need a page with an article")
    states: dict[str, Any] = {}
    for script in soup.find_all("script", type=STATE):
        states |= json.loads(script.string or "{}")["state"]
    links = [str(link["href"]).split("?")[0] for link in soup.find_all("link", rel="stylesheet")]
    sheets = [(path.parent / link).resolve().relative_to(html.resolve()).as_posix() for link in links]
    return BuiltPage(path.relative_to(html).as_posix(), article, sheets, states)
