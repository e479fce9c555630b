"""Pages without what they do not need: the theme's icons come as a font, and as a script of 1.5 MB that draws them again."""

import re
from pathlib import Path

from sphinx.application import Sphinx

SCRIPT = re.compile(r'\s*<script defer src="[^"]*/fontawesome\.js[^"]*"></script>')


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Take the script from every page, and it and all source maps from the site."""
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for page in out.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if SCRIPT.search(text):
            page.write_text(SCRIPT.sub("", text), encoding="utf-8")
    static = out / "_static"
    for path in (*static.rglob("fontawesome.js*"), *static.rglob("*.map")):
        path.unlink(missing_ok=True)  # a map of that script is named twice


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
