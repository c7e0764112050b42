"""Rules that only the speedrun needs: nothing may be moved into the time that nobody counts."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from novum.benchmarks.nanochat.rules import RULES as TEXT_RULES
from novum.evals.rules.program import Module, Program
from novum.evals.rules.rule import BLOCK, CONFIRM, Found, Mention, Rule

COMPILERS = frozenset({"torch.compile", "torch._dynamo.optimize"})
DEARER = frozenset({"mode", "options", "backend"})
VARIABLES = ("TORCHINDUCTOR_", "TORCH_COMPILE", "TRITON_", "NVIDIA_TF32", "CUBLAS_")


def _dearer_compilation(module: Module, program: Program) -> Iterable[Found]:
    """Arguments of a compiler that buy faster kernels with longer compilation."""
    for call, names in module.calls():
        if names & COMPILERS:
            for keyword in call.keywords:
                if keyword.arg is None:
                    yield Found(call.lineno, "torch.compile with arguments that cannot be read")
                elif keyword.arg in DEARER:
                    yield Found(call.lineno, f"torch.compile({keyword.arg}=...)")


def _variables(module: Module, program: Program) -> Iterable[Found]:
    """Names of environment variables that set up compilers and libraries."""
    for line, text in module.texts:
        if text.startswith(VARIABLES):
            yield Found(line, f"names the variable {text[:60]}")


def _started_late(module: Module, program: Program) -> Iterable[Found]:
    """A `start()` that stands inside a loop or a condition: its place decides what is counted."""
    for call, names in module.calls():
        if "harness.start" in {name.replace("()", "") for name in names}:
            for outer in module.enclosing(call, ast.For, ast.While, ast.If):
                if not _is_main_guard(outer):
                    yield Found(call.lineno, "harness.start() inside a loop or a condition")
                    break


def _is_main_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "__main__" in ast.dump(node.test)


RULES = (
    *TEXT_RULES,
    Rule(
        "speedrun-flags",
        BLOCK,
        "sets flags that lengthen the untimed compilation to save timed seconds",
        "the public rules forbid them alike; plain torch.compile is free",
        python=_dearer_compilation,
    ),
    Rule(
        "speedrun-inductor",
        BLOCK,
        "changes settings of the compiler",
        "limits of recompilation (torch._dynamo.config) are no such flags and stay free",
        python=Mention(("torch._inductor.", "triton.knobs.", "torch.backends.cudnn.benchmark")),
    ),
    Rule(
        "speedrun-variables",
        BLOCK,
        "names environment variables that set up compilers",
        "none is needed: the harness sets threads and devices",
        python=_variables,
    ),
    Rule(
        "speedrun-start",
        CONFIRM,
        "decides at run time whether and when the clock starts",
        "a program with several entry points may wrap its start",
        python=_started_late,
    ),
)
