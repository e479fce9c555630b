"""Exercises on the pages: how much work each is, and the lists of them, made again when a chapter changes."""

import re

import pytest
from sphinx.application import Sphinx
from sphinx.errors import SphinxWarning
from sphinx.util.docutils import docutils_namespace, patch_docutils

INDEX = "# Book\n\n```{toctree}\n:numbered: 1\none\ntwo\n```\n\n```{toctree}\nall\n```\n"
ONE = """# First

:::{exercise} A walk
:label: ex-walk
:class: minutes-5 pen

How far?
:::

:::{exercise} A run
:label: ex-run
:class: minutes-40 pen code

How fast?
:::
"""
TWO = "# Second\n\n:::{exercise} A rest\n:label: ex-rest\n:class: minutes-15 code\n\nHow long?\n:::\n"
ALL = "# All\n\n:::{exercise-list}\n:::\n\n:::{exercise-links}\nex-rest ex-run\n:::\n"
OPTIONS = {
    "extensions": ["myst_nb", "exercises"],
    "numfig": True,
    "myst_enable_extensions": ["colon_fence"],
    "nb_execution_mode": "off",
    "html_theme": "basic",
}


@pytest.fixture
def build(tmp_path):
    def run(**pages: str) -> dict[str, str]:
        for name, text in pages.items():
            (tmp_path / f"{name}.md").write_text(text, encoding="utf8")
        out = tmp_path / "out"
        with patch_docutils(), docutils_namespace():
            Sphinx(tmp_path, None, out, out, "html", OPTIONS, status=None, warningiserror=True).build()
        return {path.stem: path.read_text(encoding="utf8") for path in out.glob("*.html")}

    return run


def cells(page: str) -> list[list[str]]:
    found = re.findall(r"<tr.*?</tr>", page.split("<tbody>")[1], re.S)
    return [[re.sub("<[^>]*>", "", cell).strip() for cell in re.findall("<td>.*?</td>", row, re.S)] for row in found]


def test_pages_show_the_effort_and_the_lists_have_all(build):
    pages = build(index=INDEX, one=ONE, two=TWO, all=ALL)
    assert re.findall('<p class="exercise-effort">(.*?)</p>', pages["one"]) == [
        "Easy: about 5 minutes, with pen",
        "Hard: about 40 minutes, with pen and code",
    ]
    assert cells(pages["all"]) == [
        ["1.1 A walk", "1. First", "Easy", "5", "pen"],
        ["1.2 A run", "1. First", "Hard", "40", "pen and code"],
        ["2.1 A rest", "2. Second", "Medium", "15", "code"],
    ]
    for page, target in re.findall(r'href="(one|two)\.html#(ex-\w+)"', pages["all"]):
        assert f'id="{target}"' in pages[page]
    links = pages["all"].split("exercise-links")[1]
    assert re.findall(r'href="(.*?#.*?)"', links)[:2] == ["two.html#ex-rest", "one.html#ex-run"]
    assert "Exercise 2.1: A rest" in links and "Exercises together: about 55 minutes." in links
    page = build(two=TWO.replace("minutes-15", "minutes-40"))["all"]
    assert cells(page)[2][2:] == ["Hard", "40", "code"] and "about 80 minutes" in page


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [("minutes-15 ", "", "exercise 'ex-rest': class: 'code exercise'"), ("ex-rest", "ex-sleep", "the label 'ex-rest'")],
)
def test_faults_are_warnings(build, old, new, fault):
    with pytest.raises(SphinxWarning, match=fault):
        build(index=INDEX, one=ONE, two=TWO.replace(old, new), all=ALL)
