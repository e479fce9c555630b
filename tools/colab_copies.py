"""Copy the notebooks for Colab: `python tools/colab_copies.py OUTDIR`.

A copy differs from its original by one first cell, which fetches the repository at the commit being built,
installs its library, and goes to the chapter's folder. The Pages workflow publishes the copies on the branch
`colab`.
"""

import subprocess
import sys
from pathlib import Path

import nbformat
from chapters import ROOT, notebooks

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from launch import COMMIT, Repository, find_repository

SETUP = """\
# On Colab: fetch the book at the commit this copy was made from, and install its library (about a minute).
!git init -q book-source
!git -C book-source fetch -q --depth 1 {url} {commit}
!git -C book-source checkout -q FETCH_HEAD
%pip install -q ./book-source
%cd book-source/{folder}"""


def colab_copy(notebook: nbformat.NotebookNode, repository: Repository, folder: str) -> nbformat.NotebookNode:
    """The notebook with the installing cell in front."""
    source = SETUP.format(url=repository.url, commit=repository.commit, folder=folder)
    copy = nbformat.from_dict(notebook)
    copy.cells.insert(0, nbformat.v4.new_code_cell(source, id="colab-setup"))
    return copy


def write_copies(out: Path, repository: Repository, root: Path = ROOT) -> None:
    for path in notebooks(root):
        target = out / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = path.parent.relative_to(root).as_posix()
        nbformat.write(colab_copy(nbformat.read(path, as_version=4), repository, folder), target)


def main(arguments: list[str]) -> str | None:
    repository = find_repository()
    if len(arguments) != 1:
        return "usage: python tools/colab_copies.py OUTDIR"
    if repository is None:
        return "The repository's address is not known: set GITHUB_REPOSITORY, or a git remote on github.com."
    if not COMMIT.fullmatch(repository.commit):
        head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
        repository = Repository(repository.owner, repository.name, head.stdout.strip())
    if not COMMIT.fullmatch(repository.commit):
        return "The commit is not known: set GITHUB_SHA, or commit first."
    write_copies(Path(arguments[0]), repository)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
