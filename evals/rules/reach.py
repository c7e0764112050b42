"""Which functions run while a candidate is scored: what can be reached from its entry functions.

Names are followed to functions of the program, attributes to methods of that name, classes to their
special methods and `forward`. That is too much rather than too little.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

from novum.evals.rules.program import Module, Program

Function = ast.FunctionDef | ast.AsyncFunctionDef
LM_ENTRY = "load"
KERNEL_ENTRIES = ("run", "custom_kernel", "kernel", "solution")


@lru_cache(maxsize=64)
def scored(program: Program) -> tuple[tuple[Module, Function], ...]:
    """Functions that run while the candidate is scored, entry functions first."""
    roots = list(_entries(program, (LM_ENTRY,))) or list(_entries(program, KERNEL_ENTRIES))
    functions, methods, classes = _index(program)
    seen: dict[int, tuple[Module, Function]] = {}
    queue = list(roots)
    while queue:
        module, function = queue.pop(0)
        if id(function) in seen:
            continue
        seen[id(function)] = (module, function)
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                queue += functions.get(node.id, [])
                queue += classes.get(node.id, [])
            elif isinstance(node, ast.Attribute):
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
