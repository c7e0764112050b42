"""A cheap look at all solutions: do they compile, are they right, are they quicker than eager?"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence

from novum.benchmarks.kernels.baselines import baseline
from novum.benchmarks.kernels.campaign.fleet import Fleet
from novum.benchmarks.kernels.campaign.records import last
from novum.benchmarks.kernels.candidate import BadSolution, solution_of
from novum.benchmarks.kernels.evaluator import Evaluator
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import ProblemResult, WorkloadResult

ROUNDS = 2
CALLS = 7


def check(fleet: Fleet, problems: Sequence[Problem], files: Mapping[str, bytes]) -> bool:
    """Evaluate every solution with two rounds and one process against the eager reference; the
    table is no evidence. Gives whether all passed.
    """
    kept: dict[str, list[dict[str, object]]] = {}
    bad: list[str] = []

    def one(evaluator: Evaluator, problem: Problem) -> None:
        try:
            solution = solution_of(problem, files)
        except BadSolution as error:
            bad.append(problem.name)
            fleet.say(f"{problem.name}: {error}")
            return
        eager = baseline(problem.definition, "eager")
        result = evaluator.evaluate(problem, solution, eager, secrets.token_hex(16))
        with fleet.lock:
            kept[problem.name] = [about(found) for found in result.results]
            (fleet.out / "check.json").write_text(json.dumps(kept, indent=1))
        if any(found.status.value != "PASSED" for found in result.results):
            bad.append(problem.name)
        fleet.say(spoken(result))

    left = fleet.each(problems, one, rounds=ROUNDS, processes=1, calls=CALLS, profile=False)
    for problem in left:
        fleet.say(f"{problem.name}: left out, the time is up")
    fleet.say(f"checked {len(kept)} of {len(problems)}; bad: {', '.join(sorted(bad)) or 'none'}")
    return not bad and not left


def about(found: WorkloadResult) -> dict[str, object]:
    """One workload for the file."""
    timed = found.is_timed and found.bound is not None
    return {
        "axes": dict(found.workload.axes),
        "status": found.status.value,
        "log": found.log,
        "quarantine": found.quarantine,
        "seconds": found.candidate.time_s if timed else None,
        "eager_seconds": found.baseline.time_s if timed else None,
        "t_sol_seconds": found.bound.t_sol_s if found.bound is not None else None,
    }


def spoken(result: ProblemResult) -> str:
    """One line for a problem, and three for each error."""
    parts, errors = [], []
    for found in result.results:
        if found.is_timed and found.bound is not None:
            times = (found.candidate.time_s, found.baseline.time_s, found.bound.t_sol_s)
            shown = " / ".join(f"{1e6 * t:.1f}" for t in times)
            parts.append(
                f"{shown} = {found.raw_score:.2f}{' QUARANTINED' * bool(found.quarantine)}"
            )
            errors += [f"    {found.quarantine}"] if found.quarantine else []
        else:
            parts.append(found.status.value)
            errors.append(f"    {dict(found.workload.axes)}")
            errors += [f"    {line[:240]}" for line in last(found.log, 3).splitlines()]
    spent = " ".join(f"{k} {v:.1f}" for k, v in result.phases.items())
    head = (
        f"{result.problem.name}: us/eager/SOL {'; '.join(parts)} [{result.wall_s:.0f} s: {spent}]"
    )
    return "\n".join([head, *dict.fromkeys(errors)])
