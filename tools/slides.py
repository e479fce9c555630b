"""Slides for lectures, out of the chapters: `make slides`.

What stands on a slide is tagged in the notebook: `slide` opens one, `slide-continue` adds to the one before. Of a code
cell it is the output, live figures among it (and the code, if the cell's metadata `slide` names `code`). Of a cell of
text it is what the metadata `slide` lists: labels, for an equation or a theorem, and words that occur in one sentence,
for that sentence; `# Words` in place of the heading as title; `---` between slides. So nothing is written twice. The
slides are taken from the built pages, with all that a page shows; each chapter becomes one file that needs no other.
"""

import html
import json
import re
import sys
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, NavigableString, PageElement, Tag
from built_page import HTML, STATE, VIEW, BuiltPage, NoBook, read_page, words
from chapters import ROOT, chapter_numbers, chapters
from chromium import NoChromium, chromium
from contract import tags
from nbformat import NotebookNode

from dpm_lib.figures.scripts import NAMED_SCRIPT, NAMED_SHEETS, bundle, sheet

OUT = ROOT / "_build" / "slides"
STATIC = ROOT / "book" / "_static"
OPENS, CONTINUES = "slide", "slide-continue"
GONE = "a.headerlink, .equation-mark, details.hide, button, style"
BLOCKS = "p, div.math, table, .admonition, .proof, h1, h2, h3"

MEASURE = "() => window.slides.fitAll()"  # book/_static/slides.js
INDEX = """\
<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Slides for lectures</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ max-width: 40rem; margin: 2rem auto; padding: 0 1rem; font: 1.1rem/1.6 system-ui, sans-serif; }}
html {{ color-scheme: light dark; }}
li {{ padding: 0.4rem 0; list-style: none; }}
</style></head><body>
<h1>Slides for lectures</h1>
<p>One file for each chapter. Its figures move, and it needs no network and no other file. Keys: arrows and space turn
the slides, also Home and End; O lists them; F fills the screen; D is dark; N shows the legends of figures. Printed,
each slide is a page.</p>
<ul>{}</ul></body></html>
"""


class SlideError(ValueError):
    """A tagged cell whose slide cannot be made."""


@dataclass
class Slide:
    title: str
    parts: list[Tag] = field(default_factory=list)


# Sentences


def plain(text: str) -> str:
    """Words as one would type them."""
    return " ".join(text.translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"', 0xA0: " "}).split())


def sentences(paragraph: Tag) -> list[list[PageElement]]:
    """The sentences of a paragraph, each as what it consists of."""
    found: list[list[PageElement]] = [[]]
    said = ""
    for child in paragraph.children:
        if not isinstance(child, NavigableString):
            if re.search(r"[.?!][)”\"]?\s+$", said):
                found.append([])
            found[-1].append(child)
            said = child.get_text()
            continue
        # The dot may be within what stood before: after a formula it is.
        pieces = re.split(r"(?<=[.?!])([)”\"]?)\s+(?=[A-Z(“\"0-9])", said[-1:] + str(child))
        text = pieces[0][len(said[-1:]) :]
        found[-1].append(NavigableString(text))
        for mark, piece in zip(pieces[1::2], pieces[2::2], strict=True):
            found[-1].append(NavigableString(mark))
            found.append([NavigableString(piece)])
        said = str(child) or said
    return [sentence for sentence in found if said_by(sentence)]


def said_by(sentence: list[PageElement]) -> str:
    return plain("".join(part.get_text() if isinstance(part, Tag) else str(part) for part in sentence))


# A chapter


class Chapter:
    """A notebook beside its page: ``texts[k]`` are the blocks of text before the code cell ``k`` and after the last."""

    def __init__(self, notebook: NotebookNode, page: BuiltPage) -> None:
        self.notebook, self.page = notebook, page
        self.cells: list[Tag] = []
        self.texts: list[list[Tag]] = [[]]
        self.headings: dict[int, str] = {}  # of each block, by its id()
        heading = page.title
        for tag in page.article.find_all(True):
            within = any(tag is cell or cell in tag.parents for cell in self.cells[-1:])
            if "cell" in tag.get("class", []) and not within:
                self.cells.append(tag)
                self.texts.append([])
            elif within or not tag.css.match(BLOCKS) or "equation-mark" in tag.get("class", []):
                continue
            elif tag.name in ("h1", "h2", "h3"):
                heading = words(tag)
            else:
                self.headings[id(tag)] = heading
                self.texts[-1].append(tag)

    def places(self) -> Iterator[tuple[NotebookNode, int]]:
        """Each cell with the number of code cells on the page before it."""
        count = 0
        for cell in self.notebook.cells:
            shown = cell.cell_type == "code" and "remove-cell" not in tags(cell)
            yield cell, count
            count += shown
        if count != len(self.cells):
            raise SlideError(f"{self.page.name}: {len(self.cells)} code cells on the page, {count} in the notebook")

    def slides(self) -> list[Slide]:
        """Raises `SlideError`, which names chapter and cell."""
        made: list[Slide] = []
        for number, (cell, place) in enumerate(self.places()):
            if not {OPENS, CONTINUES} & tags(cell):
                continue
            where = f"{self.page.name}: cell {number}"
            listed = list(cell.metadata.get("slide", []))
            opens = OPENS in tags(cell)
            if not made and not opens:
                raise SlideError(f"{where}: {CONTINUES}: need a slide before it")
            if cell.cell_type == "code":
                if opens:
                    made.append(Slide(made[-1].title if made else self.page.title))
                self.code(made[-1], listed, self.cells[place], where)
                continue
            if not listed:
                raise SlideError(f"{where}: slide: need a list of labels and words in its metadata")
            for item in listed:
                if item == "---" or (opens and item is listed[0]):
                    made.append(Slide(""))
                if item.startswith("# "):
                    made[-1].title = item[2:]
                elif item != "---":
                    self.text(made[-1], item, place, where)
        return made

    def code(self, slide: Slide, listed: list[str], cell: Tag, where: str) -> None:
        for item in listed:
            if item.startswith("# "):
                slide.title = item[2:]
            elif item != "code":
                raise SlideError(f"{where}: slide: {item!r}: need 'code' or a title in a cell of code")
        if "code" in listed:
            slide.parts += [cleaned(part) for part in cell.select(".cell_input")]
        outputs = [cleaned(part) for part in cell.select(".cell_output")]
        if not outputs and "code" not in listed:
            raise SlideError(f"{where}: slide: need a cell that shows something")
        slide.parts += outputs

    def text(self, slide: Slide, item: str, place: int, where: str) -> None:
        """Put the block with this label, or the sentence with these words, on the slide."""
        blocks = self.texts[place]
        for block in blocks:
            names = {block.get("id"), *(tag.get("id") for tag in block.find_all("span", id=True, recursive=False))}
            if names & {item, f"equation-{item}"}:
                slide.title = slide.title or self.headings[id(block)]
                slide.parts.append(cleaned(block))
                return
        found = [
            (block, sentence)
            for block in blocks
            if block.name == "p" and not block.find_parent("table")
            for sentence in sentences(block)
            if plain(item) in said_by(sentence)
        ]
        if not found:
            tables = [block for block in blocks if block.name == "table" and plain(item) in plain(block.get_text(" "))]
            if len(tables) == 1:
                slide.title = slide.title or self.headings[id(tables[0])]
                slide.parts.append(cleaned(tables[0]))
                return
        if len(found) != 1:
            raise SlideError(f"{where}: slide: {item!r}: need a label, or words of one sentence; {len(found)} have it")
        block, sentence = found[0]
        slide.title = slide.title or self.headings[id(block)]
        self.say(slide, block, sentence)

    @staticmethod
    def say(slide: Slide, block: Tag, sentence: list[PageElement]) -> None:
        """A sentence after another of its paragraph goes on in that; one of a list becomes an item."""
        soup = BeautifulSoup("", "html.parser")
        last = slide.parts[-1] if slide.parts else None
        name = "li" if block.find_parent("li") else "p"
        if name == "li" and (last is None or last.name != "ul"):
            last = soup.new_tag("ul")
            slide.parts.append(last)
        if name == "p" and last is not None and last.get("data-from") == str(id(block)):
            last.append(" ")
            paragraph = last
        elif name == "li":
            assert last is not None
            items = last.find_all("li", recursive=False)
            if items and items[-1].get("data-from") == str(id(block)):
                paragraph = items[-1]
                paragraph.append(" ")
            else:
                paragraph = soup.new_tag("li", attrs={"data-from": str(id(block))})
                last.append(paragraph)
        else:
            paragraph = soup.new_tag("p", attrs={"data-from": str(id(block))})
            slide.parts.append(paragraph)
        paragraph.extend(copy(part) for part in sentence)
        clean(paragraph)


def cleaned(tag: Tag) -> Tag:
    new = copy(tag)
    clean(new)
    return new


def clean(tag: Tag) -> None:
    """Take off what a slide does not need: links into the book, marks, folded code."""
    for gone in tag.select(GONE):
        gone.decompose()
    for script in tag.find_all("script"):
        if script.get("type") != VIEW:
            script.decompose()
    for link in tag.find_all("a", href=True):
        if not re.match(r"https?:", str(link["href"])):
            link.unwrap()
    for named in tag.find_all(id=True):
        if not named.find_parent("svg") and named.name != "svg":
            del named["id"]
    if tag.name != "svg" and "id" in tag.attrs:
        del tag["id"]


# Files


def body(slide: Slide) -> str:
    """The slide as HTML; beside a figure or a picture, text stands in a column of its own."""
    for tag in (tag for part in slide.parts for tag in (part, *part.find_all(attrs={"data-from": True}))):
        tag.attrs.pop("data-from", None)
    shown = [part for part in slide.parts if "cell_output" in part.get("class", []) and part.select("img, script, svg")]
    text = [part for part in slide.parts if not any(part is other for other in shown)]
    columns = "".join(
        f'<div class="slide-{name}">{"".join(map(str, parts))}</div>'
        for name, parts in (("text", text), ("figure", shown))
        if parts
    )
    kind = "slide-both" if text and shown else "slide-one"
    return f'<h2>{html.escape(slide.title)}</h2><div class="slide-body {kind}">{columns}</div>'


def script_text(text: str) -> str:
    return text.replace("</", r"<\/")


def deck(chapter: Chapter, title: str, book: str, font: str, pygments: str) -> str:
    """The slides of a chapter in one file. Raises `SlideError`."""
    slides = [body(slide) for slide in chapter.slides()]
    used = set(re.findall(r'"model_id": ?"(\w+)"', "".join(slides)))
    states = {name: chapter.page.states[name] for name in needed(used, chapter.page.states)}
    scripts, sheets = {}, {}
    for record in states.values():
        if found := NAMED_SCRIPT.match(record["state"].get("_esm", "")):
            scripts[found[1]] = bundle(found[1])
        if found := NAMED_SHEETS.match(record["state"].get("_css", "")):
            sheets |= dict.fromkeys(found[1].split())
            record["state"]["_css"] = ""
    styles = [font, pygments, sheet(*sheets), *((STATIC / n).read_text("utf8") for n in ("book.css", "slides.css"))]
    sections = "".join(
        f'<section class="slide" id="{k}" aria-label="Slide {k} of {len(slides)}">{slide}'
        f"<footer>{html.escape(title)}<span>{k}</span></footer></section>"
        for k, slide in enumerate(slides, 1)
    )
    texts = json.dumps(scripts)
    state = json.dumps({"version_major": 2, "version_minor": 0, "state": states})
    figures, equations, show = ((STATIC / n).read_text("utf8") for n in ("figures.js", "equations.js", "slides.js"))
    # A script in the page has no address of its own; with all texts there already, none is asked for.
    figures = figures.replace("document.currentScript.src", "location.href")
    return (
        '<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}: slides</title><meta name='author' content='{html.escape(book)}'>"
        f"<style>{''.join(styles)}</style><script>window.dpmFigures = {script_text(texts)};</script>"
        f"<script>{script_text(figures)}</script></head>"
        f'<body><main class="slides bd-article">{sections}</main>'
        f'<script type="{STATE}">{script_text(state)}</script>'
        f"<script>{script_text(equations)}</script><script>{script_text(show)}</script></body></html>"
    )


def needed(used: set[str], states: dict) -> list[str]:
    """The widgets of these slides, and those that they refer to, and links between them."""
    names = [name for name in states if name in used]
    text = {name: json.dumps(record["state"]) for name, record in states.items()}
    links = [name for name in states if "Link" in states[name].get("model_name", "")]
    more = [name for name in links if any(f"IPY_MODEL_{one}" in text[name] for one in names)]
    return [*names, *more]


def make(out: Path = OUT, root: Path = ROOT, site: Path = HTML) -> dict[str, int]:
    """Write the slides of each chapter, and a page that lists them; their numbers. Raises `NoBook`, `SlideError`."""
    out.mkdir(parents=True, exist_ok=True)
    numbers, counts, rows = chapter_numbers(root), {}, []
    font = (site / "_static" / "mathematics.css").read_text("utf8")
    pygments = (site / "_static" / "pygments.css").read_text("utf8")
    for path in chapters(root):
        page = read_page(site / path.relative_to(root).with_suffix(".html"), site)
        chapter = Chapter(nbformat.read(path, as_version=4), page)
        counts[path.stem] = len(chapter.slides())
        if not counts[path.stem]:
            continue
        text = deck(chapter, page.title, "", font, pygments)
        (out / f"{path.stem}.html").write_text(text, encoding="utf8")
        rows.append(f'<li><a href="{path.stem}.html">{html.escape(page.title)}</a> ({counts[path.stem]} slides)</li>')
    assert set(counts) == set(numbers)
    index = INDEX.format("".join(rows))
    (out / "index.html").write_text(index, encoding="utf8")
    return counts


def too_full(paths: list[Path]) -> list[str]:
    """The slides of these files that do not show all of themselves at 1280 x 720. Raises `NoChromium`."""
    found = []
    with chromium() as browser:
        for path in paths:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(path.as_uri())
            fits = page.evaluate(MEASURE)
            found += [f"{path.stem}: slide {k} is {fit}" for k, fit in enumerate(fits, 1) if fit != "fits"]
            page.close()
    return found


def main() -> str | None:
    try:
        counts = make()
        if full := too_full([OUT / f"{name}.html" for name, count in counts.items() if count]):
            return "\n".join(full)
    except (NoBook, NoChromium, SlideError) as error:
        return str(error)
    size = sum(path.stat().st_size for path in OUT.glob("*.html")) / 1e6
    print(f"{OUT}: {sum(counts.values())} slides of {len(counts)} chapters, {size:.0f} MB")
    return None


if __name__ == "__main__":
    sys.exit(main())
