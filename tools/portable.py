"""Do the checked numbers survive another machine? `make portable`, or

    python tools/portable.py [--kind NAME ...] [--amplitude A] [--tests] [NOTEBOOK or TEST ...]

runs the notebooks named (without any, all in the table of contents) once under each kind of arithmetic, and lists
every number in the output of a cell tagged `nbval-check-output` that is not the one in the notebook. With `--tests`
it runs the tests too, and lists those that fail. The exit status is 1 if anything is listed.

A number that moves has digits that nobody can know, or stands at a rounding edge: print fewer digits, its error
beside it, or a comparison with a bound. Where draws are accepted or thrown away, the last bit decides in the end on
all that follows, so what is printed there must hold for other draws as well.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import torch
from chapters import ROOT, notebooks
from contract import CHECKED, tags
from nbclient import NotebookClient
from nbformat import NotebookNode

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|inf|nan)(?!\w)", re.I)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def kinds(amplitude: float = 0.0) -> dict[str, dict[str, str]]:
    """The kinds of arithmetic that this machine can play: their names, and what each sets in the environment."""
    newer = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    old = {
        "ATEN_CPU_CAPABILITY": "default",  # PyTorch
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",  # NumPy and SciPy
        "NPY_DISABLE_CPU_FEATURES": " ".join(newer),
    }
    listed = {"plain": {}, "old": old}
    best = torch.backends.cpu.get_cpu_capability()
    for name in ("AVX2", "AVX512"):
        if best in (name, "AVX512"):
            listed[name.lower()] = {"ATEN_CPU_CAPABILITY": name.lower(), "MKL_CBWR": name}
    listed["threads"] = dict.fromkeys(THREADS, "2")
    listed["no-onednn"] = {"PORTABLE_ONEDNN": "off"}
    for seed in (1, 2):
        listed[f"jitter-{seed}"] = {"PORTABLE_JITTER": f"{seed} {amplitude}"}
    return listed


def environment(changes: dict[str, str]) -> dict[str, str]:
    """That of a process that computes in one kind: one thread, unless the kind says more."""
    path = os.pathsep.join(filter(None, (str(ROOT / "tools"), str(ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": path} | changes


def moved(stored: str, found: str) -> Iterator[str]:
    """What differs between two outputs: the numbers, where the words around them agree, and else the lines."""
    before, after = stored.splitlines(), found.splitlines()
    if len(before) != len(after):
        yield f"{len(before)} lines -> {len(after)} lines"
    for number, (old, new) in enumerate(zip(before, after, strict=False), 1):
        if NUMBER.sub("", old).split() == NUMBER.sub("", new).split():
            pairs = zip(NUMBER.findall(old), NUMBER.findall(new), strict=True)
            changes = [f"{a} -> {b}" for a, b in pairs if a != b]
        else:
            changes = [] if old == new else [f"{old!r} -> {new!r}"]
        if changes:
            yield f"line {number}: {', '.join(changes)}"


def printed(outputs: list[NotebookNode]) -> str:
    """The text of a cell's outputs: of a table, its HTML."""
    shown = (out.get("data", {}) for out in outputs)
    rich = (data.get("text/html") or data.get("text/plain", "") for data in shown)
    return "".join(out.get("text") or text for out, text in zip(outputs, rich, strict=True))


def failures(outputs: list[NotebookNode]) -> Iterator[str]:
    for out in outputs:
        if out.output_type == "error":
            yield f"{out.ename}: {out.evalue}".splitlines()[0]


def check_notebook(path: Path, changes: dict[str, str]) -> Iterator[str]:
    """What moves in the checked cells of a notebook, and the cells that fail, under one kind of arithmetic."""
    stored = nbformat.read(path, as_version=4)
    found = nbformat.from_dict(stored)
    found.cells.insert(0, nbformat.v4.new_code_cell("import arithmetic"))
    options = {"timeout": 3600, "allow_errors": True, "coalesce_streams": True}
    NotebookClient(found, resources={"metadata": {"path": path.parent}}, **options).execute(env=environment(changes))
    pairs = zip(stored.cells, found.cells[1:], strict=True)
    for number, (cell, run) in enumerate((pair for pair in pairs if pair[0].cell_type == "code"), 1):
        for what in failures(run.outputs):
            yield f"cell [{number}]: {what}"
        if CHECKED in tags(cell):
            for what in moved(printed(cell.outputs), printed(run.outputs)):
                yield f"cell [{number}], {what}"


def check_tests(names: list[str], changes: dict[str, str]) -> Iterator[str]:
    """The tests that fail under one kind of arithmetic."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "arithmetic", "--tb=line", "-rfE", "--ignore=tests/browser"]
    done = subprocess.run([*command, *names], cwd=ROOT, env=environment(changes), capture_output=True, text=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    yield from failed
    if done.returncode and not failed:
        yield f"pytest ended with {done.returncode}: {(done.stdout + done.stderr).strip().splitlines()[-1:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks, and with --tests tests as well; without any, all")
    parser.add_argument("--kind", action="append", help="one kind of arithmetic; may be repeated. Without it, all")
    parser.add_argument(
        "--amplitude", type=float, default=0.0, help="of the jitter, where it is more than the last bit"
    )
    parser.add_argument("--tests", action="store_true", help="run the tests too")
    given = parser.parse_args()
    every, count = kinds(given.amplitude), 0
    for kind in given.kind or []:
        if kind not in every:
            parser.error(f"kind: {kind!r}: need one of {', '.join(every)}")
    books = [Path(name) for name in given.names if name.endswith(".ipynb")]
    tests = [name for name in given.names if not name.endswith(".ipynb")]
    for kind in given.kind or every:
        for path in books or ([] if tests else notebooks()):
            for what in check_notebook(path, every[kind]):
                count += 1
                print(f"{kind}: {path.name}, {what}", flush=True)
        for what in check_tests(tests, every[kind]) if given.tests and (tests or not books) else ():
            count += 1
            print(f"{kind}: {what}", flush=True)
        print(f"{kind}: done", flush=True)
    print(f"{count} differences" if count else "nothing moved")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
