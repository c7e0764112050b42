"""What only this benchmark has to forbid: a trip that is written into the source."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from novum.evals.rules.program import Module, Program
from novum.evals.rules.rule import BLOCK, Found, Rule

MOST = 20
"""Whole numbers in one literal; no algorithm for round trips needs a table of more."""


def _tables(module: Module, _: Program) -> Iterable[Found]:
    for node in module.nodes:
        if isinstance(node, ast.List | ast.Tuple):
            n = sum(isinstance(e, ast.Constant) and isinstance(e.value, int) for e in node.elts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.replace(",", " ").split()
            n = sum(word.isdigit() for word in words)
        else:
            continue
        if n > MOST:
            yield Found(node.lineno, f"a table of {n} whole numbers")


RULES = (
    Rule(
        "written-trip",
        BLOCK,
        "holds a trip, or a part of one, as numbers",
        "tables of a numerical method; round trips need none",
        python=_tables,
    ),
)
