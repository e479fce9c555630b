"""Checked equations: every displayed equation has a label, and every claim has a test that names it.

An equation labelled `def-...` is a definition. One labelled `eq-...` is a claim, and needs a test:

    @pytest.mark.equation("eq-bound")
    def test_bound_is_below_log_likelihood(): ...

The page shows a quiet mark under each equation: which tests check it, or that it is a definition; and what in the
library implements it.
A claim without a test and an equation without a label are warnings, so `make book` fails.
The tests are parsed, not imported.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from launch import ROOT, Repository
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Check:
    """A test that checks an equation, and where it is."""

    path: str
    line: int
    test: str


def find_checks(root: Path = ROOT) -> dict[str, list[Check]]:
    """The tests under `root/tests` that name each label.

    A test counts if pytest collects it and does not skip it or expect it to fail.
    """
    checks = defaultdict(list)
    for path in sorted((root / "tests").rglob("test_*.py")):
        name = path.relative_to(root).as_posix()
        for test in _tests(
            ast.parse(path.read_text(encoding="utf8"), filename=name)
        ):
            for label in _labels(test, name):
                checks[label].append(Check(name, test.lineno, test.name))
    return dict(checks)


def _tests(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for item in tree.body:
        members = (
            item.body
            if isinstance(item, ast.ClassDef) and item.name.startswith("Test")
            else [item]
        )
        for member in members:
            if isinstance(member, ast.FunctionDef) and member.name.startswith(
                "test"
            ):
                yield member


def _labels(test: ast.FunctionDef, path: str) -> list[str]:
    labels = []
    for decorator in test.decorator_list:
        call = ast.unparse(
            decorator.func if isinstance(decorator, ast.Call) else decorator
        )
        if call in ("pytest.mark.skip", "pytest.mark.xfail"):
            return []
        if call == "pytest.mark.equation":
            arguments = decorator.args if isinstance(decorator, ast.Call) else []
            if not arguments or not all(
                isinstance(a, ast.Constant) and isinstance(a.value, str)
                for a in arguments
            ):
                raise ValueError(
                    f"{path}:{test.lineno}: {test.name}: equation(...) takes labels in quotes"
                )
            labels += [argument.value for argument in arguments]
    return labels


def is_definition(label: str) -> bool:
    return label.startswith("def-")


def problem(label: str | None, checks: dict[str, list[Check]]) -> str | None:
    """What is wrong with an equation of this label, or None."""
    if not label:
        return "a displayed equation has no label: end it with '$$ (eq-...)' or, to define, '$$ (def-...)'"
    if not label.startswith(("eq-", "def-")):
        return f"the label {label!r} of an equation starts with neither 'eq-' nor 'def-'"
    if not is_definition(label) and label not in checks:
        return f"no test is marked @pytest.mark.equation({label!r})"
    return None


class equation_mark(nodes.General, nodes.Element):
    """The note under an equation. Only HTML shows it."""


class MarkEquations(SphinxTransform):
    """Put a mark under every displayed equation; warn about the ones that lack a label or a test."""

    default_priority = 900

    def apply(self) -> None:
        checks = self.config.equation_checks
        for equation in list(self.document.findall(nodes.math_block)):
            label = equation.get("label")
            if message := problem(label, checks):
                logger.warning(message, location=equation, type="equation")
            else:
                mark = equation_mark(
                    label=label,
                    definition=is_definition(label),
                    checks=checks.get(label, []),
                )
                equation.parent.insert(equation.parent.index(equation) + 1, mark)


def visit_mark(translator, node: equation_mark) -> None:
    if node["definition"]:
        text = "definition"
    else:
        repository = translator.config.book_repository
        tests = ", ".join(_link(check, repository) for check in node["checks"])
        text = f'<span aria-hidden="true">✓</span> checked: {tests}'
    if code := ", ".join(
        _code(translator, *place) for place in node.get("code", [])
    ):
        text += f"; in the library: {code}"
    translator.body.append(f'<p class="equation-mark">{text}</p>\n')
    raise nodes.SkipNode


def _link(check: Check, repository: Repository | None) -> str:
    name = check.test.replace("_", "_<wbr>")  # long names break between words
    if repository is None:
        return f'<code title="{check.path}, line {check.line}">{name}</code>'
    return f'<a href="{repository.source(check.path, check.line)}"><code>{name}</code></a>'


def _code(translator, name: str, page: str, anchor: str) -> str:
    """What implements an equation, and the way to it where the book has the page (api_reference.py)."""
    shown = f"<code>{name.replace('_', '_<wbr>')}</code>"
    builder = translator.builder
    if page not in builder.env.found_docs:
        return shown
    address = builder.get_relative_uri(builder.current_docname, page)
    return f'<a href="{address}#{anchor}">{shown}</a>'


def skip_mark(translator, node: equation_mark) -> None:
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("launch")
    app.add_config_value("equation_checks", find_checks(), "env")
    app.add_node(
        equation_mark,
        html=(visit_mark, None),
        **{
            builder: (skip_mark, None)
            for builder in ("latex", "text", "man", "texinfo")
        },
    )
    app.add_transform(MarkEquations)
    app.add_css_file("equations.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
