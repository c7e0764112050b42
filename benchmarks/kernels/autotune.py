"""Tries a kernel's constants one at a time and keeps what is quicker: a helper, never a verdict.

Constants are top-level numbers with UPPERCASE names, as a playbook's moves change them; a source
may name the values worth trying (`TUNE = {"BLOCK": (64, 128)}`). Times come from one process; what
is chosen is measured again like anything.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from novum.benchmarks.kernels.evaluator import Evaluator
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.solution import Solution, SourceFile

CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]*) = (\d+)$", re.MULTILINE)
STEPS: Mapping[str, tuple[float, ...]] = {
    "WARPS": (0.5, 2),
    "STAGES": (-1, 1),
    "BLOCK": (0.5, 2),
    "ROWS": (0.5, 2),
    "TOKENS": (0.5, 2),
    "COLUMNS": (0.5, 2),
    "CHANNELS": (0.5, 2),
    "TIME": (0.5, 2),
    "PROGRAMS": (0.5, 2),
}
"""Factors to try by the name's beginning; stages are added to, not multiplied."""
BOUNDS = {"WARPS": (1, 32), "STAGES": (1, 7), "BLOCK": (16, 16384), "PROGRAMS": (66, 4224)}

AT_ONCE = 8
"""Settings that one process tries on one draw of inputs."""


@dataclass(frozen=True)
class Tuned:
    """The best setting found, and the times of all that ran."""

    constants: dict[str, int]
    seconds: dict[str, float]
    """Geometric mean over workloads by the setting's label; `as written` is the start."""
    errors: dict[str, str]


def constants_of(source: str) -> dict[str, int]:
    """Top-level whole-number constants of a source."""
    return {name: int(value) for name, value in CONSTANT.findall(source)}


def with_constants(source: str, values: Mapping[str, int]) -> str:
    """The source with other values for its constants."""
    for name, value in values.items():
        source = re.sub(rf"^{name} = \d+$", f"{name} = {value}", source, flags=re.MULTILINE)
    return source


def neighbours(constants: Mapping[str, int]) -> list[dict[str, int]]:
    """Settings that differ from this one in a single constant."""
    found = []
    for name, value in constants.items():
        family = next((f for f in STEPS if name.startswith(f)), None)
        if family is None:
            continue
        low, high = BOUNDS.get(family, (1, 1 << 14))
        for step in STEPS[family]:
            new = value + int(step) if family == "STAGES" else int(value * step)
            if low <= new <= high and new != value:
                found.append({name: new})
    return found


def label_of(values: Mapping[str, int]) -> str:
    """A setting as text."""
    return ", ".join(f"{k}={v}" for k, v in values.items()) or "as written"


def declared(source: str) -> dict[str, tuple[int, ...]]:
    """The values that a source itself names: `TUNE = {"BLOCK": (64, 128)}` at the top level.

    Only names of constants and whole numbers count; anything else is left out.
    """
    for node in ast.parse(source).body:
        is_tune = (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "TUNE"
        )
        if isinstance(node, ast.Assign) and is_tune:
            try:
                found = ast.literal_eval(node.value)
            except ValueError:
                return {}
            known = constants_of(source)
            pairs = found.items() if isinstance(found, dict) else ()
            return {
                name: tuple(v for v in values if type(v) is int)
                for name, values in pairs
                if name in known and isinstance(values, (tuple, list))
            }
    return {}


def settings_around(source: str, chosen: Mapping[str, int]) -> list[dict[str, int]]:
    """The chosen setting and those that differ in one constant: by what the source declares, or
    else by the usual steps.
    """
    present = constants_of(with_constants(source, chosen))
    named = declared(source)
    steps = [{n: v} for n, values in named.items() for v in values if v != present[n]]
    return [{**chosen, **step} for step in ({}, *(steps if named else neighbours(present)))]


def tune(
    evaluator: Evaluator,
    problem: Problem,
    solution: Solution,
    rounds: int = 1,
    is_late: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Search around a Python solution's constants, the best improvement first, until nothing is
    better, the rounds are over or it is late.
    """
    entry = solution.spec.entry_file
    source = solution.files[entry].decode()
    chosen: dict[str, int] = {}
    seconds: dict[str, float] = {}
    errors: dict[str, str] = {}
    by_label: dict[str, dict[str, int]] = {}
    for _ in range(rounds):
        tried = {label_of(s): s for s in settings_around(source, chosen)}
        fresh = [label for label in tried if label not in by_label]
        by_label |= tried
        for first in range(0, len(fresh), AT_ONCE):
            if is_late() and seconds:
                break
            labels = fresh[first : first + AT_ONCE]
            sources = [with_constants(source, by_label[label]) for label in labels]
            renamed = [replaced(solution, entry, text) for text in sources]
            found = evaluator.search.quick(problem, renamed, free=True)
            for label, times in zip(labels, found, strict=True):
                if isinstance(times, str):
                    errors[label] = times[-300:]
                else:
                    seconds[label] = statistics.geometric_mean(times.values())
        if not seconds:
            break
        best = by_label[min(seconds, key=lambda label: seconds[label])]
        if best == chosen:
            break
        chosen = best
    return Tuned(chosen, seconds, errors)


def replaced(solution: Solution, path: str, text: str) -> Solution:
    """A solution with one file exchanged."""
    sources = tuple(
        SourceFile(path=s.path, content=text if s.path == path else s.content)
        for s in solution.sources
    )
    return solution.model_copy(update={"sources": sources})
