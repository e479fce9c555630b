"""ARCHITECTURE.md against the code: layers, circles, where to look; and the names that the library exports."""

import ast
import re
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

import dpm_lib

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
LAYERS = {
    package: set(re.findall(r"\w+", allowed))
    for package, allowed in re.findall(r"^\| `(\w+)` \| ([\w, ]*) ?\|", PAGE, flags=re.MULTILINE)
}
PLACES = re.findall(r"^\| ([^|]+) \| `(\w+)` in \[(\S+)\]\((\S+)\) \|$", PAGE, flags=re.MULTILINE)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {dotted(path): path for path in sorted((ROOT / "dpm_lib").rglob("*.py"))}


def imports(source: str, modules: set[str]) -> set[str]:
    """The modules of ours that a file imports, anywhere in it: `from package import module` is of the module."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "dpm_lib"}


EDGES = {name: imports(path.read_text(encoding="utf-8"), set(FILES)) for name, path in FILES.items()}


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One that the edges close, or []."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(edges.get(name, ())):
            if found := visit(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name, []))), [])


def test_packages_import_from_those_that_the_page_allows():
    there = {name.split(".")[1] for name in FILES if "." in name} - {"__main__"}
    assert set(LAYERS) == there
    for name, targets in EDGES.items():
        if name in ("dpm_lib", "dpm_lib.__main__"):
            continue
        mine = name.split(".")[1]
        others = {target.split(".")[1] for target in targets if "." in target} - {mine}
        assert others <= LAYERS[mine], (name, others - LAYERS[mine])


def test_what_is_allowed_is_used_and_goes_one_way():
    used = defaultdict(set)
    for name, targets in EDGES.items():
        used[name.split(".")[1] if "." in name else ""] |= {t.split(".")[1] for t in targets if "." in t}
    for package, allowed in LAYERS.items():
        assert allowed == used[package] - {package}, package
        assert list(LAYERS).index(package) > max([list(LAYERS).index(other) for other in allowed], default=-1)
    assert circle(LAYERS) == []


def test_no_modules_import_each_other_in_a_circle():
    """A package's own `__init__`, which lists names of its modules, is no part of it."""
    modules = {name: targets for name, targets in EDGES.items() if FILES[name].name != "__init__.py"}
    assert circle(modules) == []


def test_a_circle_and_a_forbidden_import_are_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []
    source = "def f():\n    from dpm_lib.sde import fokker_planck\nimport dpm_lib.cli\nfrom math import pi"
    assert imports(source, {"dpm_lib.sde.fokker_planck"}) == {"dpm_lib.sde.fokker_planck", "dpm_lib.cli"}


@pytest.mark.parametrize(("what", "name", "shown", "path"), PLACES, ids=[place[0] for place in PLACES])
def test_a_thing_is_where_the_page_says(what, name, shown, path):
    assert shown == path and (ROOT / path).is_file()
    alone = not path.startswith("dpm_lib/")  # tools, and extensions of the build: no package
    module = import_module(Path(path).stem if alone else dotted(ROOT / path))
    thing = getattr(module, name)
    assert getattr(thing, "__module__", module.__name__) == module.__name__, "it is defined elsewhere"


def test_forty_places_and_no_two_files_of_one_name():
    assert len(PLACES) >= 40 and len({what for what, *_ in PLACES}) == len(PLACES)
    stems = [path.stem for path in FILES.values() if "widgets" not in path.parts and not path.stem.startswith("__")]
    assert len(stems) == len(set(stems))


# The public face


def test_the_package_exports_what_it_says():
    assert sorted(dpm_lib.__all__) == sorted(dpm_lib._HOMES) and len(dpm_lib.__all__) <= 25
    said = {}
    for node in ast.walk(ast.parse(FILES["dpm_lib"].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dpm_lib"):
            said |= {a.asname or a.name: (node.module, a.name) for a in node.names}
    assert set(said) == set(dpm_lib.__all__)
    for name, (module, original) in said.items():
        assert getattr(dpm_lib, name) is getattr(import_module(module), original), name
    assert set(dpm_lib.__all__) <= set(dir(dpm_lib))
    with pytest.raises(AttributeError, match="'dpm_lib' has no attribute 'weights'"):
        _ = dpm_lib.weights


def test_a_package_exports_three_to_ten_names_that_are_no_modules():
    for package in set(LAYERS) - {"core", "figures", "cli"}:
        exported = import_module(f"dpm_lib.{package}").__all__
        assert 3 <= len(exported) <= 10, package
        assert not {f"dpm_lib.{package}.{name}" for name in exported} & set(FILES), package
