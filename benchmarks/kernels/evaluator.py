"""Measures a solution: is it right on inputs it has never seen, and how long does it take?

For each problem: check rounds in one child, then pairs of fresh processes (candidate and baseline,
in changing order) that are timed on the same hidden inputs. The referee judges; this process holds
neither tensors nor candidate code. A fault of one workload is its status and never keeps the others
from being measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from novum.benchmarks.kernels.arms import Arms
from novum.benchmarks.kernels.build import BuildFailed
from novum.benchmarks.kernels.frames import Frames
from novum.benchmarks.kernels.gate import Gate
from novum.benchmarks.kernels.parties import Launch, PartyFailed, RefereeProcess
from novum.benchmarks.kernels.phases import Phases
from novum.benchmarks.kernels.plan import ARMS, Plan, Secret
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import ProblemResult, results_of
from novum.benchmarks.kernels.roofline import Bound, Ceilings
from novum.benchmarks.kernels.rounds import check_all
from novum.benchmarks.kernels.search import Search
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.station import Station, fail_all, status_of
from novum.benchmarks.kernels.timing import Timing
from novum.benchmarks.kernels.trace import Status

__all__ = ["Evaluator", "Plan"]


class Evaluator:
    """Evaluates solutions on one device with one referee."""

    def __init__(
        self,
        plan: Plan,
        launch: Launch,
        referee: RefereeProcess,
        ceilings: Ceilings,
        gate: Gate | None = None,
    ) -> None:
        gate = gate or Gate()
        self.station = Station(
            plan, Arms(plan, launch, gate, lambda: referee.architecture), referee, ceilings, gate
        )
        self.search = Search(self.station)

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *_: object) -> None:
        """Destroy the sandboxes of both arms."""
        self.station.arms.close()

    def start(self) -> None:
        """Start the sandboxes of both arms beside the referee, and wait for the referee.

        Raises:
            PartyFailed: the referee does not start.
        """
        for arm in ARMS:
            self.station.arms.server(arm)
        self.station.referee.meet()

    @property
    def plan(self) -> Plan:
        """How thoroughly this measures."""
        return self.station.plan

    @property
    def ceilings(self) -> Ceilings:
        """What the device can do."""
        return self.station.ceilings

    @contextmanager
    def under(self, plan: Plan) -> Iterator[None]:
        """Another plan for a while, in the same sandboxes."""
        station = self.station
        usual = station.plan
        station.plan = station.arms.plan = plan
        try:
            yield
        finally:
            station.plan = station.arms.plan = usual

    @property
    def is_broken(self) -> bool:
        """Whether the referee is gone; nothing can be evaluated without it."""
        return self.station.referee.is_gone

    def evaluate(
        self, problem: Problem, candidate: Solution, baseline: Solution, nonce: str
    ) -> ProblemResult:
        """Measure a candidate against a baseline; `nonce` is the secret from which all inputs
        follow.
        """
        began = time.monotonic()
        station = self.station
        station.phases = Phases()
        station.lost = ""
        results = results_of(problem)
        live = [result for result in results if result.status is Status.PASSED]
        secret = Secret(nonce, candidate.digest())
        try:
            with station.phases.phase("start"):
                for arm in ARMS:
                    station.arms.server(arm)
                station.open(problem)
            with station.phases.phase("compile"):
                station.arms.files(candidate)
                station.arms.files(baseline)
            with ExitStack() as stack:
                frames = {
                    r.workload.uuid: stack.enter_context(Frames(problem, r.workload)) for r in live
                }
                check_all(station, problem, candidate, live, frames, secret)
                for result in live:
                    if result.rounds < station.plan.rounds:
                        result.fail(Status.RUNTIME_ERROR, "it was not checked in every round")
                Timing(station, problem, (candidate, baseline), frames, secret).time_all(live)
        except BuildFailed as error:
            fail_all(results, Status.COMPILE_ERROR, str(error))
        except PartyFailed as error:
            fail_all(results, status_of(error), str(error))
        profiler_works = any(result.saw_kernels for result in results)
        for result in results:
            result.judge_time(profiler_works)
        computed = sum(
            sum(map(sum, arm.calls)) for r in results for arm in (r.candidate, r.baseline)
        )
        libs = {"torch": station.referee.torch}
        took = time.monotonic() - began
        device = self.ceilings.device
        phases = station.phases.rounded()
        return ProblemResult(
            problem,
            candidate.name,
            results,
            device,
            libs,
            overhead_s=took - computed,
            wall_s=took,
            phases=phases,
            lost=station.lost,
        )

    def quick(self, problem: Problem, solutions: list[Solution]) -> list[dict[str, float] | str]:
        """Best time of each solution on each workload, or what went wrong: for searches only.

        Raises:
            PartyFailed: the referee or the sandbox is gone.
        """
        return self.search.quick(problem, solutions)

    def bounds(self, problem: Problem) -> list[Bound]:
        """The limit of every workload on this device.

        Raises:
            PartyFailed: the reference fails.
        """
        return self.search.bounds(problem)
