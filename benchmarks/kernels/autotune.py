"""Tries a kernel's constants one at a time and keeps what is quicker: a helper, never a verdict.

Constants are top-level numbers with UPPERCASE names, as a playbook's moves change them. Times come
from one process and from one workload at a time; what is chosen is measured again like anything.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
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


def tune(evaluator: Evaluator, problem: Problem, solution: Solution, rounds: int = 1) -> Tuned:
    """Search the neighbourhood of a Python solution's constants, best improvement first."""
    entry = solution.spec.entry_file
    source = solution.files[entry].decode()
    chosen: dict[str, int] = {}
    seconds: dict[str, float] = {}
    errors: dict[str, str] = {}
    for number in range(rounds):
        settings = [{}, *neighbours(constants_of(with_constants(source, chosen)))]
        settings = [s for s in ({**chosen, **s} for s in settings) if label_of(s) not in seconds]
        sources = {label_of(s): with_constants(source, s) for s in settings}
        renamed = [replaced(solution, entry, text) for text in sources.values()]
        for label, found in zip(sources, evaluator.quick(problem, renamed), strict=True):
            if isinstance(found, str):
                errors[label] = found[-300:]
            else:
                seconds[label] = statistics.geometric_mean(found.values())
        by_label = {label_of(s): s for s in settings} | {label_of(chosen): chosen}
        if not seconds:
            break
        best = min(seconds, key=lambda label: seconds[label])
        if best not in by_label or by_label[best] == chosen and number:
            break
        chosen = by_label[best]
    return Tuned(chosen, seconds, errors)


def replaced(solution: Solution, path: str, text: str) -> Solution:
    """A solution with one file exchanged."""
    sources = tuple(
        SourceFile(path=s.path, content=text if s.path == path else s.content)
        for s in solution.sources
    )
    return solution.model_copy(update={"sources": sources})
