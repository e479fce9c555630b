"""The pages of the API reference: every public name has its place, and every link to one arrives."""

import re

import pytest
from api_reference import page_of
from chapters import ROOT, chapters, notebooks
from library import read_library

HTML = ROOT / "_build" / "html"
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")
LIBRARY = read_library(ROOT)
PAGES = sorted({page_of(entry) for entry in LIBRARY.entries.values()})
LINK = re.compile(r'href="((?:\.\./)*(?:api\.html|api/\w+\.html|\w+\.html))?#(api-[\w-]+)"')


def read(page: str) -> str:
    return (HTML / f"{page}.html").read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    return set(re.findall(r'id="(api-[\w-]+)"', read(page)))


def test_every_name_has_a_place_and_says_what_it_is():
    for page in PAGES:
        expected = {entry.anchor for entry in LIBRARY.entries.values() if page_of(entry) == page}
        assert expected <= anchors(page)
        assert len(expected) == len(re.findall(r"<code>(?:class )?\w+[(:<]", read(page))) or page == "book/api"


def test_links_from_chapters_and_pages_arrive():
    found = {page: anchors(page) for page in PAGES}
    count = 0
    for page in [*PAGES, *(f"book/{path.stem}" for path in chapters())]:
        for address, anchor in LINK.findall(read(page)):
            target = page
            if address:
                target = ((HTML / page).parent / address).resolve().relative_to(HTML.resolve()).as_posix()[:-5]
            assert anchor in found[target], (page, address, anchor)
            count += 1
    assert count > 500


def test_equations_lead_to_code_and_back():
    text = {path.stem: read(f"book/{path.stem}") for path in notebooks() if path.stem != "index"}
    for label, entries in LIBRARY.implementing.items():
        chapter, *_ = [name for name, page in text.items() if f'id="equation-{label.lower()}"' in page]
        start = text[chapter].index(f'id="equation-{label.lower()}"')
        mark = text[chapter][text[chapter].index('class="equation-mark"', start) :].split("</p>")[0]
        for entry in entries:
            assert f"{page_of(entry).removeprefix('book/')}.html#{entry.anchor}" in mark, label
            back = read(page_of(entry)).split(f'id="{entry.anchor}"')[1]
            assert f'href="../{chapter}.html#equation-{label.lower()}"' in back
