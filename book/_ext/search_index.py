"""The search of the book: its page, and an index of sections, equations, exercises, figures and words.

It stands in place of Sphinx's own, which knows words of pages and nothing of what has a number. The index is one plain
script, so that it works from a disk, and only the page of the search reads it (`search.js`). Solutions are left out:
a search should not give them away.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from figure_numbers import figures
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_exercise.nodes import exercise_enumerable_node, solution_node

INDEX = "_static/search-index.js"
SPHINX_HAS = (
    "searchindex.js",
    "_static/searchtools.js",
    "_static/language_data.js",
)
KINDS = ("Section", "Equation", "Exercise", "Figure", "Glossary", "API")
NOT_TEXT = (
    nodes.math_block,
    nodes.literal_block,
    nodes.raw,
    nodes.comment,
    nodes.title,
    nodes.section,
    exercise_enumerable_node,
    solution_node,
    addnodes.glossary,
)
TAG = re.compile(r"<[^>]*>")
ACCENT = re.compile(
    r"\\(bar|hat|tilde|dot|vec|mathbb|mathcal|mathrm|mathbf)\s*\{?\\?([A-Za-z]+)"
)
INDEXED = re.compile(r"([A-Za-z]+)_\{?\\?([A-Za-z0-9]+)")
PAGE = """<h1>Search</h1>
<noscript><p>The search needs JavaScript. Without it, the contents of the book lead to every chapter.</p></noscript>
<label for="book-search">A word, the name of an equation, or TeX</label>
<form class="bd-search book-search" role="search" action="#" method="get">
<input type="search" id="book-search" class="form-control" name="q" autocomplete="off" autocapitalize="off"
 spellcheck="false">
</form>
<p class="search-status" role="status"></p>
<ol class="search-hits"></ol>
<script src="_static/search.js" defer></script>
"""


class Entry(NamedTuple):
    """What can be found: `kind` of KINDS, the page, the anchor, a title, other names, and the text around it."""

    kind: str
    page: str
    anchor: str
    title: str
    names: str
    text: str


# --- What stands in a page ---


def plain(node: nodes.Node) -> str:
    """The prose of a node in one line; a formula in it as its letters, without TeX."""
    if isinstance(node, nodes.Text):
        return str(node)
    if isinstance(node, nodes.math):
        formula = TAG.sub("", node.get("mathml", ""))
        return f"{node.get('before', '')}{formula}{node.get('after', '')}"
    if isinstance(node, NOT_TEXT) or (
        isinstance(node, nodes.Element) and node.get("nb_element") == "cell_code"
    ):
        return " "
    gap = (
        " "
        if any(isinstance(c, nodes.Body | nodes.Part) for c in node.children)
        else ""
    )
    return gap.join(map(plain, node.children))


def line(parts: list[str]) -> str:
    return " ".join(" ".join(parts).split())


def emphasised(parts: list[nodes.Node]) -> str:
    """The names that a text gives: what it sets in bold or italics."""
    marked = (nodes.strong, nodes.emphasis)
    found = (
        line([plain(node)])
        for part in parts
        if not isinstance(part, NOT_TEXT)
        for node in part.findall(lambda node: isinstance(node, marked))
    )
    return " ".join(dict.fromkeys(found))


def tex_words(source: str) -> str:
    r"""The words of a formula: `\bar\alpha_t` as alpha_bar, alpha_t, bar, alpha."""
    words = [f"{letter}_{accent}" for accent, letter in ACCENT.findall(source)]
    words += [f"{letter}_{index}" for letter, index in INDEXED.findall(source)]
    words += re.findall(r"[A-Za-z]{2,}", source)
    return " ".join(dict.fromkeys(words))


def entries(
    doctree: nodes.document, env: BuildEnvironment, page: str
) -> Iterator[Entry]:
    """Everything of a page that can be found, in its order of kinds."""
    top = True
    for section in doctree.findall(nodes.section):
        if not section["ids"] or any(
            isinstance(node, exercise_enumerable_node | solution_node)
            for node in above(section)
        ):
            continue
        title = line([child_text(section[0])])
        if page.startswith("book/api/") and not top:
            module = page.rsplit("/", 1)[-1]
            yield Entry("API", page, section["ids"][0], title, module, "")
            continue
        names = page.rsplit("/", 1)[-1].replace("-", " ") if top else ""
        names = line([names, emphasised(section[1:])])
        anchor = "" if top else section["ids"][0]
        text = line([plain(child) for child in section[1:]])
        yield Entry("Section", page, anchor, title, names, text)
        top = False
    math = env.domains["math"].equations
    for block in doctree.findall(nodes.math_block):
        if label := block.get("label"):
            number = math[label][1]
            near, row = "", block.parent
            at = row.index(block)
            before = [
                node for node in row[:at] if isinstance(node, nodes.paragraph)
            ]
            if before and not any(
                isinstance(node, solution_node) for node in above(block)
            ):
                near = line([plain(before[-1])])
            title = f"Equation ({number_of(env, page, block, number)})"
            names = line(
                [label, tex_words(block.astext()), emphasised(before[-1:])]
            )
            yield Entry(
                "Equation",
                page,
                nodes.make_id(f"equation-{label}"),
                title,
                names,
                near,
            )
    numbers = env.toc_fignumbers.get(page, {}).get("exercise", {})
    for node in doctree.findall(exercise_enumerable_node):
        number = ".".join(map(str, numbers.get(node["label"], ())))
        title = node[0][-1].astext() if len(node[0]) > 1 else ""
        text = line([plain(c) for part in node[1:] for c in part.children])
        name = f"Exercise {number}: {title}"
        yield Entry("Exercise", page, node["ids"][0], name, node["label"], text)
    for _, anchor, name, title in figures(doctree, env, page):
        yield Entry("Figure", page, anchor, f"{name}. {title}", "", "")
    for glossary in doctree.findall(addnodes.glossary):
        for item in glossary.findall(nodes.definition_list_item):
            terms = [node for node in item if isinstance(node, nodes.term)]
            words = [term.astext() for term in terms]
            text = line([plain(item[-1])])
            yield Entry(
                "Glossary",
                page,
                terms[0]["ids"][0],
                words[0],
                ", ".join(words[1:]),
                text,
            )


def child_text(title: nodes.Node) -> str:
    return " ".join(map(plain, title.children))


def above(node: nodes.Node) -> Iterator[nodes.Node]:
    while node := node.parent:
        yield node


def number_of(
    env: BuildEnvironment, page: str, block: nodes.math_block, number: int
) -> str:
    """The number that the page shows: that of the chapter before it, where equations are counted by chapter."""
    numbers = env.toc_fignumbers.get(page, {}).get("displaymath", {})
    found = numbers.get(block["ids"][0] if block["ids"] else "")
    return ".".join(map(str, found)) if found else str(number)


# --- The index ---


def script(found: list[Entry], titles: dict[str, str]) -> str:
    """The script that leaves the index in `bookIndex`."""
    pages = list(dict.fromkeys(entry.page for entry in found))
    index = {
        "kinds": KINDS,
        "pages": [[page, titles[page]] for page in pages],
        "entries": [
            [KINDS.index(e.kind), pages.index(e.page), *e[2:]] for e in found
        ],
    }
    text = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
    return f"window.bookIndex = {text};\n"


def title_of(env: BuildEnvironment, page: str) -> str:
    number = env.toc_secnumbers.get(page, {}).get("", ())
    prefix = f"{number[0]}. " if number else ""
    return prefix + line([child_text(env.titles[page])])


def write_index(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    env, out = app.env, Path(app.outdir)
    order = {page: number for page, number in env.toc_secnumbers.items()}
    pages = sorted(
        env.found_docs,
        key=lambda page: (
            not order.get(page),
            order.get(page, {}).get("", ()),
            page,
        ),
    )
    found = [
        entry
        for page in pages
        for entry in entries(env.get_doctree(page), env, page)
    ]
    text = script(found, {page: title_of(env, page) for page in pages})
    (out / INDEX).write_text(text, encoding="utf-8")
    for name in SPHINX_HAS:
        (out / name).unlink(missing_ok=True)


# --- The page ---


def replace_search(app: Sphinx) -> None:
    app.builder.search = False  # Sphinx's own


def make_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    yield "search", {"title": "Search", "body": PAGE}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("figure_numbers")
    app.connect("builder-inited", replace_search)
    app.connect("html-collect-pages", make_page)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
