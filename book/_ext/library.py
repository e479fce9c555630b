"""The public names of `dpm_lib`, with what their docstrings say. The library is parsed, not imported.

A name is a class, a function or a method that does not begin with an underscore, in a module that does not either.
"""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

SIZE = r"(?:\.\.\.|[\w+*/^-]{1,14}(?: (?:or|//|[-+*])? ?[\w+*/^-]{1,12})?)"  # n, T+1, 2 d, n // chain, n or 1
SHAPE = rf"\({SIZE}(?:, {SIZE})+\)|\({SIZE},\)|\(\.\.\.\)"
LABEL = re.compile(r"\b(?:eq|def)-[a-z][\w-]*\w")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Entry:
    """A class, a function or a method: `diffusion.bound.BoundTerms.K`, without the library's own name."""

    name: str
    kind: str
    signature: str
    text: str
    path: str
    line: int
    members: list["Entry"] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        return "api-" + self.name.replace(".", "-")

    @property
    def short(self) -> str:
        """`bound.terms`, `BoundTerms.K`: what one would write."""
        return ".".join(self.name.split(".")[-2:])

    @property
    def labels(self) -> list[str]:
        """The equations that the docstring names, of a class also those of its members."""
        own = LABEL.findall(self.text)
        return list(
            dict.fromkeys(
                [*own, *(label for m in self.members for label in m.labels)]
            )
        )

    @property
    def summary(self) -> str:
        """The first sentence."""
        first = self.text.split("\n\n")[0].replace("\n", " ")
        return re.split(r"(?<=[.:;])\s+(?=[A-Z`])", first)[0].rstrip(":;")


@dataclass
class Module:
    name: str
    text: str
    path: str
    entries: list[Entry]


@dataclass
class Library:
    root: Path
    modules: dict[str, Module]
    names: dict[
        str, str
    ]  # other ways to say a name: what a package or the library exports, to where it stands

    @cached_property
    def entries(self) -> dict[str, Entry]:
        return {
            each.name: each
            for module in self.modules.values()
            for entry in module.entries
            for each in (entry, *entry.members)
        }

    @property
    def packages(self) -> list[str]:
        """As in ARCHITECTURE.md, which has them in the order of their layers."""
        return list(self.about)

    @cached_property
    def about(self) -> dict[str, str]:
        page = (self.root / "ARCHITECTURE.md").read_text(encoding="utf8")
        return dict(re.findall(r"^\| `(\w+)` \| [\w, ]*\| (.+) \|$", page, re.M))

    @cached_property
    def exports(self) -> dict[str, Entry]:
        """What `dpm_lib` itself exports."""
        return {
            name: self.entries[home]
            for name, home in sorted(
                self.names.items(), key=lambda item: item[0].lower()
            )
            if "." not in name
        }

    @cached_property
    def spoken(self) -> dict[str, Entry]:
        """What a code span may say to mean one entry, and no other."""
        found = defaultdict(set)
        for name, entry in self.entries.items():
            parts = name.split(".")
            for k in range(len(parts) - 1):
                found[".".join(parts[k:])].add(name)
            if entry.kind == "class":
                found[parts[-1]].add(name)
        for name, home in self.names.items():
            found[f"dpm_lib.{name}"].add(home)
            if "." in name or name == name.split(".")[-1] != name.lower():
                found[name].add(home)
        return {
            f"{before}{name}": self.entries[next(iter(homes))]
            for name, homes in found.items()
            if len(homes) == 1
            for before in ("", "dpm_lib.")
        }

    @cached_property
    def implementing(self) -> dict[str, list[Entry]]:
        """By label: the functions and classes whose docstring names the equation."""
        found = defaultdict(list)
        for entry in self.entries.values():
            for label in dict.fromkeys(LABEL.findall(entry.text)):
                found[label].append(entry)
        return dict(found)

    def package(self, name: str) -> list[Module]:
        return [m for m in self.modules.values() if m.name.split(".")[0] == name]

    def used_by(self, source: str) -> set[str]:
        """The names that a program takes from the library, of those that have an entry."""
        known: dict[str, str] = {}
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "dpm_lib"
            ):
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    known[alias.asname or alias.name] = inner
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("dpm_lib"):
                        known[alias.asname or "dpm_lib"] = (
                            alias.name if alias.asname else "dpm_lib"
                        )
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute):
                first, _, rest = ast.unparse(node).partition(".")
                if first in known:
                    full = f"{known[first]}.{rest}" if rest else known[first]
                    name = full.removeprefix("dpm_lib.")
                    found.add(self.names.get(name, name))
        return found & set(self.entries)

    @cached_property
    def chapters(self) -> dict[str, list[str]]:
        """By name: the notebooks of the book whose code uses it."""
        found = defaultdict(list)
        for path in sorted((self.root / "book").glob("*.ipynb")):
            cells = json.loads(path.read_text(encoding="utf8"))["cells"]
            code = [c["source"] for c in cells if c["cell_type"] == "code"]
            texts = ["".join(c) if isinstance(c, list) else c for c in code]
            for name in self.used_by("\n".join(texts)):
                found[name].append(path.stem)
        return dict(found)


# --- Reading ---


def read_library(root: Path) -> Library:
    modules, names = {}, {}
    for path in sorted((root / "dpm_lib").rglob("*.py")):
        parts = path.relative_to(root / "dpm_lib").with_suffix("").parts
        tree = ast.parse(path.read_text(encoding="utf8"))
        if parts[-1] == "__init__":
            names |= exported(tree, ".".join(parts[:-1]))
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        name = ".".join(part for part in parts if part != "__init__")
        where = path.relative_to(root).as_posix()
        entries = list(defined(tree.body, name, where))
        if parts[-1] != "__init__" or entries:
            text = ast.get_docstring(tree) or ""
            modules[name] = Module(name, text, where, entries)
    library = Library(root, modules, {})
    library.names = {
        name: home for name, home in names.items() if home in library.entries
    }
    return library


def exported(tree: ast.Module, package: str) -> dict[str, str]:
    """The names that the `__init__` of a package takes from its modules, to where they are."""
    return {
        f"{package}.{alias.asname or alias.name}".lstrip("."): (
            f"{node.module}.{alias.name}".removeprefix("dpm_lib.")
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("dpm_lib.")
        for alias in node.names
    }


def defined(body: list[ast.stmt], owner: str, path: str) -> Iterator[Entry]:
    for node in body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith(
            "_"
        ):
            name = f"{owner}.{node.name}".lstrip(".")
            text = ast.get_docstring(node) or ""
            if isinstance(node, ast.ClassDef):
                members = list(defined(node.body, name, path))
                yield Entry(
                    name, "class", made_by(node), text, path, node.lineno, members
                )
            else:
                kind, form = as_function(node)
                if kind != "again":
                    yield Entry(name, kind, form, text, path, node.lineno)


def as_function(node: Function, of_class: str = "") -> tuple[str, str]:
    """The kind, and how it is called; of an overload, or of a setter, that it is there already."""
    said = {ast.unparse(decorator) for decorator in node.decorator_list}
    returns = f" -> {plain(node.returns)}" if node.returns and not of_class else ""
    if {"overload", "typing.overload"} & said or any(
        d.endswith(".setter") for d in said
    ):
        return "again", ""
    if {"property", "cached_property", "functools.cached_property"} & said:
        return "property", returns.replace(" -> ", ": ", 1)
    given = arguments(node.args)
    if given and given[0] in ("self", "cls"):
        given = given[1:]
    return "function", f"({', '.join(given)}){returns}"


def arguments(args: ast.arguments) -> list[str]:
    """As they are written, in order: `n: int = 3`, `*`, `**options`."""

    def one(arg: ast.arg, default: ast.expr | None, stars: str = "") -> str:
        kind = f": {plain(arg.annotation)}" if arg.annotation else ""
        value = f"{' = ' if kind else '='}{ast.unparse(default)}" if default else ""
        return f"{stars}{arg.arg}{kind}{value}"

    places = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(places) - len(args.defaults)) + list(args.defaults)
    found = [one(a, d) for a, d in zip(places, defaults, strict=True)]
    if args.posonlyargs:
        found.insert(len(args.posonlyargs), "/")
    if args.vararg:
        found.append(one(args.vararg, None, "*"))
    elif args.kwonlyargs:
        found.append("*")
    found += [
        one(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    ]
    if args.kwarg:
        found.append(one(args.kwarg, None, "**"))
    return found


def made_by(node: ast.ClassDef) -> str:
    """What makes an object of the class: its `__init__`, or the fields of a dataclass or a named tuple."""
    for item in node.body:
        if isinstance(item, Function) and item.name == "__init__":
            return as_function(item, node.name)[1]
    bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
    said = " ".join(ast.unparse(d) for d in node.decorator_list)
    if "dataclass" not in said and "NamedTuple" not in bases:
        return ""
    fields = [
        f"{plain(item.target)}: {plain(item.annotation)}"
        + (f" = {default}" if (default := default_of(item.value)) else "")
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and "ClassVar" not in ast.unparse(item.annotation)
        and not plain(item.target).startswith("_")
    ]
    return f"({', '.join(fields)})"


def default_of(value: ast.expr | None) -> str:
    if value is None:
        return ""
    text = ast.unparse(value)
    return "..." if text.startswith(("field(", "dataclasses.field(")) else text


def plain(node: ast.expr | None) -> str:
    """An annotation without the quotes around what comes later in its file."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node) if node else ""
