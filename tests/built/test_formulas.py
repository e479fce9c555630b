"""The formulas of all built pages: nothing but MathML Core, and no script that would have to set them."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
pytestmark = pytest.mark.skipif(not HTML.is_dir(), reason=f"no built book at {HTML}: run make book first")
TAGS = set(
    "math mrow mi mn mo mtext mspace msub msup msubsup munder mover munderover mfrac msqrt mroot mtable mtr mtd mstyle"
    " mpadded mphantom ms".split()
)
NAMES = set(
    "display data-tex form lspace rspace stretchy symmetric largeop movablelimits minsize maxsize fence separator"
    " accent accentunder width height depth mathvariant displaystyle scriptlevel linethickness class style".split()
)


def pages() -> list[Path]:
    """All but those that an earlier build left, of chapters that have another name now."""
    sources = {path.stem for path in (ROOT / "book").iterdir()}
    return [page for page in sorted(HTML.rglob("*.html")) if page.parent.name != "book" or page.stem in sources]


def formulas() -> list[tuple[str, ET.Element]]:
    found = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        found += [(page.stem, ET.fromstring(one)) for one in re.findall(r"<math.*?</math>", text, re.DOTALL)]
    return found


def test_formulas_are_of_mathml_core():
    found = formulas()
    assert len(found) > 5000
    for page, formula in found:
        for element in formula.iter():
            assert element.tag in TAGS and set(element.attrib) <= NAMES, (page, formula.get("data-tex"), element.attrib)
            assert element.get("mathvariant", "normal") == "normal", (page, formula.get("data-tex"))


def test_no_page_carries_a_script_that_it_does_not_need():
    for page in pages():
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<script[^>]*(mathjax|fontawesome)", text, re.IGNORECASE), page
    names = {path.name for path in (HTML / "_static").rglob("*")}
    assert "mathematics.css" in names and "fontawesome.js" not in names
    assert not [name for name in names if name.endswith(".map")]
