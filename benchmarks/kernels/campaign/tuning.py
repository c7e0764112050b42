"""Search over the constants of every solution, and files with the best that was found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from novum.benchmarks.kernels.autotune import replaced, tune, with_constants
from novum.benchmarks.kernels.campaign.fleet import Fleet
from novum.benchmarks.kernels.candidate import BadSolution, solution_of
from novum.benchmarks.kernels.evaluator import Evaluator
from novum.benchmarks.kernels.problem import Problem

LAST_STEP_S = 20.0


def tune_all(
    fleet: Fleet, problems: Sequence[Problem], files: Mapping[str, bytes], steps: int
) -> None:
    """Tune every Python solution; the best go into `tuned/`, all times into `tune.json`."""
    folder = fleet.out / "tuned"
    folder.mkdir(exist_ok=True)
    kept: dict[str, Any] = {}

    def one(evaluator: Evaluator, problem: Problem) -> None:
        try:
            solution = solution_of(problem, files)
        except BadSolution as error:
            fleet.say(f"{problem.name}: {error}")
            return
        if solution.spec.is_cpp:
            fleet.say(f"{problem.name}: C++ has no constants to tune")
            return
        found = tune(
            evaluator, problem, solution, steps, is_late=lambda: fleet.left_s < LAST_STEP_S
        )
        entry = solution.spec.entry_file
        source = with_constants(solution.files[entry].decode(), found.constants)
        (folder / f"{problem.name}.py").write_text(
            replaced(solution, entry, source).files[entry].decode()
        )
        with fleet.lock:
            kept[problem.name] = {
                "constants": found.constants,
                "seconds": found.seconds,
                "errors": found.errors,
            }
            (fleet.out / "tune.json").write_text(json.dumps(kept, indent=1))
        before = found.seconds.get("as written")
        best = min(found.seconds.values(), default=float("nan"))
        was = f"{1e6 * before:.1f}" if before is not None else "failed"
        fleet.say(
            f"{problem.name}: {was} -> {1e6 * best:.1f} us with {found.constants or 'as written'}; "
            f"{len(found.seconds)} ran, {len(found.errors)} failed"
        )

    left = fleet.each(problems, one, until_s=LAST_STEP_S, stage_s=30.0, load_s=30.0, calls=7)
    if left:
        fleet.say(f"left out, the time is up: {', '.join(p.name for p in left)}")
