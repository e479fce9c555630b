"""What the front page says of the chapters: read from them, refused where one does not say it."""

import re

import facts
import pytest
from chapters import ROOT, chapters
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

EXAM = (ROOT / "book" / "exam.md").read_text(encoding="utf8")


def test_every_chapter_says_its_facts():
    book = facts.book()
    assert list(book) == [path.stem for path in chapters()]
    for chapter in book.values():
        assert 20 <= chapter.minutes <= 120, chapter.name
        assert len(chapter.exercises) >= 5
        assert sum(chapter.sections.values()) == pytest.approx(chapter.minutes, abs=2.5)
    assert book["07-bound"].needs == ("02-chains", "06-swiss-roll")


def test_the_map_leaves_out_what_is_needed_by_the_way():
    def chapter(*needs):
        return facts.Facts("", "", "", needs, "", 1, {}, ())

    book = {"a": chapter(), "b": chapter("a"), "c": chapter("a", "b"), "d": chapter("c", "a"), "e": chapter("a")}
    assert facts.direct(book) == {"a": (), "b": ("a",), "c": ("b",), "d": ("c",), "e": ("a",)}


def small(first="# A\n\n**Why?**\n\nText.", assumed="Assumed: {doc}`x`, {eq}`eq-y`, and [z](z)."):
    figure = new_code_cell('Walkers(label="One", caption="Two")')
    words = new_markdown_cell("## B\n\n" + "word " * 180 + "\n\n$$ a $$ (def-a)")
    return new_notebook(cells=[new_markdown_cell(first), figure, new_markdown_cell(assumed), words])


def test_facts_of_a_small_chapter():
    notebook = small()
    assert facts.question(notebook) == "Why?" and facts.figure(notebook) == "One"
    assert facts.needs(notebook, {"eq-y": "y"}, ["w", "x", "y", "z"]) == ("x", "y", "z")
    assert facts.sections(notebook)["B"] == pytest.approx(1.5, abs=0.01)
    assert facts.sections(notebook)[""] > facts.OF_FIGURE
    folded = new_markdown_cell(":::{prf:proof}\n:class: dropdown\n" + "word " * 500 + "\n:::")
    solution = [new_markdown_cell(":::{solution-start} ex\n:::\n\n" + "word " * 500), new_code_cell("x = 1")]
    notebook.cells += [folded, *solution, new_markdown_cell(":::{solution-end}\n:::")]
    assert facts.sections(notebook)["B"] == pytest.approx(1.5, abs=0.01), "what is folded is not read"


def test_facts_that_are_missing():
    with pytest.raises(ValueError, match="need a question under the title"):
        facts.question(small("# A\n\nText."))
    with pytest.raises(ValueError, match="0 paragraphs begin with 'Assumed: '"):
        facts.needs(small(assumed="Nothing."), {}, [])
    with pytest.raises(ValueError, match=r"it assumes \['y', 'z'\]: need chapters that come before"):
        facts.needs(small(), {"eq-y": "y"}, ["x"])
    notebook = small()
    del notebook.cells[1]
    with pytest.raises(ValueError, match="need a figure"):
        facts.figure(notebook)
    with pytest.raises(ValueError, match="need a chapter, or a chapter and the heading"):
        facts.stops("06-swiss-roll: No such section")


def test_thirty_questions_of_all_chapters():
    questions = re.findall(r"^\d+\. .*", EXAM, re.M)
    assert [int(line.split(".")[0]) for line in questions] == list(range(1, 31))
    labels = {label: path.stem for path in chapters() for label in facts.LABEL.findall(path.read_text(encoding="utf8"))}
    for line in questions:
        [page] = re.findall(r"\{doc\}`([^`]+)`", line)
        equations = re.findall(r"\{eq\}`([^`]+)`", line)
        assert equations and all(labels[label] == page for label in equations), line
    asked = set(re.findall(r"\{doc\}`([^`]+)`", EXAM))
    assert asked == {path.stem for path in chapters()}


def test_citation_is_that_of_the_file(tmp_path):
    text = "title: A Book\nversion: 1.2\nauthors:\n- {family-names: B, given-names: A}\n- {name: The C}\n"
    (tmp_path / "CITATION.cff").write_text(text, encoding="utf8")
    words, bibtex = facts.citation("2030", "https://x", tmp_path)
    assert words == "A B, The C: A Book. Version 1.2, 2030. https://x"
    assert bibtex.startswith("@misc{a-book,\n  author = {B, A and {The C}},\n  title = {{A Book}},\n  year = {2030},")
