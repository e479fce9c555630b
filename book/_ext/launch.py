"""Launch buttons that follow the repository: a fork's pages open the fork's notebooks.

The address comes from the environment (`GITHUB_REPOSITORY`, set by GitHub Actions) or from the git remote (`origin`,
else the one that the branch follows, else the only one). When neither names a repository on github.com, the pages have
no buttons: Colab and Binder could not open it, and an invented address could belong to anybody.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(
    r"(?P<owner>[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38})/(?P<name>(?!\.\.?$)[A-Za-z0-9._-]{1,100})"
)
# With a user name or a token before the host, which are dropped; `git@github.com-work:` is an alias in an ssh_config.
REMOTE = re.compile(
    r"(?:https?://(?:[^/\s]+@)?(?i:(?:www\.)?github\.com)(?::\d+)?/+"
    r"|(?:git|(?:git\+)?ssh)://(?:[^/\s]+@)?(?i:(?:ssh\.)?github\.com)(?:-[\w-]+)?(?::\d+)?/+"
    r"|(?:[^@/:\s]+@)?(?i:(?:ssh\.)?github\.com)(?:-[\w-]+)?:/*)"
    r"(?P<slug>[^/]+/[^/]+?)(?:\.git)?/*"
)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub, at one commit (or at the head of its default branch)."""

    owner: str
    name: str
    commit: str = "HEAD"

    @property
    def slug(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def url(self) -> str:
        return f"https://github.com/{self.slug}"

    def source(self, path: str, line: int) -> str:
        return f"{self.url}/blob/{self.commit}/{path}#L{line}"

    def colab(self, notebook: str) -> str:
        """The copy on the branch `colab`, whose first cell installs the library (tools/notebook_copies.py)."""
        return f"https://colab.research.google.com/github/{self.slug}/blob/colab/{notebook}"

    def binder(self, notebook: str) -> str:
        return f"https://mybinder.org/v2/gh/{self.slug}/{self.commit}?urlpath=lab/tree/{notebook}"


def parse_slug(slug: str, commit: str = "") -> Repository | None:
    """`owner/name` as GitHub allows it, else None."""
    match = NAME.fullmatch(slug)
    if not match:
        return None
    return Repository(
        match["owner"],
        match["name"],
        commit if COMMIT.fullmatch(commit) else "HEAD",
    )


def parse_remote(url: str) -> Repository | None:
    """The repository of a remote on github.com, in any form that git takes, else None."""
    match = REMOTE.fullmatch(url.strip())
    return parse_slug(match["slug"]) if match else None


def find_repository(root: Path = ROOT) -> Repository | None:
    """The repository this copy of the book belongs to, or None when it is not known."""
    if slug := os.environ.get("GITHUB_REPOSITORY"):
        # Servers of one's own, and programs that act like GitHub, set it too.
        server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
        if server.rstrip("/").lower() != "https://github.com":
            return None
        return parse_slug(slug, os.environ.get("GITHUB_SHA", ""))
    if not (root / ".git").exists():
        return None
    remote = find_remote(root)
    return parse_remote(git(root, "remote", "get-url", remote)) if remote else None


def find_remote(root: Path) -> str:
    """The git remote that this copy came from, or "" where it cannot be told."""
    remotes = git(root, "remote").split()
    branch = git(root, "symbolic-ref", "--short", "HEAD")
    followed = git(root, "config", f"branch.{branch}.remote")
    for name in ("origin", followed):
        if name in remotes:
            return name
    return remotes[0] if len(remotes) == 1 else ""


def git(root: Path, *arguments: str) -> str:
    """What git prints, or "" where it fails."""
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def set_address(app: Sphinx, config: Config) -> None:
    if repository := config.book_repository:
        config.html_theme_options.update(
            repository_url=repository.url, use_repository_button=True
        )


def add_buttons(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    repository = app.config.book_repository
    source = app.env.doc2path(page, base=False)
    if repository is None or doctree is None or not source.endswith(".ipynb"):
        return
    services = [
        ("Colab", "_static/images/logo_colab.png", repository.colab(source)),
        ("Binder", "_static/images/logo_binder.svg", repository.binder(source)),
    ]
    context["header_buttons"].insert(
        0,
        {
            "type": "group",
            "label": "launch-buttons",
            "tooltip": "Run this page",
            "icon": "fas fa-rocket",
            "buttons": [
                {
                    "type": "link",
                    "text": text,
                    "tooltip": f"Run on {text}",
                    "icon": icon,
                    "url": url,
                }
                for text, icon, url in services
            ],
        },
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("book_repository", find_repository(), "env")
    app.connect("config-inited", set_address)
    # The theme creates the list of header buttons at priority 500 and fills it at 501.
    app.connect("html-page-context", add_buttons, priority=502)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
