"""The API reference: a page for each package of the library, from its docstrings (`library.py` reads them).

`:::{api} diffusion` becomes all public classes and functions of that package, each with its equations, the chapters that
use it, and its place in the source; `:::{api-exports}` the names that `dpm_lib` itself exports, and `:::{api-packages}` a
list of the packages. Under an equation stands what implements it, and a name in a code span leads to its entry.
"""

import re
from collections.abc import Iterator
from html import escape

from checked_equations import equation_mark
from docutils import nodes
from launch import ROOT
from library import LABEL, SHAPE, Entry, Module, read_library
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

FOLDER = "book/api"
INLINE = re.compile(
    r"``(?P<code>[^`]+)``|\{eq\}`(?P<role>[\w-]+)`|:\w+:`~?(?P<name>[^`]+)`|`(?P<single>[^`]+)`"
    rf"|\((?P<alone>{LABEL.pattern})\)|(?P<label>{LABEL.pattern})"
    r"|(?P<error>\b[A-Z]\w*(?:Error|Exception)\b)|(?<!\w)(?P<shape>" + SHAPE + ")"
)
ITEM = re.compile(r"- |\d+\. ")


def page_of(entry: Entry) -> str:
    return page(entry.name.split(".")[0])


def page(package: str) -> str:
    """`cli`, which is one module, stands on the page of all."""
    return (
        f"{FOLDER}/{package}"
        if (ROOT / f"{FOLDER}/{package}.md").exists()
        else FOLDER
    )


# --- Docstrings ---


def inline(text: str, here: str) -> list[nodes.Node]:
    """Text, with code, exceptions and shapes as code, and equations by their numbers."""
    found, end = [], 0
    for match in INLINE.finditer(text):
        found.append(nodes.Text(text[end : match.start()]))
        end = match.end()
        label = match["role"] or match["alone"] or match["label"]
        if label:
            found.append(equation(label, here))
        else:
            code = next(part for part in match.groups() if part is not None)
            found.append(nodes.literal("", code))
    return [*found, nodes.Text(text[end:])]


def equation(label: str, here: str) -> addnodes.pending_xref:
    return addnodes.pending_xref(
        "",
        nodes.literal("", label, classes=["eq"]),
        refdomain="math",
        reftype="eq",
        reftarget=label,
        refdoc=here,
        refexplicit=False,
        refwarn=True,
    )


def chapter(name: str, here: str) -> addnodes.pending_xref:
    return addnodes.pending_xref(
        "",
        nodes.inline("", name),
        refdomain="std",
        reftype="doc",
        reftarget=f"/book/{name}",
        refdoc=here,
        refexplicit=False,
        refwarn=True,
    )


def blocks(text: str) -> Iterator[list[str]]:
    """Paragraphs, and within them what begins a line of its own: items, and names that are being explained."""
    for block in re.split(r"\n\s*\n", text.rstrip()):
        lines: list[str] = []
        for line in block.split("\n"):
            starts = ITEM.match(line) or (
                lines
                and line.startswith("``")
                and lines[-1].endswith((".", ";", ":"))
            )
            if starts and lines:
                yield lines
                lines = []
            lines.append(line)
        yield lines


def render(text: str, here: str) -> list[nodes.Node]:
    found: list[nodes.Node] = []
    for lines in blocks(text):
        if all(line.startswith("    ") for line in lines):
            code = "\n".join(line[4:] for line in lines)
            found.append(nodes.literal_block(code, code, language="none"))
        elif mark := ITEM.match(lines[0]):
            said = " ".join(line.strip() for line in lines)[mark.end() :]
            item = nodes.list_item("", nodes.paragraph("", "", *inline(said, here)))
            if found and isinstance(found[-1], nodes.bullet_list):
                found[-1] += item
            else:
                found.append(nodes.bullet_list("", item))
        elif len(lines) > 1 and any(
            re.search(r"^\w.*\S {2,}\S|^ {2,}\S", line) for line in lines
        ):
            code = "\n".join(lines)  # columns, which are lost in a paragraph
            found.append(nodes.literal_block(code, code, language="none"))
        else:
            said = " ".join(line.strip() for line in lines)
            found.append(nodes.paragraph("", "", *inline(said, here)))
    return found


def signature(entry: Entry) -> nodes.raw:
    """How it is called, as one piece: Sphinx would wrap every word of it."""
    word = "class " if entry.kind == "class" else ""
    code = f"{word}{entry.name.split('.')[-1]}{entry.signature}"
    return nodes.raw("", f"<code>{escape(code)}</code>", format="html")


# --- Directives ---


class Reference(SphinxDirective):
    """What the directives below share."""

    @property
    def here(self) -> str:
        return self.env.docname

    @property
    def library(self):
        return self.config.api_library

    def depend(self, module: Module) -> None:
        self.env.note_dependency(str(ROOT / module.path))

    def link(self, entry: Entry, text: str) -> nodes.reference:
        code = nodes.literal("", text)
        return make_refnode(
            self.env.app.builder, self.here, page_of(entry), entry.anchor, code
        )


class Package(Reference):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        modules = self.library.package(self.arguments[0])
        if not modules:
            raise self.error(f"api: {self.arguments[0]}: need a package of dpm_lib")
        return [self.module(module) for module in modules]

    def module(self, module: Module) -> nodes.section:
        self.depend(module)
        part = nodes.section(ids=["api-" + module.name.replace(".", "-")])
        part += nodes.title("", module.name)
        part += render(module.text, self.here)
        part += [self.entry(entry) for entry in module.entries]
        return part

    def entry(self, entry: Entry) -> nodes.section:
        part = nodes.section(ids=[entry.anchor])
        part += nodes.title("", entry.name.split(".")[-1])
        part += self.body(entry)
        part += self.about(entry)
        if entry.members:
            part += nodes.definition_list(
                "",
                *[self.member(m) for m in entry.members],
                classes=["api-members"],
            )
        return part

    def body(self, entry: Entry) -> list[nodes.Node]:
        form = nodes.paragraph("", "", signature(entry), classes=["api-signature"])
        return [form, *render(entry.text, self.here)]

    def member(self, entry: Entry) -> nodes.definition_list_item:
        term = nodes.term("", "", signature(entry), ids=[entry.anchor])
        return nodes.definition_list_item(
            "",
            term,
            nodes.definition(
                "", *(render(entry.text, self.here) or [nodes.paragraph()])
            ),
        )

    def about(self, entry: Entry) -> nodes.paragraph:
        """Its equations, the chapters whose code uses it, and its place in the source."""
        line = nodes.paragraph("", "", classes=["api-about"])
        chapters = self.library.chapters.get(entry.name, [])
        lists = (
            ("Equations: ", [equation(label, self.here) for label in entry.labels]),
            ("Used in: ", [chapter(name, self.here) for name in chapters]),
        )
        for word, links in lists:
            for k, link in enumerate(links):
                line += [nodes.Text(", " if k else word), link]
            line += nodes.Text(". " if links else "")
        place = f"{entry.path}, line {entry.line}"
        if repository := self.config.book_repository:
            address = repository.source(entry.path, entry.line)
            line += nodes.reference("", place, refuri=address)
        else:
            line += nodes.Text(place)
        return line


class Exports(Reference):
    def run(self) -> list[nodes.Node]:
        names = nodes.definition_list(classes=["api-members"])
        for name, entry in self.library.exports.items():
            self.depend(self.library.modules[entry.name.rsplit(".", 1)[0]])
            said = nodes.paragraph("", "", *inline(entry.summary, self.here))
            names += nodes.definition_list_item(
                "",
                nodes.term("", "", self.link(entry, f"dpm_lib.{name}")),
                nodes.definition("", said),
            )
        return [names]


class Packages(Reference):
    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(ROOT / "ARCHITECTURE.md"))
        items = nodes.bullet_list()
        for name, about in self.library.about.items():
            if page(name) == FOLDER:
                continue
            code = nodes.literal("", f"dpm_lib.{name}")
            link = make_refnode(
                self.env.app.builder, self.here, page(name), "", code
            )
            said = [link, nodes.Text(": "), *inline(about, self.here)]
            items += nodes.list_item("", nodes.paragraph("", "", *said))
        return [items]


# --- From the chapters ---


class ImplementedBy(SphinxTransform):
    """Under each equation, what implements it. After `MarkEquations`, before boxes are copied."""

    default_priority = 910

    def apply(self) -> None:
        implementing = self.config.api_library.implementing
        for mark in self.document.findall(equation_mark):
            mark["code"] = [
                (entry.short, page_of(entry), entry.anchor)
                for entry in implementing.get(mark["label"], [])
            ]


class LinkNames(SphinxPostTransform):
    """A code span that says one name of the library, and can mean no other, leads to its entry."""

    default_priority = 5
    formats = ("html",)

    def run(self) -> None:
        spoken, here = self.config.api_library.spoken, self.env.docname
        for code in list(self.document.findall(nodes.literal)):
            entry = spoken.get(code.astext().removesuffix("()"))
            above = code.parent
            while above is not None and not isinstance(
                above,
                nodes.reference | nodes.title | nodes.term | addnodes.pending_xref,
            ):
                above = above.parent
            if entry is None or above is not None or "eq" in code["classes"]:
                continue
            link = make_refnode(
                self.app.builder,
                here,
                page_of(entry),
                entry.anchor,
                code.deepcopy(),
            )
            link["classes"].append("api")
            code.replace_self(link)


def check(app: Sphinx, env) -> None:
    """Every package has its page; no docstring names an equation that the book lacks."""
    library = app.config.api_library
    if FOLDER not in env.found_docs:
        return
    for name in {module.split(".")[0] for module in library.modules if module}:
        if page(name) not in env.found_docs:
            raise ExtensionError(
                f"{page(name)}.md: the package {name} needs a page, and a line in _toc.yml"
            )


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("launch")
    app.setup_extension("checked_equations")
    app.add_config_value("api_library", read_library(ROOT), "")
    app.add_directive("api", Package)
    app.add_directive("api-exports", Exports)
    app.add_directive("api-packages", Packages)
    app.add_transform(ImplementedBy)
    app.add_post_transform(LinkNames)
    app.connect("env-updated", lambda app, env: check(app, env))
    app.add_css_file("api.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
