"""The confirmation: every solution that passed, frozen as it was, measured once more.

What chose a solution does not confirm it: processes, sandboxes, referee, nonce and so all inputs
are new, and only these numbers go to the head of a page of results.
"""

from __future__ import annotations

from collections.abc import Sequence

from novum.benchmarks.kernels.campaign.fleet import Fleet
from novum.benchmarks.kernels.campaign.modes import Modes
from novum.benchmarks.kernels.campaign.records import (
    HEADER,
    Record,
    key_of,
    lines,
    read_records,
    summary,
)
from novum.benchmarks.kernels.campaign.score import LAST_START_S, measured, thoroughness
from novum.benchmarks.kernels.evaluator import Evaluator
from novum.benchmarks.kernels.problem import Problem

RESULTS, CONFIRMED = "results", "confirmed"


def confirm(fleet: Fleet, modes: Modes, problems: Sequence[Problem]) -> list[Record]:
    """Measure again what `score` has left whole; each record is kept as it is made."""
    chosen = read_records(fleet.out / RESULTS)
    done = read_records(fleet.out / CONFIRMED)
    todo: list[Problem] = []
    for problem in problems:
        first, known = chosen.get(problem.name), done.get(problem.name)
        if first is None or not first.is_whole:
            fleet.say(f"{problem.name}: there is no whole result to confirm")
        elif first.key != key_of(problem, *thoroughness(fleet)):
            fleet.say(f"{problem.name}: its result is of another problem or another plan")
        elif known is None or (known.digest, known.key) != (first.digest, first.key):
            todo.append(problem)

    def one(evaluator: Evaluator, problem: Problem) -> None:
        if not modes.has(evaluator, problem):
            fleet.say(f"{problem.name}: left out, its baseline is not known")
            return
        record = measured(fleet, modes, evaluator, problem, chosen[problem.name].solution)
        with fleet.lock:
            record.write(fleet.out / CONFIRMED)
            done[problem.name] = record
            print("\n".join(lines(record)), flush=True)

    print(HEADER, flush=True)
    if left := fleet.each(todo, one, until_s=LAST_START_S):
        fleet.say(f"left out, the time is up: {', '.join(p.name for p in left)}")
    names = {problem.name for problem in problems}
    records = [record for name, record in sorted(done.items()) if name in names]
    fleet.say(f"confirmed: {summary(records)}")
    return records
