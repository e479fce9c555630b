"""Measured results: found from anywhere in a checkout, and stamped with where they come from."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import dpm_lib
from dpm_lib.core import results


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    place = tmp_path / "book" / "results"
    place.mkdir(parents=True)
    (place / "README.md").write_text("results")
    (place / "a.json").write_text(json.dumps({"value": 1.5, "unit": "β"}), encoding="utf-8")
    (tmp_path / "book" / "chapter").mkdir()
    monkeypatch.setattr(results, "PACKAGE", tmp_path / "elsewhere" / "dpm_lib")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("where", [".", "book", "book/chapter", "book/results"])
def test_found_from_anywhere_in_a_checkout(checkout, monkeypatch, where):
    monkeypatch.chdir(checkout / where)
    assert results.folder() == checkout / "book" / "results"
    assert results.path("a.json") == checkout / "book" / "results" / "a.json"
    assert results.read("a.json") == {"value": 1.5, "unit": "β"}


def test_the_librarys_own_checkout_is_the_last_resort(checkout, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("away"))
    monkeypatch.setattr(results, "PACKAGE", checkout / "dpm_lib")
    assert results.folder() == checkout / "book" / "results"


def test_the_package_is_where_the_library_is():
    assert Path(dpm_lib.__file__).resolve().parent == results.PACKAGE


def test_an_installed_library_brings_a_copy(checkout, tmp_path_factory, monkeypatch):
    """Outside a checkout the copy in the package; inside one, the checkout's own. A stranger's results are neither."""
    library, away = tmp_path_factory.mktemp("lib") / "dpm_lib", tmp_path_factory.mktemp("away")
    shutil.copytree(checkout / "book" / "results", library / "measured")
    monkeypatch.setattr(results, "PACKAGE", library)
    assert results.folder() == checkout / "book" / "results"
    monkeypatch.chdir(away)
    (away / "results").mkdir()
    (away / "results" / "README.md").write_text("of something else")
    assert results.folder() == library / "measured" and results.read("a.json")["value"] == 1.5


def test_what_is_missing_is_named(checkout, tmp_path_factory, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"results: 'b\.json' is not there; there are: README\.md, a\.json"):
        results.read("b.json")
    monkeypatch.chdir(tmp_path_factory.mktemp("away"))
    with pytest.raises(FileNotFoundError, match="book/results: not found above"):
        results.folder()


def test_provenance(checkout, monkeypatch):
    record = results.provenance("make bench")
    assert record["command"] == "make bench" and record["torch"] == torch.__version__
    assert record["commit"] == "unknown"  # no repository here
    assert record["threads"] == torch.get_num_threads() and record["processor"]
    assert json.loads(json.dumps(record)) == record
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert len(results.provenance("x")["commit"]) >= 7 and commit.startswith(results.provenance("x")["commit"])


def test_chosen():
    assert results.chosen([], ["a", "b"]) == ["a", "b"] and results.chosen(["b"], ["a", "b"]) == ["b"]
    with pytest.raises(SystemExit, match="unknown: c; there are: a, b"):
        results.chosen(["c", "a"], ["a", "b"])


def test_every_record_of_the_book_says_where_it_is_from():
    for place in results.folder().glob("*.json"):
        record = json.loads(place.read_text(encoding="utf-8"))
        assert record.get("source") or {"command", "date", "commit"} <= record["provenance"].keys(), place.name
