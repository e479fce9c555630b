"""Pages without what they do not need, and without scripts that hold up their reading.

The theme's icons come as a font, and as a script of 1.5 MB that draws them again. Its every page would read Sphinx's
index of words, where the book has its own search (`search_index.py`). The scripts of the theme and of
Sphinx wait for the whole page before they do anything; so it is read first (`defer`).
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

NEEDLESS = re.compile(
    r'\s*<script (?:defer )?src="[^"]*/?(?:fontawesome|searchtools|language_data|searchindex)\.js[^"]*"></script>'
    r'|\s*<link rel="preload"[^>]*fontawesome\.js[^>]*>'
)
HEAD = re.compile(r"(?<=<head>).*?(?=</head>)", re.DOTALL)
# Not those of which another in the page makes use as it is read; nor those that must not wait.
AT_ONCE = ("documentation_options.js", "figures.js", "equations.js")
LATER = re.compile(
    rf'<script (?=[^>]*src="(?![^"]*(?:{"|".join(map(re.escape, AT_ONCE))})))(?!defer)'
)


def lean(page: str) -> str:
    """A page without the scripts of icons and of Sphinx's search, whose head holds up nothing."""
    return HEAD.sub(
        lambda head: LATER.sub("<script defer ", head[0]),
        NEEDLESS.sub("", page),
        count=1,
    )


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Write every page anew where that makes it lean, and take what no page needs from the site."""
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for path in out.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if (new := lean(page)) != page:
            path.write_text(new, encoding="utf-8")
    static = out / "_static"
    for path in (*static.rglob("fontawesome.js*"), *static.rglob("*.map")):
        path.unlink(missing_ok=True)  # a map of that script is named twice


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
