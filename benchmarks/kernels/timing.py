"""Times: pairs of fresh processes, candidate and baseline, on the same hidden inputs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from novum.benchmarks.kernels.frames import Frames
from novum.benchmarks.kernels.parties import Party, PartyFailed
from novum.benchmarks.kernels.plan import ARMS, EXTRA_PROCESSES, SECRET_CALLS, Secret
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import WorkloadResult, wall_disagrees
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.station import Batch, Station, at_once, fail_all, status_of
from novum.benchmarks.kernels.trace import Status


class BaselineFailed(Exception):
    """The baseline's process failed; that is no fault of the candidate."""


class Timing:
    """Times one candidate against one baseline on the workloads of one problem."""

    def __init__(
        self,
        station: Station,
        problem: Problem,
        solutions: tuple[Solution, Solution],
        frames: Mapping[str, Frames],
        secret: Secret,
    ) -> None:
        self.station = station
        self.problem = problem
        self.solutions = solutions
        self.frames = frames
        self.secret = secret

    def time_all(self, results: list[WorkloadResult]) -> None:
        """Pairs of fresh processes; a workload whose process dies is measured again in a pair of
        its own.
        """
        planned = self.station.plan.processes
        for process in range(planned + EXTRA_PROCESSES):
            live = [r for r in results if r.status is Status.PASSED]
            if process >= planned:  # noise passes, a false clock does not
                live = [r for r in live if wall_disagrees(r.candidate, r.baseline)]
            if not live:
                break
            self.pair(live, process)
            for result in live:
                if result.status is Status.PASSED and len(result.candidate.calls) <= process:
                    self.pair([result], process)
                    if len(result.candidate.calls) <= process:
                        result.fail(Status.RUNTIME_ERROR, "its processes died twice")

    def pair(self, results: list[WorkloadResult], process: int) -> None:
        """One process of each arm: load and compile beside others, then be timed alone."""
        order = (0, 1) if process % 2 == 0 else (1, 0)
        with ExitStack() as stack:
            try:
                children = self.begin(stack)
            except PartyFailed as error:
                fail_all(results, status_of(error), str(error))
                return
            except BaselineFailed as error:
                fail_all(results, Status.INVALID_REFERENCE, str(error))
                return
            batches = self.stage_all(stack, children, results, process)
            if any(child.is_gone for child in children):
                return
            self.alone(batches, children, order)
            for batch in batches:
                if batch.sketches and batch.result.status is Status.PASSED:
                    try:
                        self.verify(batch, children[0])
                    except PartyFailed as error:
                        batch.result.fail(status_of(error), str(error))

    def begin(self, stack: ExitStack) -> list[Party]:
        """A fresh process of each arm, both at once, with solutions loaded.

        Raises:
            PartyFailed: the candidate's does not start, import or compile.
            BaselineFailed: the baseline's does not.
        """
        station = self.station
        phases = station.phases

        def start(i: int) -> Party:
            child = station.arms.fork(ARMS[i])
            stack.callback(child.close)
            with station.gate.shared():
                child.ask({"do": "begin"}, timeout_s=station.plan.load_s)
            return child

        with phases.phase("start"):
            children = at_once(start)

        def load(i: int) -> None:
            try:
                station.arms.load(children[i], ARMS[i], self.solutions[i])
            except PartyFailed as error:
                if i == 1:
                    raise BaselineFailed(f"the baseline: {error}") from error
                raise

        with phases.phase("load"):
            at_once(load)
        return children

    def stage_all(
        self,
        stack: ExitStack,
        children: list[Party],
        results: list[WorkloadResult],
        process: int,
    ) -> list[Batch]:
        """Inputs and warm-ups of every workload in both processes."""
        station = self.station
        batches = []
        for result in results:
            frames = self.frames[result.workload.uuid]
            try:
                batch = stack.enter_context(
                    station.batch(self.problem, result, frames, process, self.secret)
                )
                with station.phases.phase("stage"):
                    self.stage(children, batch)
                batches.append(batch)
            except PartyFailed as error:
                result.fail(status_of(error), str(error))
            except BaselineFailed as error:
                result.fail(Status.INVALID_REFERENCE, str(error))
            if any(child.is_gone for child in children):
                return []
        return batches

    def stage(self, children: list[Party], batch: Batch) -> None:
        """Both arms at once.

        Raises:
            PartyFailed: the candidate's process fails.
            BaselineFailed: the baseline's does.
        """

        def one(i: int) -> None:
            try:
                self.station.stage(children[i], batch, warmups=self.station.plan.warmups)
            except PartyFailed as error:
                if i == 1:
                    raise BaselineFailed(f"the baseline: {error}") from error
                raise

        at_once(one)

    def alone(self, batches: list[Batch], children: list[Party], order: tuple[int, int]) -> None:
        """The timed calls of all workloads and both arms, while nobody else uses the device."""
        with self.station.alone(), self.station.phases.phase("timing"):
            for batch in batches:
                try:
                    self.time(batch, children, order)
                except PartyFailed as error:
                    batch.result.fail(status_of(error), str(error))
                    if any(child.is_gone for child in children):
                        break

    def time(self, batch: Batch, children: list[Party], order: tuple[int, int]) -> None:
        """Both arms on the same inputs, one after the other."""
        for i in order:
            arm = (batch.result.candidate, batch.result.baseline)[i]
            sketches = self.station.timed_calls(children[i], arm, batch)
            if i == 0:
                batch.sketches = sketches
            children[i].ask(
                {"do": "release", "key": batch.key, "outputs": i == 1},
                timeout_s=self.station.plan.call_s,
            )

    def verify(self, batch: Batch, child: Party) -> None:
        """Compare secret calls element by element, then all by their sketches."""
        result, frames, station = batch.result, batch.frames, self.station
        calls = range(len(batch.factors))
        with station.phases.phase("compare"):
            for call in batch.chooser.sample(calls, min(SECRET_CALLS, len(calls))):
                frames.poison()
                with station.shared():
                    child.ask(
                        {"do": "collect", "key": batch.key, "call": call},
                        (frames.out_memory,),
                        timeout_s=station.plan.call_s,
                    )
                if not station.judge(
                    frames, result, {"key": batch.key, "factor": batch.factors[call]}
                ):
                    result.log = f"timed call {call}: {result.log}"
                    return
                result.verified_calls += 1
            self.compare_sketches(batch)

    def compare_sketches(self, batch: Batch) -> None:
        """Compare every timed call with the reference by a random projection."""
        message = {
            "do": "sketches",
            "key": batch.key,
            "seed": batch.seed,
            "factors": batch.factors,
            "tolerance": batch.result.workload.tolerance.model_dump(),
        }
        reply = self.station.say(message)
        for call, (row, wanted) in enumerate(zip(batch.sketches, reply["sketches"], strict=True)):
            for got, (want, allowed) in zip(row, wanted, strict=True):
                if not abs(got - want) <= allowed:
                    reason = f"its output has the sketch {got:.6g}, not {want:.6g} +- {allowed:.3g}"
                    batch.result.fail(Status.INCORRECT_NUMERICAL, f"timed call {call}: {reason}")
                    return
