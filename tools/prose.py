"""The book's own prose as data: python tools/prose.py

Takes the text of the chapters, leaves out code, formulas, tables and directives, and writes book/results/prose.txt, a
part for each chapter under a line "=== slug", and book/results/prose.json, which says where it comes from. What is no
prose but stands in a sentence (a formula, a name from code, a reference) becomes one *. The file is committed, and is
not made anew when a chapter is edited: numbers that were measured on it stay what they are.
"""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

from chapters import ROOT, chapters

from dpm_lib.core import files, results
from dpm_lib.data.text import ALPHABET

SPELLED = {"–": "-", "—": "-", "−": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "…": "...", "×": "x", "!": "."}
FORMULA = "*"
RESULTS = ROOT / "book" / "results"


def plain(markdown: str) -> list[str]:
    """The paragraphs of a cell, in the characters of ``ALPHABET``."""
    text = re.sub(
        r"^(`{3,}|:{3,}\{(?:math|list-table|figure|image)\})[^\n]*\n.*?^(`{3,}|:{3,})\s*$",
        "",
        markdown,
        flags=re.M | re.S,
    )
    text = re.sub(r"<!--.*?-->|</?[a-z][^>]*>", "", text, flags=re.S)
    text = re.sub(r"^\$\$.*?\$\$[ \t]*(\([\w-]+\))?", "\n", text, flags=re.M | re.S)
    text = re.sub(r"^:{3,}\{solution-(?:start|end)\}.*$", "", text, flags=re.M)
    text = re.sub(r"^:{3,}(?:\{[\w-]+\})?(.*)$", r"\n\1\n", text, flags=re.M)  # the title of a box stays
    text = re.sub(r"^:[\w-]+:.*$", "", text, flags=re.M)
    text = re.sub(r"^\s*\|.*\|\s*$|^\([\w-]+\)=$|^-{3,}$", "", text, flags=re.M)
    text = re.sub(r"\{[\w:-]+\}`[^`]*`|\$[^$]*\$|`[^`]*`", FORMULA, text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"\1", text)
    text = re.sub(r"(?<![\w*])\*(?=\w)([^*\n]+)(?<=[\w.!?'\")])\*(?![\w*])", r"\1", text)
    text = re.sub(r"^[ \t]*(?:#+|[-*] |\d+\. |>)(.*)$", r"\n\1\n", text, flags=re.M)
    text = "".join(SPELLED.get(c, c) for c in text)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).lower()
    paragraphs = []
    for part in re.split(r"\n\s*\n", text):
        line = " ".join("".join(c if c in ALPHABET else FORMULA for c in re.sub(r"\s+", " ", part)).split())
        line = re.sub(r"\*(?:[\s*]*\*)+", FORMULA, line)
        if sum(c.isalpha() for c in line) > 12:
            paragraphs.append(line)
    return paragraphs


def chapter(path: Path) -> str:
    """The prose of a notebook, a line for each paragraph."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return "\n".join(line for text in texts for line in plain(text))


def main() -> None:
    """Write both files."""
    parts = {re.sub(r"^\d+-", "", path.stem): chapter(path) for path in chapters()}
    text = "".join(f"=== {slug}\n{prose}\n" for slug, prose in parts.items())
    files.write_atomically(RESULTS / "prose.txt", text.encode("ascii"))
    record: dict[str, Any] = {
        "about": "prose of this book, CC BY 4.0; * stands for a formula, a name from code, or a reference",
        "alphabet": ALPHABET,
        "characters": {slug: len(prose) + 1 for slug, prose in parts.items()},
        "provenance": results.provenance("python tools/prose.py"),
    }
    files.save_json(RESULTS / "prose.json", record)


if __name__ == "__main__":
    main()
