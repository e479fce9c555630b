"""Fokker-Planck at equal error: the benchmark to its end beside a pretended peer, and what was measured."""

import math

import numpy as np
import peer
import pytest
import work_precision
from scipy.stats import norm
from test_benchmarks import MEASURED, keys, run

from dpm_lib.core import results
from dpm_lib.core.files import load_json


class Pretended:
    """A peer that is exact but for a share that falls with the cells, and takes a second for each hundred of them."""

    def __init__(self, name):
        self.name, self.versions = name, {"py-pde": "0"}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ask(self, start, **request):
        x = work_precision.cells(len(start))
        p = norm.pdf(x, math.exp(-1), math.sqrt(0.3**2 * math.exp(-2) + 1 - math.exp(-2)))
        return {"p": (p * (1 + 5 / len(start) ** 2)).tolist(), "seconds": len(start) / 100}, 0.0


def test_the_fastest_ways_to_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    monkeypatch.setattr(peer, "Peer", Pretended)
    monkeypatch.setattr(work_precision, "SIZES", (50, 100, 200))
    monkeypatch.setattr(work_precision, "TURNS", 1)
    run(monkeypatch, work_precision)
    found = load_json(tmp_path / "work-precision.json")
    missing = keys(load_json(MEASURED / "work-precision.json")) - keys(found)
    assert not {key for key in missing if not key.startswith("provenance/")}
    rows = {row["error"]: row for row in found["at_equal_error"]}
    assert list(rows) == [1e-3, 3e-4]  # to 1e-4 it takes more cells than 200
    assert [row["py-pde"]["cells"] for row in rows.values()] == [100, 200] and rows[3e-4]["ours"]["cells"] == 200
    assert all(row["ratio"] > 1 for row in rows.values())


@pytest.mark.parametrize("n", [7, 400])
def test_the_error_is_that_of_all_mass(n):
    exact = work_precision.own("uniformisation", 1, 400)()[0] if n == 400 else np.zeros(n)
    assert work_precision.error(exact) == pytest.approx(5.72e-5 if n == 400 else 1.0, rel=0.01)


def test_who_is_fastest():
    rows = [{"error": e, "milliseconds": t} for e, t in ((1e-3, 1.0), (1e-4, 3.0), (1e-5, 2.0))]
    assert [work_precision.fastest(rows, most) for most in (1e-2, 5e-4, 1e-6)] == [rows[0], rows[2], None]


def test_measured_at_equal_error():
    """What the book says of it: more for less error, and far more than a hundred times at the end."""
    rows = load_json(MEASURED / "work-precision.json")["at_equal_error"]
    assert all(row[side]["error"] <= row["error"] for row in rows for side in ("ours", "py-pde"))
    assert all(row["range"][0] <= row["ratio"] <= row["range"][1] for row in rows) and rows[-1]["ratio"] > 100
