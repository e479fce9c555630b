"""The launch buttons appear exactly when the repository's address is known, and point to that repository."""

import subprocess

import launch
import nbformat
import pytest
from launch import Repository, find_repository, parse_remote, parse_slug
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def unknown_address(monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.delenv("GITHUB_SHA", raising=False)
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    monkeypatch.setattr(find_repository, "__defaults__", (tmp_path,))


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/ada/book",
        "https://github.com/ada/book.git",
        "https://github.com/ada/book/",
        "git@github.com:ada/book.git",
        "ssh://git@github.com/ada/book.git\n",
        "https://grace@github.com/ada/book.git",
        "https://user:secret@github.com/ada/book",
        "https://www.github.com/ada/book",
        "git@github.com-work:ada/book.git",
        "ssh://git@github.com-work/ada/book",
        "https://github.com/ada/book.git/",
        "https://GitHub.com/ada/book",
        "https://user:se@cret@github.com/ada/book",
        "https://github.com:443/ada/book.git",
        "http://github.com/ada/book",
        "git://github.com/ada/book.git",
        "git+ssh://git@github.com/ada/book.git",
        "ssh://github.com/ada/book",
        "ssh://git@github.com:22/ada/book.git",
        "ssh://git@ssh.github.com:443/ada/book.git",
        "org-14@github.com:ada/book.git",
        "github.com:ada/book",
        "git@github.com:/ada/book.git",
    ],
)
def test_remotes_on_github(url):
    assert parse_remote(url) == Repository("ada", "book")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/git/book.git",
        "https://gitlab.com/ada/book.git",
        "git@gitlab.com:ada/book.git",
        "https://codeberg.org/ada/book",
        "https://github.example.com/ada/book.git",
        "https://ada.ghe.com/ada/book.git",
        "ssh://git@github.example.com:2222/ada/book.git",
        "git@github.example.com:ada/book.git",
        "https://github.com-work/ada/book",
        "https://notgithub.com/ada/book",
        "git@notgithub.com:ada/book",
        "file:///srv/github.com/ada/book",
        "../github.com:ada/book",
        "https://github.com.example.org/ada/book",
        "https://example.org/github.com/ada/book",
        "https://example.org/x@github.com/ada/book",
        "https://example.org:x@example.org/ada/book",
        "git@github.com-work.example.org:ada/book.git",
        "https://github.com/ada/book/tree/main",
        "https://github.com/-ada/book",
        "https://github.com/ada/..",
        "https://github.com/ada/bo ok",
        'https://github.com/ada/book"onclick="x',
    ],
)
def test_other_remotes_are_unknown(url):
    assert parse_remote(url) is None


@pytest.mark.parametrize("slug", ["ada", "ada/", "/book", "ada/book/x", "a--b/book", "ada/.", "ada/book\n", "../book"])
def test_slugs_that_github_does_not_allow(slug):
    assert parse_slug(slug) is None


def test_commit_is_kept_only_if_it_is_one():
    assert parse_slug("ada/book", COMMIT).commit == COMMIT
    assert parse_slug("ada/book", "main?x").commit == "HEAD"


def add_remote(root, url):
    subprocess.run(["git", "init", "-q", root], check=True)
    subprocess.run(["git", "-C", root, "remote", "add", "origin", url], check=True)


def test_environment_comes_before_the_remote(monkeypatch, tmp_path):
    assert find_repository(tmp_path) is None
    add_remote(tmp_path, "git@github.com:ada/book.git")
    assert find_repository(tmp_path) == Repository("ada", "book")
    monkeypatch.setenv("GITHUB_REPOSITORY", "grace/fork")
    monkeypatch.setenv("GITHUB_SHA", COMMIT)
    assert find_repository(tmp_path) == Repository("grace", "fork", COMMIT)


@pytest.mark.parametrize(
    ("server", "known"),
    [
        ("https://github.com", True),
        ("https://github.com/", True),
        ("", True),
        ("https://github.example.com", False),
        ("https://codeberg.org", False),
    ],
)
def test_only_github_com_can_be_launched_from(monkeypatch, tmp_path, server, known):
    """Neither Colab nor Binder reaches another server, also where its remote looks like one on github.com."""
    add_remote(tmp_path, "git@github.com:ada/book.git")
    monkeypatch.setenv("GITHUB_REPOSITORY", "grace/fork")
    monkeypatch.setenv("GITHUB_SERVER_URL", server)
    assert find_repository(tmp_path) == (Repository("grace", "fork") if known else None)


def test_the_remote_that_the_copy_came_from(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)

    git("init", "-q", "-b", "main")
    assert find_repository(tmp_path) is None
    git("remote", "add", "mine", "https://ada:secret@github.com/ada/book.git")
    assert find_repository(tmp_path) == Repository("ada", "book"), "the only one"
    git("remote", "add", "upstream", "https://github.com/grace/book")
    assert find_repository(tmp_path) is None, "two, and none that is followed"
    git("config", "branch.main.remote", "mine")
    assert find_repository(tmp_path) == Repository("ada", "book"), "the one that is followed"
    git("remote", "add", "origin", "https://gitlab.com/lin/book")
    assert find_repository(tmp_path) is None, "not the fork's own, though others are on github.com"
    git("remote", "set-url", "origin", "gh:lin/book")
    assert find_repository(tmp_path) is None
    git("config", "--global", "url.git@github.com:.insteadOf", "gh:")
    assert find_repository(tmp_path) == Repository("lin", "book"), "an abbreviation of the user's"


def test_folder_inside_another_repository_does_not_take_its_address(tmp_path):
    add_remote(tmp_path, "git@github.com:ada/other.git")
    (tmp_path / "book").mkdir()
    assert find_repository(tmp_path / "book") is None


@pytest.fixture
def build(tmp_path):
    """Build a book of one notebook and one Markdown page with the real theme; return the two pages' HTML."""

    def run() -> tuple[str, str]:
        source, out = tmp_path / "source", tmp_path / "out"
        source.mkdir()
        text = "# A chapter\n\n$$ a $$ (def-a)\n"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text, id="a")])
        nbformat.write(notebook, source / "index.ipynb")
        (source / "page.md").write_text("---\norphan: true\n---\n# A page\n", encoding="utf8")
        overrides = {
            "extensions": ["myst_nb", "checked_equations"],
            "html_theme": "sphinx_book_theme",
            "myst_enable_extensions": ["dollarmath"],
            "nb_execution_mode": "off",
        }
        with patch_docutils(), docutils_namespace():
            Sphinx(source, None, out, out, "html", overrides, status=None, warningiserror=True).build()
        return (out / "index.html").read_text(encoding="utf8"), (out / "page.html").read_text(encoding="utf8")

    return run


def test_no_buttons_and_no_address_when_it_is_unknown(build):
    notebook, page = build()
    for html in (notebook, page):
        assert "dropdown-launch-buttons" not in html
        assert not any(host in html for host in ("colab.research.google.com", "mybinder.org", "github.com"))


def test_buttons_point_to_the_fork(build, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "grace/fork")
    monkeypatch.setenv("GITHUB_SHA", COMMIT)
    notebook, page = build()
    assert 'href="https://colab.research.google.com/github/grace/fork/blob/colab/index.ipynb"' in notebook
    assert f'href="https://mybinder.org/v2/gh/grace/fork/{COMMIT}?urlpath=lab/tree/index.ipynb"' in notebook
    assert 'href="https://github.com/grace/fork"' in notebook
    assert "dropdown-launch-buttons" not in page, "only notebooks can be run"
