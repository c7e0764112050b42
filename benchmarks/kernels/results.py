"""What an evaluation found, workload by workload, and its form as trace lines."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.roofline import Bound, score
from novum.benchmarks.kernels.trace import (
    Correctness,
    Environment,
    Evaluation,
    Performance,
    Status,
    Trace,
    finite_or_zero,
)
from novum.benchmarks.kernels.workload import Workload

SCORE_MARGIN = 0.03
"""A time up to 3 % under T_SOL is noise of the ceilings and counts as 1; beyond that it is
quarantined.
"""


@dataclass
class Arm:
    """Times of one solution on one workload: one list for each process, seconds for each call."""

    calls: list[list[float]] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    """Seconds from `time` to the last sketch, on the evaluator's clock."""

    @property
    def medians(self) -> list[float]:
        """One median for each process: the unit of replication."""
        return [statistics.median(seconds) for seconds in self.calls]

    @property
    def time_s(self) -> float:
        """Median over processes of the median over calls."""
        return statistics.median(self.medians)

    @property
    def excess_s(self) -> list[float]:
        """Wall time of each process's batch beyond what its calls say they took."""
        return [wall - sum(calls) for wall, calls in zip(self.walls, self.calls, strict=True)]


@dataclass
class WorkloadResult:
    """The finding on one workload; every workload of a problem has one, whatever happened."""

    workload: Workload
    status: Status = Status.PASSED
    log: str = ""
    rounds: int = 0
    families: list[str] = field(default_factory=list)
    max_absolute: float = 0.0
    max_relative: float = 0.0
    worst_matched: float = 1.0
    has_nan: bool = False
    has_inf: bool = False
    candidate: Arm = field(default_factory=Arm)
    baseline: Arm = field(default_factory=Arm)
    bound: Bound | None = None
    profile: list[Mapping[str, Any]] = field(default_factory=list)
    verified_calls: int = 0
    """Timed calls whose outputs were compared element by element; all others by sketch."""
    quarantine: str = ""

    @property
    def is_timed(self) -> bool:
        return (
            self.status is Status.PASSED
            and bool(self.candidate.calls)
            and bool(self.baseline.calls)
        )

    def fail(self, status: Status, reason: str) -> None:
        """Give the workload a status other than PASSED; the first one stands."""
        if self.status is Status.PASSED:
            self.status, self.log = status, reason

    @property
    def raw_score(self) -> float:
        """The score by the formula; above 1 it is not believed."""
        if not self.is_timed or self.bound is None:
            return 0.0
        return score(self.candidate.time_s, self.baseline.time_s, self.bound.t_sol_s)

    @property
    def score(self) -> float:
        """The score that counts: 0 for what failed or is quarantined, never above 1."""
        return 0.0 if self.quarantine else min(self.raw_score, 1.0)

    @property
    def saw_kernels(self) -> bool:
        """Whether the profiler saw the candidate use the device."""
        return any(call["kernels"] for call in self.profile)

    def judge_time(self, profiler_works: bool = False) -> None:
        """Quarantine a time that physics, the outer clock or the profiler does not allow."""
        if not self.is_timed or self.bound is None:
            return
        t = self.candidate.time_s
        if t < self.bound.floor_s:
            self.quarantine = (
                f"{t * 1e6:.2f} us is under the physical floor of {self.bound.floor_s * 1e6:.2f} us"
            )
        elif t < (1 - SCORE_MARGIN) * self.bound.t_sol_s:
            self.quarantine = f"{t * 1e6:.2f} us is under T_SOL = {self.bound.t_sol_s * 1e6:.2f} us"
        elif reason := wall_disagrees(self.candidate, self.baseline):
            self.quarantine = reason
        elif reason := profiler_disagrees(self.profile, t, profiler_works):
            self.quarantine = reason


PROFILE_SHARE = 1.2
PROFILE_SLACK_S = 3e-6
"""The profiled calls find their inputs in the cache, so kernels are busy for less than the timed
calls take: on an H100 for 73 to 101 % of it (gemm, newton_schulz, rmsnorm, softmax).
"""


def profiler_disagrees(
    profile: Sequence[Mapping[str, Any]], time_s: float, profiler_works: bool
) -> str:
    """Why events are not believed that say less than the kernels were busy; empty when they are.

    A profiler that sees kernels on other workloads and none on this one has found nothing done.
    """
    if not profile:
        return ""
    if not any(call["kernels"] for call in profile):
        return "no kernel ran in the profiled calls" if profiler_works else ""
    busy_s = min(float(call["seconds"]) for call in profile)
    if busy_s > PROFILE_SHARE * time_s + PROFILE_SLACK_S:
        return (
            f"kernels were busy for {1e6 * busy_s:.2f} us under the profiler, "
            f"and events say {1e6 * time_s:.2f} us"
        )
    return ""


WALL_SHARE = 0.15
WALL_SLACK_S = 3e-3
"""A process's wall time for a batch may jump by this much on a busy machine without anybody
cheating.
"""


def wall_disagrees(candidate: Arm, baseline: Arm) -> str:
    """Why the candidate's own clock is not believed; empty when it is.

    Both arms do the same besides the calls (flush, launch, sketch), so what the outer clock saw
    beyond the calls must be alike, within the noise that the baseline's own processes show. The
    least of the processes counts: noise only adds wall time.
    """
    if not (candidate.walls and baseline.walls):
        return ""
    mine, theirs = min(candidate.excess_s), min(baseline.excess_s)
    noise = max(baseline.excess_s) - theirs
    allowed = WALL_SLACK_S + noise + WALL_SHARE * min(candidate.walls)
    if mine - theirs > allowed:
        return (
            f"the outer clock saw {1e3 * mine:.2f} ms that the calls do not account for, with the "
            f"baseline {1e3 * theirs:.2f} ms; {1e3 * allowed:.2f} ms apart is allowed"
        )
    return ""


@dataclass
class ProblemResult:
    """The finding on one problem."""

    problem: Problem
    solution: str
    results: list[WorkloadResult]
    hardware: str
    libs: dict[str, str] = field(default_factory=dict)
    overhead_s: float = 0.0
    """Wall time of the evaluation less what candidate and baseline computed in timed calls."""
    wall_s: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    """Where that time went, in seconds; see `phases.py`."""
    lost: str = ""
    """Why the device could not be used any more: then the findings say nothing of the candidate."""

    @property
    def score(self) -> float:
        """Mean over workloads."""
        return statistics.fmean(r.score for r in self.results)

    @property
    def quarantined(self) -> list[str]:
        return [r.quarantine for r in self.results if r.quarantine]

    def traces(self) -> list[Trace]:
        """One line for each workload of the problem, in order."""
        return [self.trace(result) for result in self.results]

    def trace(self, result: WorkloadResult) -> Trace:
        """One line of the trace file."""
        correctness = performance = None
        if result.status in (Status.PASSED, Status.INCORRECT_NUMERICAL):
            correctness = Correctness(
                max_relative_error=finite_or_zero(result.max_relative),
                max_absolute_error=finite_or_zero(result.max_absolute),
                has_nan=result.has_nan,
                has_inf=result.has_inf,
                extra={
                    "rounds": result.rounds,
                    "families": result.families,
                    "worst_matched_ratio": result.worst_matched,
                    "verified_timed_calls": result.verified_calls,
                },
            )
        if result.status is Status.PASSED:
            performance = self.performance(result)
        return Trace(
            definition=self.problem.definition.name,
            workload=result.workload,
            solution=self.solution,
            evaluation=Evaluation(
                status=result.status,
                environment=Environment(hardware=self.hardware, libs=self.libs),
                timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
                log=result.log,
                correctness=correctness,
                performance=performance,
            ),
        )

    def performance(self, result: WorkloadResult) -> Performance:
        """Times and score, with everything they rest on."""
        if not result.is_timed:
            return Performance()
        t, base = result.candidate.time_s, result.baseline.time_s
        extra: dict[str, Any] = {
            "score": result.score,
            "raw_score": finite_or_zero(result.raw_score),
            "quarantine": result.quarantine,
            "process_medians_ms": milliseconds(result.candidate.medians),
            "reference_process_medians_ms": milliseconds(result.baseline.medians),
            "walls_ms": milliseconds(result.candidate.walls),
            "reference_walls_ms": milliseconds(result.baseline.walls),
            "phases": self.phases,
        }
        if result.bound is not None:
            extra["bound"] = result.bound.as_dict()
        if result.profile:
            extra["profile"] = list(result.profile)
        return Performance(
            latency_ms=1e3 * t, reference_latency_ms=1e3 * base, speedup_factor=base / t, **extra
        )


def results_of(problem: Problem) -> list[WorkloadResult]:
    """A result for every workload; those whose files contradict themselves have failed."""
    results = [WorkloadResult(workload) for workload in problem.workloads]
    for result in results:
        if (reason := problem.faults.get(result.workload.uuid)) is not None:
            result.fail(Status.INVALID_REFERENCE, reason)
    return results


def faulty(problem: Problem, hardware: str, reason: str = "") -> ProblemResult:
    """The result of a problem that is not evaluated: itself faulty, or without a solution."""
    results = results_of(problem)
    for result in results:
        result.fail(Status.COMPILE_ERROR, reason)
    return ProblemResult(problem, "none", results, hardware)


def milliseconds(seconds: Sequence[float]) -> list[float]:
    """Seconds as milliseconds that a reader can bear."""
    return [round(1e3 * s, 6) for s in seconds]


def table(results: Sequence[ProblemResult]) -> str:
    """One line for each workload and a mean at the end, for people."""
    lines = [
        f"{'problem':22}{'axes':40}{'status':>10}"
        f"{'T us':>11}{'T_b us':>11}{'T_SOL us':>11} {'bound':8}{'S':>6}"
    ]
    for result in results:
        for found in result.results:
            axes = ",".join(f"{k}={v}" for k, v in found.workload.axes.items())[:39]
            state = "QUARANT." if found.quarantine else found.status.value[:9]
            lines.append(f"{result.problem.name:22}{axes:40}{state:>10}" + times_of(found))
        lines.append(f"{result.problem.name:22}{'':80}{'mean':>8}{result.score:>8.3f}")
    if results:
        mean = statistics.fmean(r.score for r in results)
        low = min(results, key=lambda r: r.score)
        lines.append(
            f"mean over {len(results)} problems {mean:.4f}; "
            f"lowest {low.score:.3f} ({low.problem.name})"
        )
    return "\n".join(lines)


def times_of(found: WorkloadResult) -> str:
    """The numeric columns of one line of the table."""
    if not found.is_timed or found.bound is None:
        return f"  {found.log.strip().splitlines()[-1][:70] if found.log.strip() else ''}"
    times = (found.candidate.time_s, found.baseline.time_s, found.bound.t_sol_s)
    return "".join(f"{1e6 * t:>11.2f}" for t in times) + f" {found.bound.by:8}{found.score:>6.3f}"
