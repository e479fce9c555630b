"""Names and roles for screen readers, where what the theme and its extensions write lacks them.

The visible words of a button are its name, so that it can be called by them; an entry of a list says that it is one; and
nothing of a page lies outside of its landmarks. tests/browser/accessibility.py looks for what is still missing.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

MENDED = (
    (r'(<button class="btn search-button-field[^>]*?) aria-label="Search"', r"\1"),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (
        r'<summary>(?=<span class="toctree-toggle")',
        '<summary aria-label="Pages below this one">',
    ),
    (r'role="doc-biblioentry"', 'role="listitem"'),
    (
        r'(<div class="book-table[^"]*") role="region"',
        r'\1 role="group"',
    ),  # two of one name would be one place
    (
        r'(<div id="pst-primary-sidebar")(?! role)',
        r'\1 role="region" aria-label="Book"',
    ),
)


def mend(page: str) -> str:
    for pattern, words in MENDED:
        page = re.sub(pattern, words, page)
    return page


def mend_all(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if (new := mend(page)) != page:
            path.write_text(new, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", mend_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
