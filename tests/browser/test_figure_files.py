"""Figures whose scripts and styles stand in files beside the page, as in the built book; and the workshop for one."""

import json
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer

import figure as workshop
import figure_files
import figures
import pytest
from ipywidgets.embed import dependency_state
from opening import READY, settle

from dpm_lib.figures.scripts import NAMED, SCRIPTS, sheet
from dpm_lib.figures.widgets import ChainEditor


def named_state(*made):
    """The state of figures as the book's build saves it: with names for scripts and sheets."""
    state = dependency_state(list(made), drop_defaults=False)
    for one in made:
        record = state[one.model_id]["state"]
        script = next(
            path.name for path in SCRIPTS.glob("*.js") if record["_esm"].endswith(path.read_text("utf-8")[-900:])
        )
        sheets = "figure.css" if record["_css"] == sheet("figure.css") else "figure.css chains.css"
        record |= {"_esm": f"// dpm_lib: {script}\n", "_css": f"/* dpm_lib: {sheets} */\n"}
    return state


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    out = tmp_path_factory.mktemp("built")
    (out / "_static").mkdir()
    figure_files.write(out)
    return out / "_static"


def test_figures_from_files_on_a_disk(watch, write_page, static):
    """Two players share one script; all share one sheet, which each page reads once. Nothing leaves the disk."""
    made = [figures.player(), figures.player(label="Another"), ChainEditor()]
    page = (watched := watch()).page
    page.goto(write_page(made, state=named_state(*made), loader=(static / "figures.js").as_uri()))
    page.wait_for_function(READY.format(3))
    settle(page)
    read = page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name.split('/').pop())")
    assert page.evaluate("() => Object.keys(dpmFigures).sort()") == ["chain.js", "player.js"]
    sheets = page.evaluate("() => [...document.querySelectorAll('head > link[href*=figures]')].map((n) => n.href)")
    assert sorted(address.rsplit("/", 1)[1] for address in sheets) == ["chains.css", "figure.css"], read
    assert page.locator(".dpm-figure").first.evaluate("(node) => getComputedStyle(node).getPropertyValue('--dpm-data')")
    watched.check()


def test_a_script_that_is_missing_shows_the_poster_and_the_others_go_on(watch, write_page, static):
    made = [figures.player(label="A broken ring"), ChainEditor()]
    state = named_state(*made)
    state[made[0].model_id]["state"]["_esm"] = "// dpm_lib: nowhere.js\n"
    page = (watched := watch()).page
    page.goto(write_page(made, state=state, loader=(static / "figures.js").as_uri(), posters=True))
    page.wait_for_selector("[data-figure=failed]")
    page.wait_for_selector("[data-figure=ready]")
    assert page.get_by_role("img", name="A broken ring").is_visible()
    assert any("nowhere.js" in error for error in watched.errors)


def test_every_figure_has_its_file(static):
    there = {path.name for path in (static / "figures").iterdir()}
    wanted = {path.name for path in SCRIPTS.glob("*.js") if "\nexport default " in path.read_text("utf-8")}
    assert there == wanted | {path.name for path in SCRIPTS.glob("*.css")} and len(wanted) > 30
    text = (static / "figures" / "chain.js").read_text("utf-8")
    assert text.startswith('(window.dpmFigures ??= {})["chain.js"] = "') and text.endswith('";\n')


# The workshop


@pytest.fixture
def book(tmp_path):
    """A built page with a player and a chain."""
    state = named_state(figures.player(), ChainEditor())
    text = json.dumps({"state": state}).replace("</", r"<\/")
    (tmp_path / "a.html").write_text(
        f'<script type="application/vnd.jupyter.widget-state+json">{text}</script>', encoding="utf-8"
    )
    return tmp_path


def test_the_workshop_finds_a_figure_by_its_class_and_by_its_script(book):
    found = workshop.states(book)
    for name in ("ChainEditor", "chain", "chain.js"):
        (record,) = workshop.chosen(name, found).values()
        assert record["state"]["_esm"] == "// dpm_lib: chain.js\n"
    with pytest.raises(SystemExit, match="'Nothing' is no figure; the chapters have: ChainEditor, TrajectoryPlayer"):
        workshop.chosen("Nothing", found)
    assert workshop.states(book / "nothing") == {}


def test_a_figure_that_no_page_has_is_made_with_its_defaults(book, monkeypatch):
    monkeypatch.setenv(NAMED, "")
    (record,) = workshop.chosen("WaysBack", workshop.states(book)).values()
    assert "export default" in workshop.filled(record)["state"]["_esm"]
    with pytest.raises(SystemExit, match=r"LiveSampler needs data .*: use it in a chapter, then run: make book"):
        workshop.chosen("LiveSampler", {})


def test_the_workshop_reloads_when_a_script_is_saved_and_says_what_is_wrong(book, browser, tmp_path, monkeypatch):
    """On copies of the scripts. From saving to the new figure it takes less than two seconds."""
    copies = tmp_path / "js"
    copies.mkdir()
    for path in SCRIPTS.iterdir():
        if path.suffix in (".js", ".css"):
            (copies / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(workshop, "SCRIPTS", copies)
    monkeypatch.setattr(workshop, "bundle", lambda name: figure_files.bundle(name, copies))
    records = workshop.chosen("ChainEditor", workshop.states(book))
    handler = partial(workshop.workshop("ChainEditor", records), directory=str(workshop.STATIC))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, browser.new_context() as context:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_function(READY.format(1))
        page.wait_for_timeout(500)
        script = copies / "chain.js"
        source = script.read_text("utf-8")
        start = time.monotonic()
        script.write_text(source.replace("export default", "document.title = 'saved';\nexport default"), "utf-8")
        page.wait_for_function("() => document.title === 'saved'")
        page.wait_for_function(READY.format(1))
        assert time.monotonic() - start < 2
        script.write_text(source + "const clamp = 1;\n", "utf-8")
        page.wait_for_selector("pre")
        assert page.locator("pre").text_content() == "chain.js: common.js and chain.js both declare clamp"
        script.write_text(source, "utf-8")
        page.wait_for_function(READY.format(1))
        server.shutdown()


def test_the_workshop_starts_without_the_library_behind_it():
    code = f"import sys; sys.path.insert(0, {str(workshop.HTML.parents[1] / 'tools')!r}); import figure"
    code += "; print(len({'torch', 'numpy', 'anywidget'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"
