"""The book without its solutions, for a teacher: `make book SOLUTIONS=0`.

A second source tree is made under `_build/without-solutions`, whose notebooks have no solutions, neither text nor
code, and whose questions keep their hints but not their answers; the site is built from that. So pages, search, sources
and the notebooks to download are without them, and nothing of the usual build is touched. The outputs are those of the
whole chapters, which ran before.

A question still checks what is typed, against a hash of the interval that counts as right (`seal`). That keeps the
answer out of sight, no more: a short program can try all intervals, and the book's own repository has everything.
"""

import html
import json
import re
import shutil
from decimal import Decimal
from pathlib import Path

import nbformat
from chapters import ROOT, notebooks
from contract import MARKDOWN, asked, text
from execution import CODE, digest, executed
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbformat import NotebookNode

PLACE = Path("_build") / "without-solutions"
FOLDERS = ("book", "dpm_lib", "tests", "tools")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
ANSWER = re.compile(r'<details class="question-answer">.*?</details>\s*', re.S)
DATA = re.compile(r'data-answer="(?P<answer>[^"]*)" data-within="(?P<within>[^"]*)"')


def strip(notebook: NotebookNode) -> NotebookNode:
    """A copy without the cells, and the parts of cells, of solutions; questions become text."""
    notebook = nbformat.from_dict(notebook)
    cells, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source, inside = outside(cell.source, inside)
            if not cell.source:
                continue
        elif inside:
            continue
        cells.append(question(cell) if asked(cell) else cell)
    if inside:
        raise ValueError("a solution that does not end: need solution-end")
    notebook.cells = cells
    if "widgets" in notebook.metadata:
        keep_used(notebook)
    return notebook


def outside(markdown: str, inside: bool) -> tuple[str, bool]:
    """What of a cell's Markdown is in no solution; and whether one goes on after it."""
    lines, kept, start = markdown.split("\n"), [], 0
    for token in MARKDOWN.parse(markdown):
        name = token.info[1:].split("}")[0] if token.type == "colon_fence" and token.level == 0 else ""
        if name not in ("solution-start", "solution-end"):
            continue
        first, end = token.map
        if not inside:
            kept += lines[start:first]
        inside, start = name == "solution-start", end
    if not inside:
        kept += lines[start:]
    return "\n".join(kept).strip("\n"), inside


def question(cell: NotebookNode) -> NotebookNode:
    """The text of a question, from the output of its cell, without its answer."""
    shown = [output.data["text/markdown"] for output in cell.outputs if "text/markdown" in output.get("data", {})]
    if len(shown) != 1:
        raise ValueError(f"cell {cell.id}: a question with {len(shown)} outputs: need one; run: make outputs")
    return nbformat.v4.new_markdown_cell(sealed("".join(shown[0]), cell.id), id=cell.id)


def sealed(markdown: str, salt: str) -> str:
    """What `Question` shows, with a seal in place of the answer."""
    found = DATA.search(markdown)
    if not found:
        raise ValueError(f"question {salt}: need data-answer and data-within")
    value = html.escape(seal(found["answer"], found["within"], salt))
    attributes = f'data-sealed="{value}" data-within="{found["within"]}"'
    return ANSWER.sub("", markdown[: found.start()] + attributes + markdown[found.end() :])


def seal(answer: str, within: str, salt: str) -> str:
    """Salt, phase and width of a grid of intervals, one of which counts as right, and the hash of its number."""
    low, width = Decimal(answer) - Decimal(within), 2 * Decimal(within)
    number = int((low / width).to_integral_value(rounding="ROUND_FLOOR"))
    return f"{salt} {low - number * width:f} {width:f} {fnv(f'{salt} {number}')}"


def fnv(text: str) -> int:
    """The 32-bit FNV-1a hash: `questions.js` has it, too."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def keep_used(notebook: NotebookNode) -> None:
    """Drop the states of figures that no output shows any more."""
    states = notebook.metadata.widgets[STATE]["state"]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    todo = [output.data[VIEW]["model_id"] for output in outputs if VIEW in output.get("data", {})]
    used = set()
    while todo:
        name = todo.pop()
        if name in states and name not in used:
            used.add(name)
            todo += re.findall(r"IPY_MODEL_(\w+)", json.dumps(states[name]))
    notebook.metadata.widgets[STATE]["state"] = {name: state for name, state in states.items() if name in used}


def make_tree(root: Path = ROOT) -> Path:
    """Write the second source tree, with what the chapters printed; they must have been executed. Where it is."""
    tree = root / PLACE
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for path in root.iterdir():
        if path.is_file() and not path.name.startswith(".") and path.name != "biome.json":  # one for the whole checkout
            shutil.copy(path, tree)
    for folder in FOLDERS:
        if (root / folder).is_dir():
            shutil.copytree(root / folder, tree / folder, ignore=LEFT_OUT)
    build = tree / "_build"
    build.mkdir()
    (build / "code.sha256").write_text(digest(tree, CODE), encoding="utf8")
    for record in (root / "_build").glob("tests-*.xml"):  # for the status page
        shutil.copy(record, build)
    before, after = (get_cache(place / "_build" / ".jupyter_cache") for place in (root, tree))
    for path in notebooks(root):
        source = nbformat.read(path, as_version=4)
        whole = executed(path, root)
        copy = tree / path.relative_to(root)
        copy.write_text(text(strip(source)), encoding="utf8")
        data = before.match_cache_notebook(source).data
        bundle = CacheBundleIn(strip(whole), str(copy), data=data)
        after.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return tree
