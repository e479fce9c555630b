"""The status page, and what all pages hold to: no chapter by a number typed by hand, no words that belittle."""

import json
import re
from pathlib import Path

import status
from chapters import ROOT, chapter_numbers, chapters, pages

WORDS = re.compile(r"\b(?:clearly|simply|obviously|trivially)\b", re.IGNORECASE)
TYPED = re.compile(r"(?<!`, )\bchapters? \d+\b", re.IGNORECASE)  # "{cite:t}`mackay2003`, chapter 29" is of another book


def prose() -> dict[str, str]:
    """The text of all pages, of README files, and the library's."""
    found = {}
    for path in pages():
        text = path.read_text(encoding="utf8")
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells)
        found[path.name] = text
    others = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "dpm_lib" / "README.md"]
    others += [path for path in (ROOT / "dpm_lib").rglob("*") if path.suffix in (".py", ".js")]
    return found | {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf8") for path in others}


def test_no_words_that_belittle_and_no_numbers_of_chapters():
    for name, text in prose().items():
        assert not WORDS.findall(text), name
        assert not TYPED.findall(text), name
    assert WORDS.search("It is Simply so.") and TYPED.search("see Chapter 7") and TYPED.search("chapters 2 and 4")


def test_a_chapter_has_the_number_of_its_page_on_disk():
    for path in chapters():
        assert int(path.name.split("-")[0]) == int(chapter_numbers()[path.stem])


def test_last_tests_are_read_and_never_invented(tmp_path):
    assert [said for _, said in status.last_tests(tmp_path)] == ["not run here yet"] * 2
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build" / "tests-pages.xml").write_text(
        '<testsuites><testsuite tests="10" skipped="1" failures="2" errors="1" time="120" timestamp="2026-03-01T1:2"/>'
        "</testsuites>"
    )
    assert status.last_tests(tmp_path)[1][1] == "6 passed, 3 failed, 1 skipped, in 2 min; 2026-03-01"


def test_a_chapter_is_counted(tmp_path: Path):
    cells = [
        ("markdown", ["$$ a $$ (eq-no)\n", "$$\n", "a\n", "$$ (eq-a)\n", "$$ (def-b)\n", ":::{exercise} One\n"]),
        ("code", "widgets.Ledger(3)\nquestions.ask('?')\n# widgets.page()"),
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": kind, "source": source} for kind, source in cells]}))
    found = {name: len(each) for name, each in status.counts(path).items()}
    assert found == {"claims": 1, "exercises": 1, "questions": 1, "figures": 1}
