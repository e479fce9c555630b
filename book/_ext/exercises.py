"""Exercises: on the page how much work each is, and lists of them, made from the chapters.

An exercise says in its options, `:class: minutes-15 pen code`, how hard it is (`tools/effort.py`). The page shows that
below its title. The directive `exercise-list`, on a page of its own, becomes a table of all exercises, which
`exercises.js` filters and sorts; `exercise-links` with labels as its text becomes a list of these, with the sum of their
minutes. An exercise that does not say how hard it is, and a label that no exercise has, are warnings.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from docutils import nodes
from launch import ROOT
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors import EnvironmentCollector
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from sphinx_exercise.nodes import exercise_enumerable_node

sys.path.insert(0, str(ROOT / "tools"))
from effort import GRADES, TOOLS, Effort, effort

LOG = logging.getLogger(__name__)
COLUMNS = {"Exercise": 46, "Chapter": 26, "Level": 10, "Minutes": 8, "With": 10}


@dataclass(frozen=True)
class Exercise:
    """What the lists say of an exercise; `page` is its chapter."""

    page: str
    label: str
    title: str
    effort: Effort


class exercise_table(nodes.General, nodes.Element):
    """The place where the table of all exercises is to stand."""


class exercise_links(nodes.General, nodes.Element):
    """The place where links to a few exercises are to stand: `labels`."""


class ExerciseTable(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [exercise_table()]


class ExerciseLinks(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        place = exercise_links(labels=" ".join(self.content).split())
        self.set_source_info(place)
        return [place]


# --- When a page is read ---


class ShowEffort(SphinxTransform):
    """Below the title of each exercise its effort; and the environment learns of the exercise."""

    default_priority = 950

    def apply(self) -> None:
        page, env = self.env.docname, self.env
        for node in self.document.findall(exercise_enumerable_node):
            try:
                found = effort(node["classes"])
            except ValueError as fault:
                LOG.warning(
                    "exercise %r: %s",
                    node["label"],
                    fault,
                    location=node,
                    type="exercises",
                )
                continue
            words = {*TOOLS, *(f"minutes-{minutes}" for minutes in GRADES)}
            node["classes"] = [
                name for name in node["classes"] if name not in words
            ]
            node[-1].insert(
                0, nodes.paragraph("", found.words, classes=["exercise-effort"])
            )
            title = node[0][-1].astext() if len(node[0]) > 1 else ""
            env.exercises.setdefault(page, []).append(
                Exercise(page, node["label"], title, found)
            )
        lists = self.document.findall(
            lambda node: isinstance(node, exercise_table | exercise_links)
        )
        if any(True for _ in lists):
            env.exercise_pages.add(page)


class Forget(EnvironmentCollector):
    """What a page had is forgotten before it is read again; after that, the pages with lists are written again."""

    changed = False

    def clear_doc(self, app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        self.changed = True
        prepare(app, env)
        env.exercises.pop(docname, None)
        env.exercise_pages.discard(docname)

    def merge_other(
        self,
        app: Sphinx,
        env: BuildEnvironment,
        docnames: set[str],
        other: BuildEnvironment,
    ) -> None:
        env.exercises |= {
            name: found
            for name, found in other.exercises.items()
            if name in docnames
        }
        env.exercise_pages |= other.exercise_pages & docnames

    def process_doc(self, app: Sphinx, doctree: nodes.document) -> None:
        """Nothing: `ShowEffort` comes later."""

    def get_updated_docs(self, app: Sphinx, env: BuildEnvironment) -> list[str]:
        return sorted(env.exercise_pages) if self.changed else []


def prepare(app: Sphinx, env: BuildEnvironment) -> None:
    if not hasattr(env, "exercises"):
        env.exercises, env.exercise_pages = {}, set()


# --- When a page is written ---


class ListExercises(SphinxPostTransform):
    """The lists in their places."""

    default_priority = 5

    def run(self) -> None:
        for place in list(self.document.findall(exercise_table)):
            place.replace_self(self.table())
        for place in list(self.document.findall(exercise_links)):
            place.replace_self(self.links(place))

    def number(self, exercise: Exercise) -> str:
        numbers = self.env.toc_fignumbers.get(exercise.page, {})
        number = numbers.get("exercise", {}).get(exercise.label, ())
        return ".".join(map(str, number))

    def chapter(self, page: str) -> tuple[int, ...]:
        return self.env.toc_secnumbers.get(page, {}).get("", ())

    def all(self) -> Iterator[Exercise]:
        """All exercises, in the order of the book."""
        for page in sorted(
            self.env.exercises, key=lambda page: (self.chapter(page), page)
        ):
            yield from self.env.exercises[page]

    def link(self, page: str, target: str, text: str) -> nodes.reference:
        return make_refnode(
            self.app.builder,
            self.env.docname,
            page,
            target,
            nodes.inline(text, text),
        )

    def table(self) -> nodes.Node:
        group = nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in COLUMNS.values()]
        group += nodes.thead("", row([nodes.Text(name) for name in COLUMNS]))
        body = nodes.tbody()
        for exercise in self.all():
            chapter = "".join(f"{part}." for part in self.chapter(exercise.page))
            title = self.env.titles[exercise.page].astext()
            work = exercise.effort
            body += row(
                [
                    self.link(
                        exercise.page,
                        exercise.label,
                        f"{self.number(exercise)} {exercise.title}".strip(),
                    ),
                    self.link(exercise.page, "", f"{chapter} {title}".strip()),
                    nodes.Text(work.grade),
                    nodes.Text(str(work.minutes)),
                    nodes.Text(" and ".join(work.tools)),
                ]
            )
        group += body
        return nodes.table("", group, classes=["exercise-list"])

    def links(self, place: exercise_links) -> nodes.Node:
        known = {exercise.label: exercise for exercise in self.all()}
        items, minutes = nodes.bullet_list(), 0
        for label in place["labels"]:
            if label not in known:
                LOG.warning(
                    "no exercise has the label %r",
                    label,
                    location=place,
                    type="exercises",
                )
                continue
            exercise = known[label]
            minutes += exercise.effort.minutes
            text = f"Exercise {self.number(exercise)}: {exercise.title}"
            line = nodes.paragraph("", "", self.link(exercise.page, label, text))
            line += nodes.Text(f". {exercise.effort.words}.")
            items += nodes.list_item("", line)
        total = nodes.paragraph("", f"Exercises together: about {minutes} minutes.")
        return nodes.container("", items, total, classes=["exercise-links"])


def row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row(
        "", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells)
    )


def setup(app: Sphinx) -> dict[str, bool | int]:
    app.setup_extension("sphinx_exercise")
    app.add_node(exercise_table)
    app.add_node(exercise_links)
    app.add_directive("exercise-list", ExerciseTable)
    app.add_directive("exercise-links", ExerciseLinks)
    app.add_transform(ShowEffort)
    app.add_env_collector(Forget)
    app.add_post_transform(ListExercises)
    return {
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
