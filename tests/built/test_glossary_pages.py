"""The glossary on the built pages: every word has its place, and every link arrives."""

import re

import pytest
from chapters import ROOT, chapters

BOOK = ROOT / "_build" / "html" / "book"
pytestmark = pytest.mark.skipif(not BOOK.is_dir(), reason=f"no built book at {BOOK}: run make book first")


def read(name: str) -> str:
    return (BOOK / f"{name}.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages():
    return {path.stem: read(path.stem) for path in chapters()}


def entries() -> list[tuple[list[str], str]]:
    """The anchors of each entry, and its definition."""
    found = re.findall(r"((?:<dt id=[^>]*>.*?</dt>)+)<dd>(.*?)</dd>", read("glossary"), re.DOTALL)
    return [(re.findall(r'<dt id="([^"]*)"', terms), said) for terms, said in found]


def test_each_definition_leads_to_a_place_that_exists(pages):
    assert 100 <= len(entries()) <= 250
    for anchors, said in entries():
        place = re.findall(r'href="([\w-]+)\.html(?:#([^"]*))?"', said.rsplit("<p>", 1)[1])
        assert place, anchors
        for name, target in place:
            assert not target or f'id="{target}"' in pages[name], (anchors, name, target)


def test_each_chapter_links_its_words_once_to_definitions_that_it_holds(pages):
    known = {anchor for anchors, _ in entries() for anchor in anchors}
    for name, page in pages.items():
        links = re.findall(r'class="glossary-word" href="glossary\.html#([^"]*)" aria-describedby="([^"]*)"', page)
        assert len(links) >= 8, name
        assert len(links) == len(set(links)), name
        for word, said in links:
            assert word in known, (name, word)
            assert page.count(f'id="{said}"') == 1, (name, word)


def test_the_index_has_every_word_and_every_chapter(pages):
    index = read("subject-index")
    for anchors, _ in entries():
        assert f'id="index-{anchors[0]}"' in index
    for name, target in re.findall(r'href="([\w-]+)\.html#([^"]*)"', index.split("<article")[1].split("</article")[0]):
        page = pages.get(name) or read(name)
        assert f'id="{target}"' in page, (name, target)
    assert "<span></span>" not in index
    for name in pages:
        assert index.count(f'href="{name}.html#') >= 8, name
