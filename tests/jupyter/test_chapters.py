"""Chapters in a real JupyterLab and a real Notebook: run whole, their figures used by keys and pointer, read again.

`make jupyter` runs this; it takes long, and `make test` leaves it out.
"""

import re
from itertools import cycle

import pytest
from playwright.sync_api import TimeoutError
from real import VIEW, Visit

CHAPTERS = ["01-sampling", "06-swiss-roll", "18-images"]

# What notebooks take for themselves: moves to other cells, and (a, b, d d, m, x, y, 0 0) edits of cells.
KEYS = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End", "PageUp", "PageDown", *"abxddmy00"]
CONTROLS = ":is(button, input, select, [tabindex='0']):not([tabindex='-1'], :disabled)"
SAYS = "(c) => ['aria-valuetext', 'aria-label'].map((name) => c.getAttribute(name)).join() + c.value"
NAME = "(c) => c.getAttribute('aria-label') ?? (c.labels?.[0] ?? c).textContent.trim()"
HOLDS_FOCUS = "(figure) => figure.contains(document.activeElement)"
MIDDLE = """(handle) => {
  const { x, y, width, height } = (handle.querySelector(".dpm-grip") ?? handle).getBoundingClientRect();
  return [x + width / 2, y + height / 2];
}"""

# Of MyST, as it stands in the cells: roles, labels of equations, fences and their options.
RAW = re.compile(
    r"\{(?:eq|doc|ref|numref|cite:?\w*|exercise|solution[\w-]*|admonition|dropdown)\}|\((?:eq|def)-[\w-]+\)"
    r"|^\s*:::|```|^:(?:label|class|open):",
    re.MULTILINE,
)


def figures_of(visit: Visit):
    """Every figure: its cell's number, and its element, scrolled to and drawn."""
    for cell in visit.figures():
        node = visit.show(cell)
        node.wait_for_selector(".dpm-figure")
        for figure in node.query_selector_all(".dpm-figure"):
            figure.scroll_into_view_if_needed()
            yield cell, figure


def waits_until_it_says_something_else(visit, control, before):
    changed = f"([control, before]) => ({SAYS})(control) !== before"
    try:
        visit.page.wait_for_function(changed, arg=[control, before], timeout=5000)
    except TimeoutError:
        return False
    return True


def runs_without_an_error(visit):
    visit.run("notebook:run-all-cells")
    outputs = visit.outputs()
    errors = [o for cell in outputs for o in cell or [] if o["output_type"] == "error"]
    assert not errors, [(error["ename"], error["evalue"]) for error in errors]
    assert visit.page.evaluate("""() => jupyterapp.shell.currentWidget.content.widgets
      .every((cell) => cell.model.type !== "code" || !cell.model.sharedModel.source || cell.model.executionCount)""")
    assert len(visit.figures()) >= 2


def shows_no_poster_beside_a_figure(visit):
    for cell, figure in figures_of(visit):
        posters = visit.show(cell).query_selector_all(".dpm-poster")
        assert posters and not any(poster.is_visible() for poster in posters), cell
        assert figure.is_visible()


def leaves_keys_to_its_figures(visit):
    """Every control hears every key, keeps the focus, and the notebook stays as it was."""
    for cell, figure in figures_of(visit):
        visit.page.evaluate("(i) => { jupyterapp.shell.currentWidget.content.activeCellIndex = i; }", cell)
        before = visit.state()
        for control in [c for c in figure.query_selector_all(CONTROLS) if c.is_visible()]:
            name = control.evaluate(NAME)
            kind = control.evaluate("(c) => c.type ?? c.getAttribute('role')")
            control.focus()
            for key in KEYS:
                visit.page.keyboard.press(key)
            if kind not in ("select-one", "range", "number"):
                visit.page.keyboard.press("Space")
                visit.page.keyboard.press("Space")
            assert visit.state() == before, f"cell {cell}, {name}: the notebook took a key"
            assert figure.evaluate(HOLDS_FOCUS), f"cell {cell}, {name}: the focus is gone"


def moves_its_sliders_and_handles_by_arrows(visit):
    for cell, figure in figures_of(visit):
        for control in figure.query_selector_all("input[type=range], .dpm-handle:not([tabindex='-1'])"):
            if not control.is_visible() or control.is_disabled():
                continue
            control.focus()
            before, keys = control.evaluate(SAYS), ["ArrowLeft", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowDown"]
            for key in keys:
                visit.page.keyboard.press(key)
                if waits_until_it_says_something_else(visit, control, before):
                    break
            else:
                pytest.fail(f"cell {cell}, {control.evaluate(NAME)}: stands still")


def moves_its_handles_by_the_pointer(visit):
    for cell, figure in figures_of(visit):
        handles = [h for h in figure.query_selector_all(".dpm-handle") if h.is_visible()]
        if not handles:
            continue
        mouse, handle = visit.page.mouse, handles[len(handles) // 2]
        handle.scroll_into_view_if_needed()
        before, cells = handle.evaluate(SAYS), visit.state()["cells"]
        for sign, _ in zip(cycle((1, -1)), range(2), strict=False):
            x, y = handle.evaluate(MIDDLE)
            mouse.move(x, y)
            mouse.down()
            mouse.move(x + 12 * sign, y - 12 * sign, steps=6)
            dragged = visit.page.query_selector(".lm-mod-drag-image")
            mouse.up()
            assert not dragged, f"cell {cell}: the notebook drags the cell"
            if waits_until_it_says_something_else(visit, handle, before):
                break
        else:
            pytest.fail(f"cell {cell}, {handle.evaluate(NAME)}: stands still")
        after = visit.state()
        assert (after["cells"], after["active"], after["mode"]) == (cells, cell, "command"), cell


def gives_chords_to_jupyter(visit):
    _, figure = next(figures_of(visit))
    figure.query_selector(CONTROLS).focus()
    visit.page.evaluate("""() => {
      window.heard = [];
      document.addEventListener("keydown", (event) => window.heard.push(event.key));
    }""")
    visit.page.keyboard.press("Alt+q")
    visit.page.keyboard.press("Meta+q")
    assert visit.page.evaluate("heard.filter((key) => key === 'q').length") == 2
    visit.page.keyboard.press("Control+s")
    visit.page.wait_for_function("() => !jupyterapp.shell.currentWidget.context.model.dirty")


def shows_no_raw_text(visit):
    raw = {}
    shown = "(node) => node.querySelector('.jp-Cell-inputArea').innerText.trim()"
    for cell, (kind, source) in enumerate(visit.state()["cells"]):
        if kind == "markdown":
            node = visit.show(cell)
            if "{solution-end}" in source:  # nothing is left of it
                visit.page.wait_for_timeout(500)
            else:
                visit.page.wait_for_function(shown, arg=node)
            found = RAW.findall(node.evaluate(shown))
            if found:
                raw[cell] = found
    assert not raw


def logs_no_error_of_ours(visit):
    """The modules of figures come from blobs; jupyterlab-myst logs references to what stands in other notebooks."""
    assert not [error for error in visit.errors if re.search(r"blob:|dpm|anywidget|figure", error)]


RUNNING = [
    runs_without_an_error,
    shows_no_poster_beside_a_figure,
    moves_its_sliders_and_handles_by_arrows,
    leaves_keys_to_its_figures,
    moves_its_handles_by_the_pointer,
    gives_chords_to_jupyter,
    shows_no_raw_text,
    logs_no_error_of_ours,
]


def shows_posters_and_no_error(visit):
    settled = "(node) => ![...node.querySelectorAll('*')].some((n) => n.textContent === 'Loading widget...')"
    for cell in visit.figures():
        node = visit.show(cell)
        visit.page.wait_for_function(settled, arg=node)
        text = node.query_selector(".jp-Cell-outputArea").inner_text()
        assert "Error displaying widget" not in text and "Loading widget" not in text, f"cell {cell}: {text}"
        for poster in node.query_selector_all(".dpm-poster img"):
            assert poster.is_visible() and poster.evaluate("(image) => image.naturalWidth") > 200, cell
            assert poster.get_attribute("alt")
        assert len(node.query_selector_all(".dpm-poster img")) == len(views(visit, cell))


def views(visit, cell):
    return [output for output in visit.outputs()[cell] if VIEW in output.get("data", {})]


AGAIN = [shows_posters_and_no_error, logs_no_error_of_ours]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter(server, visit, subtests, chapter):
    """Run, use, save; then, without its kernel, read again: by its own reader, and by one who has it from elsewhere."""
    notebook = f"book/{chapter}.ipynb"
    first = visit(notebook)
    for check in RUNNING:
        with subtests.test(check.__name__):
            check(first)
    first.run("docmanager:save")
    first.page.close()
    server.shut_kernels_down()
    saved = server.root / notebook
    assert saved.stat().st_size < 2_000_000

    elsewhere = saved.with_name("elsewhere.ipynb")  # its trust lies in what it says: one word more, and it is another
    elsewhere.write_text(saved.read_text(encoding="utf-8").replace('"# ', '"# Again: ', 1), encoding="utf-8")
    for name in (notebook, f"book/{elsewhere.name}"):
        again = visit(name)
        for check in AGAIN:
            with subtests.test(f"{check.__name__}, {name}"):
                check(again)
        again.page.close()
        server.shut_kernels_down()
