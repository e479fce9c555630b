"""Small slips in a piece of Python: a sign, a factor, a condition, each by itself.

``places`` lists what can go wrong in a function, as pairs of a line and what it becomes; ``mutated`` compiles the
module with one of them, and gives the code of that one function. Nothing here runs anything.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType

SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
CONDITIONS = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
CALLS = {"sum": "mean", "mean": "sum", "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}
CALLS |= {"cosh": "sinh", "sinh": "cosh", "cos": "sin", "sin": "cos"}
TOLERANCES = {"rtol", "atol", "rel", "abs", "errors", "floor", "tol", "seed", "dtype", "dim", "axis", "n", "generator"}
COMPARED = {"close", "within", "close_mean"}  # a third argument is a tolerance
NUMBERS = {"rng", "randn", "range", "arange", "linspace", "zeros", "ones", "full", "eye", "manual_seed"}


@dataclass(frozen=True)
class Place:
    """A slip in the function ``name`` of a file: the ``index``-th that ``_slips`` finds there.

    ``room``: it is on a side of an inequality that a test asserts, where half of all slips give only more room.
    """

    path: str
    name: str
    line: int
    index: int
    statement: str
    before: str
    after: str
    room: bool = False

    @property
    def key(self) -> str:
        """What names the slip in a list that outlives edits elsewhere in the file: no line number."""
        return f"{self.path}::{self.name}: {self.statement}: {self.before} -> {self.after}"


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """The functions and methods of a module, by qualified name; nested ones belong to the one around them."""
    found: dict[str, ast.FunctionDef] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for item in body:
            if isinstance(item, ast.FunctionDef):
                found.setdefault(prefix + item.name, item)
            elif isinstance(item, ast.ClassDef):
                visit(item.body, f"{prefix}{item.name}.")

    visit(tree.body, "")
    return found


def places(path: str, source: str, name: str, test: bool = False) -> list[Place]:
    """Every slip of the function ``name``. In a ``test``, tolerances and what the library is given stay as they are.

    So do statements whose first line ends in a comment that begins with "given": a part of the problem that no rule
    here can tell from its answer.
    """
    function = functions(_parsed(source, test))[name]
    slips = _slips(function, test)
    return [
        Place(
            path, name, node.lineno, index, _line(statement), _line(node), _line(slip), test and _room(statement, node)
        )
        for index, (node, slip, _, statement) in enumerate(slips)
    ]


def mutated(path: str, source: str, place: Place, test: bool = False) -> CodeType:
    """The code object of the function with the one slip in it."""
    tree = _parsed(source, test)
    _, slip, set_to, _ = _slips(functions(tree)[place.name], test)[place.index]
    set_to(slip)
    code = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
    return next(found for found in _codes(code) if found.co_qualname == place.name)


def _parsed(source: str, test: bool) -> ast.Module:
    """The tree, in which the statements of a test that are given are marked."""
    tree, lines = ast.parse(source), source.splitlines()
    for node in ast.walk(tree):
        if test and isinstance(node, ast.stmt) and "  # given" in lines[node.lineno - 1]:
            node._given = True  # type: ignore[attr-defined]
    return tree


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _line(node: ast.AST) -> str:
    """The expression, or the first line of the statement, short enough to be read in a list."""
    text = ast.unparse(node).split("\n")[0]
    return text if len(text) <= 100 else text[:97] + "..."


def _slips(function: ast.FunctionDef, test: bool) -> list[tuple[ast.AST, ast.AST, Callable[[ast.AST], None], ast.stmt]]:
    """(node, node with the slip, what puts a node in its place, the statement around it), as in the source."""
    given = _given(function) if test else set()
    found = []

    def visit(node: ast.AST, statement: ast.stmt) -> None:
        for name, value in ast.iter_fields(node):
            for position, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST) and not _apart(node, name, child, test, given):
                    put = _putter(node, name, position if isinstance(value, list) else None)
                    around = child if isinstance(child, ast.stmt) else statement
                    found.extend((child, slip, put, around) for slip in _wrong(child, node, test))
                    visit(child, around)

    visit(function, function)
    return found


def _room(statement: ast.stmt, node: ast.AST) -> bool:
    """Is ``node`` on a side of an inequality in an assertion, one that is no tolerance?"""
    return isinstance(statement, ast.Assert) and any(
        isinstance(part, ast.Compare)
        and isinstance(part.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        and not _is_tolerance(part)
        and any(child is node for child in ast.walk(part))
        for part in ast.walk(statement)
    )


def _is_tolerance(node: ast.Compare) -> bool:
    return isinstance(node.ops[0], ast.Lt | ast.LtE) and "abs(" in ast.unparse(node.left)


def _putter(parent: ast.AST, field: str, position: int | None) -> Callable[[ast.AST], None]:
    def put(node: ast.AST) -> None:
        if position is None:
            setattr(parent, field, node)
        else:
            getattr(parent, field)[position] = node

    return put


def _wrong(node: ast.AST, parent: ast.AST, test: bool) -> list[ast.AST]:
    """What ``node`` could be by a slip."""
    slips: list[ast.AST] = []
    if test and isinstance(node, ast.BinOp) and (_rounding(node.left) or _rounding(node.right)):
        return []
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS and not _text(node) and not _number(node):
        slips.append(_changed(node, op=SWAPS[type(node.op)]()))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not _number(node.operand):
        slips.append(copy.deepcopy(node.operand))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float) and isinstance(parent, ast.BinOp):
        if isinstance(parent.op, ast.Pow) and node is parent.right:
            slips.append(ast.Constant(node.value + 1))
        elif isinstance(parent.op, ast.Mult | ast.Div) and node.value:
            slips.append(ast.Constant(node.value * 2))
        elif isinstance(parent.op, ast.Add | ast.Sub) and not test:
            slips.append(ast.Constant(node.value + 1))
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in CONDITIONS and not test:
        slips.append(_changed(node, ops=[CONDITIONS[type(node.ops[0])]()]))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
        slips.append(_changed(node, func=_changed(node.func, attr=CALLS[node.func.attr])))
    return [ast.copy_location(slip, node) for slip in slips]


def _changed(node: ast.AST, **fields) -> ast.AST:
    twin = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(twin, name, value)
    return twin


def _text(node: ast.BinOp) -> bool:
    """Is it a sum of strings or lists?"""
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr | ast.List | ast.Tuple)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    )


def _number(node: ast.AST) -> bool:
    """Is it made of literal numbers alone, as in ``n=2 * 500`` or -3?"""
    return all(
        isinstance(part, ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop) for part in ast.walk(node)
    )


def _rounding(node: ast.AST) -> bool:
    """Is it an allowance for rounding: a literal number next to 0, or to 1?"""
    if not _number(node):
        return False
    value = eval(ast.unparse(node))  # literals only
    return 0 < abs(value) <= 1e-6 or 0 < abs(value - 1) <= 1e-6


def _apart(parent: ast.AST, name: str, child: ast.AST, test: bool, given: set[str]) -> bool:
    """Are slips in here none of the equation's business? ``name`` is the parent's field that holds the child."""
    if isinstance(parent, ast.FunctionDef) and name != "body":
        return True
    if hasattr(child, "_given"):
        return True
    if isinstance(child, ast.Raise) or (isinstance(child, ast.Assert) and not test):
        return True
    if isinstance(child, ast.If) and any(isinstance(part, ast.Raise) for part in child.body):
        return True  # what is refused is tested elsewhere
    return test and _setting(parent, name, child, given)


def _setting(parent: ast.AST, name: str, child: ast.AST, given: set[str]) -> bool:
    """In a test: is it a tolerance, a size, a message, or part of the problem that is put to both sides?"""
    if isinstance(child, ast.JoinedStr):
        return True
    if isinstance(child, ast.keyword):
        return child.arg in TOLERANCES
    if isinstance(parent, ast.Subscript):
        return name == "slice"
    if isinstance(parent, ast.Assert):
        return name == "msg"
    if isinstance(parent, ast.Call) and name == "args":
        called = ast.unparse(parent.func).rsplit(".", 1)[-1]
        return called in NUMBERS or (called in COMPARED and child in parent.args[2:])
    if isinstance(parent, ast.Compare) and name == "comparators":
        return _is_tolerance(parent)
    return isinstance(child, ast.Assign | ast.AnnAssign | ast.AugAssign) and bool(_targets(child) & given)


def _targets(node: ast.stmt) -> set[str]:
    names = node.targets if isinstance(node, ast.Assign) else [node.target]  # type: ignore[attr-defined]
    return {part.id for name in names for part in ast.walk(name) if isinstance(part, ast.Name)}


def _given(function: ast.FunctionDef) -> set[str]:
    """The names whose values reach a call of something that is not arithmetic: the problem, not its answer.

    A slip there changes both sides of the equation alike.
    """
    assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)]
    given: set[str] = set()
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and not _arithmetic(call):
            for part in (*call.args, *(k.value for k in call.keywords)):
                given |= {name.id for name in ast.walk(part) if isinstance(name, ast.Name)}
    while True:
        more = set(given)
        for node in assigned:
            if _targets(node) & given and node.value is not None:
                more |= {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
        if more == given:
            return given
        given = more


PLAIN = """abs float int bool len sum max min all any zip range enumerate list sorted append close within close_mean
approx assert_allclose isclose allclose tensor as_tensor stack cat""".split()
METHODS = """exp log log1p expm1 sum cumsum prod mean std var square sqrt pow abs clamp double unsqueeze reshape expand
diagonal trace dot numpy item detach""".split()


def _arithmetic(call: ast.Call) -> bool:
    """Is it a function of mathematics or of testing, not one of the library or a helper that makes the problem?"""
    text = ast.unparse(call.func)
    return text.startswith(("math.", "torch.", "np.")) or text.rsplit(".", 1)[-1] in PLAIN + METHODS
