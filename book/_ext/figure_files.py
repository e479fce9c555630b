"""The figures' scripts and styles, beside the pages: a change in one of them needs no page to be built again.

While the book is built, a widget carries the names of these files in place of their text (`dpm_lib/figures/scripts.py`).
A page's head names the sheets of its figures, and after the first figure comes its script, so that it moves before the
rest of the page has been read. Each figure has room kept for it, so that nothing jumps when it comes: as much as it took
on three screens when `tools/figure_heights.py` looked, by its name in `figure_heights.json`.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from launch import ROOT
from sphinx.application import Sphinx

from dpm_lib.figures.scripts import NAMED_SCRIPT, NAMED_SHEETS, SCRIPTS, bundle

FOLDER = "figures"
STATE = "application/vnd.jupyter.widget-state+json"
MARKER = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-view\+json">(.*?)</script>',
    re.DOTALL,
)
HEIGHTS = Path(__file__).with_name("figure_heights.json")
ROOM = '<div class="figure-room" style="{}"></div>'
READ = '<script src="{}"></script><script>document.dispatchEvent(new Event("figure-read"));</script>'


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


def widget_states(context: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The saved state of each widget of a page, by its name."""
    states = {}
    for script in context["script_files"]:
        if script.attributes.get("type") == STATE:
            states |= json.loads(script.attributes["body"])["state"]
    return {name: record["state"] for name, record in states.items()}


def with_rooms(body: str, states: dict[str, dict[str, Any]]) -> str:
    """The body of a page, with room for each of its figures whose height is known, before its marker."""
    heights = json.loads(HEIGHTS.read_text(encoding="utf-8"))

    def with_room(found: re.Match[str]) -> str:
        label = states.get(json.loads(found[1])["model_id"], {}).get("label")
        sizes = heights.get(label, {})
        style = ";".join(f"--{screen}:{size}px" for screen, size in sizes.items())
        return (ROOM.format(style) if sizes else "") + found[0]

    return MARKER.sub(with_room, body)


def start_early(
    app: Sphinx, name: str, template: str, context: dict[str, Any], tree: object
) -> None:
    """Let a page name the sheets of its figures, and the script of the first, as early as they can be of use."""
    if MARKER.search(context.get("body", "")) is None:
        return
    states = widget_states(context)
    context["body"] = with_rooms(context["body"], states)
    first = MARKER.search(context["body"])
    sheets = [
        NAMED_SHEETS.match(state.get("_css", "")) for state in states.values()
    ]
    for sheet in dict.fromkeys(
        " ".join(found[1] for found in sheets if found).split()
    ):
        app.add_css_file(f"{FOLDER}/{sheet}")
    state = states.get(json.loads(first[1])["model_id"], {})
    if found := NAMED_SCRIPT.match(state.get("_esm", "")):
        source = context["pathto"](f"_static/{FOLDER}/{found[1]}", resource=True)
        end = first.end()
        context["body"] = (
            context["body"][:end] + READ.format(source) + context["body"][end:]
        )


def write_after_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        write(Path(app.outdir))


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("launch")
    # After MyST-NB has put the states of a page's widgets among its scripts.
    app.connect("html-page-context", start_early, priority=900)
    app.connect("build-finished", write_after_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
