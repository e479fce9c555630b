"""What docstrings and comments call ``module.name`` is there: a module that was renamed is renamed in words too."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import dpm_lib

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = re.compile(r"``(?:dpm_lib\.(?:\w+\.)*)?([a-z_]\w*)\.(\w+)")
OBJECTS = {"cudnn", "schedule", "torch", "x0"}  # no modules of ours
FILES = sorted(path for part in ("dpm_lib", "tests", "benchmarks", "tools") for path in (ROOT / part).rglob("*.py"))


def modules() -> dict[str, list[object]]:
    """All modules of the library by their last name."""
    found: dict[str, list[object]] = {}
    for module in pkgutil.walk_packages(dpm_lib.__path__, "dpm_lib."):
        if not module.name.endswith("__main__"):
            found.setdefault(module.name.rpartition(".")[2], []).append(importlib.import_module(module.name))
    return found


def lost(text: str, known: dict[str, list[object]]) -> list[str]:
    """References to names that no module has."""
    pairs = [pair for pair in REFERENCE.findall(text) if pair[0] not in OBJECTS and pair[1] not in ("py", "json")]
    return [f"{a}.{b}" for a, b in pairs if not any(hasattr(module, b) for module in known.get(a, []))]


def test_every_reference_leads_somewhere():
    known = modules()
    found = {path.relative_to(ROOT).as_posix(): lost(path.read_text(encoding="utf-8"), known) for path in FILES}
    found.pop("tests/test_references.py")
    assert not {name: names for name, names in found.items() if names}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("``bound.terms(model)``, ``dpm_lib.diffusion.bound.terms``, ``schedule.tau``", []),
        ("``kernels.marginal``", ["kernels.marginal"]),
        ("``bound.nothing``, and `bound.nothing` in other quotes", ["bound.nothing"]),
    ],
)
def test_lost_references_are_found(text, names):
    assert lost(text, modules()) == names
