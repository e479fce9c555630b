"""The book's pages, read from `_toc.yml`, so that no list of chapters is kept anywhere else.

`python tools/chapters.py` prints the path of every notebook in the table of contents.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def pages(root: Path = ROOT) -> list[Path]:
    """Every page in reading order; raises FileNotFoundError for an entry that has no source file."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    return [_source(root, name) for name in (toc["root"], *_files(toc))]


def notebooks(root: Path = ROOT) -> list[Path]:
    """The pages that are notebooks: the front page and the chapters."""
    return [page for page in pages(root) if page.suffix == ".ipynb"]


def chapters(root: Path = ROOT) -> list[Path]:
    """The notebooks with a number, so not the front page, nor appendices: what the chapter contract is about."""
    numbered = chapter_numbers(root)
    return [page for page in notebooks(root) if page.stem in numbered]


def chapter_numbers(root: Path = ROOT) -> dict[str, str]:
    """The numbers that the pages carry: a chapter's name (without folder and suffix) to its number."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    numbered = [child for part in toc.get("parts", []) if part.get("numbered") for child in part["chapters"]]
    return {Path(child["file"]).stem: str(number) for number, child in enumerate(numbered, 1)}


def _files(entry: dict) -> Iterator[str]:
    for group in ("parts", "chapters", "sections"):
        for child in entry.get(group, []):
            if "file" in child:
                yield child["file"]
            yield from _files(child)


def _source(root: Path, name: str) -> Path:
    for path in (root / name, root / f"{name}.ipynb", root / f"{name}.md"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"_toc.yml names {name!r}, which has no source file")


if __name__ == "__main__":
    print(*(page.relative_to(ROOT) for page in notebooks()), sep="\n")
