"""What a docstring says, and how an error begins: the rules of CONTRIBUTING.md, "Docstrings and errors".

The library is parsed, not imported.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "dpm_lib"
FILES = {
    path.relative_to(LIBRARY).as_posix(): path.read_text(encoding="utf-8") for path in sorted(LIBRARY.rglob("*.py"))
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
ARRAYS = {"Tensor", "Array", "ndarray", "NDArray", "ArrayLike"}
SIZE = r"(?:\.\.\.|[\w+*/^-]{1,14}(?: (?:or|//|[-+*])? ?[\w+*/^-]{1,12})?)"  # n, T+1, 2 d, n // chain, n or 1
SHAPE = re.compile(rf"\({SIZE}(?:, {SIZE})+\)|\({SIZE},\)|\(\.\.\.\)|\bscalars?\b|\bany shape\b")
BEGINS = re.compile(r"(?:--set )?(?:\{\}|[A-Za-z_][\w.\-]*)(?:\[[^\]]*\])*(?:, [\w.]+)*: ")
GRAMMATICAL = {"ValueError", "TypeError"}


def named(node: ast.expr | None) -> set[str]:
    """All names in an expression: of `NDArray[np.int64]` NDArray, np and int64, of a string those in it."""
    names: set[str] = set()
    for inner in ast.walk(node) if node else ():
        if isinstance(inner, ast.Name):
            names.add(inner.id)
        elif isinstance(inner, ast.Attribute):
            names.add(inner.attr)
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            names |= set(re.findall(r"\w+", inner.value))
    return names


def functions(
    body: list[ast.stmt], owner: ast.ClassDef | None = None
) -> Iterator[tuple[ast.ClassDef | None, Function]]:
    """All functions and methods, with the class of a method; not what is defined inside a function."""
    for node in body:
        if isinstance(node, Function):
            yield owner, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node.body, node)


def raised(function: Function, helpers: dict[str, set[str]]) -> set[str]:
    """The exceptions that a function raises itself, or has a helper raise that it calls by one of these names."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and node.exc is not None:
            call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found |= {call.id} if isinstance(call, ast.Name) and call.id[:1].isupper() else set()
        elif isinstance(node, ast.Call):
            found |= helpers.get(ast.unparse(node.func), set())
    return found


def checkers(source: str, modules: dict[str, dict[str, set[str]]]) -> dict[str, set[str]]:
    """What checks raise, by the names that a module calls them by: its own `check...`, and those it imports."""
    tree = ast.parse(source)
    known: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            inside = modules.get((node.module or "").rpartition(".")[2], {})
            known |= {alias.asname or alias.name: inside[alias.name]} if alias.name in inside else {}
            for name, exceptions in modules.get(alias.name, {}).items():
                known[f"{alias.asname or alias.name}.{name}"] = exceptions
    own = [function for _, function in functions(tree.body) if re.match("_?check", function.name)]
    for _ in own:  # as often as one can call another
        known |= {form: raised(f, known) for f in own for form in (f.name, f"self.{f.name}")}
    return known


def modules_of_checks(files: dict[str, str]) -> dict[str, dict[str, set[str]]]:
    """Of each module its checks, and of `checks` all public functions, with what they raise."""
    found = {}
    for path, source in files.items():
        stem = Path(path).stem
        if path.startswith("core/check"):
            every = [f for _, f in functions(ast.parse(source).body)]
            inside: dict[str, set[str]] = {}
            for _ in range(4):
                inside = {f.name: raised(f, inside) for f in every}
        else:
            inside = checkers(source, {})
        found[stem] = {name: exceptions for name, exceptions in inside.items() if exceptions and "." not in name}
    return found


def told_elsewhere(files: dict[str, str]) -> dict[str, set[str]]:
    """By class: the methods that it documents. A method that a base or a protocol documents needs no docstring."""
    return {
        node.name: {f.name for f in node.body if isinstance(f, Function) and ast.get_docstring(f)}
        for source in files.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    }


def is_protocol(node: ast.ClassDef) -> bool:
    return any("Protocol" in named(base) for base in node.bases)


def faults_of_docstrings(files: dict[str, str]) -> Iterator[str]:
    modules, told = modules_of_checks(files), told_elsewhere(files)
    classes = [n for s in files.values() for n in ast.walk(ast.parse(s)) if isinstance(n, ast.ClassDef)]
    everywhere = {"forward"}.union(*(told[node.name] for node in classes if is_protocol(node)))
    for path, source in files.items():
        tree, helpers = ast.parse(source), checkers(source, modules)
        helpers |= modules[Path(path).stem] if path.startswith("core/check") else {}
        if not ast.get_docstring(tree) and Path(path).stem != "__init__":
            yield f"{path}: no docstring"
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                text = ast.get_docstring(node) or ""
                if not text:
                    yield f"{path}:{node.name}: no docstring"
                for inner in node.body:
                    if isinstance(inner, Function) and inner.name in ("__init__", "__post_init__"):
                        for exception in sorted(raised(inner, helpers)):
                            if exception not in text:
                                yield f"{path}:{node.name}: {exception} is raised, and not named"
        for owner, function in functions(tree.body):
            if function.name.startswith("_") or (owner and owner.name.startswith("_")):
                continue
            place = f"{path}:{owner.name + '.' if owner else ''}{function.name}"
            text = ast.get_docstring(function) or ""
            inherited = owner is not None and (
                function.name in everywhere
                or any(function.name in told.get(name, ()) for base in owner.bases for name in named(base))
            )
            if not text:
                if not inherited:
                    yield f"{place}: no docstring"
                continue
            about = text + (ast.get_docstring(owner) or "" if owner else "")
            for exception in sorted(raised(function, helpers)):
                if exception not in about:
                    yield f"{place}: {exception} is raised, and not named"
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            types = [argument.annotation for argument in arguments] + [function.returns]
            if any(ARRAYS & named(annotation) for annotation in types) and not SHAPE.search(text):
                yield f"{place}: no shape"


def message(node: ast.expr | None) -> str | None:
    """The text of a message, with {} for what is formatted into it; None where it is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
    return None


def faults_of_errors(files: dict[str, str]) -> Iterator[str]:
    for path, source in files.items():
        for _, function in functions(ast.parse(source).body):
            for node in ast.walk(function):
                call = node.exc if isinstance(node, ast.Raise) else None
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in GRAMMATICAL):
                    continue
                text = message(call.args[0] if call.args else None)
                if text is None:
                    yield f"{path}:{function.name}: the message is no literal"
                elif not BEGINS.match(text):
                    yield f"{path}:{function.name}: begins with no name and colon: {text}"
                elif re.search(r"\b(must|should|expected)\b", text):
                    yield f"{path}:{function.name}: says must, should or expected in place of need: {text}"


def test_docstrings_say_what_is_raised_and_which_shapes():
    assert list(faults_of_docstrings(FILES)) == []


def test_errors_name_what_is_wrong_and_what_is_needed():
    assert list(faults_of_errors(FILES)) == []


GOOD = {
    "core/checks.py": '''
def count(name: str, value: int) -> int:
    """A count. ValueError below 1."""
    if value < 1:
        raise ValueError(f"{name}: {value}: need at least 1")
    return value

def twice(name: str, value: int) -> int:
    """Two of them. ValueError below 1."""
    return 2 * count(name, value)
''',
    "core/law.py": '''
from typing import Protocol
from dpm_lib.core import checks
from dpm_lib.core.checks import twice

class Law(Protocol):
    """A law."""

    def sample(self, n: int) -> Tensor:
        """n draws, (n, d). ValueError for n < 1."""

class Flat:
    """A flat one. ValueError for no width."""

    def __init__(self, n: int) -> None:
        twice("n", n)

    def sample(self, n: int) -> Tensor:
        return zeros(checks.count("n", n))

    def log_prob(self, x: Tensor, t: int) -> "Tensor":
        """log density at x (n, d), (n,). ValueError for t < 1, or a bad x."""
        checks.twice("t", t)
        return _checked(x)

def _checked(x: Tensor) -> Tensor:
    if not x.ndim:
        raise ValueError("x: need shape (n, d), got ()")
    return x
''',
}
SLIPS = [  # in GOOD: a text, what it becomes, and the fault to be found
    ('    """A law."""', "", "core/law.py:Law: no docstring"),
    ('    """Two of them. ValueError below 1."""\n', "", "core/checks.py:twice: no docstring"),
    ("A count. ValueError below 1.", "A count.", "core/checks.py:count: ValueError is raised, and not named"),
    ("Two of them. ValueError below 1.", "Two.", "core/checks.py:twice: ValueError is raised, and not named"),
    ("A flat one. ValueError for no width.", "Flat.", "core/law.py:Flat: ValueError is raised, and not named"),
    ("at x (n, d), (n,).", "at x.", "core/law.py:Flat.log_prob: no shape"),
    ("at x (n, d), (n,).", "at x (of Haario et al., 1999).", "core/law.py:Flat.log_prob: no shape"),
    ("(Protocol)", "", "core/law.py:Flat.sample: no docstring"),
    (
        'f"{name}: {value}: need',
        'f"{name} is {value}: need',
        "begins with no name and colon: {} is {}: need at least 1",
    ),
    ("x: need shape", "x must have shape", "begins with no name and colon: x must have shape (n, d), got ()"),
    ("need shape", "must have shape", "in place of need: x: must have shape (n, d), got ()"),
    ('"x: need shape (n, d), got ()"', "text", "core/law.py:_checked: the message is no literal"),
]


def modules(sources: dict[str, str]) -> dict[str, str]:
    return {path: f'"""A module."""\n{source}' for path, source in sources.items()}


def test_what_is_good_has_no_faults():
    assert not [*faults_of_docstrings(modules(GOOD)), *faults_of_errors(GOOD)]


@pytest.mark.parametrize(("text", "slip", "fault"), SLIPS, ids=[fault for *_, fault in SLIPS])
def test_a_slip_is_found(text, slip, fault):
    bad = modules({path: source.replace(text, slip) for path, source in GOOD.items()})
    found = [*faults_of_docstrings(bad), *faults_of_errors(bad)]
    assert [one for one in found if one.endswith(fault)] == found != []


def test_a_module_without_a_docstring_is_found():
    assert list(faults_of_docstrings({"core/law.py": "x = 1"})) == ["core/law.py: no docstring"]
