"""The appendix on notation: a letter with several meanings stands in the formulas of each chapter that is named."""

import re

import nbformat
import pytest
from chapters import ROOT

MATHS = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.S)
DOC = re.compile(r"\{doc\}`([\w-]+)`")


def markdown(name: str) -> str:
    cells = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def rows() -> list[tuple[str, str]]:
    """The letter and the meanings of each row."""
    table = markdown("notation").partition("## One letter, several meanings")[2].partition("\n## ")[0]
    return re.findall(r"^\| \$([^$]+)\$ \| (.+) \|$", table, re.M)


def has(letter: str, formula: str) -> bool:
    formula = re.sub(r"\\(?:mathrm|text|mathsf|mathcal|mathbb|operatorname)(?:\{[^}]*\}| \w)", " ", formula)
    end = r"(?![A-Za-z])"
    if letter.startswith("\\"):
        return bool(re.search(re.escape(letter) + end, formula))
    return bool(re.search(rf"(?<![A-Za-z\\]){letter}{end}", re.sub(r"\\[A-Za-z]+", " ", formula)))


@pytest.mark.parametrize(("letter", "meanings"), rows(), ids=lambda value: value if len(value) < 9 else "")
def test_a_letter_with_several_meanings_stands_in_the_chapters_named(letter, meanings):
    named = DOC.findall(meanings)
    assert len(set(named)) > 1
    for name in named:
        formulas = [a or b for a, b in MATHS.findall(markdown(name))]
        assert any(has(letter, formula) for formula in formulas), name


def test_the_letters_that_readers_asked_for_are_there():
    letters = [letter for letter, _ in rows()]
    assert len(letters) == len(set(letters)) > 20
    assert {"K", "r", r"\rho", r"\lambda", r"\tau", "Q", "w", "t"} <= set(letters)


@pytest.mark.parametrize(
    ("letter", "formula", "found"),
    [
        ("K", r"D_{KL}", False),
        ("K", r"\log K_t", True),
        ("t", r"\sqrt t", True),
        ("t", r"\tau", False),
        ("D", r"\mathcal D", False),
        (r"\rho", r"2\rho_1", True),
        ("s", r"\mathrm{s}", False),
    ],
)
def test_a_letter_is_told_from_words(letter, formula, found):
    assert has(letter, formula) is found
