"""Notebooks to download: beside the pages, in `notebooks/`, a copy of each that any notebook program can show.

The theme's own button offers the source, whose directives and references only MyST understands.
"""

import shutil
import sys

from launch import ROOT
from sphinx.application import Sphinx

sys.path.insert(0, str(ROOT / "tools"))
from notebook_copies import download_copies

FOLDER = "notebooks"


def offer_copies(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Let the button `.ipynb` fetch the copy, and put beside it one for all chapters."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if (
                button.get("label") == "download-source-button"
                and button["text"] == ".ipynb"
            ):
                root = context["pathto"](FOLDER, 1)
                name = page.rsplit("/", 1)[-1]
                button |= {
                    "url": f"{root}/{name}.ipynb",
                    "tooltip": "Download this notebook",
                }
                everything = {
                    "type": "link",
                    "url": f"{root}.zip",
                    "text": "all chapters",
                    "tooltip": "Download all notebooks",
                    "icon": "fas fa-file-zipper",
                    "label": "download-all-button",
                }
                group["buttons"] = [
                    button,
                    everything,
                    *[b for b in group["buttons"] if b is not button],
                ]
                return


def write_copies(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        folder = app.outdir / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        download_copies(folder, app.config.book_repository)
        shutil.make_archive(str(folder), "zip", folder)


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("launch")
    app.connect("build-finished", write_copies)
    # After the theme's own, as in launch.py.
    app.connect("html-page-context", offer_copies, priority=503)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
