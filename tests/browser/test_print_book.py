"""The PDF of a book of two pages: contents with numbers, links, outline, names; figures as posters with legends."""

import json
from concurrent.futures import ThreadPoolExecutor

import print_book
import pypdf
import pytest
from built_page import STATE, VIEW, NoBook

from dpm_lib.figures.widgets.base import image_html

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cfc00000030001"
    "5d0a2db40000000049454e44ae426082"
)
PAGE = """<!DOCTYPE html><html><head><link rel="stylesheet" href="../_static/book.css"></head><body>
<nav>Chapters</nav><article class="bd-article"><section id="top"><h1>{title}<a class="headerlink">#</a></h1>
{body}</section></article><script type="{kind}">{state}</script></body></html>"""
FIRST = """<p id="here">First words.</p><section id="more"><h2>More</h2><p>See <a href="b.html#there">the claim</a>,
<a href="b.html">the page</a>, <a href="../files/x.ipynb">a file</a>, and
<a href="https://example.org/">a site</a>.</p></section>
<div class="admonition dropdown"><p>A solution.</p></div>
<details class="sd-dropdown"><summary>Fold</summary><p>Folded words.</p></details>
<details class="admonition hide above-input"><summary>Show code</summary><pre>hidden code</pre></details>
<div class="cell_output"><div class="output text_html"><div class="dpm-poster">{poster}</div></div>
<script type="{view}">{{"model_id": "m"}}</script></div>"""
SECOND = """<p>Other words.</p><p style="break-before: page" id="there">The claim.</p>
<section id="more"><h2>More &lt;still&gt;</h2><p>End.</p></section>"""


@pytest.fixture
def book(tmp_path):
    parts = [{"caption": "Part I. All", "chapters": [{"file": "book/a"}, {"file": "book/b"}]}]
    toc = {"root": "book/index", "parts": parts}
    (tmp_path / "_toc.yml").write_text(json.dumps(toc))
    (tmp_path / "_config.yml").write_text(
        json.dumps(
            {
                "title": "A book",
                "author": "Somebody",
                "copyright": "2026",
                "logo": "logo.svg",
                "html": {"extra_footer": "<p>Free.</p>"},
            }
        )
    )
    (tmp_path / "html" / "book").mkdir(parents=True)
    (tmp_path / "html" / "_static").mkdir()
    for name in ("book.css", "print.css", "equations.js"):
        (tmp_path / "html" / "_static" / name).write_text((print_book.ROOT / "book" / "_static" / name).read_text())
    (tmp_path / "book").mkdir()
    state = json.dumps({"state": {"m": {"state": {"caption": "Drag the point."}}}})
    first = FIRST.format(poster=image_html(PNG, "A point", "figure-poster"), view=VIEW)
    for name, title, body in (("index", "A book", "<p>Hello.</p>"), ("a", "1. One", first), ("b", "2. Two", SECOND)):
        (tmp_path / "book" / f"{name}.md").write_text("")
        page = PAGE.format(title=title, body=body, kind=STATE, state=state)
        (tmp_path / "html" / "book" / f"{name}.html").write_text(page.replace("book.css", "print.css"))
    return tmp_path


def outline(reader, items=None, level=1):
    found = []
    for item in reader.outline if items is None else items:
        if isinstance(item, list):
            found += outline(reader, item, level + 1)
        else:
            found.append((level, item.title, reader.get_destination_page_number(item) + 1))
    return found


def printed(whole, out):
    """In a thread of its own: in that of the tests there may be a browser already, and Playwright wants one of them."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(print_book.print_twice, whole, out).result()


def test_a_book_of_two_pages(book):
    out = book / "book.pdf"
    whole = print_book.Whole(book, book / "html")
    printed(whole, out)
    assert print_book.finish(whole, out) == 7
    paper = pypdf.PdfReader(out)
    texts = [" ".join(page.extract_text().split()) for page in paper.pages]
    assert "A book" in texts[0] and "Somebody, 2026" in texts[0]
    listed = "A book 3 Part I. All 4 1. One 5 More 5 2. Two 6 More <still> 7"
    assert listed in texts[1].replace(" .", "."), "the pages of the contents are those of the chapters"
    assert ["Part I. All" in texts[3], "First words." in texts[4], "The claim." in texts[6]] == [True] * 3
    for shown in ("A solution.", "Folded words.", "Drag the point."):
        assert shown in texts[4], shown
    assert "hidden code" not in texts[4] and "Chapters" not in "".join(texts) and "#" not in texts[4]
    assert len(paper.pages[4].images) == 1
    assert outline(paper) == [
        (1, "A book", 3),
        (1, "Part I. All", 4),
        (2, "1. One", 5),
        (3, "More", 5),
        (2, "2. Two", 6),
        (3, "More <still>", 7),
    ]
    links = [link.get_object() for link in paper.pages[4]["/Annots"]]
    inner = [str(link["/Dest"]).lstrip("/") for link in links if "/Dest" in link]
    places = print_book.places(out)
    assert [places[name].page for name in inner] == [7, 6]
    assert 0 < places["b--there"].top < 842 and places["b--more"].top < places["b--there"].top
    assert [link["/A"]["/URI"] for link in links if "/A" in link] == ["https://example.org/"]
    assert (paper.xmp_metadata.dc_title["x-default"], paper.xmp_metadata.dc_creator) == ("A book", ["Somebody"])
    before = out.read_bytes()
    printed(whole, out)
    print_book.finish(whole, out)
    assert out.read_bytes() == before, "the same pages give the same bytes"
    assert not list((book / "html").glob("_*.html"))


def test_without_a_built_book_it_says_so(book):
    (book / "html" / "book" / "b.html").unlink()
    with pytest.raises(NoBook, match=r"b\.html: need a page in .*: run make book first"):
        print_book.Whole(book, book / "html")
