"""The copies to download lie beside the pages, and number equations and exercises as the pages do."""

import html
import os
import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from chapters import ROOT, chapters, notebooks

PAGES = Path(os.environ.get("DPM_BOOK_HTML") or ROOT / "_build" / "html").resolve()
pytestmark = pytest.mark.skipif(not PAGES.is_dir(), reason=f"no built book at {PAGES}: run make book first")


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: path.stem)
def test_a_page_offers_its_copy_with_the_same_numbers(notebook):
    page = PAGES / notebook.relative_to(ROOT).with_suffix(".html")
    source = page.read_text(encoding="utf8")
    address = re.search(r'href="([^"]*)"[^>]*download-source-button', source)[1]
    copy = nbformat.read(page.parent / address, as_version=4)
    texts = "\n".join(cell.source for cell in copy.cells if cell.cell_type == "markdown")

    equations = re.findall(r'<span class="eqno">\(([\d.]+)\)<a class="headerlink" href="#equation-([\w-]+)"', source)
    copied = re.findall(r'<a id="([\w-]+)"[^>]*></a>\s+\$\$.+?\\tag\{([\d.]+)\}', texts, re.S)
    assert equations or notebook not in chapters()
    assert [(label.lower(), number) for label, number in copied] == [pair[::-1] for pair in equations]

    exercises = re.findall(r'admonition-title"><span class="caption-number">(Exercise [\d.]+) </span>(.*)</p>', source)
    plain = [html.unescape(number + re.sub("<[^>]*>", "", title)) for number, title in exercises]
    straight = str.maketrans("‘’“”", "''\"\"")
    assert re.findall(r"^### (Exercise [\d.]+ .*)", texts, re.M) == [title.translate(straight) for title in plain]


def test_all_copies_are_in_the_archive():
    with zipfile.ZipFile(PAGES / "notebooks.zip") as archive:
        assert sorted(archive.namelist()) == sorted(path.name for path in notebooks())
