"""Would the tests of the checked equations notice a slip? Make each slip, run the equation's tests, list what survives.

`make mutants`, or `make mutants ONLY="text ..."` for the functions whose `file::name` holds one of the texts. Two kinds
of code are changed, one sign, factor or condition at a time (`mutations.py` says which):

- the formulas of the page as the tests marked with an equation write them;
- the functions of the library that an equation names: those whose docstring has its label are tried by the equation's
  tests alone; those that its tests call, by these and by the tests of their own module.

A slip that no test notices is a survivor. Those that cannot be noticed (both sides change alike, a bound stays a
bound) are explained in `mutants.toml`, one reason for each; any other survivor, or an explanation that is out of
date, makes this fail. It takes long, and is not part of `make test`.

Tests are collected once; every slip then runs in a process of its own, forked from the one that has imported all. What
became of a function's slips is kept in _build/mutants.json, and asked for again when its file or one of its tests has
changed (``--anew``: in any case).
"""

import argparse
import ast
import datetime
import gc
import hashlib
import inspect
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from types import CodeType

import checked_equations
import mutations
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
MOST = 0.02  # of all slips may survive, each with its reason
SLOW = 1.0  # seconds; a module's test that takes longer is asked only about what the others let pass
SLOWEST = 15.0  # seconds that such tests may take together, the quickest first; an equation's tests are always asked
LONGEST = 600.0  # seconds; an equation's test
LABEL = re.compile(r"\b(?:eq|def)-[a-z0-9-]+")


@dataclass
class Subject:
    """A function to be mutated, and the tests (pytest's names, without parameters) that should notice."""

    path: str
    name: str
    is_test: bool
    tests: set[str] = field(default_factory=set)


def subjects(root: Path) -> list[Subject]:
    """Everything that checked equations name."""
    found: dict[tuple[str, str], Subject] = {}
    library = Library(root)
    for label, checks in checked_equations.find_checks(root).items():
        for check in checks:
            tree = _parsed(root / check.path)
            name = next(n for n in mutations.functions(tree) if n.rsplit(".", 1)[-1] == check.test)
            test = f"{check.path}::{name.replace('.', '::')}"
            mine = found.setdefault((check.path, name), Subject(check.path, name, True))
            mine.tests.add(test)
            labelled = library.labelled.get(label, set())
            for path, function in library.called(tree, name) | labelled:
                subject = found.setdefault((path, function), Subject(path, function, False))
                subject.tests.add(test)
                if (path, function) not in library.named:
                    subject.tests |= library.tested[path]
    return [found[key] for key in sorted(found)]


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf8"))


class Library:
    """The functions of dpm_lib, by what names them."""

    def __init__(self, root: Path) -> None:
        self.labelled: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.modules: dict[str, tuple[str, set[str]]] = {}
        methods: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for file in sorted((root / "dpm_lib").rglob("*.py")):
            path = file.relative_to(root).as_posix()
            module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            if module.startswith("dpm_lib.figures.widgets") or "plots" in module:
                continue
            functions = mutations.functions(_parsed(file))
            self.modules[module] = (path, set(functions))
            for name, node in functions.items():
                for label in LABEL.findall(ast.get_docstring(node) or ""):
                    self.labelled[label].add((path, name))
                if "." in name:
                    methods[name.rsplit(".", 1)[-1]].add((path, name))
        self.tested = self._tested(root)
        self.named = {place for places in self.labelled.values() for place in places}
        self.methods = {name: next(iter(places)) for name, places in methods.items() if len(places) == 1}

    def _tested(self, root: Path) -> dict[str, set[str]]:
        """By module's path, the files of tests that import it or from it, those of equations apart."""
        found: dict[str, set[str]] = defaultdict(set)
        for file in sorted((root / "tests").glob("test_*.py")):
            if file.name.startswith("test_equations_"):
                continue
            for node in ast.walk(_parsed(file)):
                if isinstance(node, ast.ImportFrom) and node.module:
                    for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                        if name in self.modules:
                            found[self.modules[name][0]].add(f"tests/{file.name}")
        return found

    def called(self, tree: ast.Module, test: str) -> set[tuple[str, str]]:
        """The functions that the test names: `module.function`, `function`, and methods of a name that is unique."""
        known = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dpm_lib":
                known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        found = set()
        for node in ast.walk(mutations.functions(tree)[test]):
            if isinstance(node, ast.Name) and node.id in known:
                found |= self._function(known[node.id])
            elif isinstance(node, ast.Attribute):
                owner = ast.unparse(node.value)
                if owner in known:
                    found |= self._function(f"{known[owner]}.{node.attr}")
                elif node.attr in self.methods:
                    found.add(self.methods[node.attr])
        return found

    def _function(self, dotted: str) -> set[tuple[str, str]]:
        for module, (path, functions) in self.modules.items():
            name = dotted.removeprefix(module + ".")
            if dotted.startswith(module + ".") and name in functions:
                return {(path, name)}
        return set()


class Kept:
    """What became of the slips of each function, in a file, with the digest of what this hangs on."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / "_build" / "mutants.json"
        self.found = json.loads(self.path.read_text(encoding="utf8")) if self.path.exists() else {}

    def digest(self, subject: Subject) -> str:
        """Of its slips, its file and its tests: whole files, or a file without its other tests and remarks."""
        content = [place.key for place in self._places(subject)]  # a test's remark on what is given changes them
        content += [(self.root / subject.path).read_text(encoding="utf8")] if not subject.is_test else []
        for test in sorted(subject.tests):
            path, _, name = test.partition("::")
            content.append(_without_others(self.root / path, name.split("::")[-1]))
        return hashlib.sha256("\0".join(content).encode()).hexdigest()

    def outcome(self, subject: Subject) -> list[tuple[mutations.Place, str]] | None:
        """What is kept of a function, if nothing has changed since."""
        kept = self.found.get(f"{subject.path}::{subject.name}")
        if kept is None or kept["of"] != self.digest(subject):
            return None
        return [(p, "survived" if p.index in kept["survived"] else "killed") for p in self._places(subject)]

    def _places(self, subject: Subject) -> list[mutations.Place]:
        source = (self.root / subject.path).read_text(encoding="utf8")
        return mutations.places(subject.path, source, subject.name, subject.is_test)

    def keep(self, subject: Subject, outcome: list[tuple[mutations.Place, str]], of: str) -> None:
        """Note the outcome, and the digest ``of`` what it was before the trial began."""
        alive = [place.index for place, end in outcome if end == "survived"]
        self.found[f"{subject.path}::{subject.name}"] = {"of": of, "survived": alive}
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=0), encoding="utf8")


@cache
def _without_others(path: Path, test: str) -> str:
    """The source of a file of tests, without tests of another name; all of it where no test is named."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    if test:
        for node in [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef))]:
            node.body = [n for n in node.body if not getattr(n, "name", "").startswith("test_") or n.name == test]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def live(subject: Subject):
    """The function object that the library runs."""
    thing = import_module(subject.path.removesuffix(".py").replace("/", "."))
    for part in subject.name.split("."):
        thing = inspect.getattr_static(thing, part)
    for wrapper in ("fget", "__func__", "func"):
        thing = getattr(thing, wrapper, thing)
    return inspect.unwrap(thing)


class Trials:
    """A pytest plugin: collects once, then tries every slip in a process forked from this one."""

    def __init__(self, root: Path, chosen: list[Subject], share: float, seed: int, jobs: int, kept: "Kept") -> None:
        self.root, self.chosen, self.share, self.seed, self.jobs, self.kept = root, chosen, share, seed, jobs, kept
        self.results: list[tuple[mutations.Place, str]] = []
        self.seconds: dict[tuple[pytest.Item, float], float | None] = {}  # without a slip, in this process, by limit

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError(f"{session.testsfailed} test files cannot be imported")
        _warm_up()
        gc.collect()
        gc.freeze()  # so that the forks share their memory
        self.items: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in session.items:
            self.items[item.nodeid.split("[")[0]].append(item)
            self.items[item.nodeid.split("::")[0]].append(item)
        of = {(s.path, s.name): self.kept.digest(s) for s in self.chosen}
        with ProcessPoolExecutor(
            self.jobs, mp_context=get_context("fork"), initializer=_adopt, initargs=(self,)
        ) as pool:
            waiting = {pool.submit(_trial, index): subject for index, subject in enumerate(self.chosen)}
            for done in as_completed(waiting):
                subject, outcome = waiting[done], done.result()
                alive = [place for place, end in outcome if end == "survived"]
                print(f"{subject.path}::{subject.name}: {len(outcome)} slips, {len(alive)} survived", flush=True)
                for place in alive:
                    print(f"    {place.line}: {place.before} -> {place.after}", flush=True)
                self.results += outcome
                if self.share == 1.0:
                    self.kept.keep(subject, outcome, of[subject.path, subject.name])
        return True

    def trial(self, subject: Subject) -> list[tuple[mutations.Place, str]]:
        """The slips of one function, and what became of each. Raises RuntimeError if its tests fail as they are."""
        source = (self.root / subject.path).read_text(encoding="utf8")
        places = [
            place
            for place in mutations.places(subject.path, source, subject.name, subject.is_test)
            if random.Random(f"{self.seed} {place.key}").random() < self.share
        ]
        if not places:
            return []
        items = list(dict.fromkeys(item for test in sorted(subject.tests) for item in self.items[test]))
        slow = [item for item in items if not self.is_needed(item) and self.measured(subject, item, SLOW) is None]
        items = [item for item in items if item not in slow]
        results = []
        for place in places:
            code = mutations.mutated(subject.path, source, place, subject.is_test)
            end = self.asked(subject, items, code)
            if end == "survived" and slow:
                slow = self.affordable(subject, slow)
                end = self.asked(subject, slow, code)
            results.append((place, end))
        return results

    def affordable(self, subject: Subject, slow: list[pytest.Item]) -> list[pytest.Item]:
        """Of the slow tests those that can run in a fork, as many of the quickest as take `SLOWEST` together."""
        seconds = {item: took for item in slow if (took := self.measured(subject, item, SLOWEST)) is not None}
        items = sorted(seconds, key=seconds.__getitem__)
        together = accumulate(seconds[item] for item in items)
        return [item for item, total in zip(items, together, strict=True) if total <= SLOWEST]

    @staticmethod
    def is_needed(item: pytest.Item) -> bool:
        return item.get_closest_marker("equation") is not None

    def measured(self, subject: Subject, item: pytest.Item, limit: float) -> float | None:
        """The seconds that a test takes without a slip, measured once; None: it fails, or takes longer."""
        if (item, limit) not in self.seconds:
            start = time.monotonic()
            end = self.run(subject, [item], None, limit)
            self.seconds[item, limit] = time.monotonic() - start if end == "survived" else None
        return self.seconds[item, limit]

    def asked(self, subject: Subject, items: list[pytest.Item], code: CodeType) -> str:
        """What the tests say of a slip: the quickest first, for one that notices is enough."""
        seconds = {}
        for item in items:
            limits = [LONGEST] if self.is_needed(item) else [SLOW, SLOWEST]
            took = next((s for limit in limits if (s := self.measured(subject, item, limit)) is not None), None)
            if took is None:
                raise RuntimeError(f"{subject.path}::{subject.name}: fails without a slip: {item.nodeid}")
            seconds[item] = took
        return self.run(subject, sorted(items, key=seconds.__getitem__), code, 10 + 10 * sum(seconds.values()))

    def run(self, subject: Subject, items: list[pytest.Item], code: CodeType | None, limit: float) -> str:
        """`survived`, `killed` or `timeout`: the items in a fork, with ``code`` in the subject's place, or as it is."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                gc.disable()
                for stream in (1, 2):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
                if code is not None:
                    target = inspect.unwrap(self._test(subject)) if subject.is_test else live(subject)
                    target.__code__ = code
                status = int(any(map(_fails, items)))
            finally:
                os._exit(status)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
            time.sleep(0.005)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "timeout"

    def _test(self, subject: Subject):
        (test,) = subject.tests
        return self.items[test][0].function  # type: ignore[attr-defined]


def _warm_up() -> None:
    """Load what tests load at their first use, once for all forks. No cache of the library or of a test is filled."""
    one = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(one, one)
    np.testing.assert_allclose(one.detach(), one.detach())
    assert one.detach()[0, 0] == pytest.approx(1.0)
    torch.autograd.grad((one @ one).exp().sum(), one)
    torch.linalg.eigvalsh(one.detach()), torch.randn(2, generator=torch.Generator().manual_seed(0))


def _fails(item: pytest.Item) -> bool:
    """Run one test, without the report that pytest would write of it."""
    state = item.session._setupstate
    try:
        state.setup(item)
        item.runtest()
    except BaseException:
        return True
    finally:
        state.teardown_exact(None)
    return False


_trials: Trials | None = None


def _adopt(trials: Trials) -> None:
    global _trials
    _trials = trials


def _trial(index: int) -> list[tuple[mutations.Place, str]]:
    assert _trials is not None
    return _trials.trial(_trials.chosen[index])


def explained(path: Path) -> dict[str, str]:
    """The reasons, by the slip's key."""
    entries = tomllib.loads(path.read_text(encoding="utf8")).get("survivor", []) if path.exists() else []
    return {entry["slip"]: entry["reason"] for entry in entries}


def without_room(results: list[tuple[mutations.Place, str]]) -> list[tuple[mutations.Place, str]]:
    """Without the survivors in inequalities of which some slip is noticed: they only give them more room."""
    noticed = {(p.path, p.name, p.statement) for p, end in results if p.room and end != "survived"}
    return [
        (p, end)
        for p, end in results
        if not (p.room and end == "survived" and (p.path, p.name, p.statement) in noticed)
    ]


def report(results: list[tuple[mutations.Place, str]], reasons: dict[str, str], whole: bool) -> int:
    """Print the survivors and their share; the exit status."""
    results = without_room(results)
    survivors = [place for place, end in results if end == "survived"]
    unexplained = [place for place in survivors if place.key not in reasons]
    for place in unexplained:
        print(f"survived  line {place.line}  {place.key}")
    tried = {place.key for place, _ in results}
    stale = [key for key in reasons if (key in tried or whole) and key not in {place.key for place in survivors}]
    for key in stale:
        print(f"explained, but does not survive: {key}")
    share = len(survivors) / max(1, len(results))
    print(
        f"\n{len(results)} slips, {len(survivors)} survived ({share:.1%}), {len(survivors) - len(unexplained)} of them "
        f"explained; at most {MOST:.0%} may survive, each explained"
    )
    return int(bool(unexplained or stale or share > MOST))


def record(results: list[tuple[mutations.Place, str]], root: Path) -> dict[str, object]:
    """What a whole trial found, for the status page."""
    results = without_room(results)
    survived = sum(end == "survived" for _, end in results)
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
    return {
        "provenance": {
            "command": "make mutants",
            "date": datetime.date.today().isoformat(),
            "commit": commit[:10],
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "slips": len(results),
        "noticed": len(results) - survived,
        "survived": survived,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout")
    parser.add_argument("--only", nargs="*", default=[], help="functions whose file::name holds one of these texts")
    parser.add_argument("--share", type=float, default=1.0, help="this share of the slips, chosen by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--anew", action="store_true", help="ask again about what has not changed, too")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    os.chdir(options.root)
    sys.path.insert(0, str(options.root))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    torch.set_num_threads(1)
    chosen = [
        s for s in subjects(options.root) if not options.only or any(o in f"{s.path}::{s.name}" for o in options.only)
    ]
    kept = Kept(options.root)
    known = {(s.path, s.name): found for s in chosen if not options.anew and (found := kept.outcome(s)) is not None}
    chosen = [s for s in chosen if (s.path, s.name) not in known]
    trials = Trials(options.root, chosen, options.share, options.seed, options.jobs, kept)
    trials.results += [result for found in known.values() for result in found]
    print(f"{len(known)} functions as before, {len(chosen)} to try", flush=True)
    files = sorted({test.split("::")[0] for subject in chosen for test in subject.tests})
    arguments = ["-s", "-p", "no:terminal", "-p", "no:cacheprovider", "-W", "ignore"]
    if chosen and (status := pytest.main([*arguments, *files], plugins=[trials])) and not trials.results:
        return int(status)
    whole = not options.only and options.share == 1.0
    status = report(trials.results, explained(options.root / "tools" / "mutants.toml"), whole)
    if whole and not status:
        path = options.root / "book" / "results" / "mutants.json"
        path.write_text(json.dumps(record(trials.results, options.root), indent=1) + "\n", encoding="utf8")
    return status


if __name__ == "__main__":
    sys.exit(main())
