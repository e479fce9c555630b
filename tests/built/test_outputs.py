"""What the chapters print when they run is what they hold: the cells tagged for it, after `make book`."""

import nbformat
import pytest
from chapters import notebooks
from contract import CHECKED, tags
from execution import executed
from portable import moved, printed


def checked_outputs(notebook):
    return {
        number: printed(cell.outputs)
        for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1)
        if CHECKED in tags(cell)
    }


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_chapter_prints_what_it_holds(path):
    try:
        found = checked_outputs(executed(path))
    except KeyError:
        pytest.fail(f"{path.name}: its code was not executed as it is now: make book")
    stored = checked_outputs(nbformat.read(path, as_version=4))
    changes = [f"cell [{n}], {what}" for n in stored for what in moved(stored[n], found[n])]
    assert not changes, "\n".join((f"{path.name} (if the new ones are right: make outputs)", *changes))
