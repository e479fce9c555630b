"""The status page: `:::{status-chapters}` and `:::{status-build}`, written by the build from what it knows.

Pages are weighed when all are written, so their weights are filled in last.
"""

import json
import platform
import re
import subprocess
import xml.etree.ElementTree as ET
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from checked_equations import find_checks
from docutils import nodes
from launch import ROOT
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "matplotlib",
    "anywidget",
    "jupyter-book",
    "Sphinx",
    "playwright",
)
MODULES = {"jupyter-book": "jupyter_book"}
HEAD = (
    "Chapter",
    "Runs in",
    "Checked equations",
    "Tests of them",
    "Exercises",
    "Questions",
    "Figures",
    "Page",
)
LABEL = re.compile(r"^\$\$ \((eq-[\w-]+)\)", re.M)
WEIGHT = re.compile(r'(<span data-weight="([\w/-]+)">)[^<]*')


class status_place(nodes.General, nodes.Element):
    """Where a table is to stand, once all pages are read."""


class Place(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # what it says is of this build
        return [status_place(kind=self.name)]


def figures() -> list[str]:
    """The names of the figures that move."""
    files = (ROOT / "dpm_lib" / "figures" / "widgets").glob("*.py")
    return [
        name
        for file in files
        for name in re.findall(
            r"^class ([A-Z]\w+)\(", file.read_text(encoding="utf8"), re.M
        )
    ]


def counts(path: Path) -> dict[str, list[str]]:
    """What a chapter holds: its claims, exercises, questions and moving figures."""
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    text = {"markdown": "", "code": ""}
    for cell in cells:
        if cell["cell_type"] in text:
            text[cell["cell_type"]] += "".join(cell["source"]) + "\n"
    return {
        "claims": LABEL.findall(text["markdown"]),
        "exercises": re.findall(r"^:::+\{exercise\}", text["markdown"], re.M),
        "questions": re.findall(r"^questions\.ask\(", text["code"], re.M)
        + re.findall(" data-sealed=", text["markdown"]),
        "figures": re.findall(
            rf"\b(?:{'|'.join(figures())})(?:\.from_\w+)?\(", text["code"]
        ),
    }


def last_tests(root: Path) -> list[tuple[str, str]]:
    """What `make test` wrote when it ran last: what passed, and when."""
    found = []
    for name, what in (
        ("library", "Tests of library, book and chapters"),
        ("pages", "Tests of the built pages"),
    ):
        record = root / "_build" / f"tests-{name}.xml"
        if not record.exists():
            found.append((what, "not run here yet"))
            continue
        suite = ET.parse(record).getroot().find("testsuite")
        tests, skipped = int(suite.get("tests")), int(suite.get("skipped"))
        failed = int(suite.get("failures")) + int(suite.get("errors"))
        said = (
            f"{tests - skipped - failed} passed, {failed} failed, {skipped} skipped"
        )
        found.append(
            (
                what,
                f"{said}, in {float(suite.get('time')) / 60:.0f} min; {suite.get('timestamp')[:10]}",
            )
        )
    return found


def slips(root: Path) -> str:
    """What `make mutants` wrote when it tried all slips last."""
    record = root / "book" / "results" / "mutants.json"
    if not record.exists():
        return "not measured yet"
    found = json.loads(record.read_text(encoding="utf8"))
    said = f"{found['noticed']} of {found['slips']}; the other {found['survived']} cannot be noticed, each for a written reason"
    return f"{said}; {found['provenance']['date']}, commit {found['provenance']['commit']}"


def commit(root: Path) -> str:
    command = ["git", "-C", str(root), "rev-parse", "--short=10", "HEAD"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class ShowStatus(SphinxPostTransform):
    default_priority = 5

    def run(self) -> None:
        for place in list(self.document.findall(status_place)):
            rows = (
                self.build() if place["kind"] == "status-build" else self.chapters()
            )
            place.replace_self(table(rows))

    def build(self) -> list[list[object]]:
        return [
            ["", "In this build"],
            *map(list, last_tests(ROOT)),
            ["Slips in formulas that a test noticed", slips(ROOT)],
            ["Commit", commit(ROOT)],
            ["Python", platform.python_version()],
            *[
                [name, version(name)]
                for name in PACKAGES
                if find_spec(MODULES.get(name, name.lower()))
            ],
        ]

    def chapters(self) -> list[list[object]]:
        env, checks, total = self.env, find_checks(ROOT), [0.0] + [0] * 5
        rows: list[list[object]] = [list(HEAD)]
        numbered = {
            name: n[""] for name, n in env.toc_secnumbers.items() if n.get("")
        }
        for name in sorted(numbered, key=lambda name: numbered[name]):
            ran = (env.nb_metadata.get(name, {}).get("exec_data") or {}).get(
                "runtime"
            )
            found = counts(ROOT / f"{name}.ipynb")
            tests = {
                check
                for label in found["claims"]
                for check in checks.get(label, [])
            }
            held = [
                len(found["claims"]),
                len(tests),
                *(len(found[k]) for k in ("exercises", "questions", "figures")),
            ]
            total = [a + b for a, b in zip(total, [ran or 0.0, *held], strict=True)]
            title = f"{numbered[name][0]}. {env.titles[name].astext()}"
            link = make_refnode(
                self.app.builder, env.docname, name, "", nodes.inline("", title)
            )
            weight = nodes.raw(
                "", f'<span data-weight="{name}"></span>', format="html"
            )
            rows.append([link, f"{ran:.0f} s" if ran else "not run", *held, weight])
        return [*rows, ["All", f"{total[0]:.0f} s", *total[1:], ""]]


def table(rows: list[list[object]]) -> nodes.table:
    """The first row is its head."""
    lines = []
    for row in rows:
        cells = [
            nodes.entry(
                "",
                nodes.paragraph(
                    "",
                    "",
                    cell if isinstance(cell, nodes.Node) else nodes.Text(str(cell)),
                ),
            )
            for cell in row
        ]
        lines.append(nodes.row("", *cells))
    columns = [nodes.colspec(colwidth=1 if k else 3) for k, _ in enumerate(rows[0])]
    group = nodes.tgroup(
        "",
        *columns,
        nodes.thead("", lines[0]),
        nodes.tbody("", *lines[1:]),
        cols=len(columns),
    )
    return nodes.table("", group, classes=["status"])


def weigh(app: Sphinx, error: Exception | None) -> None:
    """The weights of the pages, which by now are written."""
    for page in [] if error else Path(app.outdir).rglob("status.html"):
        text = page.read_text(encoding="utf8")

        def size(match: re.Match) -> str:
            written = Path(app.outdir) / f"{match[2]}.html"
            return match[1] + (
                f"{written.stat().st_size / 1000:.0f} kB"
                if written.exists()
                else "?"
            )

        page.write_text(WEIGHT.sub(size, text), encoding="utf8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(status_place)
    for name in ("status-chapters", "status-build"):
        app.add_directive(name, Place)
    app.add_post_transform(ShowStatus)
    app.connect("build-finished", weigh, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
