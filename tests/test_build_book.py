"""When the book's build asks Sphinx, and for which pages; scripts and styles are always written."""

from types import SimpleNamespace

import build_book
import pytest
from build_book import build


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A book of one page, whose build is pretended; `root.asked` lists the options that Sphinx was given."""
    for path in (
        "dpm_lib/a.py",
        "dpm_lib/figures/widgets/js/a.js",
        "book/a.ipynb",
        "book/_static/book.css",
        "_toc.yml",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("", encoding="utf8")
    asked, written, status = [], [], [0]

    def run(command, cwd):
        asked.append([option for option in command[3:] if option not in ("-W", "-n", "--keep-going")])
        (tmp_path / "_build" / "html").mkdir(parents=True, exist_ok=True)
        (tmp_path / "_build" / "html" / "index.html").write_text("", encoding="utf8")
        return SimpleNamespace(returncode=status[0])

    (tmp_path / "_build").mkdir()
    monkeypatch.setattr(build_book, "run_chapters", lambda root: [])
    monkeypatch.setattr(build_book, "write", written.append)
    monkeypatch.setattr(build_book, "subprocess", SimpleNamespace(run=run))
    return SimpleNamespace(path=tmp_path, asked=asked, written=written, status=status)


def change(root, name):
    (root.path / name).write_text("changed", encoding="utf8")


def test_a_script_or_a_style_asks_nothing_of_sphinx(root):
    assert build(root.path, ["-q"]) == 0 and root.asked == [["--all", "-q"]]
    for name in ("dpm_lib/figures/widgets/js/a.js", "book/_static/book.css"):
        change(root, name)
        assert build(root.path, ["-q"]) == 0
    assert root.asked == [["--all", "-q"]] and root.written == [root.path / "_build" / "html"] * 2


@pytest.mark.parametrize(
    ("name", "options"),
    [("book/a.ipynb", []), ("dpm_lib/a.py", ["--all"]), ("_toc.yml", ["--all"])],
)
def test_another_change_asks_for_its_page_or_for_all(root, name, options):
    build(root.path, [])
    change(root, name)
    build(root.path, [])
    assert root.asked == [["--all"], options]


def test_a_build_that_failed_is_made_again_in_full(root):
    build(root.path, [])
    change(root, "book/a.ipynb")
    root.status[0] = 1
    assert build(root.path, []) == 1
    root.status[0] = 0
    assert build(root.path, []) == 0 and root.asked == [["--all"], [], ["--all"]]


def test_options_and_a_missing_page_ask_sphinx(root):
    build(root.path, [])
    build(root.path, ["--builder", "linkcheck"])
    (root.path / "_build" / "html" / "index.html").unlink()
    build(root.path, [])
    assert len(root.asked) == 3
