"""The glossary's words in the chapters: linked at their first use on a page, and gathered into a subject index.

`glossary.md` holds Sphinx's directive `glossary`; the last paragraph of each definition says where the book introduces the
word. The role `{place}`, as in {place}`02-chains#two-clumps`, is the title of a section, with a link; {not-in}`08-heartbeat`
in that paragraph names pages that mean something else by the word. On every other numbered page
the first use of a word, or of a synonym, becomes a link with the definition at the end of the page, which `glossary.js`
shows. The directive `subject-index` becomes the index. All is made from the pages themselves; nothing is kept by hand.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

LOG = logging.getLogger(__name__)
SHOWN = 2  # sections of a chapter in the index, for a word that is everywhere
QUIET = (
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.reference,
    nodes.comment,
    addnodes.pending_xref,
    nodes.citation,
)
FOLDED = {"dropdown", "sd-dropdown", "cell", "cell_output", "exercise-effort"}


# --- Words ---


@dataclass
class Entry:
    """A word with its synonyms, the anchor of its definition, and the paragraphs of that."""

    names: list[str]
    anchor: str
    definition: list[nodes.Element]
    not_in: set[str]

    @property
    def said(self) -> list[nodes.Element]:
        """The definition, without the place where the book introduces the word."""
        return self.definition[:-1]


def squeezed(words: str) -> str:
    return re.sub(r"[\s\-‐‑–]+", " ", words).replace("’", "'")


def exact(name: str) -> bool:
    """Whether a word is one of capitals, such as ELBO, which small letters do not mean."""
    return sum(letter.isupper() for letter in name) > 1 and " " not in name


def key(name: str) -> str:
    return squeezed(name) if exact(name) else squeezed(name).lower()


class Words:
    """Finds the words of a glossary in text: with any hyphen, with or without a plural."""

    def __init__(self, entries: list[Entry]) -> None:
        self.of = {key(name): entry for entry in entries for name in entry.names}
        names = "|".join(
            plural(name) for name in sorted(self.of, key=len, reverse=True)
        )
        self.pattern = re.compile(
            rf"(?<![\w\-‐‑$\\])(?:{names})(?!\w|[-‐‑]\w)", re.IGNORECASE
        )

    def find(self, text: str, page: str) -> Iterator[tuple[int, int, Entry]]:
        for found in self.pattern.finditer(text):
            entry = self.entry(squeezed(found[0]))
            if entry and page not in entry.not_in:
                yield found.start(), found.end(), entry

    def entry(self, word: str) -> Entry | None:
        singular = re.sub(r"ies$", "y", word), word.removesuffix("s")
        forms = [
            same
            for form in (word, *singular)
            for same in (form, form.lower())
            if same in self.of
        ]
        return self.of[forms[0]] if forms else None


def plural(name: str) -> str:
    words = re.escape(name).replace(r"\ ", r"[\s\-‐‑–]+").replace("'", "['’]")
    return f"{words[:-1]}(?:y|ies)" if name.endswith("y") else f"{words}s?"


def read_glossary(env: BuildEnvironment) -> tuple[str, list[Entry]]:
    """The page of the glossary, and its entries; ("", []) where there is none."""
    entries, page = [], ""
    for name in sorted(env.found_docs):
        if not any(
            object_[2] == "term" and object_[3] == name
            for object_ in env.get_domain("std").get_objects()
        ):
            continue
        page = name
        for item in env.get_doctree(name).findall(nodes.definition_list_item):
            terms = [node for node in item if isinstance(node, nodes.term)]
            if not terms or not terms[0]["ids"]:
                continue
            body = [
                part.deepcopy()
                for node in item
                if isinstance(node, nodes.definition)
                for part in node
            ]
            names = [term.astext() for term in terms]
            away = [node for part in body for node in part.findall(not_in)]
            others = {other for node in away for other in node["pages"]}
            for node in (each for part in body for each in part.findall()):
                node.document = None  # which would be kept with it
            entries.append(Entry(names, terms[0]["ids"][0], body, others))
    return page, entries


# --- Uses of words ---


def texts(tree: nodes.Node) -> Iterator[nodes.Text]:
    """The text that is prose or a title, in order."""
    for node in list(tree.findall(nodes.Text)):
        above = node.parent
        while above is not None and not isinstance(above, QUIET):
            if "cell_output" in above.get("classes", []):
                break
            above = above.parent
        if above is None:
            yield node


def in_prose(node: nodes.Text) -> bool:
    """Whether a text may hold a link: it stands in a paragraph, perhaps emphasised, and in no fold or cell output."""
    above = node.parent
    while isinstance(above, nodes.emphasis | nodes.strong):
        above = above.parent
    if not isinstance(above, nodes.paragraph):
        return False
    while above is not None:
        classes = set(above.get("classes", []))
        if classes & FOLDED:
            return False
        if above.get("design_component") == "dropdown":
            return False
        if "solution" in above.__class__.__name__:
            return False
        above = above.parent
    return True


def section_of(node: nodes.Node) -> nodes.section | None:
    """The section around a node; exercises hold sections without a title, which are not meant."""
    while node is not None and not (
        isinstance(node, nodes.section) and isinstance(node[0], nodes.title)
    ):
        node = node.parent
    return node


@dataclass(frozen=True, order=True)
class Use:
    """A section that uses a word: page, place in it, anchor, how often, and whether in its title or in bold."""

    page: str
    order: int
    anchor: str
    count: int
    chief: bool


def uses(page: str, tree: nodes.document, words: Words) -> dict[str, list[Use]]:
    """For each word (by its anchor) the sections of a page that use it."""
    count, chief = defaultdict(Counter), set()
    places = {}
    for node in texts(tree):
        section = section_of(node)
        if section is None or not section["ids"]:
            continue
        anchor = section["ids"][0]
        top = isinstance(section.parent, nodes.document)
        places.setdefault(anchor, (len(places), "" if top else anchor))
        loud = isinstance(node.parent, nodes.title | nodes.strong)
        for _, _, entry in words.find(node.astext(), page):
            count[entry.anchor][anchor] += 1
            if loud:
                chief.add((entry.anchor, anchor))
    return {
        word: [
            Use(page, *places[anchor], number, (word, anchor) in chief)
            for anchor, number in sections.items()
        ]
        for word, sections in count.items()
    }


# --- The role and the directive ---


class glossary_place(nodes.Inline, nodes.TextElement):
    """A link to a section, to be resolved when all pages are known: `target`, as page#section."""


class PlaceRole(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        node = glossary_place(self.text, target=self.text, page=self.env.docname)
        self.set_source_info(node)
        return [node], []


class not_in(nodes.Invisible, nodes.Element):
    """The pages that mean something else by a word: `pages`."""


class NotInRole(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        folder = self.env.docname.rpartition("/")[0]
        pages = [f"{folder}/{name}".lstrip("/") for name in self.text.split()]
        for name in pages:
            if name not in self.env.found_docs:
                LOG.warning(
                    "no page %r in the book",
                    name,
                    location=self.get_location(),
                    type="glossary",
                )
        return [not_in(pages=pages)], []


class subject_index(nodes.General, nodes.Element):
    """The place where the index is to stand."""


class SubjectIndex(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [subject_index()]


def gather(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Read the glossary and the uses of its words, when chapters have numbers; the pages to be written again."""
    page, entries = read_glossary(env)
    words = Words(entries) if entries else None
    old = getattr(env, "glossary_said", None)
    env.glossary_page, env.glossary_entries = page, entries
    env.glossary_said = [
        (entry.names, [part.pformat() for part in entry.definition])
        for entry in entries
    ]
    env.glossary_uses, env.glossary_index = defaultdict(list), []
    for name in sorted(env.found_docs):
        tree = env.get_doctree(name)
        if any(True for _ in tree.findall(subject_index)):
            env.glossary_index.append(name)
        if words and name in env.toc_secnumbers and name != page:
            for word, found in uses(name, tree, words).items():
                env.glossary_uses[word] += found
    everywhere = (
        sorted(env.found_docs)
        if old is not None and old != env.glossary_said
        else []
    )
    return [*env.glossary_index, *everywhere]


# --- When a page is written ---


class ShowWords(SphinxPostTransform):
    """Places, links and the index; then Sphinx resolves the references of all."""

    default_priority = 4
    formats = ("html",)

    def run(self) -> None:
        for node in list(self.document.findall(glossary_place)):
            node.replace_self(self.resolved(node))
        for node in list(self.document.findall(not_in)):
            node.parent.remove(node)
        for node in list(self.document.findall(subject_index)):
            node.replace_self(self.index())
        if self.env.docname in self.env.toc_secnumbers:
            self.link_words()

    def resolved(self, node: glossary_place) -> nodes.Node:
        page, _, anchor = node["target"].partition("#")
        page = node["page"].rpartition("/")[0] + "/" + page
        page = page.lstrip("/")
        if title := self.title(page, anchor):
            return self.reference(page, anchor, *title)
        LOG.warning(
            "no section %r in the book",
            node["target"],
            location=node,
            type="glossary",
        )
        return nodes.Text(node["target"])

    def title(self, page: str, anchor: str) -> list[nodes.Node]:
        """The title of a section; empty where there is none."""
        toc = self.env.tocs.get(page)
        for reference in toc.findall(nodes.reference) if toc is not None else ():
            if reference["anchorname"].removeprefix("#") == anchor:
                return [part.deepcopy() for part in reference.children]
        return []

    def link_words(self) -> None:
        entries = self.env.glossary_entries
        if not entries:
            return
        words, seen = Words(entries), {}
        for node in texts(self.document):
            if in_prose(node):
                self.link_in(node, words, seen)
        if seen:
            self.document += self.definitions(seen)

    def link_in(
        self, node: nodes.Text, words: Words, seen: dict[str, Entry]
    ) -> None:
        text, parts, at = node.astext(), [], 0
        for start, end, entry in words.find(text, self.env.docname):
            if entry.anchor in seen:
                continue
            seen[entry.anchor] = entry
            parts += [nodes.Text(text[at:start]), self.link(entry, text[start:end])]
            at = end
        if parts:
            parent = node.parent
            where = next(k for k, child in enumerate(parent) if child is node)
            parent[where : where + 1] = [*parts, nodes.Text(text[at:])]

    def link(self, entry: Entry, text: str) -> nodes.Node:
        address = self.app.builder.get_relative_uri(
            self.env.docname, self.env.glossary_page
        )
        link = word_link("", text)
        link["address"] = f"{address}#{entry.anchor}"
        link["about"] = said_id(entry)
        return link

    def definitions(self, seen: dict[str, Entry]) -> nodes.Node:
        box = word_box()
        for entry in seen.values():
            said = nodes.container(ids=[said_id(entry)])
            for part in entry.said:
                said += part.deepcopy()
            for reference in list(said.findall(addnodes.pending_xref)):
                reference.replace_self(reference.children)  # nothing to tab to
            box += said
        return box

    # --- The index ---

    def index(self) -> list[nodes.Node]:
        letters = defaultdict(list)
        for entry in self.env.glossary_entries:
            first, *others = entry.names
            letters[initial(first)].append((first, self.line(entry)))
            for other in others:
                if squeezed(other).lower() != squeezed(first).lower():
                    letters[initial(other)].append((other, self.see(other, entry)))
        out = []
        for letter in sorted(letters):
            part = nodes.section(ids=[f"letter-{letter.lower()}"])
            part += nodes.title("", letter)
            items = nodes.bullet_list(classes=["subject-index"])
            for _, line in sorted(
                letters[letter], key=lambda pair: pair[0].lower()
            ):
                items += nodes.list_item("", line)
            part += items
            out.append(part)
        return out

    def reference(self, page: str, anchor: str, *content: nodes.Node) -> nodes.Node:
        return make_refnode(
            self.app.builder,
            self.env.docname,
            page,
            anchor,
            nodes.inline("", "", *content),
        )

    def see(self, name: str, entry: Entry) -> nodes.paragraph:
        link = self.reference(
            self.env.docname, index_id(entry), nodes.Text(entry.names[0])
        )
        return nodes.paragraph(
            "",
            "",
            nodes.Text(f"{name}, "),
            nodes.emphasis("", "see"),
            nodes.Text(" "),
            link,
        )

    def line(self, entry: Entry) -> nodes.paragraph:
        page = self.env.glossary_page
        line = nodes.paragraph(ids=[index_id(entry)])
        line += self.reference(page, entry.anchor, nodes.Text(entry.names[0]))
        chapters = defaultdict(list)
        for use in self.env.glossary_uses.get(entry.anchor, []):
            chapters[use.page].append(use)
        numbers = self.env.toc_secnumbers
        for page in sorted(chapters, key=lambda page: numbers[page][""]):
            number = ".".join(map(str, numbers[page][""]))
            line += nodes.Text("; ")
            line += self.reference(page, "", nodes.Text(f"ch. {number}"))
            best = sorted(
                chapters[page],
                key=lambda use: (not use.chief, -use.count, use.order),
            )[:SHOWN]
            for k, use in enumerate(sorted(best, key=lambda use: use.order)):
                line += nodes.Text(", " if k else ": ")
                title = self.title(page, use.anchor)
                if use.chief:
                    title = [nodes.strong("", "", *title)]
                line += self.reference(page, use.anchor, *title)
        return line


def initial(name: str) -> str:
    letter = name[0].upper()
    return (
        letter
        if letter.isascii() and letter.isalpha()
        else {"Ε": "E"}.get(letter, "#")
    )


def said_id(entry: Entry) -> str:
    return f"said-{entry.anchor}"


def index_id(entry: Entry) -> str:
    return f"index-{entry.anchor}"


class word_link(nodes.Inline, nodes.TextElement):
    """A word with the way to its definition."""


class word_box(nodes.General, nodes.Element):
    """The definitions of a page's words, at its end."""


def open_link(translator: nodes.NodeVisitor, node: word_link) -> None:
    address, about = translator.attval(node["address"]), node["about"]
    translator.body.append(
        f'<a class="glossary-word" href="{address}" aria-describedby="{about}">'
    )


def close_link(translator: nodes.NodeVisitor, node: word_link) -> None:
    translator.body.append("</a>")


def open_box(translator: nodes.NodeVisitor, node: word_box) -> None:
    translator.body.append('<div class="glossary-said" hidden>')


def close_box(translator: nodes.NodeVisitor, node: word_box) -> None:
    translator.body.append("</div>\n")


def setup(app: Sphinx) -> dict[str, bool | int]:
    app.add_node(glossary_place)
    app.add_node(subject_index)
    app.add_node(word_link, html=(open_link, close_link))
    app.add_node(word_box, html=(open_box, close_box))
    app.add_node(not_in)
    app.add_role("place", PlaceRole())
    app.add_role("not-in", NotInRole())
    app.add_directive("subject-index", SubjectIndex)
    app.add_post_transform(ShowWords)
    app.connect(
        "env-get-updated", gather, priority=900
    )  # after the numbers of chapters
    return {
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
