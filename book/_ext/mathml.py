"""TeX as MathML Core, which browsers draw and screen readers read, without a script.

MathJax parses the TeX, in V8 (mini-racer), with the files that sphinx-mathjax-offline brings. What it makes is meant for
MathJax's own eyes: here letters of another style become characters of their own, operators say which side they stand
on, columns are styles, and spaces that TeX knows of stand in the tree.
"""

import atexit
import functools
import json
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

from py_mini_racer import JSEvalException, MiniRacer

PARTS = (
    "core.js",
    "adaptors/liteDOM.js",
    "input/tex-base.js",
    "input/tex/extensions/ams.js",
)
START = "var window = globalThis, MathJax = {startup: {typeset: false, ready() {}}, loader: {load: []}};"
PARSER = """
const { core, adaptors, handlers, input, mathjax } = MathJax._;
handlers.html_ts.RegisterHTMLHandler(adaptors.liteAdaptor.liteAdaptor());
const tex = new input.tex_ts.TeX({
  packages: ["base", "ams"], formatError: (_, error) => { throw new Error(error.message); },
});
const page = mathjax.mathjax.document("", { InputJax: tex });
const visitor = new core.MmlTree.SerializedMmlVisitor.SerializedMmlVisitor();
const end = core.MathItem.STATE.CONVERT;
const mathml = (source, display) => visitor.visitTree(page.convert(source, { display, end }));
"""
LETTERS = {  # the first capital and small letter of each style, and capitals that Unicode keeps elsewhere
    "double-struck": (
        0x1D538,
        0x1D552,
        dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True)),
    ),
    "script": (
        0x1D49C,
        0x1D4B6,
        dict(zip("BEFHILMReg", "ℬℰℱℋℐℒℳℛℯℊ", strict=True)),
    ),
    "bold": (0x1D400, 0x1D41A, {}),
    "sans-serif": (0x1D5A0, 0x1D5BA, {}),
    "monospace": (0x1D670, 0x1D68A, {}),
}
DIGITS = {
    "double-struck": 0x1D7D8,
    "bold": 0x1D7CE,
    "sans-serif": 0x1D7E2,
    "monospace": 0x1D7F6,
}
ACCENTS = {"^": "ˆ", "~": "˜", "¯": "ˉ", "˙": "˙", "¨": "¨", "→": "→", "ˇ": "ˇ"}
UPRIGHT = "data-mjx-auto-op"  # said of the words in \mathrm
SIGNS = "+−±∓"
APPLY = "\u2061"
INFIX = set("=<>≤≥≠≈∼≡∝→←↔⟶⟹⟺↦∈∉≪≫∣:+−±∓⋅×∘∪∩,;/∥")
THIN = "0.167em"
CLOSE_UP = {
    ".": "0",
    "/": "0",
    "!": "0",
    "…": THIN,
    "⋯": THIN,
}  # MathML would leave wide gaps
OPEN, CLOSE = "([{⟨⌊⌈", ")]}⟩⌋⌉"
CLASS = "data-mjx-texclass"  # of TeX: OP, OPEN, CLOSE, ...
ROWS = ("math", "mrow", "mtd", "mstyle", "msqrt", "mpadded")
SCRIPTS = ("msub", "msup", "msubsup", "mover", "munder", "munderover")


@functools.cache
def _engine() -> MiniRacer:
    """V8 with MathJax in it. It has to be closed: at the end of a process it may hang (mini-racer 0.14.1)."""
    folder, engine = (
        beside("sphinx-mathjax-offline") / "static" / "mathjax",
        MiniRacer(),
    )
    parts = [(folder / part).read_text(encoding="utf-8") for part in PARTS]
    for text in (START, *parts, PARSER):
        engine.eval(text + "\n0")
    return engine


def close() -> None:
    """Let go of V8."""
    if _engine.cache_info().currsize:
        _engine().close()
        _engine.cache_clear()


def beside(package: str) -> Path:
    """The folder of an installed package. ImportError where there is none."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(f"the book's mathematics need {package}")
    return Path(spec.origin).parent


@functools.cache
def mathml(source: str, display: bool) -> str:
    """TeX as MathML Core. ValueError, with MathJax's words, for what is no TeX."""
    try:
        made = _engine().eval(
            f"mathml({json.dumps(source)}, {json.dumps(display)})"
        )
    except JSEvalException as error:
        words = str(error).split("Error: ", 1)[-1].split("\n")[0]
        raise ValueError(f"{words}: in the formula {source.strip()}") from None
    root = ET.fromstring(
        made.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "", 1)
    )
    _row(root)
    root.set("data-tex", source.strip())
    for element in root.iter():
        element.tail = None
        if len(element):
            element.text = None
        for name in [
            name for name in element.attrib if name.startswith("data-mjx")
        ]:
            del element.attrib[name]
    return ET.tostring(root, encoding="unicode")


def _row(parent: ET.Element) -> None:
    """Mend the children of ``parent``, which stand in a row, and all that is in them."""
    for child in list(parent):
        _row(child)
        MEND.get(child.tag, lambda element: None)(child)
    for i, child in enumerate(list(parent)):
        if child.tag in ("mstyle", "mrow") and _bare(child, parent.tag in ROWS):
            parent[i] = child[0]
    if parent.tag in ROWS:
        _spaces(parent)


def _bare(element: ET.Element, in_row: bool) -> bool:
    """Whether it wraps one thing for nothing. (A bracket with scripts grows in a row of its own alone.)"""
    if len(element) != 1:
        return False
    only = element[0]
    if element.tag == "mstyle":
        return only.tag == "mspace"
    bracket = only.tag == "mo" and "form" in only.attrib
    return only.tag in ("mi", "mn", "mrow", "mover") or (in_row and bracket)


def _letters(element: ET.Element) -> None:
    """Characters in place of mathvariant, which MathML Core has for upright letters alone."""
    variant, text = element.attrib.get("mathvariant"), element.text or ""
    if variant not in LETTERS:
        return
    capital, small, elsewhere = LETTERS[variant]
    del element.attrib["mathvariant"]
    found = []
    for letter in text:
        if letter in elsewhere:
            found.append(elsewhere[letter])
        elif "A" <= letter <= "Z":
            found.append(chr(capital + ord(letter) - ord("A")))
        elif "a" <= letter <= "z":
            found.append(chr(small + ord(letter) - ord("a")))
        elif "0" <= letter <= "9" and variant in DIGITS:
            found.append(chr(DIGITS[variant] + ord(letter) - ord("0")))
        else:
            found.append(letter)
    element.text = "".join(found)


def _operator(element: ET.Element) -> None:
    """Which side a bracket stands on, since | may be either, and a bracket alone in its row is neither."""
    kind, text = element.attrib.get(CLASS), element.text or ""
    if text in CLOSE_UP:
        element.attrib.update(dict.fromkeys(("lspace", "rspace"), CLOSE_UP[text]))
        return
    if kind == "OPEN" or (kind is None and text and text in OPEN):
        form = "prefix"
    elif kind == "CLOSE" or (kind is None and text and text in CLOSE):
        form = "postfix"
    else:
        return
    element.attrib.update({"form": form, "lspace": "0", "rspace": "0"})


def _accent(element: ET.Element) -> None:
    over = element[1]
    if over.tag == "mo" and over.text in ACCENTS:
        over.text = ACCENTS[over.text]
        element.set("accent", "true")


def _script(element: ET.Element) -> None:
    """No spaces around operators in scripts, as in TeX."""
    for script in element[1:]:
        for operator in script.iter("mo"):
            operator.attrib.update({"lspace": "0", "rspace": "0"})
    if element.tag == "mover":
        _accent(element)


def _table(element: ET.Element) -> None:
    """Columns and rows by styles: MathML Core does not know the attributes."""
    sides = element.attrib.pop("columnalign", "center").split()
    gaps = element.attrib.pop("columnspacing", "1em").split()
    element.attrib.pop("rowspacing", None)
    for row in element:
        for j, cell in enumerate(row):
            side = sides[min(j, len(sides) - 1)]
            left = "0" if j == 0 else gaps[min(j - 1, len(gaps) - 1)]
            cell.set("class", f"m-{side}")
            cell.set("style", f"padding-left:{left}")


MEND = {
    "mi": _letters, "mn": _letters, "mtext": _letters, "mo": _operator, "mtable": _table,
} | dict.fromkeys(SCRIPTS, _script)  # fmt: skip


def _core(element: ET.Element) -> ET.Element:
    """What an element with scripts is at heart."""
    while len(element) and (
        element.tag in SCRIPTS
        or (element.tag in ("mrow", "mstyle") and len(element) == 1)
    ):
        element = element[0]
    return element


def _spaces(row: ET.Element) -> None:
    """TeX's spaces, where MathML has none: around the names of functions; and none after a sign that is no sum."""
    made: list[ET.Element] = []
    for child in list(row):
        core, before = _core(child), made[-1] if made else None
        if core.tag == "mo" and (core.text or "-") in SIGNS and _no_term(before):
            core.attrib.update({"form": "prefix", "lspace": "0", "rspace": "0"})
        if core.tag == "mo" and _function(core):
            core.attrib.update({"lspace": "0", "rspace": "0"})
        if core.text == APPLY:
            continue  # a function is known by its name
        if before is not None and before.tag != "mspace" and child.tag != "mspace":
            name = core.tag != "mo" or _function(core)
            after_name = name and _function(_core(before)) and not _opens(child)
            if after_name or (_function(core) and not _no_term(before)):
                made.append(ET.Element("mspace", {"width": THIN}))
        made.append(child)
    row[:] = made


def _function(core: ET.Element) -> bool:
    """Whether it is the name of a function: log, tr, min; not an upright word for a quantity."""
    word = len(core.text or "") > 1 and (core.text or "").isascii()
    return word and core.tag in ("mi", "mo") and core.get(UPRIGHT) is None


def _no_term(before: ET.Element | None) -> bool:
    """Whether a sign after this is that of one term, as after = or (."""
    core = None if before is None else _core(before)
    if core is None or core.tag == "mspace":
        return core is None
    return (
        core.tag == "mo"
        and core.get("form") != "postfix"
        and (core.get("form") == "prefix" or _joins(core))
    )


def _joins(core: ET.Element) -> bool:
    return core.get(CLASS) == "OP" or (core.text or "-") in INFIX


def _opens(element: ET.Element) -> bool:
    """Whether it begins with a bracket that opens."""
    while element.tag in ("mrow", "mstyle", *SCRIPTS) and len(element):
        element = element[0]
    return element.tag == "mo" and element.get("form") == "prefix"


atexit.register(close)
