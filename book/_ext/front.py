"""The front page: a map of the chapters, cards, paths, doors and how to cite, all made from the chapters.

`chapter-map` shows which chapters build on which; `chapter-cards` the question, the minutes and the first figure of each;
`path` a way through the book, whose lines are chapters or sections (tools/facts.py), or, without lines, all of it; `doors` a list of three, to which the
addresses of this copy of the book are added; `cite-book` what CITATION.cff says.
"""

import base64
import io
import re
import sys
from html import escape
from pathlib import Path

from docutils import nodes
from launch import ROOT
from PIL import Image
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

sys.path.insert(0, str(ROOT / "tools"))
import facts

LOG = logging.getLogger(__name__)
FOLDER = "book"
CARDS = "_static/cards"
WIDTH = 320  # of a card's picture, in its own pixels
STRAIGHT = str.maketrans("‘’“”", "''\"\"")
POSTER = re.compile(
    r'<img class="figure-poster"[^>]*src="data:image/png;base64,([^"]+)"'
)
ARC = (
    '<svg class="need" style="--rows:{rows}" viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">'
    '<path d="M1 0C-.33 0-.33 1 1 1" vector-effect="non-scaling-stroke"/></svg>'
)


class front_place(nodes.General, nodes.Element):
    """Where something stands that is made when all pages have been read."""


class Place(SphinxDirective):
    has_content = True
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        for path in (
            *facts.chapters(),
            ROOT / "CITATION.cff",
            ROOT / "tools" / "facts.py",
        ):
            self.env.note_dependency(str(path))
        found = front_place("", kind=self.name, lines="\n".join(self.content))
        self.set_source_info(found)
        if self.name == "doors":
            self.state.nested_parse(self.content, self.content_offset, found)
        return [found]


class Fill(SphinxPostTransform):
    """Each place filled; nothing outside of HTML but paths and doors, which are text."""

    default_priority = 5

    def run(self) -> None:
        for found in list(self.document.findall(front_place)):
            fill = getattr(self, found["kind"].replace("-", "_"))
            try:
                found.replace_self(fill(found))
            except ValueError as fault:
                LOG.warning("%s", fault, location=found, type="front")
                found.replace_self([])

    def address(self, name: str) -> str:
        here = self.env.docname
        return self.app.builder.get_relative_uri(here, f"{FOLDER}/{name}")

    def link(
        self, name: str, text: str, anchor: str = "", **attributes: object
    ) -> nodes.reference:
        builder, here = self.app.builder, self.env.docname
        words = nodes.inline(text, text, **attributes)
        return make_refnode(builder, here, f"{FOLDER}/{name}", anchor, words)

    # --- The map ---

    def chapter_map(self, found: front_place) -> list[nodes.Node]:
        """A row for each chapter, all of one height; an arc from the row of each chapter that it builds on."""
        book = facts.book()
        order, rows = list(book), []
        for k, (name, chapter) in enumerate(book.items()):
            direct = facts.direct(book)[name]
            arcs = "".join(
                ARC.format(rows=k - order.index(need)) for need in direct
            )
            numbers = facts.listed([str(order.index(need) + 1) for need in direct])
            after = f"builds on {numbers}" if direct else "needs no other chapter"
            rows.append(
                f'<li id="map-{name}">{arcs}<a href="{escape(self.address(name))}"><b>{k + 1}</b>'
                f'<span><span class="title">{escape(chapter.title)}</span> <small>{after}</small></span></a></li>'
            )
        text = f'<ol class="chapter-map">{"".join(rows)}</ol>'
        return [nodes.raw("", text, format="html")]

    # --- Cards ---

    def chapter_cards(self, found: front_place) -> list[nodes.Node]:
        static = "../" * self.env.docname.count("/") + CARDS
        cards = []
        for k, (name, chapter) in enumerate(facts.book().items(), 1):
            cards.append(
                f'<li><img src="{static}/{name}.webp" alt="{escape(chapter.figure)}" loading="lazy" decoding="async">'
                f'<div><a href="{escape(self.address(name))}">{k}. {escape(chapter.title)}</a>'
                f"<p>{escape(chapter.question)}</p><p><small>{chapter.minutes} minutes, "
                f"{len(chapter.exercises)} exercises</small></p></div></li>"
            )
        text = f'<ul class="chapter-cards">{"".join(cards)}</ul>'
        return [
            nodes.raw("", text, format="html"),
            nodes.paragraph(
                "",
                "",
                nodes.Text(f"Minutes are counted: {facts.RULE}"),
                classes=["counted"],
            ),
        ]

    # --- Paths ---

    def path(self, found: front_place) -> list[nodes.Node]:
        if not found["lines"]:
            return [nodes.paragraph("", facts.whole())]
        stops, items = facts.stops(found["lines"]), nodes.bullet_list()
        for stop in stops:
            line = nodes.paragraph()
            if stop.section:
                anchor = self.anchor(stop)
                line += [
                    self.link(stop.chapter.name, stop.section, anchor),
                    nodes.Text(", in "),
                ]
            line += self.link(stop.chapter.name, stop.chapter.title)
            line += nodes.Text(f": {stop.minutes} minutes")
            items += nodes.list_item("", line)
        total = facts.duration(sum(stop.minutes for stop in stops))
        return [
            items,
            nodes.paragraph("", f"Together about {total}.", classes=["counted"]),
        ]

    def anchor(self, stop: facts.Stop) -> str:
        toc = self.env.tocs[f"{FOLDER}/{stop.chapter.name}"]
        for entry in toc.findall(nodes.reference):
            # The page has typographic quotes.
            if entry.astext().translate(STRAIGHT) == stop.section:
                return entry["anchorname"].removeprefix("#")
        raise ValueError(
            f"path: {stop.section!r}: the page {stop.chapter.name} has no such section"
        )

    # --- Doors ---

    def doors(self, found: front_place) -> list[nodes.Node]:
        [doors] = found.findall(nodes.bullet_list)
        repository, here = self.app.config.book_repository, self.env.docname
        links = {1: {"All notebooks": "../" * here.count("/") + "notebooks.zip"}}
        if repository:
            links[1]["Open in Colab"] = repository.colab(
                self.env.doc2path(here, base=False)
            )
            links[2] = {"Fork it": f"{repository.url}/fork"}
        for number, named in links.items():
            line = nodes.paragraph(classes=["ways"])
            for text, address in named.items():
                line += [
                    nodes.reference(text, text, refuri=address, internal=False),
                    nodes.Text(" "),
                ]
            doors[number] += line
        doors["classes"].append("doors")
        return [doors]

    # --- How to cite ---

    def cite_book(self, found: front_place) -> list[nodes.Node]:
        repository = self.app.config.book_repository
        url = repository.url if repository else ""
        words, bibtex = facts.citation(self.app.config.copyright, url)
        block = nodes.literal_block(bibtex, bibtex, language="bibtex")
        return [nodes.paragraph("", words), block]


def pictures(app: Sphinx, exception: Exception | None) -> None:
    """The picture of each card: the poster of the first figure on that page, made small."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / CARDS
    folder.mkdir(parents=True, exist_ok=True)
    for name in facts.book():
        page = (Path(app.outdir) / FOLDER / f"{name}.html").read_text("utf-8")
        found = POSTER.search(page)
        if not found:  # it was not executed
            continue
        poster = Image.open(io.BytesIO(base64.b64decode(found[1])))
        size = (WIDTH, round(WIDTH * poster.height / poster.width))
        poster.convert("RGBA").resize(size, Image.Resampling.LANCZOS).save(
            folder / f"{name}.webp", quality=80
        )


def setup(app: Sphinx) -> dict[str, bool | int]:
    app.setup_extension("launch")
    app.add_node(front_place)
    for name in ("chapter-map", "chapter-cards", "path", "doors", "cite-book"):
        app.add_directive(name, Place)
    app.add_post_transform(Fill)
    app.connect("build-finished", pictures)
    return {
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
