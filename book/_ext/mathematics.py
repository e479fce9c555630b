"""Mathematics, set when the book is built: as MathML (`mathml.py`), with its font, and no script on the page.

The font is STIX Two Math as ziamath brings it, cut down to what a book of formulas needs, within a style sheet, so that
it is there as soon as the page is.
"""

import base64
import io
import re
import string
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from mathml import beside, close, mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html import HTML5Translator

LOG = logging.getLogger(__name__)
FONT = "STIXTwoMath-Regular.ttf"
INVISIBLE = set("\n\u2061\u2062\u2063\u2064")

# --- The font ---


def font_css(characters: set[str]) -> str:
    """A style sheet with STIX Two Math in it, of these characters, and all sizes that its table of mathematics has."""
    font = TTFont(beside("ziamath") / "fonts" / FONT)
    options = subset.Options(
        layout_features=["ssty", "dtls", "flac", "kern", "mark", "mkmk", "ccmp"],
        flavor="woff",
    )
    options.name_IDs, options.notdef_outline = ["*"], True
    known = {chr(code) for code in font.getBestCmap()}
    if missing := characters - known - INVISIBLE:
        raise ValueError(f"no glyph for {min(missing)!r} in {FONT}")
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes={ord(letter) for letter in characters})
    cutter.subset(font)
    out = io.BytesIO()
    font.flavor = "woff"
    font.save(out)
    data = base64.b64encode(out.getvalue()).decode()
    return f'@font-face{{font-family:"Book Math";src:url(data:font/woff;base64,{data}) format("woff")}}\n'


def needed(found: set[str]) -> set[str]:
    """The characters ``found`` in formulas, and what browsers make of single letters: italics."""
    blocks = (0x1D434, 0x1D468), (0x1D6E2, 0x1D71C)
    italics = {chr(code) for block in blocks for code in range(*block)} - {
        "\U0001d455"
    }  # ℎ is elsewhere
    return (
        found
        | italics
        | set(string.ascii_letters + string.digits + "ℎ√ +−=()[]{}|,.:;/<>′")
    )


# --- Sphinx ---


def parse(app: Sphinx, doctree: nodes.document) -> None:
    """Set the formulas of a page that was read. A warning, with the formula, for what is no TeX."""
    for node in doctree.findall(
        lambda node: isinstance(node, nodes.math | nodes.math_block)
    ):
        try:
            node["mathml"] = mathml(
                node.astext(), isinstance(node, nodes.math_block)
            )
        except ValueError as error:
            LOG.warning("%s", error, location=node, type="mathematics")
    for node in doctree.findall(nodes.math):
        keep_together(node)


def keep_together(node: nodes.math) -> None:
    """Take to a formula the comma after it and the bracket before it: a line may not break there."""
    row = node.parent
    at = next(i for i, one in enumerate(row.children) if one is node)
    marks = ("before", at - 1, r"[(\[‘“]+$"), ("after", at + 1, r"^[,.;:!?)\]’”]+")
    for side, place, pattern in marks:
        text = row[place] if 0 <= place < len(row) else None
        if isinstance(text, nodes.Text) and (mark := re.search(pattern, text)):
            node[side] = mark[0]
            rest = text[: mark.start()] + text[mark.end() :]
            row[place] = nodes.Text(
                rest
            )  # by its place: two texts that say the same are equal


def made(self: HTML5Translator, node: nodes.Element) -> str:
    return str(node.get("mathml") or f"<code>{self.encode(node.astext())}</code>")


def inline(self: HTML5Translator, node: nodes.math) -> None:
    before, after = (self.encode(node.get(key, "")) for key in ("before", "after"))
    self.body.append('<span class="math notranslate nohighlight">')
    self.body.append(f"{before}{made(self, node)}{after}</span>")
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(
        self.starttag(node, "div", CLASS="math notranslate nohighlight")
    )
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    elif "elsewhere" in node:  # a copy of an equation (source_boxes.py)
        address, number = node["elsewhere"]
        link = f'<a class="reference internal" href="{self.attval(address)}">{number}</a>'
        self.body.append(f'<span class="eqno">{link}</span>')
    self.body.append(made(self, node) + "</div>\n")
    raise nodes.SkipNode


def write_font(app: Sphinx, exception: Exception | None) -> None:
    """The sheet beside the others, with the characters of the formulas on all pages."""
    if exception is None and app.builder.format == "html":
        out, found = Path(app.outdir), set()
        for page in out.rglob("*.html"):
            for part in page.read_text(encoding="utf-8").split("<math")[1:]:
                formula = ET.fromstring(f"<math{part.split('</math>')[0]}</math>")
                found |= set("".join(formula.itertext()))
        (out / "_static" / "mathematics.css").write_text(
            font_css(needed(found)), encoding="utf-8"
        )


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer(
        "mathml", inline_renderers=(inline, None), block_renderers=(block, None)
    )
    app.add_css_file("mathematics.css", priority=100)
    app.connect("doctree-read", parse, priority=100)  # before titles are copied
    app.connect("env-updated", lambda *_: close())
    app.connect("build-finished", write_font)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": False,
        "parallel_write_safe": True,
    }
