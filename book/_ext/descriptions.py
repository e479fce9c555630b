"""What search engines and previews of links show of a page: its question, or its first paragraph."""

import re
import sys
from html import escape

from docutils import nodes
from launch import ROOT
from sphinx.application import Sphinx

sys.path.insert(0, str(ROOT / "tools"))
import facts

LONGEST = 200


def describe(
    app: Sphinx, page: str, template: str, context: dict, tree: nodes.document
) -> None:
    title = re.sub("<[^>]*>", "", context.get("title", "")) or app.config.html_title
    text = description(page, tree) or f"A page of the book {app.config.html_title}."
    tags = {
        "og:type": "book" if page == app.config.root_doc else "article",
        "og:site_name": escape(app.config.html_title),
        "og:title": title,  # as the theme has escaped it
        "og:description": escape(text),
    }
    lines = [f'<meta name="description" content="{escape(text)}" />']
    lines += [
        f'<meta property="{name}" content="{content}" />'
        for name, content in tags.items()
    ]
    context["metatags"] = "\n".join([context.get("metatags", ""), *lines])


def description(page: str, tree: nodes.document | None) -> str:
    """In one line, or "" for a page without text."""
    chapter = facts.book().get(page.rpartition("/")[2])
    if chapter:
        return f"{chapter.title}: {chapter.question}"
    first = next(tree.findall(nodes.paragraph), None) if tree else None
    words = " ".join(first.astext().split()) if first else ""
    return words if len(words) <= LONGEST else shortened(words)


def shortened(words: str) -> str:
    """To its last sentence or word that fits."""
    start = words[: LONGEST - 3]
    end = start.rfind(". ") + 1
    return start[:end] if end > LONGEST / 3 else f"{start.rpartition(' ')[0]} ..."


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
