"""The part of the chapter contract that a machine can check, on the sources of the chapters.

Each rule takes a notebook (as `nbformat` reads it) and yields one message per fault; tests/test_book.py runs
them on every chapter, and on small bad notebooks that each must be caught.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import nbformat
from cell_names import two_meanings
from effort import effort
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode

CHECKED = "nbval-check-output"
QUESTION = "question"
QUESTION_TAGS = {QUESTION, CHECKED, "remove-input"}  # set by tools/refresh_outputs.py
IMPORTS = "imports"  # the page shows it small: see book.css
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # for Colab, and for JupyterLab
SOURCES = "Where the sources differ"  # book/_ext/source_boxes.py
MOST_LINES = 15
FEWEST_CHECKED = 3
FEWEST_EXERCISES = 5
FEWEST_QUESTIONS = 5

MARKDOWN = (
    MarkdownIt("commonmark")
    .use(dollarmath_plugin, allow_labels=True, double_inline=True)
    .use(amsmath_plugin)
    .use(colon_fence_plugin)
)
DIRECTIVE = re.compile(
    r"^(?:`{3,}|:{3,})\{(?P<name>(?:exercise|solution)(?:-start|-end)?)\}[ \t]*(?P<argument>[^\n]*)\n"
    r"(?P<options>(?::[a-z]+:[^\n]*\n)*)",
    re.M,
)


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def text(notebook: NotebookNode) -> str:
    """The file's contents: what nbformat writes, ending in one newline."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def equation_labels(markdown: str) -> list[str | None]:
    """The labels of the displayed equations of a page, in order; None for one without."""
    return list(_labels(MARKDOWN.parse(markdown)))


def _labels(tokens: list[Token]) -> Iterator[str | None]:
    for token in tokens:
        if token.type == "math_block_label":
            yield token.info
        elif token.type in ("math_block", "math_inline_double", "amsmath"):
            yield None
        elif token.type in ("fence", "colon_fence") and token.info.startswith("{"):
            directive = token.info[1:].split("}")[0]
            if directive == "math":
                yield None
            elif not directive.startswith("code"):
                yield from equation_labels(token.content)
        yield from _labels(token.children or [])


def unused_checks(labels: Iterable[str | None], checked: Iterable[str]) -> Iterator[str]:
    """Tests that name an equation which the book does not have, or has as a definition."""
    claims = {label for label in labels if label and not label.startswith("def-")}
    for label in sorted(set(checked) - claims):
        yield f"a test is marked @pytest.mark.equation({label!r}), but no claim of the book has this label"


def long_cells(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells):
        lines = len(cell.source.strip().splitlines())
        if cell.cell_type != "code" or lines <= MOST_LINES or tags(cell) & HIDDEN:
            continue
        if not all(map(_is_import, ast.parse(cell.source).body)):
            yield f"cell {number} shows {lines} lines of code; at most {MOST_LINES}"


def imports_apart(notebook: NotebookNode) -> Iterator[str]:
    """A chapter whose code does not open with a visible cell of imports, or that imports elsewhere, too."""
    code = [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for k, (number, cell) in enumerate(code):
        found = [_is_import(statement) for statement in ast.parse(cell.source).body]
        if k == 0 and (not all(found) or tags(cell) & HIDDEN or IMPORTS not in tags(cell)):
            yield f"cell {number}, the first of code, is not a visible cell of imports, tagged {IMPORTS}"
        if k and any(found):
            yield f"cell {number} imports: the first cell of code does"


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def few_checked_cells(notebook: NotebookNode) -> Iterator[str]:
    count = sum(CHECKED in tags(cell) and not asked(cell) for cell in notebook.cells)
    if count < FEWEST_CHECKED:
        yield f"{count} cells are tagged {CHECKED}; at least {FEWEST_CHECKED}"


def unexplained_outputs(notebook: NotebookNode) -> Iterator[str]:
    """Outputs where none should be kept, and checked cells that have none to compare with."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if cell.outputs and CHECKED not in tags(cell):
            yield f"cell {number} has outputs, and no tag {CHECKED}; run: make outputs"
        if not cell.outputs and CHECKED in tags(cell):
            yield f"cell {number} is tagged {CHECKED}, and has no output to compare with; run: make outputs"


def exercise_faults(notebook: NotebookNode) -> Iterator[str]:
    """Too few exercises, or one without a label or its effort; a solution missing, unfolded, or with no cell to run."""
    exercises, solved, current = [], set(), None
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and current:
            solved.add(current)
        if cell.cell_type != "markdown":
            continue
        for match in DIRECTIVE.finditer(cell.source):
            name, options = match["name"], dict(re.findall(r"^:([a-z]+):[ \t]*(.*)$", match["options"], re.M))
            if name in ("exercise", "exercise-start"):
                if "label" not in options:
                    yield f"cell {number}: an exercise has no label"
                try:
                    effort(options.get("class", "").split())
                except ValueError as fault:
                    yield f"cell {number}: an exercise does not say how hard it is: {fault}"
                exercises.append(options.get("label"))
            elif name == "solution":
                yield f"cell {number}: write solution-start, a code cell that runs, and solution-end"
            elif name == "solution-start":
                current = match["argument"].strip()
                if "dropdown" not in options.get("class", "").split():
                    yield f"cell {number}: the solution of {current!r} is not folded (:class: dropdown)"
            elif name == "solution-end":
                current = None
    if len(exercises) < FEWEST_EXERCISES:
        yield f"{len(exercises)} exercises; at least {FEWEST_EXERCISES}"
    for label in exercises:
        if label and label not in solved:
            yield f"the exercise {label!r} has no solution with a cell that runs"
    for label in sorted(solved - set(exercises)):
        yield f"a solution names {label!r}, which is no exercise of this chapter"


def asked(cell: NotebookNode) -> list[ast.Call]:
    """The questions of a cell: its calls of `questions.ask`."""
    if cell.cell_type != "code" or "questions.ask(" not in cell.source:
        return []
    calls = (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call))
    return [call for call in calls if ast.unparse(call.func) == "questions.ask"]


def question_faults(notebook: NotebookNode) -> Iterator[str]:
    """Questions that would not be shown, that stand within a section, or whose answer is typed by hand."""
    for number, cell in enumerate(notebook.cells):
        if calls := asked(cell):
            yield from (f"cell {number}: {fault}" for fault in _faults_of(cell, calls))
            following = notebook.cells[number + 1 : number + 2]
            if following and not asked(following[0]) and not following[0].source.startswith("## "):
                yield f"cell {number}: a question stands within a section: need the end of one"
        elif QUESTION in tags(cell):
            yield f"cell {number}: tagged {QUESTION}, and asks none"


def _faults_of(cell: NotebookNode, calls: list[ast.Call]) -> Iterator[str]:
    if not tags(cell) >= QUESTION_TAGS:
        yield f"a question without the tags {', '.join(sorted(QUESTION_TAGS))}; run: make outputs"
    last = ast.parse(cell.source).body[-1]
    if len(calls) > 1 or ast.dump(last) != ast.dump(ast.Expr(calls[0])):
        yield "questions.ask is not the last statement, which is what a cell shows"
    given = dict(zip(("text", "answer"), calls[0].args, strict=False)) | {
        one.arg: one.value for one in calls[0].keywords
    }
    if not all(isinstance(given.get(name, ast.Constant("")), ast.Constant) for name in ("text", "hint", "unit")):
        yield "the words of a question are no plain strings"
    if not any(isinstance(node, ast.Name) for node in ast.walk(given.get("answer", ast.Pass()))):
        yield "the answer of a question is typed by hand: need a number that a cell computes"


def solving(notebook: NotebookNode) -> Iterator[bool]:
    """Of each cell: does it stand inside a solution?"""
    inside = False
    for cell in notebook.cells:
        names = [m["name"] for m in DIRECTIVE.finditer(cell.source)] if cell.cell_type == "markdown" else []
        inside = inside or "solution-start" in names
        yield inside
        inside = inside and "solution-end" not in names


def closed_fences(notebook: NotebookNode) -> Iterator[str]:
    """Directives whose text a notebook without MyST would show as code, with its mathematics raw."""
    for number, cell in enumerate(notebook.cells):
        for token in _fences(cell.source) if cell.cell_type == "markdown" else ():
            if token.markup.startswith("`") and token.info.startswith("{"):
                yield f"cell {number}: write :::{token.info.strip()} with colons, not with {token.markup}"


def html_in_titles(notebook: NotebookNode) -> Iterator[str]:
    """Titles of pages, sections, exercises and boxes with a <: the theme takes them for HTML, on other pages too."""
    for number, cell in enumerate(notebook.cells):
        titles = _titles(cell.source) if cell.cell_type == "markdown" else ()
        yield from (f"cell {number}: a title with a <: {title!r}" for title in titles if "<" in title)


def _titles(markdown: str) -> Iterator[str]:
    tokens = MARKDOWN.parse(markdown)
    yield from (text.content for token, text in pairwise(tokens) if token.type == "heading_open")
    for token in tokens:
        if token.type in ("fence", "colon_fence") and token.info.startswith("{"):
            yield token.info.partition("}")[2].strip()
            yield from _titles(token.content)


def source_boxes(notebook: NotebookNode) -> Iterator[str]:
    """Boxes on where the sources differ that do not say in their titles in what, or say the same as another."""
    found = set()
    for number, cell in enumerate(notebook.cells):
        for title in _titles(cell.source) if cell.cell_type == "markdown" else ():
            if not title.startswith(SOURCES):
                continue
            topic = title.removeprefix(SOURCES)
            if not re.fullmatch(r": \w[^$`*<]*", topic):
                yield f"cell {number}: {title!r}: write '{SOURCES}: ' and the topic, in words"
            if topic in found:
                yield f"cell {number}: {title!r}: another box of the chapter has this topic"
            found.add(topic)


def _fences(markdown: str) -> Iterator[Token]:
    for token in MARKDOWN.parse(markdown):
        if token.type in ("fence", "colon_fence"):
            yield token
        if token.type == "colon_fence":
            yield from _fences(token.content)


CHAPTER_RULES = (
    long_cells,
    imports_apart,
    two_meanings,
    few_checked_cells,
    unexplained_outputs,
    exercise_faults,
    question_faults,
    closed_fences,
    html_in_titles,
    source_boxes,
)
NOTEBOOK_RULES = (long_cells, unexplained_outputs, closed_fences, html_in_titles)
