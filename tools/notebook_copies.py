"""Copies of the notebooks for programs that do not know MyST: Colab, GitHub, VS Code, a plain Jupyter.

In a copy, exercises have headings, equations and references their numbers, citations their names, years and
links; solutions and proofs are folded. The code is the same, folded as it was. There are two kinds:

- for Colab, by `python tools/notebook_copies.py OUTDIR`: a first cell fetches the repository at the commit being
  built, installs its library, and goes to the chapter's folder. The Pages workflow publishes these on the branch
  `colab`;
- for everybody, beside the built pages (book/_ext/downloads.py): a first cell says what to install.

What cannot be written without MyST is refused: `CopyError` names the page and the cell.
"""

import base64
import mimetypes
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import facts
import nbformat
import yaml
from chapters import ROOT, chapter_numbers, notebooks, pages
from contract import MARKDOWN, text
from effort import effort
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin
from nbformat import NotebookNode
from pybtex.backends import markdown as pybtex_markdown
from pybtex.database import Entry, parse_file
from pybtex.style.formatting.plain import Style

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from citations import names, tell_apart
from launch import COMMIT, Repository, find_repository

SETUP = """\
# On Colab: fetch the book at the commit this copy was made from, and install its library (about a minute).
!git init -q book-source
!git -C book-source fetch -q --depth 1 {url} {commit}
!git -C book-source checkout -q FETCH_HEAD
%pip install -q "./book-source[all]"
%cd book-source/{folder}"""

INSTALL = """\
*A copy for any notebook program. To run it, install the book's library into the Python that the program uses{how}. On
Linux first `pip install torch --index-url https://download.pytorch.org/whl/cpu`, or PyTorch brings gigabytes of GPU
libraries.*"""
HERE = ': in the folder of the book\'s source, `pip install ".[all]"`'
ONLINE = ': `pip install "dpm_lib[all] @ {url}/archive/{commit}.zip"`'

MYST = {"myst_role", "myst_target", "myst_line_comment", "myst_block_break", "math_block_label", "colon_fence"}
FRONT = ("chapter-map", "chapter-cards", "path", "doors", "cite-book")
BOXES = ("attention", "caution", "danger", "error", "hint", "important", "note", "seealso", "tip", "warning")
ROLE_OR_LINK = re.compile(
    r"(?P<skip>\\.|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|\$\$.+?\$\$|\$.+?(?<!\\)\$)"
    r"|\{(?P<role>[a-z:]+)\}`(?P<content>[^`]+)`"
    r"|\]\((?P<href>[^()\s]+)\)",
    re.S,
)
WITH_TEXT = re.compile(r"(?P<text>.+?)\s*<(?P<name>[^<>]+)>", re.S)


class CopyError(ValueError):
    """Something of a page that no copy can show."""


@dataclass(frozen=True)
class Target:
    """What a label of the book names, on which page."""

    page: str
    kind: str
    number: str
    title: str

    @property
    def short(self) -> str:
        return f"{self.kind} {self.number}" if self.number else self.title

    @property
    def long(self) -> str:
        return f"{self.short} ({self.title})" if self.number and self.title else self.short


@dataclass
class Directive:
    name: str
    title: str
    options: dict[str, str]
    body: str


def directive(token: Token) -> Directive | None:
    """The directive of a fence, or None if it is a plain block of code."""
    head = re.match(r"\{([^}]*)\}[ \t]*(.*)", token.info.strip())
    if not head:
        return None
    options, lines = {}, token.content.split("\n")
    while lines and (option := re.match(r":([a-z-]+):[ \t]*(.*)", lines[0])):
        options[option[1]] = option[2].strip()
        del lines[0]
    return Directive(head[1], head[2].strip(), options, "\n".join(lines).strip("\n"))


PARSER = MARKDOWN.use(myst_role_plugin).use(myst_block_plugin).enable("table")


class Book:
    """What a copy needs to know of the other pages: titles, numbers, labels; and the list of references."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.pages = {path.stem: nbformat.read(path, as_version=4) for path in notebooks(root)}
        self.folders = {path.stem: path.parent.relative_to(root).as_posix() for path in notebooks(root)}
        others = [path for path in pages(root) if path.suffix == ".md"]
        self.others = {path.stem: path.read_text(encoding="utf8").split("\n")[0].lstrip("# ") for path in others}
        self.numbers = chapter_numbers(root)
        bibliography = root / "book" / "references.bib"
        self.references = parse_file(bibliography).entries if bibliography.exists() else {}
        tell_apart(self.references)
        config = root / "_config.yml"
        self.year = yaml.safe_load(config.read_text(encoding="utf8"))["copyright"] if config.exists() else ""
        self.style = Style()  # looking for its parts takes pybtex a second
        self.titles: dict[str, str] = {}
        self.targets: dict[str, Target] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        for page, notebook in self.pages.items():
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    self._collect(page, PARSER.parse(cell.source))

    def _collect(self, page: str, tokens: list[Token]) -> None:
        for position, token in enumerate(tokens):
            if token.type == "heading_open" and token.tag == "h1":
                self.titles.setdefault(page, tokens[position + 1].content)
            elif token.type == "math_block_label":
                self._name(page, token.info, "Equation", "")
            elif token.type == "myst_target":
                following = [t.content for t in tokens[position + 1 : position + 3] if t.type == "inline"]
                self.targets[token.content] = Target(page, "", "", following[0] if following else "")
            elif token.type == "colon_fence" and (found := directive(token)):
                if "label" in found.options:
                    kind = found.name.removeprefix("prf:").capitalize()
                    self._name(page, found.options["label"], kind, found.title)
                self._collect(page, PARSER.parse(found.body))

    def _name(self, page: str, label: str, kind: str, title: str) -> None:
        chapter = self.numbers.get(page, "")
        self._counts[kind, chapter] += 1
        number = f"{chapter}.{self._counts[kind, chapter]}".lstrip(".")
        self.targets[label] = Target(page, kind, number, title)


@dataclass
class Copy:
    """The copy of one page, in the making."""

    book: Book
    page: str
    colab: Repository | None = None  # of the notebooks to link to; None: those beside this one
    cited: set[str] = field(default_factory=set)
    solving: str | None = None  # the exercise whose solution we are in
    opening: str = ""  # the title of its next piece
    pictures: dict[str, Path] = field(default_factory=dict)  # of the cell we are in

    def notebook(self) -> NotebookNode:
        copy = nbformat.from_dict(self.book.pages[self.page])
        for number, cell in enumerate(copy.cells):
            if cell.cell_type == "markdown":
                try:
                    cell.source = self.cell(cell.source)
                    if self.pictures:
                        cell.attachments = {name: attached(path) for name, path in self.pictures.items()}
                        self.pictures = {}
                except CopyError as fault:
                    raise CopyError(f"{self.page}: cell {number}: {fault}") from None
        copy.cells = [cell for cell in copy.cells if cell.source.strip()]
        if self.cited:
            copy.cells.append(nbformat.v4.new_markdown_cell(self.reference_list(), id="references"))
        return copy

    # Cells

    def cell(self, source: str) -> str:
        """The Markdown of a cell, and of the exercise's solution that begins, goes on, or ends in it."""
        parts, lines, start = [], source.split("\n"), 0
        for token in PARSER.parse(source):
            found = directive(token) if token.type == "colon_fence" and token.level == 0 else None
            if found and found.name in ("solution-start", "solution-end"):
                parts.append(self._part("\n".join(lines[start : token.map[0]])))
                start = token.map[1]
                self.solving = found.title if found.name == "solution-start" else None
                if self.solving:
                    self.opening = f"Solution to {self.target(self.solving).long}"
        parts.append(self._part("\n".join(lines[start:])))
        copy = "\n\n".join(part for part in parts if part)
        if number := self.book.numbers.get(self.page):
            copy = re.sub(r"\A# ", f"# {number}. ", copy)
        check(copy)
        return copy

    def _part(self, source: str) -> str:
        text = self.markdown(source).strip("\n")
        if self.solving and text:
            text = folded(self.opening, text)
            self.opening = "The solution goes on"
        return text

    def markdown(self, source: str) -> str:
        """Markdown without MyST that shows what this one says."""
        lines, edits = source.split("\n"), {}
        for token in PARSER.parse(source):
            if token.type in ("math_block_label", "colon_fence", "fence", "myst_target", "inline"):
                first, end = token.map
                block = "\n".join(lines[first:end])
                edits[first, end] = self._block(token, block)
        for first, end in sorted(edits, reverse=True):
            lines[first:end] = edits[first, end].split("\n")
        return "\n".join(lines)

    def _block(self, token: Token, block: str) -> str:
        if token.type == "inline":
            return self.inline(block)
        if token.type == "myst_target":
            return f"{anchor(token.content)}\n"
        if token.type == "math_block_label":
            indent = re.match(r"\s*", block)[0]
            tag = self.target(token.info).number
            return f"{indent}{anchor(token.info)}\n\n" + re.sub(
                r"(\s*)\$\$\s*\([^()]*\)\s*\Z", lambda end: f" \\tag{{{tag}}}{end[1] or ' '}$$", block
            )
        found = directive(token)
        if not found:
            return block
        if token.level or token.type == "fence":
            raise CopyError(f"directive {found.name!r}: write it with colons, at the left margin")
        return self.directive(found)

    def directive(self, found: Directive) -> str:
        name = found.name.removeprefix("prf:")
        if name == "image":
            return self.image(found.title, found.options.get("alt", ""))
        body = self.markdown(found.body)
        if name == "figure":
            return f"{self.image(found.title, found.options.get('alt', ''))}\n\n{body}"
        if name == "exercise":
            label = found.options.get("label", "")
            title = self.target(label).long
            try:
                words = effort(found.options.get("class", "").split()).words
            except ValueError as fault:
                raise CopyError(f"exercise {label!r}: {fault}") from None
            return f"{anchor(label)}\n\n### {title}\n\n*{words}*\n\n{body}"
        if name in FRONT:
            return self.front(name, found.body)
        title = self.inline(found.title)
        if name == "dropdown" or "dropdown" in found.options.get("class", ""):
            return folded(title, body)
        if name == "admonition" or name in BOXES:
            return boxed(title or name.capitalize(), body)
        if found.name.startswith("prf:"):
            label = found.options.get("label")
            title = self.target(label).long if label else name.capitalize() + (f" ({title})" if title else "")
            return (f"{anchor(label)}\n\n" if label else "") + boxed(title, body)
        raise CopyError(f"directive {found.name!r}: tools/notebook_copies.py does not know how to copy it")

    def front(self, name: str, body: str) -> str:
        """What the front page makes of the chapters (book/_ext/front.py), as text."""
        if name == "doors":
            return self.markdown(body)
        if name == "cite-book":
            words, bibtex = facts.citation(str(self.book.year))
            return f"{words}\n\n```bibtex\n{bibtex}\n```"
        if name == "chapter-cards":
            lines = [f"[{c.title}]({self.address(c.name)}). {c.question}" for c in facts.book(self.book.root).values()]
            return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
        if name == "path" and body.strip():
            found = facts.stops(body, self.book.root)
            words = [f"{stop.section}, in " if stop.section else "" for stop in found]
            links = [f"[{stop.chapter.title}]({self.address(stop.chapter.name)})" for stop in found]
            ends = [f": {stop.minutes} minutes" for stop in found]
            return "\n".join(f"- {a}{b}{c}" for a, b, c in zip(words, links, ends, strict=True))
        return facts.whole(self.book.root) if name == "path" else ""  # the map is a picture

    # Lines

    def inline(self, text: str) -> str:
        return ROLE_OR_LINK.sub(self._role_or_link, text)

    def _role_or_link(self, match: re.Match) -> str:
        if match["skip"]:
            return match[0]
        if match["href"]:
            return f"]({self.href(match['href'])})"
        return self.role(match["role"], " ".join(match["content"].split()))

    def role(self, role: str, content: str) -> str:
        given = WITH_TEXT.fullmatch(content)
        text, name = (given["text"], given["name"]) if given else ("", content)
        if role in ("cite:t", "cite:p"):
            return self.citation(role, [key.strip() for key in content.split(",")])
        if role == "term":
            return text or name
        if role == "doc" and name in self.book.others:
            return f"*{text or self.book.others[name]}* (a page of the book)"  # and no notebook
        if role == "doc":
            return f"[{text or self.title(name)}]({self.address(name)})"
        if role in ("eq", "ref", "numref", "prf:ref"):
            target = self.target(name)
            shown = {"eq": f"({target.number})", "ref": target.long}.get(role, target.short)
            return f"[{text.replace('%s', target.number) or shown}]({self.link(name)})"
        raise CopyError(f"role {role!r}: tools/notebook_copies.py does not know how to copy it")

    def href(self, href: str) -> str:
        """The target of an ordinary link, which may be a page or a label of the book."""
        if re.match(r"[a-z]+:", href):
            return href
        if href.startswith("#"):
            return self.link(href[1:])
        if Path(href).suffix in (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"):
            return self.attachment(href)
        return self.address(href.removesuffix(".ipynb"))

    # Links

    def target(self, label: str) -> Target:
        if label not in self.book.targets:
            raise CopyError(f"label {label!r}: no page of the book has it")
        return self.book.targets[label]

    def title(self, page: str) -> str:
        self.address(page)
        return self.book.titles[page]

    def address(self, page: str) -> str:
        """Where the copy of a page is."""
        if page not in self.book.pages:
            raise CopyError(f"link to {page!r}: need a notebook of the book")
        return self.colab.colab(f"{self.book.folders[page]}/{page}.ipynb") if self.colab else f"{page}.ipynb"

    def link(self, label: str) -> str:
        page = self.target(label).page
        return f"#{label}" if page == self.page else f"{self.address(page)}#{label}"

    def image(self, path: str, alternative: str) -> str:
        return f"![{alternative}]({self.attachment(path)})"

    def attachment(self, path: str) -> str:
        """The address of a picture, which travels with its cell."""
        file = self.book.root / self.book.folders[self.page] / path
        if not file.is_file():
            raise CopyError(f"picture {path!r}: there is no such file")
        self.pictures[file.name] = file
        return f"attachment:{file.name}"

    # References

    def citation(self, role: str, keys: list[str]) -> str:
        cited = [self._citation(role, key) for key in keys]
        return ", ".join(cited) if role == "cite:t" else f"({'; '.join(cited)})"

    def _citation(self, role: str, key: str) -> str:
        if key not in self.book.references:
            raise CopyError(f"citation of {key!r}: book/references.bib has no such entry")
        self.cited.add(key)
        entry = self.book.references[key]
        form = "[{} ({})]({})" if role == "cite:t" else "[{}, {}]({})"
        return form.format(names(entry), entry.fields["year"], web_address(entry) or f"#ref-{key}")

    def reference_list(self) -> str:
        entries = self.book.style.format_entries(linked(self.book.references[key]) for key in sorted(self.cited))
        backend = Plain()
        items = [f"- {anchor('ref-' + e.key)}{' '.join(e.text.render(backend).split())}" for e in entries]
        return "\n".join(["## References", "", *items])


def anchor(label: str) -> str:
    return f'<a id="{label}" name="{label}"></a>'


def folded(title: str, text: str) -> str:
    return f"<details>\n<summary>{MarkdownIt().renderInline(title)}</summary>\n\n{text}\n\n</details>"


def boxed(title: str, text: str) -> str:
    """A block quote, by tags: Jupyter takes a `>` at the start of a line of an equation for a part of it."""
    return f"<blockquote>\n\n**{title}**\n\n{text}\n\n</blockquote>"


def check(markdown: str) -> None:
    """Raises `CopyError` if something is left that only MyST understands."""
    for token in flat(PARSER.parse(markdown)):
        if token.type in MYST or (token.type == "fence" and token.info.startswith("{")):
            raise CopyError(f"{token.type} {token.info or token.content!r} would be shown as it is written")


def flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from token.children or []


class Plain(pybtex_markdown.Backend):
    """Escapes only what Markdown needs, for some programs take `\\(` for the start of a formula."""

    def format_str(self, text: str) -> str:
        return re.sub(r"([\\`*_\[\]<>$])", r"\\\1", text)


def web_address(entry: Entry) -> str | None:
    if "doi" in entry.fields:
        return f"https://doi.org/{entry.fields['doi']}"
    eprint = linked(entry).fields.get("eprint")
    return f"https://arxiv.org/abs/{eprint}" if eprint else entry.fields.get("url")


def linked(entry: Entry) -> Entry:
    """The entry with the number on arXiv, if its note is that, in a field that styles make a link of."""
    number = re.fullmatch(r"arXiv:(\S+)", entry.fields.get("note", ""))
    if not number:
        return entry
    fields = [(name, value) for name, value in entry.fields.items() if name != "note"]
    copy = Entry(entry.type, [*fields, ("eprint", number[1])], entry.persons)
    copy.key = entry.key
    return copy


def attached(path: Path) -> dict[str, str]:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {kind: base64.b64encode(path.read_bytes()).decode("ascii")}


# Files


def colab_copies(out: Path, repository: Repository, root: Path = ROOT) -> None:
    """The copies for Colab, in folders as in the repository."""
    book = Book(root)
    for page, folder in book.folders.items():
        source = SETUP.format(url=repository.url, commit=repository.commit, folder=folder)
        first = nbformat.v4.new_code_cell(source, id="colab-setup")
        write(Copy(book, page, repository).notebook(), first, out / folder / f"{page}.ipynb")


def download_copies(out: Path, repository: Repository | None, root: Path = ROOT) -> None:
    """The copies for any other program, in one folder."""
    book = Book(root)
    how = ONLINE.format(url=repository.url, commit=repository.commit) if repository else HERE
    for page in book.pages:
        first = nbformat.v4.new_markdown_cell(INSTALL.format(how=how), id="install")
        write(Copy(book, page).notebook(), first, out / f"{page}.ipynb")


def write(notebook: NotebookNode, first: NotebookNode, path: Path) -> None:
    notebook.cells.insert(0, first)
    nbformat.validate(notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(notebook), encoding="utf8")


def main(arguments: list[str]) -> str | None:
    repository = find_repository()
    if len(arguments) != 1:
        return "usage: python tools/notebook_copies.py OUTDIR"
    if repository is None:
        return "The repository's address is not known: set GITHUB_REPOSITORY, or a git remote on github.com."
    if not COMMIT.fullmatch(repository.commit):
        head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
        repository = Repository(repository.owner, repository.name, head.stdout.strip())
    if not COMMIT.fullmatch(repository.commit):
        return "The commit is not known: set GITHUB_SHA, or commit first."
    try:
        colab_copies(Path(arguments[0]), repository)
    except CopyError as fault:
        return str(fault)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
