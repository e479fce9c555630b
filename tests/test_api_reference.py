"""The API reference: which names it has, and which programs, equations and code spans lead to them."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
from api_reference import blocks, page, render
from docutils import nodes
from library import read_library

import dpm_lib

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = read_library(ROOT)
FILES = {
    "ARCHITECTURE.md": "| `core` | | numbers |\n| `laws` | core | laws |\n",
    "dpm_lib/__init__.py": "from dpm_lib.laws.normal import Normal\nfrom dpm_lib.laws.normal import draw as sample\n",
    "dpm_lib/core/__init__.py": "",
    "dpm_lib/core/numbers.py": '"""Numbers."""\n\ndef draw(n: int, /, a=1, *rest: int, b: "int" = 2, **other) -> int:\n'
    '    """One number (eq-one). More of it."""\n\ndef _hidden(): ...\n',
    "dpm_lib/core/_inner.py": "def inner(): ...\n",
    "dpm_lib/laws/__init__.py": "from dpm_lib.laws.normal import Normal\n",
    "dpm_lib/laws/normal.py": '''
from dataclasses import dataclass, field

@dataclass
class Normal:
    """A law.

    ``mean`` (n, d): where. {eq}`def-two`"""

    mean: float
    rows: list = field(default_factory=list)
    _seen: int = 0

    @property
    def variance(self) -> float:
        """(d,): eq-three."""

    def draw(self, n: int = 1) -> int:
        """n of them."""

def draw(law: Normal) -> int:
    """One draw, eq-one. ValueError for none."""
''',
    "book/01-first.ipynb": '{"cells": [{"cell_type": "code", "source": '
    '["from dpm_lib.laws import normal, Normal\\n", "import dpm_lib\\n", "normal.draw(Normal(2))"]},'
    ' {"cell_type": "code", "source": "dpm_lib.sample(3).draw"}, {"cell_type": "markdown", "source": ["draw"]}]}',
    "book/02-second.ipynb": '{"cells": [{"cell_type": "code", '
    '"source": "from dpm_lib.core import numbers\\nnumbers.draw"}]}',
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("library")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf8")
    return read_library(root)


def test_names_and_how_they_are_called(small):
    assert {name: entry.signature for name, entry in small.entries.items()} == {
        "core.numbers.draw": "(n: int, /, a=1, *rest: int, b: int = 2, **other) -> int",
        "laws.normal.Normal": "(mean: float, rows: list = ...)",
        "laws.normal.Normal.variance": ": float",
        "laws.normal.Normal.draw": "(n: int = 1) -> int",
        "laws.normal.draw": "(law: Normal) -> int",
    }
    assert small.packages == ["core", "laws"]
    exports = {name: entry.name for name, entry in small.exports.items()}
    assert exports == {"Normal": "laws.normal.Normal", "sample": "laws.normal.draw"}
    assert small.entries["core.numbers.draw"].summary == "One number (eq-one)."


def test_equations_lead_to_what_implements_them(small):
    found = {label: [entry.name for entry in entries] for label, entries in small.implementing.items()}
    assert found == {
        "eq-one": ["core.numbers.draw", "laws.normal.draw"],
        "def-two": ["laws.normal.Normal"],
        "eq-three": ["laws.normal.Normal.variance"],
    }
    assert small.entries["laws.normal.Normal"].labels == ["def-two", "eq-three"]


def test_chapters_are_those_whose_code_uses_a_name(small):
    assert small.chapters == {
        "laws.normal.Normal": ["01-first"],
        "laws.normal.draw": ["01-first"],
        "core.numbers.draw": ["02-second"],
    }
    only = "import dpm_lib\ndpm_lib.sample\n"
    assert small.used_by(only) == {"laws.normal.draw"}
    assert small.used_by("from numbers import draw\ndraw()") == set()


def test_a_code_span_means_one_name_or_none(small):
    assert {text: entry.name for text, entry in small.spoken.items() if not text.startswith("dpm_lib")} == {
        "Normal": "laws.normal.Normal",
        "normal.Normal": "laws.normal.Normal",
        "laws.Normal": "laws.normal.Normal",
        "laws.normal.Normal": "laws.normal.Normal",
        "Normal.draw": "laws.normal.Normal.draw",
        "normal.Normal.draw": "laws.normal.Normal.draw",
        "laws.normal.Normal.draw": "laws.normal.Normal.draw",
        "Normal.variance": "laws.normal.Normal.variance",
        "normal.Normal.variance": "laws.normal.Normal.variance",
        "laws.normal.Normal.variance": "laws.normal.Normal.variance",
        "normal.draw": "laws.normal.draw",
        "laws.normal.draw": "laws.normal.draw",
        "numbers.draw": "core.numbers.draw",
        "core.numbers.draw": "core.numbers.draw",
    }
    assert small.spoken["dpm_lib.sample"].name == "laws.normal.draw"


def test_docstrings_become_paragraphs_code_and_lists():
    text = "A law N(m, v) of ``x`` (n, d), see (eq-one).\nValueError for <none>.\n\n    a  =  b_1\n\n"
    text += "- first\n  line\n- second, :class:`Law`"
    paragraph, formula, items = render(text, "here")
    assert paragraph.astext() == "A law N(m, v) of x (n, d), see eq-one. ValueError for <none>."
    assert [code.astext() for code in paragraph.findall(nodes.literal)] == ["x", "(n, d)", "eq-one", "ValueError"]
    assert isinstance(formula, nodes.literal_block) and formula.astext() == "a  =  b_1"
    assert [item.astext() for item in items] == ["first line", "second, Law"]
    assert list(blocks("Terms:\n``a``: one.\n``b``: two,\n``c`` and more.")) == [
        ["Terms:"],
        ["``a``: one."],
        ["``b``: two,", "``c`` and more."],
    ]


# --- The library itself ---


def test_the_exports_are_those_that_python_finds():
    assert sorted(LIBRARY.exports) == sorted(dpm_lib.__all__)
    for name, entry in LIBRARY.exports.items():
        module, _, inner = f"dpm_lib.{entry.name}".rpartition(".")
        assert getattr(import_module(module), inner) is getattr(dpm_lib, name)


@pytest.mark.parametrize("package", LIBRARY.packages)
def test_the_names_are_those_that_python_finds(package):
    assert page(package) == "book/api" if package == "cli" else (ROOT / f"{page(package)}.md").is_file()
    for module in LIBRARY.package(package):
        found = {
            name: thing
            for name, thing in vars(import_module(f"dpm_lib.{module.name}")).items()
            if (inspect.isclass(thing) or inspect.isroutine(thing))
            and getattr(thing, "__module__", "") == f"dpm_lib.{module.name}"
            and not name.startswith("_")
        }
        entries = {entry.name.rpartition(".")[2]: entry for entry in module.entries}
        aliases = {name for name, thing in found.items() if getattr(thing, "__name__", name) != name}
        assert set(found) - aliases == set(entries), module.name
        for name, entry in entries.items():
            assert (entry.kind == "class") == inspect.isclass(found[name])
            assert inspect.cleandoc(found[name].__doc__) == entry.text


def test_every_equation_that_a_docstring_names_is_in_the_book():
    text = "".join(path.read_text(encoding="utf8") for path in (ROOT / "book").glob("*.ipynb"))
    labels = set(re.findall(r"\$\$ \(((?:eq|def)-[\w-]+)\)", text))
    assert set(LIBRARY.implementing) <= labels
    known = {p.name: ast.parse(p.read_text(encoding="utf8")) for p in (ROOT / "dpm_lib").rglob("*.py")}
    assert len(LIBRARY.implementing) > len(known) / 2, "few docstrings name equations"
