"""What the front page says of a chapter, read from the chapter itself.

- Its question: the bold sentence under its title.
- What it needs: the earlier chapters that its paragraph `Assumed: ...` names. What only helps stands elsewhere.
- Its first figure's label.
- How long it takes to read: see `minutes`.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
import yaml
from chapters import ROOT, chapters
from contract import MARKDOWN, asked
from effort import effort
from markdown_it.token import Token
from nbformat import NotebookNode

WORDS_A_MINUTE = 180
OF_EQUATION, OF_CELL, OF_FIGURE = 0.5, 0.5, 2.0  # minutes
RULE = (
    f"{WORDS_A_MINUTE} words a minute, half a minute for a displayed equation and for a cell of code, and "
    f"{OF_FIGURE:g} minutes for a figure that moves. Exercises, and what is folded, are not counted."
)
LINK = re.compile(r"\{(doc|eq)\}`(?:[^`<]*<)?([^`<>]+)>?`|\]\(([\w-]+)\)")
LABEL = re.compile(r"\$\$ \(([\w-]+)\)")
FOLDED = re.compile(r"^:class:.*\bdropdown\b", re.M)


@dataclass(frozen=True)
class Facts:
    """Of one chapter. ``sections``: second-level headings, with their minutes; ``exercises``: their minutes."""

    name: str
    title: str
    question: str
    needs: tuple[str, ...]
    figure: str
    minutes: int
    sections: dict[str, float]
    exercises: tuple[int, ...]


@dataclass(frozen=True)
class Stop:
    """A chapter on a path through the book, or one section of it."""

    chapter: Facts
    section: str
    minutes: int


def texts(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def title(notebook: NotebookNode) -> str:
    return re.match(r"# (.+)", texts(notebook)[0])[1]


def question(notebook: NotebookNode) -> str:
    """ValueError where the text does not begin with one."""
    found = re.match(r"# .+\n+\*\*([^*]+\?)\*\*\n", texts(notebook)[0] + "\n")
    if not found:
        raise ValueError(f"{title(notebook)}: need a question under the title, in bold and with a question mark")
    return found[1]


def needs(notebook: NotebookNode, labels: dict[str, str], earlier: Iterable[str]) -> tuple[str, ...]:
    """The chapters that the paragraph of what is assumed names, in order; ``labels`` are the pages of equations.

    ValueError where there is no such paragraph, or where it names what is not in ``earlier``.
    """
    found = re.findall(r"^Assumed: .+(?:\n.+)*", "\n\n".join(texts(notebook)), re.M)
    if len(found) != 1:
        raise ValueError(f"{title(notebook)}: {len(found)} paragraphs begin with 'Assumed: ': need one")
    named = {labels.get(name, name) if role == "eq" else name or page for role, name, page in LINK.findall(found[0])}
    earlier = list(earlier)
    if late := sorted(named - set(earlier)):
        raise ValueError(f"{title(notebook)}: it assumes {late}: need chapters that come before it")
    return tuple(name for name in earlier if name in named)


def figures(cell: NotebookNode) -> list[str]:
    """The labels of the figures that a cell shows: what it calls with a label and a caption."""
    calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    options = [{option.arg: option.value for option in call.keywords} for call in calls]
    return [ast.literal_eval(given["label"]) for given in options if {"label", "caption"} <= set(given)]


def figure(notebook: NotebookNode) -> str:
    """The label of the first figure. ValueError where there is none."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and (labels := figures(cell)):
            return labels[0]
    raise ValueError(f"{title(notebook)}: need a figure, with a label and a caption")


def sections(notebook: NotebookNode) -> dict[str, float]:
    """Minutes of each section, by its heading; what stands before the first one has the name ''."""
    spent, here, solving = {"": 0.0}, "", False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if not solving and not asked(cell):
                spent[here] += OF_FIGURE * len(figures(cell)) or OF_CELL
            continue
        for heading, minutes, now_solving in _pieces(MARKDOWN.parse(cell.source), solving):
            solving = now_solving
            if heading:
                here = heading
                spent.setdefault(here, 0.0)
            spent[here] += minutes
    return spent


def _pieces(tokens: list[Token], solving: bool) -> Iterator[tuple[str, float, bool]]:
    """Of each token: the heading that it is, its minutes, and whether a solution goes on after it."""
    for position, token in enumerate(tokens):
        head = re.match(r"\{([\w:-]+)\}", token.info.strip()) if token.type == "colon_fence" else None
        if head and head[1] in ("solution-start", "solution-end"):
            solving = head[1] == "solution-start"
        elif solving:
            pass
        elif head:
            if head[1] != "exercise" and not FOLDED.search(token.content):
                body = re.sub(r"\A(?::[\w-]+:.*\n)+", "", token.content)
                yield "", sum(minutes for _, minutes, _ in _pieces(MARKDOWN.parse(body), False)), solving
        elif token.type.startswith("math_block"):
            yield "", OF_EQUATION, solving
        elif token.type == "inline":
            words = re.sub(r"\$[^$]+\$|\{[\w:-]+\}`[^`]*`", "x", token.content).split()
            second = position and tokens[position - 1].type == "heading_open" and tokens[position - 1].tag == "h2"
            yield token.content if second else "", len(words) / WORDS_A_MINUTE, solving
    yield "", 0.0, solving


def minutes(parts: Iterable[float]) -> int:
    """Together, to five minutes, or to one below ten."""
    total = sum(parts)
    return max(1, round(total)) if total < 10 else 5 * round(total / 5)


def of_chapter(path: Path, labels: dict[str, str], earlier: Iterable[str]) -> Facts:
    """ValueError where the chapter does not say one of them."""
    notebook = nbformat.read(path, as_version=4)
    spent = sections(notebook)
    return Facts(
        path.stem,
        title(notebook),
        question(notebook),
        needs(notebook, labels, earlier),
        figure(notebook),
        minutes(spent.values()),
        spent,
        exercises(notebook),
    )


def exercises(notebook: NotebookNode) -> tuple[int, ...]:
    """The minutes of each."""
    classes = re.findall(r"^:{3,}\{exercise\}.*\n(?:^:label:.*\n)?^:class: (.*)$", "\n".join(texts(notebook)), re.M)
    return tuple(effort(words.split()).minutes for words in classes)


@cache
def book(root: Path = ROOT) -> dict[str, Facts]:
    """The chapters by their names, in the order of the book. ValueError, with all that is missing."""
    labels, found, faults = {}, {}, []
    for path in chapters(root):
        source = "\n".join(texts(nbformat.read(path, as_version=4)))
        labels |= dict.fromkeys(LABEL.findall(source), path.stem)
        try:
            found[path.stem] = of_chapter(path, labels, found)
        except ValueError as fault:
            faults.append(str(fault))
    if faults:
        raise ValueError("\n".join(faults))
    return found


def stops(body: str, root: Path = ROOT) -> list[Stop]:
    """A path, of which each line is `chapter` or `chapter: Heading of a section`.

    ValueError for what the book does not have.
    """
    known, found = book(root), []
    for line in filter(None, map(str.strip, body.splitlines())):
        name, _, heading = line.partition(": ")
        if name not in known or (heading and heading not in known[name].sections):
            raise ValueError(f"path: {line!r}: need a chapter, or a chapter and the heading of one of its sections")
        else:
            facts = known[name]
            found.append(Stop(facts, heading, minutes([facts.sections[heading]]) if heading else facts.minutes))
    return found


def direct(known: dict[str, Facts]) -> dict[str, tuple[str, ...]]:
    """What each chapter needs, without what those chapters need already."""
    all_needs: dict[str, set[str]] = {}
    for name, facts in known.items():  # the needs of a chapter come before it
        all_needs[name] = set(facts.needs).union(*(all_needs[need] for need in facts.needs))
    implied = {name: set().union(*(all_needs[need] for need in facts.needs)) for name, facts in known.items()}
    return {name: tuple(n for n in facts.needs if n not in implied[name]) for name, facts in known.items()}


def listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def duration(total: int) -> str:
    """Minutes as one says them."""
    return f"{total} minutes" if total < 100 else f"{round(total / 60)} hours"


def whole(root: Path = ROOT) -> str:
    """What it takes to work through all of the book."""
    known = book(root).values()
    effort = [minutes for facts in known for minutes in facts.exercises]
    reading = duration(sum(facts.minutes for facts in known))
    return (
        f"All {len(known)} chapters in their order: about {reading} of reading, and {len(effort)} exercises, which "
        f"take about {duration(sum(effort))}."
    )


def citation(year: str, url: str = "", root: Path = ROOT) -> tuple[str, str]:
    """How to cite the book, from CITATION.cff: as a sentence, and as BibTeX."""
    given = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf8"))
    people = [
        (f"{a['family-names']}, {a['given-names']}", f"{a['given-names']} {a['family-names']}")
        if "family-names" in a
        else (f"{{{a['name']}}}", a["name"])
        for a in given["authors"]
    ]
    words = f"{', '.join(name for _, name in people)}: {given['title']}. Version {given['version']}, {year}."
    fields = {
        "author": " and ".join(name for name, _ in people),
        "title": f"{{{given['title']}}}",
        "year": year,
        "note": f"Version {given['version']}",
    } | ({"url": url} if url else {})
    key = "-".join(re.findall(r"[a-z]+", given["title"].lower()))
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"{words} {url}".strip(), f"@misc{{{key},\n{lines}}}"
