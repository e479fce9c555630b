"""Every box of every chapter on where the sources differ is on the page of them, formulas and all."""

import re
from pathlib import Path

import nbformat
import pytest
from chapters import ROOT, chapters

HTML = ROOT / "_build" / "html" / "book"
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")
BOX = re.compile(r'id="(differ-[^"]+)">(?:</span>|\n)<p class="admonition-title">Where the sources differ: ([^<]+)</p>')


def read(name: str) -> str:
    return (HTML / f"{name}.html").read_text(encoding="utf-8")


def formulas(text: str) -> list[str]:
    return re.findall(r' data-tex="([^"]*)"', text)


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_all_boxes_of_a_chapter_are_on_the_page(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    written = sum(cell.source.count("{admonition} Where the sources differ: ") for cell in cells)
    page, listed = read(path.stem), read("sources")
    boxes = BOX.findall(page)
    assert len(boxes) == written
    for anchor, topic in boxes:
        start = page.index(f'id="{anchor}"')
        box = page[start : page.index('<p class="all-sources">', start)]
        copy = listed.split(f'<h3><a class="reference internal" href="{path.stem}.html#{anchor}">')[1].split("<h3>")[0]
        assert topic[1:] in copy[: copy.index("</h3>")] and formulas(copy) == formulas(box)
        assert copy.count('class="bibtex-citation"') == box.count('class="bibtex-citation"')
        assert copy.count("equation-mark") == box.count("equation-mark")


def test_links_of_the_page_lead_somewhere():
    article = read("sources").partition("<article")[2].partition("</article>")[0]
    links = re.findall(r'href="([\w-]*)(?:\.html)?(?:#([\w-]+))?"', article)
    assert len(links) > 100
    for name, anchor in links:
        page = HTML / f"{name or 'sources'}.html"
        assert f'id="{anchor}"' in page.read_text(encoding="utf-8") if anchor else page.is_file(), (name, anchor)
