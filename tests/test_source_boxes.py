"""The page of all boxes on where the sources differ: made from the chapters, and again when one of them changes."""

import re

import pytest
from sphinx.application import Sphinx
from sphinx.errors import SphinxWarning
from sphinx.util.docutils import docutils_namespace, patch_docutils

TOC = "# Book\n\n```{toctree}\n:numbered: 1\nsome/one\nsome/two\n```\n\n```{toctree}\nsome/all\n```\n"
ONE = """# First

$$ b $$ (def-b)

:::{admonition} Where the sources differ: the sign of a
:class: warning

Printed $-a$; see {doc}`two`, {eq}`def-b` and {eq}`def-c`:

$$ a = 1 $$ (def-a)
:::

:::{admonition} Another box
No slip.
:::
"""
TWO = """# Second

$$ c $$ (def-c)

:::{admonition} Where the sources differ: a factor
The factor is one half.
:::
"""
ALL = "# All\n\n:::{source-boxes}\n:::\n"


@pytest.fixture
def build(tmp_path):
    return builder(tmp_path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return builder(tmp_path_factory.mktemp("book"))(one=ONE, two=TWO, all=ALL)


def builder(folder):
    """`build(**pages)` writes those pages, builds what has changed, and returns the HTML of the pages in `some`."""
    source, out = folder / "source", folder / "out"
    (source / "some").mkdir(parents=True)
    (source / "index.md").write_text(TOC, encoding="utf8")
    overrides = {
        "extensions": ["myst_nb", "checked_equations", "mathematics", "source_boxes"],
        "html_math_renderer": "mathml",
        "math_numfig": True,
        "numfig": True,
        "myst_enable_extensions": ["dollarmath", "colon_fence"],
        "nb_execution_mode": "off",
        "html_theme": "basic",
    }

    def run(**pages: str) -> dict[str, str]:
        for name, text in pages.items():
            (source / "some" / f"{name}.md").write_text(text, encoding="utf8")
        with patch_docutils(), docutils_namespace():
            Sphinx(source, None, out, out, "html", overrides, status=None, warningiserror=True).build()
        return {path.stem: path.read_text(encoding="utf8") for path in (out / "some").glob("*.html")}

    return run


def test_boxes_are_gathered_and_linked_both_ways(pages):
    page = pages["all"]
    assert re.findall(r"<h2>.*?>([^<>]+)</span>", page) == ["1. First", "2. Second"]
    assert re.findall(r'<h3><a[^>]*href="([^"]+)".*?>([^<>]+)</span>', page) == [
        ("one.html#differ-the-sign-of-a", "The sign of a"),
        ("two.html#differ-a-factor", "A factor"),
    ]
    assert "No slip" not in page and "The factor is one half." in page
    for name, target in re.findall(r'href="(\w*\.html)?#([\w-]+)"', page):
        assert f'id="{target}"' in pages[name.removesuffix(".html") or "all"], target
    for name in ("one", "two"):
        assert pages[name].count('href="all.html"><span>All such boxes') == 1
    assert 'href="all.html"><span>All such boxes' not in page


def test_formulas_and_references_are_those_of_the_chapter(pages):
    part = pages["all"].split("<h3><a")[1]
    assert re.findall('data-tex="([^"]+)"', part) == ["-a", "a = 1"]
    shown = re.findall(r'href="([^"]+)">(?:<span[^>]*>)?([^<]+)', part)
    assert shown[1:5] == [
        ("two.html", "Second"),
        ("one.html#equation-def-b", "(1.1)"),
        ("two.html#equation-def-c", "(2.1)"),
        ("one.html#equation-def-a", "(1.2)"),
    ]
    assert 'id="equation-def-a"' not in part and '<p class="equation-mark">definition</p>' in part


def test_the_page_is_made_again_when_a_chapter_changes(build):
    build(one=ONE, two=TWO, all=ALL)
    page = build(two=TWO.replace("one half", "one third"))["all"]
    assert "one third" in page and "one half" not in page and page.count("Printed") == 1
    pages = build(two="# Second\n\n$$ c $$ (def-c)\n", all="# All\n", one=ONE)
    assert "<h2>" not in pages["all"] and "All such boxes" not in pages["one"], "no page, and no way to it"


def test_a_box_without_a_topic_is_a_warning(build):
    with pytest.raises(SphinxWarning, match="a box says no topic: write 'Where the sources differ: TOPIC'"):
        build(one=ONE, two=TWO.replace(": a factor", ""), all=ALL)
