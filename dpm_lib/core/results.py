"""Measured results that the book quotes: JSON with provenance, and small trained weights, in ``book/results``.

An installed library has a copy of them, which stands in where this is run outside a checkout.
"""

import json
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import torch

PACKAGE = Path(__file__).resolve().parents[1]  # the folder of `dpm_lib`


def folder() -> Path:
    """``book/results`` of the checkout this is run in, or of the library's own, or the copy that is installed with it.

    FileNotFoundError where there is none.
    """
    here = Path.cwd()
    installed = PACKAGE / "measured"
    roots = (here, *here.parents, PACKAGE.parent)
    for place in (*(root / "book" / "results" for root in roots), installed):
        if (place / "README.md").exists():
            return place
    raise FileNotFoundError(f"book/results: not found above {here}; run this inside a checkout of the book")


def path(name: str) -> Path:
    """The file ``name`` in ``book/results``; FileNotFoundError, with what there is, where it is missing."""
    place = folder() / name
    if not place.exists():
        known = ", ".join(sorted(p.name for p in folder().iterdir()))
        raise FileNotFoundError(f"results: {name!r} is not there; there are: {known}")
    return place


def read(name: str) -> dict[str, Any]:
    """A JSON result, as a dictionary."""
    return json.loads(path(name).read_text(encoding="utf-8"))


def provenance(command: str) -> dict[str, Any]:
    """Where a number comes from: the command, the day, the commit, the versions and the machine."""
    return {
        "command": command,
        "date": date.today().isoformat(),
        "commit": _said_by("git", "rev-parse", "--short", "HEAD"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        **(_gpu() if torch.cuda.is_available() else {}),
    }


def _gpu() -> dict[str, Any]:
    """What else a measurement on a GPU depends on."""
    return {
        "gpus": torch.cuda.device_count(),
        "driver": _said_by("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
    }


def _said_by(*command: str) -> str:
    """The first line that a command prints, or "unknown"."""
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        out = ""
    return (out.splitlines() or [""])[0].strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def chosen(names: list[str], known: list[str]) -> list[str]:
    """What a benchmark was asked to measure: ``names``, or all of ``known``. SystemExit for any other name."""
    if unknown := set(names) - set(known):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return names or known
