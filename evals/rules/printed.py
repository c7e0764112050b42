"""A rule for metrics that a program prints: the line must not stand ready-made in its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from novum.evals.rules.clex import Token
from novum.evals.rules.program import Module, Program
from novum.evals.rules.rule import BLOCK, Found, Rule

MEANING = "holds the line that reports the metric, number included"
HONEST = "none known: a program prints what it has computed; comments and docstrings are not read"


def printed_metric(pattern: str) -> Rule:
    """The rule for a metric that is read with `pattern` from what a candidate prints."""
    compiled = re.compile(pattern, re.MULTILINE)

    def python(module: Module, _: Program) -> Iterable[Found]:
        for line, text in (*module.texts, *_printed(module)):
            if match := _match(compiled, text):
                yield Found(line, f"the text {match!r}, which is what is measured")

    def native(tokens: Sequence[Token]) -> Iterable[Found]:
        for token in tokens:
            if token.kind == "string" and (match := _match(compiled, token.text)):
                yield Found(token.line, f"the text {match!r}, which is what is measured")

    return Rule("printed-metric", BLOCK, MEANING, HONEST, python=python, native=native)


def _match(pattern: re.Pattern[str], text: str) -> str:
    """The part of a text that would be read as the metric; the group must hold a digit."""
    found = next((m for m in pattern.finditer(text) if re.search(r"\d", m.group(1) or "")), None)
    return found.group(0)[:80] if found else ""


def _printed(module: Module) -> Iterable[tuple[int, str]]:
    """What a call puts together from literals: `print("loss:", 0.1)`."""
    for node in module.nodes:
        if isinstance(node, ast.Call) and len(node.args) > 1:
            yield node.lineno, " ".join(_literal(arg) or "\0" for arg in node.args)


def _literal(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""
