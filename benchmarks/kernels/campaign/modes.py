"""T_b: which mode of torch.compile is best for each workload, found once and kept."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from novum.benchmarks.kernels.baselines import MODES, baseline, mixed_baseline
from novum.benchmarks.kernels.campaign.fleet import Fleet
from novum.benchmarks.kernels.evaluator import Evaluator
from novum.benchmarks.kernels.plan import ARMS
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.solution import Solution

COMPILE_S = 150.0
"""How long one mode may compile all workloads of a problem, its process's start not counted; what
takes longer does not count. Near the end of the time for compiling it is less.
"""
LEAST_S = 30.0
"""Less than this is given to nothing that was begun in time."""
BEST, SOLUTION = "best", "solution"
READY_S = 25.0
"""How long a mode that is compiled may take to be ready in a fresh process: one that compiles anew
for each input is not a baseline that anybody runs."""


class ModeTimes(BaseModel):
    """What the modes took on the workloads of one problem."""

    key: str
    """Of the definition, the workloads, the device and PyTorch's version."""
    seconds: dict[str, dict[str, float]] = {}
    """Quick times by mode and workload."""
    errors: dict[str, str] = {}
    """Modes that do not count, and why."""

    def best(self, problem: Problem) -> dict[str, str]:
        """The quickest mode of each workload; `eager` where nothing is known."""
        chosen = {}
        for workload in problem.sound:
            times = {m: t[workload.uuid] for m, t in self.seconds.items() if workload.uuid in t}
            chosen[workload.uuid] = min(times, key=lambda m: times[m]) if times else "eager"
        return chosen


_KNOWN = TypeAdapter(dict[str, ModeTimes])


class Modes:
    """The file of all problems' modes, and the search that fills it."""

    def __init__(self, path: Path, modes: Sequence[str] = MODES) -> None:
        self.path = path
        self.modes = tuple(modes)
        self._lock = threading.Lock()
        self._known = _KNOWN.validate_json(path.read_bytes()) if path.is_file() else {}
        self._failed: dict[str, dict[str, str]] = {}

    def has(self, evaluator: Evaluator, problem: Problem) -> bool:
        """Whether the modes of a problem are known for this device and version."""
        known = self._known.get(problem.name)
        return known is not None and known.key == self.key(evaluator, problem)

    def of(self, problem: Problem) -> ModeTimes:
        """What is known of a problem."""
        return self._known.get(problem.name) or ModeTimes(key="")

    def baseline(self, problem: Problem) -> Solution:
        """The reference under the best mode of each workload."""
        chosen = self.of(problem).best(problem)
        return mixed_baseline(problem.definition, problem.sound, chosen)

    def key(self, evaluator: Evaluator, problem: Problem) -> str:
        """Changes when anything changes on which the times depend."""
        parts = [
            problem.definition.model_dump(mode="json"),
            [w.model_dump(mode="json") for w in problem.workloads],
            evaluator.ceilings.device,
            evaluator.station.referee.torch,
            list(self.modes),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def compile(
        self, evaluator: Evaluator, problem: Problem, mode: str, limit_s: float = COMPILE_S
    ) -> str:
        """Compile one mode into the baseline's cache; gives what went wrong."""
        if mode == BEST:
            solution = self.baseline(problem)
        else:
            solution = baseline(problem.definition, mode)
        wrong = evaluator.search.compile(problem, ARMS[1], solution, limit_s)
        reason = next(iter(wrong.values()), "").strip()[-300:]
        if reason and mode != BEST:
            with self._lock:
                self._failed.setdefault(problem.name, {})[mode] = f"compiling: {reason}"
        return reason

    def find(self, evaluator: Evaluator, problem: Problem) -> ModeTimes:
        """Time every mode that compiled, keep and give what was found."""
        failed = self._failed.get(problem.name, {})
        usable = [mode for mode in self.modes if mode not in failed]
        found = ModeTimes(key=self.key(evaluator, problem), errors=dict(failed))
        solutions = [baseline(problem.definition, mode) for mode in usable]
        times = evaluator.search.quick(problem, solutions, ARMS[1], free=True)
        for mode, seconds in zip(usable, times, strict=True):
            if isinstance(seconds, str):
                found.errors[mode] = seconds.strip()[-300:]
            else:
                found.seconds[mode] = seconds
        with self._lock:
            self._known[problem.name] = found
            self.path.write_bytes(_KNOWN.dump_json(self._known, indent=1))
        return found


def find_modes(
    fleet: Fleet,
    modes: Modes,
    problems: Sequence[Problem],
    solutions: Mapping[str, Solution],
    compile_s: float,
) -> None:
    """Compile the solutions and every mode of the problems whose modes are not known, then time
    the modes.

    After `compile_s` seconds nothing more is compiled. A problem of which a mode was left out for
    lack of time stays unknown.
    """
    probe = fleet.machines[0].take()
    fresh = [p for p in problems if not modes.has(probe, p)]
    fleet.machines[0].give(probe)
    marks = fleet.settings.cache / "compiled"
    marks.mkdir(parents=True, exist_ok=True)
    jobs = [Compiling(p, mode) for p in fresh for mode in modes.modes if mode != "eager"]
    jobs += [Compiling(p, BEST) for p in problems if p not in fresh]
    jobs += [Compiling(p, SOLUTION) for p in problems]
    keys = {job.name: job.key(modes, solutions) for job in jobs}
    jobs = [job for job in jobs if not (marks / keys[job.name]).exists()]
    jobs.sort(key=lambda job: -job.weight)

    end_s = fleet.left_s - compile_s

    def compile_one(evaluator: Evaluator, job: Compiling) -> None:
        limit_s = max(LEAST_S, min(COMPILE_S, fleet.left_s - end_s))
        if job.mode == SOLUTION:
            solution = solutions[job.problem.name]
            wrong = evaluator.search.compile(job.problem, ARMS[0], solution, limit_s)
            reason = next(iter(wrong.values()), "").strip()
        else:
            reason = modes.compile(evaluator, job.problem, job.mode, limit_s)
        if not reason:
            (marks / keys[job.name]).touch()
        fleet.say(f"{job.name}: {reason.splitlines()[-1] if reason else 'compiled'}")

    left = fleet.each(
        jobs, compile_one, until_s=end_s, parallel=fleet.settings.compilers, load_s=COMPILE_S
    )
    for machine in fleet.machines:
        machine.keep(fleet.settings.parallel)
    late = {job.problem.name for job in left if job.mode not in (BEST, SOLUTION)}
    if left:
        fleet.say(f"not compiled for lack of time: {', '.join(job.name for job in left)}")

    def time_one(evaluator: Evaluator, problem: Problem) -> None:
        found = modes.find(evaluator, problem)
        shown = {m: [round(1e6 * s, 1) for s in t.values()] for m, t in found.seconds.items()}
        fleet.say(f"{problem.name}: modes {shown} {found.errors or ''}")

    fleet.each([p for p in fresh if p.name not in late], time_one, stage_s=READY_S)


class Compiling:
    """One thing to be compiled: a mode of a problem's reference, its best modes, or a solution."""

    def __init__(self, problem: Problem, mode: str) -> None:
        self.problem = problem
        self.mode = mode
        self.name = f"{problem.name} ({mode})"
        reference = problem.definition.reference
        has_product = "matmul" in reference or "@" in reference
        self.weight = 2 * has_product + (mode not in ("default", SOLUTION))
        """What compiles longest starts first."""

    def key(self, modes: Modes, solutions: Mapping[str, Solution]) -> str:
        """The name of the mark that this was compiled here."""
        if self.mode == SOLUTION:
            source = solutions[self.problem.name].digest()
        elif self.mode == BEST:
            source = modes.baseline(self.problem).digest()
        else:
            source = baseline(self.problem.definition, self.mode).digest()
        axes = [w.axes for w in self.problem.sound]
        return hashlib.sha256(json.dumps([self.mode, source, axes]).encode()).hexdigest()[:24]
