"""The evaluation: every solution against the best compile mode of each workload."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence

from novum.benchmarks.kernels.campaign.fleet import Fleet
from novum.benchmarks.kernels.campaign.modes import Modes, find_modes
from novum.benchmarks.kernels.campaign.records import (
    HEADER,
    Record,
    key_of,
    lines,
    read_records,
    record_of,
    summary,
)
from novum.benchmarks.kernels.candidate import BadSolution, solution_of
from novum.benchmarks.kernels.ceilings import clocks
from novum.benchmarks.kernels.evaluator import Evaluator
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.solution import Solution

LAST_START_S = 15.0
"""With less time than this nothing is begun: it would not be finished."""


def score(
    fleet: Fleet,
    modes: Modes,
    problems: Sequence[Problem],
    files: Mapping[str, bytes],
    compile_s: float,
) -> list[Record]:
    """Evaluate in the order given what has no record yet; each record is kept as it is made."""
    folder = fleet.out / "results"
    done = read_records(folder) if folder.is_dir() else {}
    solutions: dict[str, Solution] = {}
    todo: list[Problem] = []
    for problem in problems:
        try:
            solution = solutions[problem.name] = solution_of(problem, files)
        except BadSolution as error:
            fleet.say(f"{problem.name}: {error}")
            continue
        known = done.get(problem.name)
        same = known is not None and (known.digest, known.key) == (
            solution.digest(),
            key_of(problem, *thoroughness(fleet)),
        )
        if not (same and known is not None and known.is_whole):
            todo.append(problem)
    fleet.say(f"{len(problems) - len(todo)} of {len(problems)} problems are done")
    find_modes(fleet, modes, todo, solutions, compile_s)

    def one(evaluator: Evaluator, problem: Problem) -> None:
        if not modes.has(evaluator, problem):
            fleet.say(f"{problem.name}: left out, its baseline is not known")
            return
        record = measured(fleet, modes, evaluator, problem, solutions[problem.name])
        with fleet.lock:
            record.write(folder)
            done[problem.name] = record
            print("\n".join(lines(record)), flush=True)

    print(HEADER, flush=True)
    left = fleet.each(todo, one, until_s=LAST_START_S)
    if left:
        fleet.say(f"left out, the time is up: {', '.join(p.name for p in left)}")
    names = {p.name for p in problems}
    records = [record for name, record in sorted(done.items()) if name in names]
    finish(fleet, records)
    return records


def thoroughness(fleet: Fleet) -> tuple[object, ...]:
    """What must be equal for two records to be comparable."""
    settings = fleet.settings
    return settings.rounds, settings.processes, settings.calls, settings.device


def measured(
    fleet: Fleet, modes: Modes, evaluator: Evaluator, problem: Problem, solution: Solution
) -> Record:
    """Evaluate one solution on inputs that follow from a nonce drawn now."""
    nonce = secrets.token_hex(16)
    before = clocks()
    result = evaluator.evaluate(problem, solution, modes.baseline(problem), nonce)
    found = modes.of(problem)
    return record_of(
        result,
        solution,
        key_of(problem, *thoroughness(fleet)),
        nonce,
        found.best(problem),
        found.errors,
        {"before": before, "after": clocks()},
    )


def finish(fleet: Fleet, records: Sequence[Record]) -> None:
    """The table and the traces of all that is known, in files and on the screen."""
    text = "\n".join([HEADER, *(line for r in records for line in lines(r)), summary(records)])
    (fleet.out / "table.txt").write_text(text + "\n")
    traces = [json.dumps(t, allow_nan=False) for r in records for t in r.traces]
    (fleet.out / "traces.jsonl").write_text("".join(line + "\n" for line in traces))
    for record in records:
        scores = " ".join(f"{row.score:.3f}" for row in record.rows)
        print(f"{record.problem:20} {record.score:.3f}  ({scores})")
    print(summary(records), flush=True)
    fleet.say(f"finished; clocks {clocks()}")
