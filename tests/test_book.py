"""The structure of the book: its equations and its chapters keep their contracts.

The rules run twice: on the book, where they must find nothing, and on small bad inputs, where they must find
the fault.
"""

import re
import textwrap
from pathlib import Path

import contract
import execution
import nbformat
import pytest
from chapters import chapters, notebooks, pages
from checked_equations import find_checks, problem
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from refresh_outputs import clean


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def markdown(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf8")
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def name(value: object) -> str:
    return value.stem if isinstance(value, Path) else value.__name__


# The book


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_equation_is_a_definition_or_checked(page):
    checks = find_checks()
    faults = [problem(label, checks) for label in contract.equation_labels(markdown(page))]
    assert [fault for fault in faults if fault] == []


def test_every_check_names_an_equation_of_the_book():
    labels = [label for page in pages() for label in contract.equation_labels(markdown(page))]
    assert list(contract.unused_checks(labels, find_checks())) == []


@pytest.mark.parametrize("rule", contract.CHAPTER_RULES, ids=name)
@pytest.mark.parametrize("chapter", chapters(), ids=name)
def test_chapter_keeps_the_contract(chapter, rule):
    assert list(rule(read(chapter))) == []


@pytest.mark.parametrize("chapter", chapters(), ids=name)
def test_chapter_asks_questions(chapter):
    asked = sum(len(contract.asked(cell)) for cell in read(chapter).cells)
    assert asked >= contract.FEWEST_QUESTIONS


@pytest.mark.parametrize("rule", contract.NOTEBOOK_RULES, ids=name)
@pytest.mark.parametrize("page", sorted(set(notebooks()) - set(chapters())), ids=name)
def test_front_page_and_appendices_keep_the_contract(page, rule):
    assert list(rule(read(page))) == []


@pytest.mark.parametrize("notebook", notebooks(), ids=name)
def test_notebook_is_as_make_outputs_writes_it(notebook):
    """Fix with `make outputs`."""
    assert notebook.read_text(encoding="utf8") == contract.text(clean(read(notebook)))


def test_the_bibliography_is_in_order_and_all_of_it_is_cited():
    """Keys are sorted, no two the same; each is cited, and nothing else is."""
    keys = re.findall(r"^@\w+\{([^,]+),$", (notebooks()[0].parent / "references.bib").read_text(encoding="utf8"), re.M)
    found = re.findall(r"\{cite(?::[a-z]+)?\}`([^`]+)`", "\n".join(markdown(page) for page in pages()))
    cited = {key.strip() for keys_of_one in found for key in keys_of_one.split(",")}
    assert keys == sorted(set(keys)) and len(keys) > 100
    assert cited == set(keys)


# Equations: the rules catch what they should


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        ("$$ a = b $$ (eq-one)", ["eq-one"]),
        ("$$\na = b\n$$ (def-two)\n\nand\n\n$$ c $$", ["def-two", None]),
        ("- item\n\n  $$ a $$ (eq-in-list)", ["eq-in-list"]),
        ("```{prf:theorem}\nText.\n```\n\n````{prf:proof}\n$$ a $$ (eq-in-proof)\n````", ["eq-in-proof"]),
        (":::{note}\n```{tip}\n$$ a $$\n```\n:::", [None]),
        ("in a paragraph\n$$ a $$ (eq-lost)", [None]),
        ("```{math}\n:label: eq-other-syntax\na\n```", [None]),
        ("\\begin{align}\na &= b\n\\end{align}", [None]),
        ("$$\n\\begin{aligned}\na &= b\n\\end{aligned}\n$$ (eq-aligned)", ["eq-aligned"]),
        ("A listing:\n\n```text\n$$ a $$\n```\n\n```{code-block} tex\n$$ a $$\n```", []),
        ("A span, `$$ a $$`, and inline $a$.", []),
    ],
)
def test_equation_labels(source, labels):
    assert contract.equation_labels(source) == labels


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "has no label"),
        ("bound", "starts with neither"),
        ("eq-untested", "no test is marked"),
        ("eq-tested", None),
        ("def-anything", None),
    ],
)
def test_problem_of_a_label(label, message):
    found = problem(label, {"eq-tested": []})
    assert found is None if message is None else message in found


def test_unused_checks():
    found = list(contract.unused_checks(["eq-kept", "def-noise", None], ["eq-kept", "eq-gone", "def-noise"]))
    assert len(found) == 2
    assert "'def-noise'" in found[0] and "'eq-gone'" in found[1]


def write_tests(root: Path, source: str) -> None:
    (root / "tests").mkdir()
    (root / "tests" / "test_x.py").write_text("import pytest\n" + textwrap.dedent(source), encoding="utf8")


def test_find_checks_sees_what_pytest_runs(tmp_path):
    write_tests(
        tmp_path,
        """
        @pytest.mark.equation("eq-a", "eq-b")
        def test_function(): ...

        class TestGroup:
            @pytest.mark.equation("eq-a")
            @pytest.mark.parametrize("x", [1])
            def test_method(self, x): ...

        @pytest.mark.equation("eq-helper")
        def helper(): ...

        @pytest.mark.equation("eq-skipped")
        @pytest.mark.skip(reason="slow")
        def test_skipped(): ...

        @pytest.mark.xfail
        @pytest.mark.equation("eq-failing")
        def test_failing(): ...
        """,
    )
    checks = find_checks(tmp_path)
    assert sorted(checks) == ["eq-a", "eq-b"]
    assert [check.test for check in checks["eq-a"]] == ["test_function", "test_method"]
    assert (checks["eq-b"][0].path, checks["eq-b"][0].line) == ("tests/test_x.py", 4)


@pytest.mark.parametrize("call", ["equation", "equation()", "equation(LABEL)", "equation(1)"])
def test_find_checks_wants_labels_in_quotes(tmp_path, call):
    write_tests(tmp_path, f"@pytest.mark.{call}\ndef test_x(): ...\n")
    with pytest.raises(ValueError, match=r"tests/test_x.py:3: test_x: equation\(\.\.\.\) takes labels"):
        find_checks(tmp_path)


# Chapters: a good one passes, and each fault is caught


def exercise(label: str) -> list[nbformat.NotebookNode]:
    return [
        new_markdown_cell(f":::{{exercise}}\n:label: {label}\n:class: minutes-5 pen\n\nWhy?\n\n:::"),
        new_markdown_cell(f":::{{solution-start}} {label}\n:class: dropdown\n:::\n\nBecause."),
        new_code_cell("assert True"),
        new_markdown_cell(":::{solution-end}\n:::"),
    ]


def chapter() -> nbformat.NotebookNode:
    cells = [cell for number in range(5) for cell in exercise(f"ex-{number}")]
    cells[2] = new_code_cell("import math", metadata={"tags": [contract.IMPORTS]})  # else before all exercises
    output = new_output("stream", name="stdout", text="1\n")
    for _ in range(3):
        cells.append(new_code_cell("print(1)", outputs=[output], metadata={"tags": [contract.CHECKED]}))
    return new_notebook(cells=cells)


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    return [fault for rule in contract.CHAPTER_RULES for fault in rule(notebook)]


def test_a_good_chapter_has_no_faults():
    assert faults(chapter()) == []


def test_long_cells_are_caught_unless_hidden():
    notebook = chapter()
    notebook.cells.append(new_code_cell("\n".join(["x = 1"] * 16)))
    assert "shows 16 lines" in faults(notebook)[0]
    notebook.cells[-1].metadata["tags"] = ["hide-input"]
    assert faults(notebook) == []


def test_imports_open_the_code_and_stand_nowhere_else():
    notebook = chapter()
    notebook.cells[2].source = "\n".join(f"import m{k}" for k in range(16))  # as many as it takes
    assert faults(notebook) == []
    notebook.cells[2].source = "import math\nx = math.pi"
    assert faults(notebook) == ["cell 2, the first of code, is not a visible cell of imports, tagged imports"]
    notebook.cells[2] = new_code_cell("import math", metadata={"tags": ["hide-input"]})
    assert faults(notebook) == ["cell 2, the first of code, is not a visible cell of imports, tagged imports"]
    notebook = chapter()
    notebook.cells.append(new_code_cell("x = 1\nfrom math import pi"))
    assert faults(notebook) == [f"cell {len(notebook.cells) - 1} imports: the first cell of code does"]


@pytest.mark.parametrize(
    ("first", "second", "third", "fault"),
    [
        ("x = 1", "x = 2", "print(x)", "cells 23 and 24 give 'x' a meaning, and cell 25 takes one of them"),
        ("x = 1", "for x in (1, 2):\n    print(x)", "y = x", "cells 23 and 24 give 'x' a meaning, and cell 25"),
        ("x = 1\ndef f(): return x", "x = 2", "", "cells 23 and 24 give 'x' a meaning, and cell 23"),
        ("x = 1", "x += 1", "", "cells 23 and 24 give 'x' a meaning, and cell 24"),
        ("x = 1", "x = f'{x}'", "", "cells 23 and 24 give 'x' a meaning, and cell 24"),
        ("x = 1", "def x(): ...", "", "cells 23 and 24 give 'x' different meanings: value, function"),
        ("class x: ...", "x, y = 1, 2", "", "cells 23 and 24 give 'x' different meanings: class, value"),
        ("", "math = 1", "", "cells 2 and 24 give 'math' different meanings: import, value"),
        ("x = 1\nprint(x)", "for x in (1, 2):\n    y = x", "f = lambda x: x\ny = [x for x in (1,)]", None),
        ("x = 1", "def f(x):\n    return x\ndef g():\n    x = 2\n    return x", "print(x)", None),
        ("try:\n    pass\nexcept OSError as x:\n    print(x)", "x = 1", "", None),
    ],
)
def test_two_meanings_are_caught(first, second, third, fault):
    notebook = chapter()
    notebook.cells += [new_code_cell(source) for source in (first, second, third)]
    found = faults(notebook)
    assert len(found) == bool(fault) and all(message.startswith(fault) for message in found), found


def test_too_few_checked_cells_are_caught():
    notebook = chapter()
    notebook.cells.pop()
    assert faults(notebook) == ["2 cells are tagged nbval-check-output; at least 3"]


def question(source: str) -> nbformat.NotebookNode:
    cell = new_code_cell(source, metadata={"tags": sorted(contract.QUESTION_TAGS)})
    cell.outputs = [new_output("execute_result", {"text/plain": "Question."}, execution_count=1)]
    return cell


GOOD = 'questions.ask("How " "many?", answer=x + 1, hint=r"All.")'


def test_questions_are_no_faults_and_no_checked_cells():
    notebook = chapter()
    notebook.cells += [question("x = 1"), question(GOOD), question(GOOD), new_markdown_cell("## Next")]
    del notebook.cells[-4].metadata["tags"], notebook.cells[-4].outputs[:]
    assert faults(notebook) == []
    del notebook.cells[-5]
    assert faults(notebook) == ["2 cells are tagged nbval-check-output; at least 3"]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = 1", "tagged question, and asks none"),
        (f"{GOOD}\nx = 2", "questions.ask is not the last statement"),
        (f"y = {GOOD}", "questions.ask is not the last statement"),
        (f"{GOOD}\n{GOOD}", "questions.ask is not the last statement"),
        ('questions.ask(f"How {x}?", answer=x, hint="")', "the words of a question are no plain strings"),
        ('questions.ask("How?", x, hint=x)', "the words of a question are no plain strings"),
        ('questions.ask("How?", 0.5, hint="")', "the answer of a question is typed by hand"),
        ('questions.ask("How?", answer=-1 / 2, hint="")', "the answer of a question is typed by hand"),
    ],
)
def test_faults_of_questions_are_caught(source, fault):
    notebook = chapter()
    notebook.cells.append(question(source))
    assert [found.split(": ", 1)[1].startswith(fault) for found in faults(notebook)] == [True]


def test_questions_stand_at_the_end_of_a_section_and_get_their_tags():
    notebook = chapter()
    notebook.cells += [question(GOOD), new_markdown_cell("Some more.")]
    assert faults(notebook) == ["cell 23: a question stands within a section: need the end of one"]
    notebook.cells = notebook.cells[:-1]
    notebook.cells[-1].metadata["tags"] = []
    assert any("a question without the tags" in found for found in faults(notebook))
    notebook = clean(notebook)
    assert faults(notebook) == [] and "jupyter" in notebook.cells[-1].metadata


def test_outputs_must_be_those_of_checked_cells():
    notebook = chapter()
    notebook.cells[-1].metadata["tags"], notebook.cells[2].metadata["tags"] = [], [contract.CHECKED, contract.IMPORTS]
    assert [fault.split("; ")[0] for fault in faults(notebook)] == [
        "cell 2 is tagged nbval-check-output, and has no output to compare with",
        "cell 22 has outputs, and no tag nbval-check-output",
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (":label: ex-0\n", "", "cell 0: an exercise has no label"),
        (":class: minutes-5 pen\n", "", "cell 0: an exercise does not say how hard it is: class: '': need one of"),
        ("minutes-5 pen", "minutes-7 pen", "cell 0: an exercise does not say how hard it is: class: 'minutes-7 pen'"),
        ("minutes-5 pen", "minutes-5 minutes-15 pen", "cell 0: an exercise does not say how hard it is"),
        ("minutes-5 pen", "minutes-5", "cell 0: an exercise does not say how hard it is"),
        (":class: dropdown", ":class: tip", "the solution of 'ex-0' is not folded"),
        ("start} ex-0", "start} ex-9", "the exercise 'ex-0' has no solution"),
        ("start} ex-0", "start} ex-9", "a solution names 'ex-9', which is no exercise"),
        ("{solution-start}", "{solution}", "cell 1: write solution-start"),
    ],
)
def test_exercise_faults(old, new, fault):
    notebook = chapter()
    for cell in notebook.cells[:2]:
        cell.source = cell.source.replace(old, new)
    assert fault in "\n".join(faults(notebook))


def test_an_exercise_without_a_solution_is_caught():
    notebook = chapter()
    notebook.cells.append(new_markdown_cell(":::{exercise} Sixth\n:label: ex-6\n:class: minutes-40 pen\n\nHow?\n:::"))
    assert faults(notebook) == ["the exercise 'ex-6' has no solution with a cell that runs"]


def test_a_directive_that_a_plain_notebook_shows_as_code_is_caught():
    notebook = chapter()
    notebook.cells[0].source = ":::{note}\nA list:\n\n- ````{exercise} Why\n  :label: ex-0\n  ````\n:::"
    notebook.cells.append(new_markdown_cell("```python\nx = 1\n```"))
    assert "cell 0: write :::{exercise} Why with colons, not with ````" in faults(notebook)
    assert not any("cell 23" in fault for fault in faults(notebook))


@pytest.mark.parametrize(
    "source",
    [
        "# On <b>bold</b> steps",
        "Two\n\n## In code `<script>`",
        "A title <i>so</i>\n===",
        ":::{exercise} More <em>steps</em>\n:label: ex-0\n:class: minutes-5 pen\n:::",
        ":::{note}\n::::{admonition} <hr>\n::::\n:::",
    ],
)
def test_html_in_a_title_is_caught(source):
    """The theme shows it as HTML, and on the next page too."""
    notebook = chapter()
    notebook.cells.append(new_markdown_cell("# Titles without\n\nIn text $a < b$ may stand."))
    assert faults(notebook) == []
    notebook.cells.append(new_markdown_cell(source))
    assert any("a title with a <" in fault for fault in faults(notebook))


@pytest.mark.parametrize(
    ("title", "fault"),
    [
        (": the sign", "another box of the chapter has this topic"),
        ("", "and the topic, in words"),
        (" too", "and the topic, in words"),
        (": $\\eta$", "and the topic, in words"),
        (": the factor", None),
    ],
)
def test_a_box_on_the_sources_says_a_topic_of_its_own(title, fault):
    notebook = chapter()
    for end in (": the sign", title):
        box = f"Text.\n\n:::{{admonition}} Where the sources differ{end}\n:class: warning\n\nText.\n:::"
        notebook.cells.append(new_markdown_cell(box))
    found = faults(notebook)
    assert len(found) == bool(fault) and all(fault in message for message in found), found


def test_the_books_own_title_and_author_hold_no_html():
    config = (notebooks()[0].parent.parent / "_config.yml").read_text(encoding="utf8")
    names = re.findall(r"^(?:title|author):(.*)$", config, re.M)
    assert len(names) == 2 and "<" not in "".join(names)


def test_too_few_exercises_are_caught():
    notebook = chapter()
    del notebook.cells[4:8]
    assert faults(notebook) == ["4 exercises; at least 5"]


def test_clean_keeps_checked_outputs_and_tags_only():
    notebook = chapter()
    for cell in notebook.cells:
        cell.metadata["collapsed"] = True
        if cell.cell_type == "code":
            cell.execution_count = 7
            cell.outputs = [new_output("execute_result", {"text/plain": "1"}, execution_count=7)]
    cleaned = clean(notebook)
    assert [len(cell.outputs) for cell in cleaned.cells if cell.cell_type == "code"] == [0] * 5 + [1] * 3
    assert cleaned.cells[-1].outputs[0].execution_count == cleaned.cells[-1].execution_count == 8
    assert cleaned.cells[-1].metadata == {"tags": [contract.CHECKED]} and cleaned.cells[0].metadata == {}
    notebook.cells[-1].metadata["tags"].append("hide-input")
    folded = clean(notebook).cells[-1].metadata
    assert folded.jupyter.source_hidden and folded.cellView == "form" and "hide-input" in folded.tags
    assert notebook.cells[0].metadata["collapsed"], "the original is left alone"


def test_clean_folds_the_code_of_solutions():
    kinds = [(cell.cell_type, "jupyter" in cell.metadata) for cell in clean(chapter()).cells]
    assert kinds.count(("code", True)) == 5 and kinds.count(("code", False)) == 3 and ("markdown", True) not in kinds


# The build


def test_digest_changes_with_names_and_contents(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("1", encoding="utf8")
    first = execution.digest(tmp_path, ("*.py",))
    path.write_text("2", encoding="utf8")
    second = execution.digest(tmp_path, ("*.py",))
    path.rename(tmp_path / "b.py")
    third = execution.digest(tmp_path, ("*.py",))
    (tmp_path / "c.txt").write_text("no match", encoding="utf8")
    assert len({first, second, third}) == 3
    assert execution.digest(tmp_path, ("*.py",)) == third


def test_table_of_contents_names_existing_pages(tmp_path):
    (tmp_path / "_toc.yml").write_text("root: a\nparts:\n  - chapters:\n      - file: gone\n", encoding="utf8")
    (tmp_path / "a.md").touch()
    with pytest.raises(FileNotFoundError, match="'gone'"):
        pages(tmp_path)
