"""Small slips in a piece of Python: a sign, a factor, a condition, each by itself.

``places`` lists what can go wrong in a function, as pairs of a line and what it becomes; ``mutated`` compiles the
module with one of them, and gives the code of that one function. Nothing here runs anything.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
CONDITIONS = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
CALLS = {"sum": "mean", "mean": "sum", "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}
CALLS |= {"cosh": "sinh", "sinh": "cosh", "cos": "sin", "sin": "cos"}
TOLERANCES = {"rtol", "atol", "rel", "abs", "errors", "floor", "tol", "seed", "dtype", "dim", "axis", "n", "generator"}
NUMBERS = {"rng", "randn", "range", "arange", "linspace", "zeros", "ones", "full", "eye", "manual_seed"}


@dataclass(frozen=True)
class Place:
    """A slip in the function ``name`` of a file: the ``index``-th that ``_slips`` finds there."""

    path: str
    name: str
    line: int
    index: int
    before: str
    after: str

    @property
    def key(self) -> str:
        """What names the slip in a list that outlives edits elsewhere in the file: no line number."""
        return f"{self.path}::{self.name}: {self.before} -> {self.after}"


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
    """Every slip of the function ``name``. In a ``test`` tolerances and what is handed to the library stay as they are."""
    function = functions(ast.parse(source))[name]
    slips = _slips(function, test)
    return [
        Place(path, name, node.lineno, index, _line(node, function), _line(slip, function))
        for index, (node, slip, _) in enumerate(slips)
    ]


def mutated(path: str, source: str, place: Place, test: bool = False) -> CodeType:
    """The code object of the function with the one slip in it."""
    tree = ast.parse(source)
    _, slip, set_to = _slips(functions(tree)[place.name], test)[place.index]
    set_to(slip)
    code = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
    return next(found for found in _codes(code) if found.co_qualname == place.name)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _line(node: ast.AST, function: ast.FunctionDef) -> str:
    """The expression, as one line, short enough to be read in a list."""
    text = ast.unparse(node).replace("\n", " ")
    return text if len(text) <= 100 else text[:97] + "..."


def _slips(function: ast.FunctionDef, test: bool) -> list:
    """(node, node with the slip, a function that puts a node in its place), in the order of the source."""
    given = _given(function) if test else set()
    found = []

    def visit(node: ast.AST, factor: bool) -> None:
        for field, value in ast.iter_fields(node):
            children = value if isinstance(value, list) else [value]
            for position, child in enumerate(children):
                if not isinstance(child, ast.AST) or _apart(node, field, child, test, given):
                    continue
                put = _putter(node, field, position if isinstance(value, list) else None)
                found.extend((child, slip, put) for slip in _wrong(child, node, test))
                visit(child, False)

    for position, statement in enumerate(function.body):
        holder = ast.Module(body=[statement], type_ignores=[])
        put = _putter(function, "body", position)
        if not _apart(function, "body", statement, test, given) and not _is_docstring(statement, position):
            visit(holder.body[0], False)
            found.extend((statement, slip, put) for slip in ())
    return found


def _putter(parent: ast.AST, field: str, position: int | None):
    def put(node: ast.AST) -> None:
        if position is None:
            setattr(parent, field, node)
        else:
            getattr(parent, field)[position] = node

    return put


def _is_docstring(statement: ast.stmt, position: int) -> bool:
    return position == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _wrong(node: ast.AST, parent: ast.AST, test: bool) -> list[ast.AST]:
    """What ``node`` could be by a slip."""
    slips: list[ast.AST] = []
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
    return all(isinstance(part, ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop) for part in ast.walk(node))


def _apart(parent: ast.AST, field: str, child: ast.AST, test: bool, given: set[str]) -> bool:
    """Are slips in here none of the equation's business?"""
    if field in ("decorator_list", "annotation", "returns", "type_comment", "args") and not isinstance(parent, ast.Call):
        return True
    if isinstance(child, ast.Raise) or (isinstance(child, ast.Assert) and not test):
        return True
    if isinstance(child, ast.If) and any(isinstance(part, ast.Raise) for part in child.body):
        return True  # what is refused is tested elsewhere
    if not test:
        return False
    if isinstance(child, ast.Subscript | ast.Lambda | ast.JoinedStr) and not isinstance(child, ast.Lambda):
        return isinstance(child, ast.JoinedStr)
    if isinstance(child, ast.keyword):
        return child.arg in TOLERANCES
    if isinstance(parent, ast.Subscript) and field == "slice":
        return True
    if isinstance(parent, ast.Assert) and field == "msg":
        return True
    if isinstance(parent, ast.Call):
        name = ast.unparse(parent.func).rsplit(".", 1)[-1]
        if field == "args" and (name in NUMBERS or (name in ("close", "within", "close_mean") and child in parent.args[2:])):
            return True
    if isinstance(parent, ast.Compare) and field == "comparators":
        return _small(parent.left) and isinstance(parent.ops[0], ast.Lt | ast.LtE)
    if isinstance(child, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return bool(_targets(child) & given)
    return isinstance(child, ast.For) and False


def _small(left: ast.expr) -> bool:
    """Is it a distance, so that what stands to its right is a tolerance?"""
    return "abs(" in ast.unparse(left)


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


PLAIN = {
    "abs", "float", "int", "len", "sum", "max", "min", "close", "within", "close_mean", "zip", "range", "enumerate", "all", "any",
    "approx", "assert_allclose", "append", "bool", "list", "sorted", "tensor", "as_tensor", "stack", "cat", "isclose", "allclose",
}  # fmt: skip


def _arithmetic(call: ast.Call) -> bool:
    """Is it a function of mathematics or of testing, not one of the library or a helper that makes the problem?"""
    text = ast.unparse(call.func)
    name = text.rsplit(".", 1)[-1]
    return name in PLAIN or text.startswith(("math.", "torch.", "np.", "np.linalg.")) or hasattr(_Tensor, name)


class _Tensor:
    """The methods of arrays that tests compute with."""

    exp = log = sum = mean = square = sqrt = std = var = abs = cumsum = double = unsqueeze = reshape = clamp = None
    diagonal = trace = prod = max = min = numpy = item = detach = any = all = expand = T = log1p = expm1 = dot = pow = None
