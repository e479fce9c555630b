"""The harness that makes slips: it makes those it should, leaves alone what is no formula, and knows who survived."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import mutants
import mutations
import pytest
import status

LIBRARY = dedent('''
    import functools

    def area(r, scale=1.0):
        """pi r^2, less a half: eq-toy-area."""
        if r < 0:
            raise ValueError("r: " + str(r))
        return 3.0 * r**2 - scale / 2 if r > 1 else -r

    class Disc:
        @property
        def edge(self):
            return sum(k + 1 for k in range(3))
''')
TEST = dedent("""
    import math
    import pytest
    from dpm_lib.toy import Disc, area

    @pytest.mark.equation("eq-toy-area")
    def test_area():
        x = 1.0 + 1.5
        assert abs(area(x) - (3.0 * x * x - 0.5)) < 2 * 1e-9, "a message " + str(x)
        assert area(1.0) < 2.0 * x  # a bound that is not tight

    @pytest.mark.equation("eq-toy-edge")
    def test_edge():
        half = math.sqrt(36.0) / 2
        assert Disc().edge == 2 * half
""")


def changes(source, name, test=False):
    return {(place.before, place.after) for place in mutations.places("toy.py", source, name, test)}


def test_a_sign_a_factor_an_exponent_and_a_condition_are_changed_but_not_what_is_refused():
    assert changes(LIBRARY, "area") == {
        ("3.0 * r ** 2 - scale / 2", "3.0 * r ** 2 + scale / 2"),
        ("3.0 * r ** 2", "3.0 / r ** 2"),
        ("3.0", "6.0"),
        ("2", "3"),
        ("scale / 2", "scale * 2"),
        ("2", "4"),
        ("r > 1", "r <= 1"),
        ("-r", "r"),
    }


def test_in_a_test_the_problem_and_the_tolerance_are_left_alone():
    assert changes(TEST, "test_area", test=True) == {
        ("area(x) - (3.0 * x * x - 0.5)", "area(x) + (3.0 * x * x - 0.5)"),
        ("3.0 * x * x - 0.5", "3.0 * x * x + 0.5"),
        ("3.0 * x * x", "3.0 * x / x"),
        ("3.0 * x", "3.0 / x"),
        ("3.0", "6.0"),
        ("2.0 * x", "2.0 / x"),
        ("2.0", "4.0"),
    }
    assert ("math.sqrt(36.0) / 2", "math.sqrt(36.0) * 2") in changes(TEST, "test_edge", test=True)


def test_statements_that_are_given_and_room_in_inequalities():
    source = """def test_it():
        x = [math.exp(1) / 2,
             math.exp(2) * 3]  # not here
        y = [math.exp(1) / 5,  # given: points to look at
             math.exp(2) * 7]
        assert x[0] - 1e-9 < y[0] * 11
        assert abs(x[1] - y[1]) < 1 - 1e-7
    """
    found = {place.after: place.room for place in mutations.places("toy.py", source, "test_it", test=True)}
    assert set(found) == {
        "math.exp(1) * 2", "4", "math.exp(2) / 3", "6", "y[0] / 11", "22", "x[1] + y[1]"
    }  # fmt: skip
    assert {after for after, room in found.items() if room} == {"y[0] / 11", "22"}


def test_each_slip_is_the_one_it_says():
    for place in mutations.places("toy.py", LIBRARY, "area"):
        scope: dict = {}
        exec(LIBRARY, scope)
        area = scope["area"]
        before = [area(0.5), area(2.0)]
        area.__code__ = mutations.mutated("toy.py", LIBRARY, place)
        assert [area(0.5), area(2.0)] != before, place


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {"dpm_lib/__init__.py": "", "dpm_lib/toy.py": LIBRARY, "tests/test_toy.py": TEST}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tools").mkdir()
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["equation(*labels): labels"]\n')
    return tmp_path


def test_what_an_equation_names(project):
    found = {(s.path, s.name): s.tests for s in mutants.subjects(project)}
    area, edge = {"tests/test_toy.py::test_area"}, {"tests/test_toy.py::test_edge"}
    assert found == {
        ("dpm_lib/toy.py", "area"): area,
        ("dpm_lib/toy.py", "Disc.edge"): edge | {"tests/test_toy.py"},  # no label: its module's tests may help
        ("tests/test_toy.py", "test_area"): area,
        ("tests/test_toy.py", "test_edge"): edge,
    }


def test_survivors_are_listed_and_may_be_explained(project):
    root = Path(mutants.ROOT)
    path = os.pathsep.join(str(root / folder) for folder in ("tools", "book/_ext"))
    command = [sys.executable, str(root / "tools" / "mutants.py"), "--root", str(project), "--only"]

    def run(only):
        done = subprocess.run(
            [*command, only], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=120
        )
        return done.returncode, done.stdout

    status, out = run("toy.py")
    assert status == 1 and out.splitlines()[-1].startswith("21 slips, 3 survived"), out
    alive = {"dpm_lib/toy.py::area: return 3.0 * r ** 2 - scale / 2 if r > 1 else -r: -r -> r"}
    bound = "tests/test_toy.py::test_area: assert area(1.0) < 2.0 * x"
    alive |= {f"{bound}: {slip}" for slip in ("2.0 * x -> 2.0 / x", "2.0 -> 4.0")}
    entries = "".join(f'[[survivor]]\nslip = "{slip}"\nreason = "the bound is far"\n' for slip in alive)
    (project / "tools" / "mutants.toml").write_text(entries)
    status, out = run("toy.py")
    assert status == 1 and "3 of them explained" in out, "explained, but too many"
    status, out = run("test_edge")
    assert status == 0 and "does not survive" not in out, out
    assert mutants.Kept(project).found["tests/test_toy.py::test_edge"]["survived"] == []


def test_what_hangs_on_nothing_that_changed_is_not_tried_again(project):
    area, disc = (mutants.Subject("dpm_lib/toy.py", name, False, tests) for name, tests in (
        ("area", {"tests/test_toy.py::test_area"}), ("Disc.edge", {"tests/test_toy.py"}),
    ))  # fmt: skip
    for subject in (area, disc):
        places = mutations.places(subject.path, LIBRARY, subject.name)
        kept = mutants.Kept(project)
        outcome = [(place, "killed" if place.index else "survived") for place in places]
        kept.keep(subject, outcome, kept.digest(subject))
    (first, end), *others = mutants.Kept(project).outcome(area)
    assert (first.index, end) == (0, "survived") and {end for _, end in others} == {"killed"}
    (project / "tests" / "test_toy.py").write_text(TEST + "\n\ndef test_other():\n    ...\n")
    mutants._without_others.cache_clear()
    assert mutants.Kept(project).outcome(area) is not None, "another test does not matter"
    assert mutants.Kept(project).outcome(disc) is None, "to a function that all tests of the file may notice, it does"
    (project / "dpm_lib" / "toy.py").write_text(LIBRARY + "\nPI = 3\n")
    assert mutants.Kept(project).outcome(area) is None


def test_a_remark_on_what_is_given_changes_the_slips_of_a_test(project):
    edge = mutants.Subject("tests/test_toy.py", "test_edge", True, {"tests/test_toy.py::test_edge"})
    mutants.Kept(project).keep(edge, [], mutants.Kept(project).digest(edge))
    assert mutants.Kept(project).outcome(edge) is not None
    (project / "tests" / "test_toy.py").write_text(TEST.replace("2 * half", "2 * half  # given"))
    assert mutants.Kept(project).outcome(edge) is None


def test_a_whole_trial_is_recorded_as_the_status_page_reads_it(tmp_path):
    (place, *_) = mutations.places("toy.py", LIBRARY, "area")
    found = mutants.record([(place, "killed")] * 97 + [(place, "timeout")] + [(place, "survived")] * 2, tmp_path)
    assert (found["slips"], found["noticed"], found["survived"]) == (100, 98, 2)
    assert status.slips(tmp_path) == "not measured yet"
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "results" / "mutants.json").write_text(json.dumps(found))
    assert status.slips(tmp_path).startswith("98 of 100; the other 2 ")


def test_a_reason_that_is_out_of_date_is_noticed(capsys):
    (place, *_) = mutations.places("toy.py", LIBRARY, "area")
    assert mutants.report([(place, "killed")] * 100, {}, whole=True) == 0
    assert mutants.report([(place, "killed")] * 100, {place.key: "it cannot be seen"}, whole=False) == 1
    assert "does not survive" in capsys.readouterr().out
    other = {"gone.py::f: a -> b": "an edit removed it"}
    assert [mutants.report([(place, "killed")], other, whole=whole) for whole in (False, True)] == [0, 1]
