"""The plans for teachers: every chapter has its week, and its chapters have what a week names."""

import re

import nbformat
import pytest
from chapters import ROOT, chapters
from effort import effort

PAGE = (ROOT / "book" / "teaching.md").read_text(encoding="utf8")
PLANS = {
    title: re.split(r"^### Week \d+\. ", text, flags=re.M)[1:]
    for title, text in re.findall(r"^## (Four|Twelve) weeks$(.*?)(?=^## )", PAGE, re.M | re.S)
}
WEEKS = [pytest.param(week, id=f"{plan}-{k}") for plan, weeks in PLANS.items() for k, week in enumerate(weeks, 1)]


def text(name: str) -> str:
    notebook = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4)
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_the_plans_have_their_weeks_and_the_long_one_all_chapters_in_order():
    assert {plan: len(weeks) for plan, weeks in PLANS.items()} == {"Four": 4, "Twelve": 12}
    named = re.findall(r"\{doc\}`([^`]+)`", "".join(PLANS["Twelve"]))
    assert named == [path.stem for path in chapters()]


@pytest.mark.parametrize("week", WEEKS)
def test_a_week_names_what_its_chapters_have(week):
    pages = {name: text(name) for name in re.findall(r"\{doc\}`([^`]+)`", week)}
    options = re.findall(r"^:::\{exercise\}.*\n:label: (.*)\n:class: (.*)", "\n".join(pages.values()), re.M)
    found = dict(options)
    labels = re.search(r":::\{exercise-links\}\n(.*?)\n:::", week, re.S)[1].split()
    assert len(labels) == len(set(labels)) >= 3 and set(labels) <= set(found)
    assert 20 <= sum(effort(found[label].split()).minutes for label in labels) <= 120, "what a week can hold"
    for name, sections in sections_of(week):
        headings = {re.sub("[$?]", "", heading) for heading in re.findall(r"^## (.*)$", pages[name], re.M)}
        assert set(sections) <= headings, name


def sections_of(week: str) -> list[tuple[str, list[str]]]:
    """The sections that a week names after a chapter: `{doc}`chapter`: One; Another.`"""
    found = re.findall(r"\{doc\}`([^`]+)`: ([^{]*?)[.?] (?=\{doc\}|Live)", " ".join(week.split()))
    return [(name, sections.split("; ")) for name, sections in found]


def test_the_short_plan_names_sections():
    assert sum(len(sections) for week in PLANS["Four"] for _, sections in sections_of(week)) == 14
