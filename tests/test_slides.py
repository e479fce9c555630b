"""What of a chapter comes on its slides: sentences, equations, outputs; and what is refused."""

import re

import nbformat
import pytest
import slides
from bs4 import BeautifulSoup
from built_page import BuiltPage
from chapters import chapters
from contract import tags
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ARTICLE = """<article><h1>1. A title<a class="headerlink">#</a></h1>
<p>One <em>question</em>. Two of <span class="math"><math><mi>x</mi></math>.</span> Three, e.g. four?
See <a href="b.html">it</a>.</p><h2>More</h2>
<div class="math" id="equation-eq-a"><span class="eqno">(1)<a class="headerlink">#</a></span><math></math></div>
<p class="equation-mark">checked</p><ul><li><p>An item. More of it.</p></li><li><p>Another item.</p></li></ul>
<div class="cell"><div class="cell_input"><pre>code</pre></div><div class="cell_output"><pre>0.25</pre></div></div>
<p>After the cell &lt;.</p><div class="cell"><div class="cell_input"></div></div></article>"""


def chapter(*metadata):
    """A chapter whose first cell of text, code, second text, and second code have these metadata."""
    cells = [new_markdown_cell(), new_code_cell(), new_markdown_cell(), new_code_cell()]
    for cell, found in zip(cells, metadata, strict=False):
        cell.metadata.update(found)
    article = BeautifulSoup(ARTICLE, "html.parser").article
    return slides.Chapter(new_notebook(cells=cells), BuiltPage("book/a.html", article, [], {}))


def opens(*items):
    return {"tags": ["slide"], "slide": list(items)}


CONTINUES = {"tags": ["slide-continue"]}


def test_sentences():
    paragraph = chapter().texts[0][0]
    said = [slides.said_by(sentence) for sentence in slides.sentences(paragraph)]
    assert said == ["One question.", "Two of x.", "Three, e.g. four?", "See it."]


def test_what_is_tagged_comes_on_slides_in_its_order():
    made = chapter(
        opens("Two of", "See it", "---", "eq-a", "An item", "Another"), CONTINUES, CONTINUES | opens("After")
    )
    one, two = made.slides()[:2]
    assert (one.title, two.title) == ("1. A title", "More")
    assert [part.get_text() for part in one.parts] == ["Two of x. See it."], "sentences of a paragraph stay together"
    assert one.parts[0].a is None, "no link into the book"
    assert [part.name for part in two.parts] == ["div", "ul", "div"]
    assert [item.get_text() for item in two.parts[1].find_all("li")] == ["An item.", "Another item."]
    assert two.parts[0].get("id") is None and "#" not in two.parts[0].get_text()
    assert two.parts[2].get_text() == "0.25" and "code" not in str(two.parts[2])
    assert "After the cell &lt;." in slides.body(made.slides()[2])


def test_titles_and_code_on_demand():
    made = chapter(opens("# Words & signs", "One question"), opens("# Its code", "code")).slides()
    assert [slide.title for slide in made] == ["Words & signs", "Its code"]
    assert [part.get_text() for part in made[1].parts] == ["code", "0.25"]
    assert "<h2>Words &amp; signs</h2>" in slides.body(made[0])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([opens("Nine")], "cell 0: slide: 'Nine': need a label, or words of one sentence; 0 have it"),
        ([opens("of")], "words of one sentence; 2 have it"),
        ([opens("After")], "0 have it"),  # it stands in another cell
        ([opens()], "need a list of labels and words"),
        ([CONTINUES | {"slide": ["One"]}], "slide-continue: need a slide before it"),
        ([{}, opens("One")], "cell 1: slide: 'One': need 'code' or a title"),
        ([opens("One"), {}, {}, CONTINUES], "cell 3: slide: need a cell that shows something"),
    ],
)
def test_what_cannot_be_shown_is_refused(metadata, message):
    with pytest.raises(slides.SlideError, match=f"^a: .*{message}"):
        chapter(*metadata).slides()


def test_a_notebook_that_does_not_fit_its_page_is_refused():
    found = chapter()
    del found.notebook.cells[1]
    with pytest.raises(slides.SlideError, match="2 code cells on the page, 1 in the notebook"):
        found.slides()


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_every_chapter_has_slides(path):
    cells = nbformat.read(path, as_version=4).cells
    tagged = [cell for cell in cells if {slides.OPENS, slides.CONTINUES} & tags(cell)]
    listed = [item for cell in tagged for item in cell.metadata.get("slide", [])]
    opened = sum(slides.OPENS in tags(cell) for cell in tagged)
    assert 10 <= opened + listed.count("---") <= 20
    assert tagged[0] is cells[0] and slides.OPENS in tags(cells[0]), "the first shows the chapter's question"
    assert not [cell.id for cell in cells if "slide" in cell.metadata and cell not in tagged]
    assert not [cell.id for cell in tagged if len({slides.OPENS, slides.CONTINUES} & tags(cell)) > 1]
    assert sum(cell.cell_type == "code" for cell in tagged) >= 3, "figures and numbers"
    sources = "".join(cell.source for cell in cells if cell.cell_type == "markdown").lower()
    labels = [item for item in listed if re.match(r"(eq|def)-", item)]
    assert len(labels) >= 5
    assert not [label for label in labels if not re.search(rf"\b{label}\b(?!-)", sources)]
