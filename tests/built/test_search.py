"""The index of the search holds every chapter, section with an anchor, exercise, labelled equation and figure."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from chapters import ROOT, chapter_numbers, chapters

HTML = ROOT / "_build" / "html"
INDEX = HTML / "_static" / "search-index.js"
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")
PICTURE = re.compile(r'<img class="figure-(?:poster|still)"')
NUMBER = re.compile(r'<p class="figure-number" id="(fig-(\d+)-(\d+))"><a href="#\1">Figure \2\.\3</a>')


@pytest.fixture(scope="module")
def found() -> set[tuple[str, str]]:
    text = INDEX.read_text(encoding="utf-8")
    index = json.loads(text[text.index("{") : text.rindex(";")])
    return {(index["pages"][page][0], anchor) for _, page, anchor, *_ in index["entries"]}


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_everything_of_a_chapter_with_a_name_can_be_found(path: Path, found: set[tuple[str, str]]):
    name = f"book/{path.stem}"
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    wanted = {""} | set(re.findall(r"^:label: (ex-[\w-]+)", text, re.M))
    wanted |= {f"equation-{label}".lower() for label in re.findall(r"^\$\$ \(((?:eq|def)-[\w-]+)\)", text, re.M)}
    page = (HTML / f"{name}.html").read_text(encoding="utf-8")
    pictures, numbers = PICTURE.findall(page), NUMBER.findall(page)
    chapter = chapter_numbers()[path.stem]
    assert [number[1:] for number in numbers] == [(chapter, str(i)) for i in range(1, len(pictures) + 1)]
    wanted |= {anchor for anchor, *_ in numbers}
    assert len(wanted) > 3 and not {(name, anchor) for anchor in wanted} - found
    anchors = {anchor for place, anchor in found if place == name and anchor}
    assert not [anchor for anchor in anchors if f'id="{anchor}"' not in page]


def test_the_index_is_small_and_in_place_of_sphinxs():
    assert 100_000 < INDEX.stat().st_size < 1_000_000
    assert not [*HTML.rglob("searchindex.js"), *HTML.rglob("searchtools.js"), *HTML.rglob("language_data.js")]
    for page in HTML.rglob("*.html"):
        assert not re.search(r"searchtools|searchindex\.js|language_data", page.read_text(encoding="utf-8")), page
