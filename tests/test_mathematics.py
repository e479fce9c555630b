"""Formulas as the pages have them: MathML Core, made of TeX when the book is built."""

import base64
import re
import xml.etree.ElementTree as ET

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from fontTools.ttLib import TTFont
from mathematics import font_css, keep_together, needed
from mathml import close, mathml


@pytest.fixture(scope="module", autouse=True)
def _closed():
    yield
    close()


def parts(tex, display=False):
    """Tag, text and what is told of its place, of all that is drawn, in order."""
    root = ET.fromstring(mathml(tex, display))
    return [
        (e.tag, e.text or "", e.get("form", "") or e.get("width", ""))
        for e in root.iter()
        if len(e) == 0 and e.tag not in ("mtd", "mrow")
    ]


def words(tex):
    """What is drawn, with _ for a space that stands in the tree, and < > around signs with a side."""
    marks = {"prefix": "<{}", "postfix": "{}>", "": "{}"}
    return " ".join("_" if tag == "mspace" else marks[form].format(text) for tag, text, form in parts(tex))


def test_letters_of_another_style_are_characters_of_their_own():
    assert words(r"\mathbb E \mathbb R \mathcal N \mathcal L \mathbf x \mathbf 1 \mathsf T") == "𝔼 ℝ 𝒩 ℒ 𝐱 𝟏 𝖳"
    for tex in (r"\mathbb R", r"\mathcal F", r"\mathsf{T}"):
        assert "mathvariant" not in mathml(tex, False)
    assert 'mathvariant="normal"' in mathml(r"\mathrm d", False)  # the one that MathML Core has


@pytest.mark.parametrize(
    ("tex", "drawn"),
    [
        ("-x", "<− x"),
        ("a - b", "a − b"),
        ("a = -b", "a = <− b"),
        ("(-b, -c)", "<( <− b , <− c )>"),
        ("x_0 - 1", "x 0 − 1"),
        (r"\sum_t -y", "∑ t <− y"),
        (r"(a) - b", "<( a )> − b"),
        (r"\pm 1", "<± 1"),
        (r"\lvert x \rvert \lVert y \rVert", "<| x |> <‖ y ‖>"),
        (r"\bigl[ a \bigr)", "<[ a )>"),
        (r"2 \log x", "2 _ log _ x"),
        (r"\log(x)", "log <( x )>"),
        (r"-\log p + \log q", "<− log _ p + log _ q"),
        (r"a = \log_2 x", "a = log 2 _ x"),
        (r"\log \lvert x \rvert", "log <| x |>"),
        (r"\operatorname{tr} A", "tr _ A"),
        (r"\tfrac12 \operatorname{Var}_\pi f", "1 2 _ Var π _ f"),
        (r"\max_i \log p", "max i _ log _ p"),
        (r"\mathrm{SNR} x", "SNR x"),
        (r"\log \frac ab", "log _ a b"),
    ],
)
def test_signs_know_their_side_and_names_of_functions_their_space(tex, drawn):
    assert words(tex) == drawn


def test_scripts_are_set_close_and_accents_near():
    root = ET.fromstring(mathml(r"\sum_{t = 1}^T \hat x_{i + 1} - \bar\alpha", True))
    for script in (root[0][1], root[1][1]):
        assert [(o.get("lspace"), o.get("rspace")) for o in script.iter("mo")] == [("0", "0")]
    assert [o.text for o in root.iter("mo") if o.get("lspace") is None] == ["∑", "−"]
    assert [(o.get("accent"), o[1].text) for o in root.iter("mover")] == [("true", "ˆ"), ("true", "ˉ")]


def test_columns_are_styles():
    root = ET.fromstring(mathml(r"\begin{aligned} a &= b & c &= d \\ e &= f \end{aligned}", True))
    cells = [(cell.get("class"), cell.get("style")) for cell in root.iter("mtd")]
    assert [side for side, _ in cells] == ["m-right", "m-left"] * 3
    assert [gap for _, gap in cells[:4]] == [f"padding-left:{em}" for em in ("0", "0em", "2em", "0em")]
    assert not {"columnalign", "columnspacing", "rowspacing"} & {name for e in root.iter() for name in e.attrib}


def test_a_bracket_with_a_script_still_grows():
    """Alone in a row: at the foot of a script it would keep its size."""
    root = ET.fromstring(mathml(r"\Bigl(\frac ab\Bigr)^2", True))
    base = root.find(".//msup")[0]
    assert base.tag == "mrow" and base[0].get("minsize")


def test_the_source_goes_with_it():
    source = r'a < b \, \& \quad \text{"q"}'
    assert ET.fromstring(mathml(source, True)).get("data-tex") == source
    assert not re.search("data-mjx|xmlns", mathml(source, True))
    assert 'display="block"' in mathml(source, True) and "display=" not in mathml(source, False)


@pytest.mark.parametrize(
    ("tex", "words"), [(r"\undefined x", r"Undefined control sequence \undefined"), (r"\frac{a", "Missing close brace")]
)
def test_what_is_no_tex_is_named(tex, words):
    with pytest.raises(ValueError, match=re.escape(words) + ".*: in the formula " + re.escape(tex)):
        mathml(tex, False)


def test_a_line_does_not_break_before_a_comma():
    paragraph = publish_doctree("the (:math:`a`), :math:`b` and :math:`c`-th").next_node(nodes.paragraph)
    for node in list(paragraph.findall(nodes.math)):
        keep_together(node)
    kept = [(node.get("before"), node.astext(), node.get("after")) for node in paragraph.findall(nodes.math)]
    assert kept == [("(", "a", "),"), (None, "b", None), (None, "c", None)]
    assert [text.astext() for text in paragraph.findall(nodes.Text)] == ["the ", "a", " ", "b", " and ", "c", "-th"]


def test_a_comma_that_stands_elsewhere_too_stays_there():
    paragraph = publish_doctree("*one*, *two*, :math:`a`, (*three*, :math:`b`, *four*)").next_node(nodes.paragraph)
    for node in list(paragraph.findall(nodes.math)):
        keep_together(node)
    texts = [text.astext() for text in paragraph.findall(nodes.Text)]
    assert texts == ["one", ", ", "two", ", ", "a", " (", "three", ", ", "b", " ", "four", ")"]


def test_the_font_has_what_is_asked_and_not_much_more(tmp_path):
    css = font_css(needed(set("𝔼∑≥")))
    (tmp_path / "font.woff").write_bytes(base64.b64decode(re.search(r"base64,([^)]*)\)", css)[1]))
    font = TTFont(tmp_path / "font.woff")
    assert {ord(c) for c in "𝔼∑≥√x1"} | {0x1D465} <= set(font.getBestCmap())
    assert ord("ℵ") not in font.getBestCmap() and "MATH" in font
    assert "Open Font License" in font["name"].getDebugName(13)
    with pytest.raises(ValueError, match="no glyph for '龍'"):
        font_css({"龍"})
