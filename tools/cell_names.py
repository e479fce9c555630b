"""Which names a cell of a notebook gives to what, and which it takes from other cells."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator

from nbformat import NotebookNode


class CellNames(ast.NodeVisitor):
    """``given``: what the cell itself binds, with its kind. ``taken``: what it needs from all that ran before.

    That is what it reads before it binds it, and what its functions read, which other cells may call later.
    """

    def __init__(self, source: str) -> None:
        self.given: dict[str, str] = {}
        self.taken: set[str] = set()
        self.inner: list[set[str]] = []  # names of functions, lambdas and comprehensions around
        self.functions = 0  # around
        self.visit(ast.parse(source))

    def _give(self, name: str, kind: str = "value") -> None:
        if self.inner:
            self.inner[-1].add(name)
        else:
            self.given.setdefault(name, kind)

    def _take(self, name: str) -> None:
        if (self.functions or name not in self.given) and not any(name in names for names in self.inner):
            self.taken.add(name)

    def _in_order(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._give(node.id) if isinstance(node.ctx, ast.Store) else self._take(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._in_order([node.value, *node.targets])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._in_order([node.value, node.target])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._take(node.target.id)
        self._in_order([node.value, node.target])

    def visit_For(self, node: ast.For) -> None:
        self._in_order([node.iter, node.target, *node.body, *node.orelse])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._give(node.name)
        self._in_order([node.type, *node.body])

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self._give((alias.asname or alias.name).split(".")[0], "import")

    visit_Import = visit_ImportFrom = _import

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.inner.append(set())
        for part in node.generators:
            self._in_order([part.iter, part.target, *part.ifs])
        self._in_order([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self.inner.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _function(self, node: ast.FunctionDef | ast.Lambda) -> None:
        of, body = node.args, node.body if isinstance(node.body, list) else [node.body]
        self._in_order([*of.defaults, *of.kw_defaults])
        if isinstance(node, ast.FunctionDef):
            self._in_order(node.decorator_list)
            self._give(node.name, "function")
        own = {one.arg for one in (*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg) if one}
        for part in (part for statement in body for part in ast.walk(statement)):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                own.add(part.id)
            elif isinstance(part, ast.FunctionDef):
                own.add(part.name)
        self.inner.append(own)
        self.functions += isinstance(node, ast.FunctionDef)
        self._in_order(body)
        self.functions -= isinstance(node, ast.FunctionDef)
        self.inner.pop()

    visit_FunctionDef = visit_Lambda = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._in_order(node.bases)
        self._give(node.name, "class")
        self.inner.append(set())
        self._in_order(node.body)
        self.inner.pop()


def two_meanings(notebook: NotebookNode) -> Iterator[str]:
    """Names that several cells give, and another takes: whoever runs cells in another order gets another's.

    And names that stand for a function, a class or an import in one cell, and for something else in another. A name
    that each cell gives before it reads it, such as that of a loop, may be used again.
    """
    given: dict[str, dict[int, str]] = defaultdict(dict)
    taken: dict[str, list[int]] = defaultdict(list)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            names = CellNames(cell.source)
            for name, kind in names.given.items():
                given[name][number] = kind
            for name in names.taken:
                taken[name].append(number)
    for name, kinds in given.items():
        cells = " and ".join(map(str, kinds))
        if len(kinds) > 1 and taken[name]:
            yield f"cells {cells} give {name!r} a meaning, and cell {taken[name][0]} takes one of them"
        elif len(kinds) > 1 and set(kinds.values()) != {"value"}:
            yield f"cells {cells} give {name!r} different meanings: {', '.join(kinds.values())}"
