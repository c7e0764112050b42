"""Normalised syntax trees: what a change to Python code means, whatever it looks like.

Two programs with the same normal form do the same. The converse does not hold and need not: this
is used to refuse changes that change nothing, so only what is certain is folded away.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)

FIELD = 2
"""Marks an annotated field of a class in `ast.AnnAssign.simple`, which is otherwise 0 or 1."""
SEEDERS = frozenset(
    """seed manual_seed manual_seed_all default_rng RandomState PRNGKey SeedSequence set_seed
    seed_all seed_everything initial_seed Random Philox PCG64 MT19937""".split()
)


def parse(source: str | bytes) -> ast.Module:
    """Parse a module.

    Raises:
        SyntaxError: it is not Python (null bytes and absurd nesting included).
    """
    try:
        return ast.parse(source, type_comments=False)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from error


def normal_form(source: str | bytes, *, ignore_seeds: bool = False) -> str:
    """The program without comments, layout, docstrings, annotations, dead code and local names.

    With `ignore_seeds` every constant that seeds a generator is folded away too.

    Raises:
        SyntaxError: it is not Python.
    """
    tree = parse(source)
    if ignore_seeds:
        tree = _Seedless().visit(tree)
    tree = _Normal().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _rename_locals(node)
    return ast.dump(tree)


class _Normal(ast.NodeTransformer):
    """Folds away what does nothing, bottom up."""

    def generic_visit(self, node: Node) -> Node:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                kept = _block(block)
                if not kept and name == "body":
                    kept = [ast.Pass()]
                setattr(node, name, kept)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):  # fields of a dataclass: they mean something
                statement.simple = FIELD
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if node.simple == FIELD:
            node.annotation = ast.Constant(None)
            return node
        if node.value is None:
            return None
        return ast.Assign([node.target], node.value)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        left, right = node.left, node.right
        if isinstance(node.op, ast.Add) and _is_text(left) and _is_text(right):
            return ast.Constant(left.value + right.value)  # type: ignore[attr-defined]
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(node.value)  # without the `u` prefix


class _Seedless(ast.NodeTransformer):
    """Folds away what only chooses a seed."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Call) and _called(node.value) in SEEDERS:
            return None if _is_fixed(node.value.args) else self.generic_visit(node)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if _called(node) in SEEDERS:
            node.args = [ast.Constant(0) if _is_number(a) else a for a in node.args]
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        if node.arg and "seed" in node.arg.lower() and _is_number(node.value):
            node.value = ast.Constant(0)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        self.generic_visit(node)
        named = any("seed" in _name(t).lower() for t in node.targets)
        if named and _is_number(node.value):
            node.value = ast.Constant(0)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if "seed" in _name(node.target).lower() and node.value and _is_number(node.value):
            node.value = ast.Constant(0)
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        self.generic_visit(node)
        named = (*node.posonlyargs, *node.args)
        pairs = list(zip(named[len(named) - len(node.defaults) :], node.defaults, strict=True))
        node.defaults = [
            ast.Constant(0) if "seed" in a.arg.lower() and _is_number(d) else d for a, d in pairs
        ]
        return node


def _block(statements: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Statements that do something, in order; runs of imports are sorted."""
    kept: list[ast.stmt] = []
    for s in statements:
        if isinstance(s, ast.Pass) or isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant):
            continue
        if isinstance(s, (ast.If, ast.While)) and isinstance(s.test, ast.Constant):
            if not s.test.value:
                kept.extend(s.orelse)
                continue
            if isinstance(s, ast.If):
                kept.extend(s.body)
                continue
        kept.append(s)
        if isinstance(s, (ast.Return, ast.Raise, ast.Break, ast.Continue)):
            break
    return _sort_imports(kept)


def _sort_imports(statements: list[ast.stmt]) -> list[ast.stmt]:
    result: list[ast.stmt] = []
    run: list[ast.stmt] = []
    for s in statements:
        if isinstance(s, (ast.Import, ast.ImportFrom)) and not _is_future(s):
            run.append(s)
            continue
        result += sorted(run, key=ast.dump)
        run = []
        result.append(s)
    return result + sorted(run, key=ast.dump)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _rename_locals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Name local variables by their first appearance; arguments keep theirs (callers use them)."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    nodes = [n for s in function.body for n in ast.walk(s)]
    if any(isinstance(n, inner) or _sees_names(n) for n in nodes):
        return  # closures and `locals()` see names: leave them
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for n in nodes:
        if isinstance(n, (ast.Global, ast.Nonlocal)):
            bound -= set(n.names)
    args = function.args
    fixed = {a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)}
    fixed |= {a.arg for a in (args.vararg, args.kwarg) if a}
    names: dict[str, str] = {}
    for n in nodes:
        if isinstance(n, ast.Name) and n.id in bound - fixed:
            n.id = names.setdefault(n.id, f"_{len(names)}")


def _sees_names(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("locals", "eval", "exec", "vars", "dir")


def _called(node: ast.Call) -> str:
    return _name(node.func)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_fixed(args: Sequence[ast.expr]) -> bool:
    return all(_is_number(a) for a in args)


def _is_number(node: ast.expr) -> bool:
    """Whether an expression is arithmetic on numbers (and on names of seeds) alone."""
    allowed = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context)
    for n in ast.walk(node):
        if isinstance(n, ast.Constant) and isinstance(n.value, (int, float)):
            continue
        if isinstance(n, (ast.Name, ast.Attribute)) and "seed" in _name(n).lower():
            continue
        if isinstance(n, allowed) or isinstance(n, ast.Name) and "seed" in n.id.lower():
            continue
        return False
    return True
