"""Execute the chapters whose code changed, and keep only the outputs that are checked.

`python tools/refresh_outputs.py [NOTEBOOK ...]` takes the notebooks named, or all in the table of contents,
and writes them back with the outputs of the cells tagged `nbval-check-output`, and no others. What it writes
depends only on the cells and on what they print, so that a difference in git is a difference in a number.
With `--tidy` it runs nothing, and does the rest.

A cell that asks a question gets the tags of one. Code that the pages hide (tagged `hide-input`, or one of its kin;
solutions) is folded in Jupyter and Colab.
"""

import sys
from pathlib import Path

import nbformat
from chapters import notebooks
from contract import CHECKED, FOLDED, HIDDEN, QUESTION_TAGS, asked, solving, tags, text
from execution import execute, executed
from nbformat import NotebookNode

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def clean(notebook: NotebookNode) -> NotebookNode:
    """A copy with checked outputs only, and no metadata but the cells' tags, slides, and what folds hidden code."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict(KERNEL)
    count = 0
    for cell, solves in zip(notebook.cells, solving(notebook), strict=True):
        kept = sorted(tags(cell) | (QUESTION_TAGS if asked(cell) else set()))
        folded = FOLDED if cell.cell_type == "code" and (solves or HIDDEN & set(kept)) else {}
        slide = {"slide": cell.metadata["slide"]} if "slide" in cell.metadata else {}  # tools/slides.py
        cell.metadata = nbformat.from_dict(folded | slide | ({"tags": kept} if kept else {}))
        if cell.cell_type == "code":
            count += 1
            checked = CHECKED in kept
            # nbval takes a cell without an execution count for one that never ran.
            cell.execution_count = count if checked else None
            cell.outputs = [_clean_output(output, count) for output in cell.outputs] if checked else []
    return notebook


def _clean_output(output: NotebookNode, count: int) -> NotebookNode:
    if output.output_type == "execute_result":
        output.execution_count = count
    if "metadata" in output:
        output.metadata = nbformat.from_dict({})
    return output


def refresh(path: Path, run: bool = True) -> bool:
    """Write a notebook as it is, or as it ran; True if the file changed."""
    before = path.read_text(encoding="utf8")
    after = text(clean(executed(path) if run else nbformat.reads(before, as_version=4)))
    path.write_text(after, encoding="utf8")
    return after != before


def main(names: list[str], run: bool) -> str | None:
    paths = [Path(name).resolve() for name in names] or notebooks()
    for path, result in execute(paths) if run else ():
        if result.err is not None:
            return f"{path}: failed, and no notebook was written:\n{result.exc_string}"
    for path in paths:
        print(f"{path}: {'changed' if refresh(path, run) else 'as it was'}", flush=True)
    return None


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if name != "--tidy"], run="--tidy" not in sys.argv))
