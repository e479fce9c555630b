"""Build the book with warnings as errors.

The chapters whose code changed are executed first (`execution.py`). Sphinx then rebuilds a page when its source
changed; it does not look at what the cells import, nor at the extensions. So a change in these, or a build that failed,
rebuilds every page. Where nothing changed but scripts and styles, these are written anew, and Sphinx is not asked.

With SOLUTIONS=0 in the environment it builds the book without solutions, elsewhere (`without_solutions.py`).
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
from chapters import ROOT, notebooks
from execution import CODE, digest, execute, stale
from figure_files import write
from launch import find_repository
from without_solutions import PLACE, make_tree

SHARED = ("book/_ext/**/*.py", "tools/notebook_copies.py", "tools/facts.py", "_*.yml", "CITATION.cff")
SOURCES = ("book/*.ipynb", "book/*.md", "book/*.bib", "tests/**/*.py")  # the tests: pages name those of an equation


def run_chapters(root: Path) -> list[str]:
    """Execute the chapters whose code changed; the names of those that failed, after the cell and its error."""
    failed = []
    for path, result in execute(notebooks(root), root):
        name = path.relative_to(root).as_posix()
        print(f"{name}: {'executed' if result.err is None else 'failed'}, {result.time:.0f} s", flush=True)
        if result.err is not None:
            print(result.exc_string, file=sys.stderr, flush=True)
            failed.append(name)
    return failed


def build(root: Path, extra: list[str]) -> int:
    """Run the chapters, then Jupyter Book on `root`; its exit status."""
    print("Building the book. Chapters whose code changed are executed first.", flush=True)
    if failed := run_chapters(root):
        print(f"No book was built: {', '.join(failed)} failed, see above.", file=sys.stderr)
        return 1
    if not solutions():
        return build_without(root, extra)
    pages, stamp = digest(root, CODE + SHARED), root / "_build" / "pages.sha256"
    whole, last = f"{digest(root, CODE + SHARED + SOURCES)} {find_repository()}", root / "_build" / "book.sha256"
    if extra in ([], ["-q"]) and not stale(last, whole) and (root / "_build" / "html" / "index.html").exists():
        write(root / "_build" / "html")
        print("No page changed. Scripts and styles are written anew.")
        return 0
    fresh = ["--all"] if stale(stamp, pages) else []
    stamp.unlink(missing_ok=True)
    last.unlink(missing_ok=True)
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    options = ["-W", "-n", "--keep-going", *fresh, *extra]
    status = subprocess.run([jupyter_book, "build", str(root), *options], cwd=root).returncode
    if status == 0:
        stamp.write_text(pages, encoding="utf8")
        last.write_text(whole, encoding="utf8")
    return status


def solutions() -> bool:
    return os.environ.get("SOLUTIONS", "1") != "0"


def site(root: Path = ROOT) -> Path:
    """Where the pages are."""
    return (root if solutions() else root / PLACE) / "_build" / "html"


def build_without(root: Path, extra: list[str]) -> int:
    """Build the book without its solutions, and without a way to the repository, which has them."""
    tree = make_tree(root)
    environment = {name: value for name, value in os.environ.items() if name != "GITHUB_REPOSITORY"}
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", str(tree), "-W", "-n", "--keep-going", *extra]
    return subprocess.run(command, cwd=tree, env=environment).returncode


if __name__ == "__main__":
    status = build(ROOT, sys.argv[1:])
    if status == 0:
        print(f"\nThe book: {site() / 'index.html'}")
        if solutions():
            print("To read it in a browser: make serve")
        if solutions() and not find_repository():
            print("Its pages have no Colab and Binder buttons: its git remote names no repository on github.com.")
    sys.exit(status)
