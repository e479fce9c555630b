"""Where the sources differ: the boxes of this title in the chapters, each with its topic, and a page of all of them.

A chapter writes `:::{admonition} Where the sources differ: the sign of the drift`. The directive `source-boxes`, on a page
of its own, becomes the boxes of all chapters, with formulas and references. Each box links to that page, and the page to
the box. A box without a topic is a warning, so `make book` fails.
"""

from collections.abc import Iterator

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors import EnvironmentCollector
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import docname_join, logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

LOG = logging.getLogger(__name__)
TITLE = "Where the sources differ"


class box_list(nodes.General, nodes.Element):
    """The place where the boxes of all chapters are to stand."""


class BoxList(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [box_list()]


def is_box(node: nodes.Node) -> bool:
    return isinstance(node, nodes.admonition) and node[0].astext().startswith(TITLE)


def topic(box: nodes.Element) -> str:
    return box[0].astext().removeprefix(TITLE).removeprefix(":").strip()


# --- When a page is read ---


class FindBoxes(SphinxTransform):
    """Name the boxes of a page, and keep copies: last of all, when the marks of equations are there."""

    default_priority = 950

    def apply(self) -> None:
        name, env = self.env.docname, self.env
        for box in list(self.document.findall(is_box)):
            if not topic(box):
                LOG.warning(
                    "a box says no topic: write '%s: TOPIC'",
                    TITLE,
                    location=box,
                    type="sources",
                )
                continue
            box["ids"].append(f"differ-{nodes.make_id(topic(box))}")
            copy = box.deepcopy()
            for node in copy.findall():
                node.document = None  # which would be kept with it
            env.source_boxes.setdefault(name, []).append(copy)
        if any(self.document.findall(box_list)):
            env.source_pages.add(name)


class Forget(EnvironmentCollector):
    """What a page had is forgotten before it is read again; after that, the page of all boxes is written again."""

    changed = False

    def clear_doc(self, app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        self.changed = True
        prepare(app, env)
        env.source_boxes.pop(docname, None)
        env.source_pages.discard(docname)

    def merge_other(
        self,
        app: Sphinx,
        env: BuildEnvironment,
        docnames: set[str],
        other: BuildEnvironment,
    ) -> None:
        boxes = other.source_boxes
        env.source_boxes |= {
            name: boxes[name] for name in docnames if name in boxes
        }
        env.source_pages |= other.source_pages & docnames

    def process_doc(self, app: Sphinx, doctree: nodes.document) -> None:
        """Nothing: `FindBoxes` comes later."""

    def get_updated_docs(self, app: Sphinx, env: BuildEnvironment) -> list[str]:
        return sorted(env.source_pages) if self.changed else []


def prepare(app: Sphinx, env: BuildEnvironment) -> None:
    if not hasattr(env, "source_boxes"):
        env.source_boxes, env.source_pages = {}, set()


# --- When a page is written ---


class ShowBoxes(SphinxPostTransform):
    """The list in its place, and in each box the way to it; then Sphinx resolves the references of both."""

    default_priority = 5
    formats = ("html",)

    def run(self) -> None:
        for place in list(self.document.findall(box_list)):
            place.replace_self([self.contents(), *self.sections()])
        for page in sorted(self.env.source_pages)[:1]:
            for box in self.document.findall(is_box):
                link = self.link(page, "", "All such boxes of the book")
                box += nodes.paragraph("", "", link, classes=["all-sources"])

    def chapters(self) -> Iterator[tuple[str, str, list[nodes.Element]]]:
        """Chapters in the order of the book, with number and title, and their boxes."""
        numbers = {
            name: self.env.toc_secnumbers.get(name, {}).get("", ())
            for name in self.env.source_boxes
        }
        for name in sorted(numbers, key=lambda name: (numbers[name], name)):
            number = "".join(f"{part}." for part in numbers[name])
            title = f"{number} {self.env.titles[name].astext()}".strip()
            yield name, title, self.env.source_boxes[name]

    def link(self, page: str, target: str, text: str) -> nodes.reference:
        return make_refnode(
            self.app.builder,
            self.env.docname,
            page,
            target,
            nodes.inline(text, text),
        )

    def contents(self) -> nodes.Element:
        """Chapters and topics, to jump to on the same page."""
        items = nodes.bullet_list()
        for name, title, boxes in self.chapters():
            line = nodes.paragraph(
                "", "", self.link(self.env.docname, anchor(name), title)
            )
            for k, box in enumerate(boxes):
                line += nodes.Text("; " if k else ": ")
                line += self.link(self.env.docname, anchor(name, box), topic(box))
            items += nodes.list_item("", line)
        return items

    def sections(self) -> Iterator[nodes.section]:
        for name, title, boxes in self.chapters():
            chapter = nodes.section(ids=[anchor(name)])
            chapter += nodes.title("", "", self.link(name, "", title))
            for box in boxes:
                text = topic(box)[0].upper() + topic(box)[1:]
                link = self.link(name, box["ids"][-1], text)
                part = nodes.section(ids=[anchor(name, box)])
                part += nodes.title("", "", link)
                part += self.copies(name, box)
                chapter += part
            yield chapter

    def copies(self, chapter: str, box: nodes.Element) -> list[nodes.Node]:
        """What the box of a chapter says, for this page: its equations keep the numbers that they have there."""
        box, here = box.deepcopy(), self.env.docname
        for reference in box.findall(addnodes.pending_xref):
            if (reference["refdomain"], reference["reftype"]) == ("std", "doc"):
                reference["reftarget"] = "/" + docname_join(
                    chapter, reference["reftarget"]
                )
            reference["refdoc"] = here
        for equation in box.findall(nodes.math_block):
            domain = self.env.get_domain("math")
            label, builder = equation["label"], self.app.builder
            found = domain.resolve_xref(
                self.env, here, builder, "eq", label, equation, None
            )
            equation["number"] = None
            equation["elsewhere"] = found["refuri"], found.astext()
        for node in box.findall(nodes.Element):
            node["ids"] = []
        return box[1:]


def anchor(chapter: str, box: nodes.Element | None = None) -> str:
    """The place on the page of all boxes for a chapter, or for one of its boxes."""
    name = chapter.rsplit("/", 1)[-1]
    return nodes.make_id(f"in {name} {topic(box) if box else ''}")


def skip(translator: nodes.NodeVisitor, node: box_list) -> None:
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool | int]:
    builders = ("html", "latex", "text", "man", "texinfo")
    app.add_node(box_list, **{builder: (skip, None) for builder in builders})
    app.add_directive("source-boxes", BoxList)
    app.add_transform(FindBoxes)
    app.add_env_collector(Forget)
    app.add_post_transform(ShowBoxes)
    return {
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
