"""The pages of the built book: what their heads make a reader wait for."""

import re

import lean_pages
import pytest
from chapters import ROOT

HTML = ROOT / "_build" / "html"
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")


def test_no_script_of_the_theme_holds_up_a_page():
    for path in sorted((HTML / "book").glob("*.html")):
        page = path.read_text("utf-8")
        [head] = lean_pages.HEAD.findall(page)
        at_once = re.findall(r'<script (?![^>]*defer)[^>]*src="([^"?]*)', head)
        assert {source.rsplit("/", 1)[1] for source in at_once} <= set(lean_pages.AT_ONCE), path
        assert "fontawesome.js" not in page, path


def test_what_waits_and_what_does_not():
    head = '<head><script src="../a.js?v=1"></script><script>let a;</script><script src="x/figures.js"></script></head>'
    lean = lean_pages.lean(head + '<script src="b.js"></script>')
    assert '<script defer src="../a.js?v=1">' in lean
    assert lean.count("defer") == 1
    assert lean_pages.lean(lean) == lean
