"""One zip of the site, the same bytes for the same pages; and links to what there is, and to nothing else."""

import zipfile

import publish
import pytest

PLACE = '<p>Take it with you.</p><div class="book-downloads"></div><p>More.</p>'


@pytest.fixture
def site(tmp_path):
    site = tmp_path / "html"
    (site / "book").mkdir(parents=True)
    (site / ".doctrees").mkdir()
    (site / ".doctrees" / "a.doctree").write_text("")
    (site / "index.html").write_text(PLACE)
    (site / "book" / "a.html").write_text(PLACE)
    return site


def test_the_same_pages_give_the_same_bytes(site, tmp_path):
    one, two = tmp_path / "book.zip", tmp_path / "again" / "book.zip"
    two.parent.mkdir()
    publish.pack(site, one)
    (site / "index.html").write_text(PLACE)  # at another time
    publish.pack(site, two)
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.namelist() == ["book/book/a.html", "book/index.html"]
    (site / "index.html").write_text(PLACE + ".")
    publish.pack(site, two)
    assert one.read_bytes() != two.read_bytes()


def test_pages_list_what_there_is(site, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    out = publish.publish(site, made, "book")
    page = (site / "book" / "a.html").read_text()
    assert '<a href="../downloads/book.zip">' in page and "pdf" not in page and "slides" not in page
    (made / "book.pdf").write_bytes(b"%PDF")
    (made / "slides").mkdir()
    (made / "slides" / "index.html").write_text("")
    before = out.read_bytes()
    out = publish.publish(site, made, "book")
    assert out.read_bytes() != before
    page = (site / "index.html").read_text()
    for address in ("downloads/book.pdf", "downloads/book.zip", "slides/index.html"):
        assert page.count(f'<a href="{address}">') == 1 and (site / address).exists(), address
    assert page.startswith("<p>Take it with you.</p>") and page.endswith("</div><p>More.</p>")
    with zipfile.ZipFile(out) as archive:
        inside = archive.read("book/index.html").decode()
        assert "downloads/book.pdf" in inside and "book.zip" not in inside, "a zip that offers itself"
        assert "book/downloads/book.pdf" in archive.namelist() and "book/downloads/book.zip" not in archive.namelist()


def test_the_zip_is_named_as_the_book():
    assert publish.short_name() == "diffusion-models-from-first-principles"
