"""Unverified looks at solutions: quick times, compiling ahead, bounds, profiles. For searches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from novum.benchmarks.kernels.build import BuildFailed
from novum.benchmarks.kernels.frames import Frames
from novum.benchmarks.kernels.parties import Party, PartyFailed
from novum.benchmarks.kernels.plan import SEARCH, Secret
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import WorkloadResult
from novum.benchmarks.kernels.roofline import Bound
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.station import Batch, Station


class Search:
    """Looks at solutions without a verdict; nothing here is evidence."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def quick(
        self,
        problem: Problem,
        solutions: list[Solution],
        arm: str = SEARCH,
        free: bool = False,
    ) -> list[dict[str, float] | str]:
        """Best time of each solution on each workload, or what went wrong.

        One process runs all the solutions; nothing is verified. Preparing without regard for who is
        timed (`free`) is for when only other searches run.

        Raises:
            PartyFailed: the referee or the sandbox is gone.
        """
        station = self._station
        times: list[dict[str, float] | str] = [{} for _ in solutions]
        child: Party | None = None
        with ExitStack() as stack:
            station.open(problem)
            batches = [self._batch(stack, problem, n) for n in range(len(problem.sound))]
            for i, solution in enumerate(solutions):
                found: dict[str, float] = {}
                try:
                    if child is None or child.is_gone:
                        child = station.arms.fork(arm)
                    station.arms.load(child, arm, solution, free=free)
                    for batch in batches:
                        station.stage(child, batch, warmups=station.plan.warmups, free=free)
                    with station.alone():
                        for batch in batches:
                            found[batch.result.workload.uuid] = self._time(child, batch)
                    times[i] = found
                except (PartyFailed, BuildFailed) as error:
                    times[i] = f"{getattr(error, 'kind', 'COMPILE_ERROR')}: {error}"
            if child is not None:
                child.close()
        return times

    def _batch(self, stack: ExitStack, problem: Problem, number: int) -> Batch:
        workload = problem.sound[number]
        frames = stack.enter_context(Frames(problem, workload))
        result = WorkloadResult(workload)
        station = self._station
        return stack.enter_context(
            station.batch(problem, result, frames, str(number), Secret(SEARCH, ""), free=True)
        )

    def _time(self, child: Party, batch: Batch) -> float:
        """The quickest of a few calls."""
        timed = self._station.timed_calls(child, batch)
        child.ask({"do": "release", "key": batch.key}, timeout_s=self._station.plan.call_s)
        return min(timed.seconds)

    def compile(
        self, problem: Problem, arm: str, solution: Solution, limit_s: float
    ) -> dict[str, str]:
        """Compile a solution for all workloads into the cache of its arm within a limit, without
        regard for who is timed; gives what went wrong, by workload.

        The limit is for compiling: neither the process's start nor inputs count.

        Raises:
            PartyFailed: the referee or the sandbox is gone.
        """
        station = self._station
        wrong: dict[str, str] = {}
        child: Party | None = None
        left, too_long = limit_s, f"all workloads together take longer than {limit_s:.0f} s"
        with ExitStack() as stack:
            station.open(problem)
            for number, workload in enumerate(problem.sound):
                if left <= 0:
                    wrong[workload.uuid] = too_long
                    continue
                batch = self._batch(stack, problem, number)
                try:
                    if child is None or child.is_gone:
                        child = station.arms.child(
                            arm, solution, compile_threads=station.plan.compile_threads
                        )
                    began = time.monotonic()
                    try:
                        station.stage(child, batch, warmups=1, free=True, timeout_s=left)
                    finally:
                        left -= time.monotonic() - began
                    child.ask({"do": "release", "key": batch.key}, timeout_s=station.plan.call_s)
                except (PartyFailed, BuildFailed) as error:
                    wrong[workload.uuid] = too_long if left <= 0 else str(error)
            if child is not None:
                child.close()
        return wrong

    def bounds(self, problem: Problem) -> list[Bound]:
        """The limit of every workload on this device.

        Raises:
            PartyFailed: the reference fails.
        """
        station = self._station
        found = []
        with ExitStack() as stack:
            station.open(problem)
            for number in range(len(problem.sound)):
                batch = self._batch(stack, problem, number)
                found.append(station.bound(problem, batch.result, batch.key, batch.frames))
        return found

    def profile(self, problem: Problem, solution: Solution) -> list[list[Mapping[str, Any]] | str]:
        """What the profiler says of a few calls on each workload, or what went wrong.

        Raises:
            PartyFailed: the referee or the sandbox is gone.
        """
        station = self._station
        found: list[list[Mapping[str, Any]] | str] = []
        with ExitStack() as stack:
            station.open(problem)
            for number in range(len(problem.sound)):
                batch = self._batch(stack, problem, number)
                try:
                    child = station.arms.child(SEARCH, solution)
                    stack.callback(child.close)
                    station.stage(child, batch, warmups=2)
                    question = {"do": "profile", "key": batch.key}
                    said = child.ask(question, timeout_s=station.plan.call_s)
                    found.append(list(said["calls"]))
                    child.close()
                except PartyFailed as error:
                    found.append(f"{error.kind}: {error}")
        return found
