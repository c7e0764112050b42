"""Which functions run while a candidate is scored: what can be reached from its entry functions.

Names are followed to functions of the program, attributes to methods of that name, classes to their
special methods and `forward`. That is too much rather than too little.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache

from novum.evals.rules.program import Module, Program

Function = ast.FunctionDef | ast.AsyncFunctionDef
LM_ENTRY = "load"
MODULE = "<module>"
COMMON = frozenset(
    """train eval step update apply forward run load save close add get pop copy append
            extend write read start stop reset clear items keys values build init""".split()
)
"""Methods that libraries have as well."""
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
KERNEL_ENTRIES = ("run", "custom_kernel", "kernel", "solution")


@lru_cache(maxsize=64)
def scored(program: Program) -> tuple[tuple[Module, Function], ...]:
    """Functions that run while the candidate is scored, entry functions first."""
    roots = list(_entries(program, (LM_ENTRY,))) or list(_entries(program, KERNEL_ENTRIES))
    return _reached(program, roots, frozenset())


@lru_cache(maxsize=64)
def surely_scored(program: Program) -> tuple[tuple[Module, Function], ...]:
    """Those of `scored` that no library's method of the same name could be meant for, and what runs
    when the program is imported for scoring, outside of any function and below it.
    """
    roots = list(_entries(program, (LM_ENTRY,)))
    for module in program.modules:
        whole = ast.parse("def module(): ...").body[0]
        assert isinstance(whole, ast.FunctionDef)
        whole.name, whole.body = MODULE, _imported(module.tree.body)
        roots.append((module, whole))
    return _reached(program, roots, COMMON)


def _imported(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Statements of a module that run when it is imported."""
    found: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, (*_DEFINES, ast.Import, ast.ImportFrom)):
            continue
        if isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test):
            operators = {type(n) for n in ast.walk(statement.test) if isinstance(n, ast.cmpop)}
            if operators != {ast.Eq}:
                found += _imported(statement.body)
            if operators != {ast.NotEq}:
                found += _imported(statement.orelse)
        else:
            found.append(statement)
    return found


def _reached(
    program: Program, roots: Sequence[tuple[Module, Function]], but: frozenset[str]
) -> tuple[tuple[Module, Function], ...]:
    """The roots and all that they lead to; methods whose names are in `but` are not followed."""
    functions, methods, classes = _index(program)
    tables = _tables(program, functions)
    seen: dict[int, tuple[Module, Function]] = {}
    queue = list(roots)
    while queue:
        module, function = queue.pop(0)
        if id(function) in seen:
            continue
        seen[id(function)] = (module, function)
        is_module = function.name == MODULE
        for node in ast.walk(function):
            if is_module and not isinstance(node, ast.Call):
                continue  # a table of functions runs none of them
            node = node.func if is_module and isinstance(node, ast.Call) else node
            if isinstance(node, ast.Name):
                queue += tables.get(node.id, [])
                queue += functions.get(node.id, [])
                queue += classes.get(node.id, [])
            elif isinstance(node, ast.Attribute) and node.attr not in but:
                queue += methods.get(node.attr, [])
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                seen.setdefault(id(node), (module, node))
    return tuple(seen.values())


def has_entry(program: Program, name: str) -> bool:
    """Whether the program defines a function of this name at the top of a module."""
    return any(True for _ in _entries(program, (name,)))


def _entries(program: Program, names: tuple[str, ...]) -> Iterator[tuple[Module, Function]]:
    for module in program.modules:
        for node in module.tree.body:
            if isinstance(node, Function) and node.name in names:
                yield module, node
            elif isinstance(node, ast.Assign):  # load = make_loader()
                targets = {t.id for t in node.targets if isinstance(t, ast.Name)}
                if targets & set(names):
                    yield from _mentioned(module, node.value)


def _mentioned(module: Module, value: ast.expr) -> Iterator[tuple[Module, Function]]:
    for node in ast.walk(value):
        if isinstance(node, ast.Name):
            function = module.names.function(node.id)
            if isinstance(function, Function):
                yield module, function


Index = dict[str, list[tuple[Module, Function]]]


def _tables(program: Program, functions: Index) -> Index:
    """Functions that a variable of a module holds, alone or in a table."""
    found: Index = {}
    for module in program.modules:
        for node in module.tree.body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                held = [
                    f
                    for n in ast.walk(node.value)
                    if isinstance(n, ast.Name)
                    for f in functions.get(n.id, [])
                ]
                for target in targets:
                    if held and isinstance(target, ast.Name):
                        found.setdefault(target.id, []).extend(held)
    return found


def _index(program: Program) -> tuple[Index, Index, Index]:
    functions: Index = {}
    methods: Index = {}
    classes: Index = {}
    for module in program.modules:
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, Function):
                        methods.setdefault(inner.name, []).append((module, inner))
                        if inner.name.startswith("__") or inner.name == "forward":
                            classes.setdefault(node.name, []).append((module, inner))
            elif isinstance(node, Function) and not isinstance(
                module.parents.get(node), ast.ClassDef
            ):
                functions.setdefault(node.name, []).append((module, node))
    return functions, methods, classes
