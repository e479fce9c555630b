"""The front page of the built book: the map, the cards and the ways from it; and a description on each page."""

import html
import re

import facts
import pytest
from chapters import ROOT

HTML = ROOT / "_build" / "html"
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")


def article(name: str) -> str:
    page = (HTML / "book" / f"{name}.html").read_text(encoding="utf-8")
    return page[page.index("<article") : page.index("</article>")]


def test_the_map_and_the_cards_have_all_chapters():
    book, page = facts.book(), article("index")
    rows = re.findall(r'<li id="map-([^"]+)">(.*?)</li>', page, re.S)
    assert [name for name, _ in rows] == list(book)
    order = list(book)
    for k, (name, row) in enumerate(rows):
        arcs = {order[k - int(rows)] for rows in re.findall(r"--rows:(\d+)", row)}
        assert arcs == set(facts.direct(book)[name]) and f'href="{name}.html"' in row
    for chapter in book.values():
        assert html.escape(chapter.question) in page
        assert f'src="../_static/cards/{chapter.name}.webp"' in page
        assert 500 < (HTML / "_static" / "cards" / f"{chapter.name}.webp").stat().st_size < 50_000


@pytest.mark.parametrize("name", ["index", "exam"])
def test_ways_lead_somewhere(name):
    links = re.findall(r'href="([\w-]+\.html)?(?:#([\w-]+))?"', article(name))
    assert len(links) > 50
    for page, anchor in links:
        text = (HTML / "book" / (page or f"{name}.html")).read_text(encoding="utf-8")
        assert not anchor or f'id="{anchor}"' in text, (page, anchor)


def test_how_to_cite_stands_there():
    page = html.unescape(re.sub(r"<[^>]*>", "", article("index")))
    words, bibtex = facts.citation("2026")
    assert words in page and bibtex.splitlines()[0] in page


def test_each_page_has_one_description():
    for path in [*HTML.glob("*.html"), *(HTML / "book").rglob("*.html")]:
        found = re.findall(r'<meta name="description" content="([^"]+)"', path.read_text(encoding="utf-8"))
        assert path == HTML / "index.html" or (len(found) == 1 and 10 < len(found[0])), path
