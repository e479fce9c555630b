"""A workshop for one figure: its page, with the state that the last `make book` saved, reloads when a script is saved.

    python tools/figure.py NAME [PORT]     NAME is a class, such as Walkers, or a script, such as walkers.js

The state is that of the chapters' own figures. A change in Python needs `make book` before it is seen here. A figure
that is in no chapter yet is made with its defaults.
"""

import html
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve import HTML, Fresh, serve

from dpm_lib.figures.scripts import NAMED, SCRIPTS, bundle, sheet

STATIC = HTML.parents[1] / "book" / "_static"
STATE = re.compile(r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', re.DOTALL)
NAMES = re.compile(r"// dpm_lib: ([\w-]+\.js)|/\* dpm_lib: ([\w. -]+) \*/")
PAUSE = 0.1  # seconds between two looks at the files

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/static/book.css">
<style>
html {{ --pst-color-text-muted: #48566b; font-family: sans-serif; background: #fff; color: #222 }}
html[data-theme=dark] {{ --pst-color-text-muted: #9ca4af; background: #14181e; color: #ced6dd }}
body {{ margin: 0 auto; max-width: 720px; padding: 12px }} pre {{ white-space: pre-wrap }}
</style><script src="/static/figures.js"></script></head><body>
<p><button onclick="const d = document.documentElement.dataset; d.theme = d.theme === 'dark' ? 'light' : 'dark'"
>light or dark</button></p>{cells}{state}
<script>new EventSource("/changes").onmessage = () => location.reload();</script></body></html>"""


def states(folder: Path) -> dict[str, Any]:
    """The states of all widgets in the built pages, by id."""
    found: dict[str, Any] = {}
    for page in sorted(folder.rglob("*.html")):
        for text in STATE.findall(page.read_text(encoding="utf-8")):
            found |= json.loads(text)["state"]
    return found


def chosen(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Those of the figures called ``name``; one that no page has is made. Raises SystemExit where that cannot be."""
    kinds = {key: str(record["state"].get("_anywidget_id", "")).rsplit(".", 1)[-1] for key, record in found.items()}
    scripts = {key: NAMES.match(str(record["state"].get("_esm", ""))) for key, record in found.items()}
    mine = {
        key: record
        for key, record in found.items()
        if name == kinds[key] or (scripts[key] and name.removesuffix(".js") == scripts[key][1].removesuffix(".js"))
    }
    return mine or made(name, sorted(set(kinds.values()) - {""}))


def made(name: str, known: list[str]) -> dict[str, Any]:
    """The state of a figure of class ``name`` with its defaults. Raises SystemExit where there is no such class, or it
    needs data."""
    os.environ[NAMED] = "named"
    from ipywidgets.embed import dependency_state  # slow, and for a new figure only

    from dpm_lib.figures import widgets

    if not (name.isidentifier() and hasattr(widgets, name)):
        raise SystemExit(f"NAME: {name!r} is no figure; the chapters have: {', '.join(known)}")
    try:
        state = dependency_state([getattr(widgets, name)()], drop_defaults=False)
    except TypeError as error:
        raise SystemExit(f"NAME: {name} needs data ({error}): use it in a chapter, then run: make book") from None
    return {key: record for key, record in state.items() if "_esm" in record["state"]}


def filled(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the scripts and sheets themselves, as they are now, in place of their names."""
    state = dict(record["state"])
    for key, read in (("_esm", bundle), ("_css", lambda names: sheet(*names.split()))):
        if match := NAMES.fullmatch(state.get(key, "").strip()):
            state[key] = read(match[1] or match[2])
    return record | {"state": state}


def page(name: str, records: dict[str, Any]) -> str:
    """The page of these figures; in place of one that cannot be bundled, why."""

    def script(kind: str, value: object) -> str:
        body = json.dumps(value).replace("</", r"<\/")
        return f'<script type="application/vnd.jupyter.widget-{kind}+json">{body}</script>'

    cells, state = [], {}
    for key, record in records.items():
        try:
            state[key] = filled(record)
            cells.append(f'<div class="cell_output">{script("view", {"model_id": key})}</div>')
        except (OSError, ValueError) as error:
            cells.append(f"<pre>{html.escape(str(error))}</pre>")
    return PAGE.format(title=html.escape(name), cells="".join(cells), state=script("state", {"state": state}))


def stamp() -> list[tuple[str, int]]:
    """What tells that a script or a sheet was saved."""
    files = [path for folder in (SCRIPTS, STATIC) for path in folder.iterdir() if path.suffix in (".js", ".css")]
    return sorted((str(path), path.stat().st_mtime_ns) for path in files if path.exists())


def changes() -> Iterator[bytes]:
    """An event whenever a file was saved, and a sign of life in between."""
    before = stamp()
    while True:
        time.sleep(PAUSE)
        after = stamp()
        yield b"data: saved\n\n" if after != before else b":\n\n"
        before = after


def workshop(name: str, records: dict[str, Any]) -> type[Fresh]:
    class Workshop(Fresh):
        def do_GET(self) -> None:
            if self.path == "/changes":
                self.answer("text/event-stream", changes())
            elif self.path == "/":
                self.answer("text/html; charset=utf-8", [page(name, records).encode()])
            else:
                self.path = self.path.removeprefix("/static")
                super().do_GET()

        def answer(self, kind: str, parts: Any) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            try:
                for part in parts:
                    self.wfile.write(part)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                pass  # the page was left

        def log_message(self, *_: object) -> None:
            pass

    return Workshop


if __name__ == "__main__":
    if len(sys.argv) < 2 or not sys.argv[1]:
        raise SystemExit("NAME is missing: make figure NAME=Walkers")
    figures = chosen(sys.argv[1], states(HTML))
    serve(workshop(sys.argv[1], figures), int(sys.argv[2]) if len(sys.argv) > 2 else 8000, STATIC)
