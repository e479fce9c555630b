"""The book without its solutions: what is left of the chapters, and what a question then knows of its answer."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import build_book
import nbformat
import pytest
import without_solutions
from chapters import ROOT, chapters
from contract import DIRECTIVE, asked, text
from execution import CODE, digest
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from launch import find_repository
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dpm_lib.figures.questions import ask

SOLVED = """## Exercises

:::{exercise} One
:label: ex-one
:class: minutes-5 pen

Why?
:::

:::{solution-start} ex-one
:class: dropdown
:::

Because of secret 1."""
ASK = 'questions.ask("How much?", answer=secret / 7, hint="Think.")'


def shown(answer: float, **options) -> nbformat.NotebookNode:
    data = {
        "text/markdown": ask("How much?", answer, hint="Think.", **options)._repr_markdown_(),
        "text/plain": "secret",
    }
    return new_output("execute_result", data, execution_count=1)


def widget(name: str) -> nbformat.NotebookNode:
    return new_output("display_data", {without_solutions.VIEW: {"model_id": name}})


def chapter(outputs: bool = True) -> nbformat.NotebookNode:
    question = new_code_cell(ASK, outputs=[shown(1 / 7, within=0.001)])
    solved = new_code_cell("secret = 2", outputs=[widget("c")])
    cells = [
        new_markdown_cell("# A chapter"),
        new_code_cell("x = 1", outputs=[widget("a")]),
        question,
        new_markdown_cell(SOLVED),
        solved,
        new_markdown_cell("Secret 3.\n\n:::{solution-end}\n:::\n\nThe next."),
        new_code_cell("x"),
    ]
    states = {
        "a": {"state": {"layout": "IPY_MODEL_b"}},
        "b": {"state": {}},
        "c": {"state": {"layout": "IPY_MODEL_d"}},
        "d": {"state": {}},
    }
    notebook = new_notebook(cells=cells, metadata={"widgets": {without_solutions.STATE: {"state": states}}})
    if not outputs:
        del notebook.metadata["widgets"]
        for cell in notebook.cells:
            if "outputs" in cell and not asked(cell):
                cell.outputs = []
    return notebook


def test_solutions_go_and_all_else_stays():
    before = chapter()
    after = without_solutions.strip(before)
    nbformat.validate(after)
    sources = [cell.source for cell in after.cells]
    assert sources[:2] == ["# A chapter", "x = 1"] and sources[-2:] == ["The next.", "x"] and len(sources) == 6
    assert sources[3].endswith("Why?\n:::") and after.cells[2].cell_type == "markdown"
    assert "ecret" not in text(after) and "Hint" in sources[2] and "0.143" not in text(after)
    assert set(after.metadata.widgets[without_solutions.STATE]["state"]) == {"a", "b"}
    assert "secret = 2" in text(before), "what was given is left alone"


def test_a_solution_without_an_end_and_a_question_without_its_output_are_refused():
    notebook = chapter()
    del notebook.cells[5]
    with pytest.raises(ValueError, match="a solution that does not end"):
        without_solutions.strip(notebook)
    notebook = chapter()
    notebook.cells[2].outputs = []
    with pytest.raises(ValueError, match="a question with 0 outputs"):
        without_solutions.strip(notebook)


@pytest.mark.parametrize(
    ("answer", "within", "expected"), [("0.143", "0.001", "0"), ("-0.30", "0.01", "0.01"), ("0", "0.25", "0.25")]
)
def test_a_seal_says_the_phase_of_its_interval_only(answer, within, expected):
    _, low, width, _ = without_solutions.seal(answer, within, "salt").split()
    assert float(low) == float(expected) and float(width) == 2 * float(within)
    assert without_solutions.fnv("foobar") == 0xBF9CF968  # of its authors' test vectors


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_no_solution_of_a_chapter_is_left(path):
    whole = nbformat.read(path, as_version=4)
    left = without_solutions.strip(whole)
    names = [match["name"] for cell in left.cells for match in DIRECTIVE.finditer(cell.source)]
    exercises = [m for cell in whole.cells for m in DIRECTIVE.finditer(cell.source) if m["name"] == "exercise"]
    assert names == ["exercise"] * len(exercises)
    assert "data-answer" not in text(left) and not any(asked(cell) for cell in left.cells)
    assert text(left).count("data-sealed") == sum(len(asked(cell)) for cell in whole.cells)


def test_no_chapter_needs_a_name_that_only_a_solution_has(tmp_path):
    for path in chapters():
        left = without_solutions.strip(nbformat.read(path, as_version=4))
        (tmp_path / path.name).write_text(text(left), encoding="utf8")
    command = [Path(sys.executable).with_name("ruff"), "check", "--isolated", "--select", "F821", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def root(tmp_path):
    """A book of one chapter, which has been executed."""
    for name, content in {
        "_toc.yml": "root: book/one\n",
        "book/one.ipynb": text(chapter(outputs=False)),
        "dpm_lib/a.py": "",
        ".venv/x": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf8")
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "code.sha256").write_text(digest(tmp_path, CODE), encoding="utf8")
    bundle = CacheBundleIn(chapter(), "one.ipynb", data={"execution_seconds": 7})
    get_cache(tmp_path / "_build" / ".jupyter_cache").cache_notebook_bundle(bundle, check_validity=False)
    return tmp_path


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and "without-solutions" not in path.parts)
    return {str(path): path.read_bytes() for path in found if path.suffix != ".db"}


def test_the_other_tree_is_executed_and_the_first_is_left_alone(root, monkeypatch):
    asked_for = []
    monkeypatch.setenv("SOLUTIONS", "0")
    monkeypatch.setenv("GITHUB_REPOSITORY", "grace/fork")
    monkeypatch.setattr(build_book, "run_chapters", lambda root: [])

    def run(command, cwd, env):
        asked_for.append((cwd, env))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(build_book, "subprocess", SimpleNamespace(run=run))
    before = files(root)
    for _ in range(2):
        assert build_book.build(root, ["-q"]) == 0
    assert files(root) == before
    (tree, environment), _ = asked_for
    assert tree == build_book.site(root).parents[1] == root / "_build" / "without-solutions"
    assert "GITHUB_REPOSITORY" not in environment and os.environ["GITHUB_REPOSITORY"]
    copy = nbformat.read(tree / "book" / "one.ipynb", as_version=4)
    assert copy.cells[1].outputs == []
    cache = get_cache(tree / "_build" / ".jupyter_cache")
    assert cache.match_cache_notebook(copy).data == {"execution_seconds": 7}
    ran = cache.merge_match_into_notebook(copy)[1]
    assert ran.cells[1].outputs == [widget("a")] and len(ran.metadata.widgets[without_solutions.STATE]["state"]) == 2
    for path in tree.rglob("*"):
        assert "venv" not in path.parts and (path.is_dir() or b"ecret" not in path.read_bytes()), path
    monkeypatch.delenv("GITHUB_REPOSITORY")
    assert find_repository(tree) is None
    monkeypatch.setenv("SOLUTIONS", "1")
    assert build_book.site() == ROOT / "_build" / "html"
