"""The chapters' executions: each runs once, and a change in what it imports is noticed."""

import os

import execution
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook


def written(path, *cells):
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    notebook.metadata = nbformat.from_dict({"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    nbformat.write(notebook, path)
    return path


def test_a_chapter_runs_once_and_again_when_its_code_or_the_library_changes(tmp_path):
    (tmp_path / "dpm_lib").mkdir()
    (tmp_path / "dpm_lib" / "a.py").write_text("", encoding="utf8")
    good = written(tmp_path / "good.ipynb", "from pathlib import Path", "print(Path.cwd().name)\nprint(6 * 7)")
    bad = written(tmp_path / "bad.ipynb", "1 + 1", "not_a_name + 1")
    before = dict(os.environ)
    ran = {path.stem: result for path, result in execution.execute([good, bad], tmp_path)}
    assert dict(os.environ) == before, "what kernels are told stays with them"
    assert ran["good"].err is None
    assert "not_a_name + 1" in ran["bad"].exc_string and "NameError" in ran["bad"].exc_string
    (output,) = execution.executed(good, tmp_path).cells[1].outputs
    assert output.text == f"{tmp_path.name}\n42\n"
    with pytest.raises(KeyError):
        execution.executed(bad, tmp_path)
    assert not list(execution.execute([good], tmp_path))

    written(good, "print(43)")
    with pytest.raises(KeyError):
        execution.executed(good, tmp_path)
    written(good, "from pathlib import Path", "print(Path.cwd().name)\nprint(6 * 7)")
    execution.executed(good, tmp_path)
    (tmp_path / "dpm_lib" / "a.py").write_text("x = 1", encoding="utf8")
    with pytest.raises(KeyError, match="the library has changed"):
        execution.executed(good, tmp_path)
