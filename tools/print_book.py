"""The whole book as one PDF: `make pdf`.

The built pages are put behind one another in one page, with a title and a table of contents before them, and Chromium
prints it, twice: then it is known on which page each chapter begins. Figures are their posters; what is folded is open,
but for code. The outline and the names of title and authors are added at the end.
"""

import html
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath

import pypdf
import yaml
from bs4 import BeautifulSoup, Tag
from built_page import HTML, VIEW, BuiltPage, NoBook, built_pages, read_page, words
from chapters import ROOT
from chromium import NoChromium, chromium
from pikepdf import ObjectStreamMode, OutlineItem, Pdf

OUT = ROOT / "_build" / "book.pdf"
PAPER = {"format": "A4", "print_background": False, "prefer_css_page_size": False}
WIDTH = 673  # CSS pixels between the margins of print.css on A4
STYLE = """
.part { break-before: page; padding-top: 35vh; text-align: center; }
.bd-article { break-before: page; }
.book-title { padding-top: 30vh; text-align: center; break-after: page; }
.book-title h1 { font-size: 3rem; }
.book-title img { width: 6rem; }
.book-contents li { display: flex; gap: 0.5rem; list-style: none; }
.book-contents li > a { flex: 1; color: #000 !important; text-decoration: none; }
.book-contents .level-1 { margin-top: 1rem; font-weight: 700; }
.book-contents .level-2 { padding-left: 1rem; }
.book-contents .level-3 { padding-left: 3.5rem; font-size: 0.85rem; }
.book-contents span { width: 3rem; text-align: right; }
.book-contents ul { padding: 0; }
"""


@dataclass(frozen=True)
class Entry:
    """A line of the contents: a part, a chapter or a section, and where it stands."""

    level: int
    title: str
    target: str


def parts(root: Path) -> dict[str, str]:
    """The part that begins with a page, by the page's name."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    return {Path(part["chapters"][0]["file"]).stem: part["caption"] for part in toc.get("parts", [])}


# One page of all


def prepare(page: BuiltPage) -> Tag:
    """The text of a page as it goes on paper: folds open, no code that was hidden, legends below the posters."""
    article = page.article
    for fold in article.select("details.sd-dropdown"):
        fold["open"] = ""
    for box in article.select(".admonition.dropdown"):
        box["class"] = [name for name in box["class"] if name != "dropdown"]
    for gone in article.select("details.hide, a.headerlink, .question details"):
        gone.decompose()
    soup = BeautifulSoup("", "html.parser")
    for marker in article.find_all("script", type=VIEW):
        name = yaml.safe_load(marker.string)["model_id"]
        if caption := page.states.get(name, {}).get("state", {}).get("caption"):
            figure, legend = soup.new_tag("figure", attrs={"class": "dpm-figure"}), soup.new_tag("figcaption")
            legend.string = caption
            figure.append(legend)
            marker.insert_before(figure)
    for script in article.find_all("script"):
        script.decompose()
    return article


def relink(page: BuiltPage, article: Tag, known: set[str]) -> None:
    """Give all that has a name one of its own in the whole, and let links lead there; drop those to other files."""
    here = PurePosixPath(page.path)
    for tag in article.find_all(id=True):
        if not tag.find_parent("svg") and tag.name != "svg":
            tag["id"] = f"{page.name}--{tag['id']}"
    article["id"] = page.name
    for link in article.find_all("a", href=True):
        address, _, label = str(link["href"]).partition("#")
        if ":" in address:
            continue
        path = normpath(here.parent / address) if address else page.path
        if path in known:
            name = PurePosixPath(path).stem
            link["href"] = f"#{name}--{label}" if label else f"#{name}"
        else:
            del link["href"]
    for image in article.find_all("img", src=True):
        if ":" not in str(image["src"]):
            image["src"] = normpath(here.parent / str(image["src"]))


def entries(page: BuiltPage, article: Tag) -> Iterator[Entry]:
    """The chapter and its sections. (The name of a section is that of the box around its heading.)"""
    yield Entry(2, page.title, page.name)
    for heading in article.select("section > h2"):
        assert isinstance(heading.parent, Tag)
        if "id" in heading.parent.attrs:
            yield Entry(3, words(heading), str(heading.parent["id"]))


def title_page(config: dict) -> str:
    words = (config["title"], config["author"], config["copyright"])
    title, author, year = (html.escape(str(word)) for word in words)
    logo = html.escape(f"_static/{Path(config['logo']).name}")
    return (
        f'<section class="book-title"><img alt="" src="{logo}"><h1>{title}</h1><p>{author}, {year}</p>'
        "<p>The figures of this book move on its pages. Here they stand still.</p>"
        f"{config['html']['extra_footer']}</section>"
    )


def contents(listed: list[Entry], numbers: dict[str, int]) -> str:
    lines = (
        f'<li class="level-{entry.level}"><a href="#{html.escape(entry.target)}">{html.escape(entry.title)}</a>'
        f"<span>{numbers.get(entry.target, '')}</span></li>"
        for entry in listed
    )
    return f'<nav class="book-contents"><h1>Contents</h1><ul>{"".join(lines)}</ul></nav>'


class Whole:
    """All pages as one; ``write`` puts it into the folder of the site, beside the sheets and pictures it needs."""

    def __init__(self, root: Path = ROOT, site: Path = HTML) -> None:
        self.config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf8"))
        self.site = site
        self.entries: list[Entry] = []
        paths, begins = built_pages(root, site), parts(root)
        known = {path.relative_to(site).as_posix() for path in paths}
        sheets: dict[str, None] = {}
        bodies = []
        for path in paths:
            page = read_page(path, site)
            sheets |= dict.fromkeys(page.sheets)
            if page.name in begins:
                target = f"part--{page.name}"
                self.entries.append(Entry(1, begins[page.name], target))
                bodies.append(
                    f'<section class="part" id="{target}"><h1>{html.escape(begins[page.name])}</h1></section>'
                )
            article = prepare(page)
            relink(page, article, known)
            self.entries += entries(page, article)
            bodies.append(str(article))
        self.sheets, self.bodies = list(sheets), bodies

    def html(self, numbers: dict[str, int]) -> str:
        links = "".join(f'<link rel="stylesheet" href="{html.escape(sheet)}">' for sheet in self.sheets)
        return (
            '<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">'
            f"<title>{html.escape(self.config['title'])}</title>{links}<style>{STYLE}</style>"
            '<script defer src="_static/equations.js"></script></head>'
            '<body><main class="bd-main"><div class="bd-content"><div class="bd-article-container">'
            f"{title_page(self.config)}{contents(self.entries, numbers)}{''.join(self.bodies)}"
            "</div></div></main></body></html>"
        )


# Paper


def print_twice(whole: Whole, out: Path) -> None:
    """Write ``out``: once to learn the numbers of the pages, then with these in the contents. Raises `NoChromium`."""
    source = whole.site / "_whole.html"
    numbers: dict[str, int] = {}
    try:
        with chromium() as browser:
            page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
            page.set_default_timeout(300_000)
            page.emulate_media(media="print", color_scheme="light")
            for _ in range(2):
                source.write_text(whole.html(numbers), encoding="utf8")
                page.goto(source.as_uri())
                page.wait_for_function("() => document.documentElement.dataset.equations === 'fitted'")
                page.pdf(path=out, tagged=True, **PAPER)
                numbers = {name: place.page for name, place in places(out).items()}
    finally:
        source.unlink(missing_ok=True)


@dataclass(frozen=True)
class Place:
    """The number of a page, from 1, and the height on it in points."""

    page: int
    top: float


def places(path: Path) -> dict[str, Place]:
    """Where the targets of links stand in a PDF, by name."""
    paper, found = pypdf.PdfReader(path), {}
    for name, target in paper.named_destinations.items():
        number = paper.get_destination_page_number(target)
        if number is not None and number >= 0:
            found[name.lstrip("/")] = Place(number + 1, float(target.top or 0))
    return found


def finish(whole: Whole, path: Path) -> int:
    """Give the PDF its outline, title and authors, and pack it; its number of pages. It has no date."""
    found = places(path)
    if missing := [entry.target for entry in whole.entries if entry.target not in found]:
        raise ValueError(f"{missing[0]}: need a place in the PDF to which its contents can lead")
    with Pdf.open(path, allow_overwriting_input=True) as paper:
        with paper.open_outline() as outline:
            above: dict[int, OutlineItem] = {}
            for entry in whole.entries:
                place = found[entry.target]
                item = OutlineItem(entry.title, place.page - 1, "XYZ", left=0, top=place.top)
                above = {level: other for level, other in above.items() if level < entry.level}
                item.is_closed = entry.level > 1
                (above[max(above)].children if above else outline.root).append(item)
                above[entry.level] = item
        del paper.docinfo
        with paper.open_metadata(set_pikepdf_as_editor=False) as metadata:
            metadata["dc:title"] = whole.config["title"]
            metadata["dc:creator"] = [whole.config["author"]]
            metadata["dc:language"] = ["en"]
        paper.save(path, object_stream_mode=ObjectStreamMode.generate, deterministic_id=True)
        return len(paper.pages)


def main(arguments: list[str]) -> str | None:
    out = Path(arguments[0]).resolve() if arguments else OUT
    try:
        whole = Whole()
        print_twice(whole, out)
    except (NoBook, NoChromium) as error:
        return str(error)
    count = finish(whole, out)
    print(f"{out}: {count} pages, {out.stat().st_size / 1e6:.1f} MB")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
