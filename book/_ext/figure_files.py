"""The figures' scripts and styles, beside the pages: a change in one of them needs no page to be built again.

While the book is built, a widget carries the names of these files in place of their text (`dpm_lib/figures/scripts.py`).
"""

import json
import shutil
from pathlib import Path

from launch import ROOT
from sphinx.application import Sphinx

from dpm_lib.figures.scripts import SCRIPTS, bundle

FOLDER = "figures"


def write(out: Path) -> None:
    """Write into `out/_static` a script for each figure, the sheets, and the book's own scripts and styles."""
    static, folder = out / "_static", out / "_static" / FOLDER
    shutil.copytree(ROOT / "book" / "_static", static, dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sorted(SCRIPTS.glob("*.js")):
        if "\nexport default " in path.read_text(encoding="utf-8"):
            text = json.dumps(bundle(path.name))
            text = (
                f"(window.dpmFigures ??= {{}})[{json.dumps(path.name)}] = {text};\n"
            )
            (folder / path.name).write_text(text, encoding="utf-8")
    for path in SCRIPTS.glob("*.css"):
        shutil.copy(path, folder)


def write_after_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        write(Path(app.outdir))


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("launch")
    app.connect("build-finished", write_after_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
