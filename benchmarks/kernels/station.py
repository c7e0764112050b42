"""What every part of an evaluation works with: plan, referee, sandboxes, gate and clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from novum.benchmarks.kernels import tensors
from novum.benchmarks.kernels.arms import Arms
from novum.benchmarks.kernels.frames import Frames
from novum.benchmarks.kernels.gate import Gate
from novum.benchmarks.kernels.parties import Party, PartyFailed, RefereeProcess
from novum.benchmarks.kernels.phases import Phases
from novum.benchmarks.kernels.plan import Plan, Secret
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import WorkloadResult
from novum.benchmarks.kernels.roofline import Bound, Ceilings, Operations, bound_of
from novum.benchmarks.kernels.trace import Status

Found = TypeVar("Found")


class Timed(NamedTuple):
    """The timed calls of one process."""

    seconds: list[float]
    """Of each call, as the process says."""
    wall_s: float
    """From the first call to the last sketch, on the clock outside."""
    sketches: list[list[float]]
    """Of the outputs of each call."""


@dataclass
class Batch:
    """The timed calls of one pair of processes on one workload."""

    result: WorkloadResult
    frames: Frames
    key: str
    inputs: list[tensors.Slot]
    draws: list[int]
    """From which follows what is changed in the inputs of each call; told with the calls."""
    seed: int
    """Of the sketch; told to the worker only after the calls."""
    chooser: random.Random
    timed: dict[int, Timed] = field(default_factory=dict)
    """What each arm took, by its place in `ARMS`."""

    def keep(self) -> None:
        """Add the times, which have been verified, to the result."""
        for i, arm in enumerate((self.result.candidate, self.result.baseline)):
            arm.calls.append(self.timed[i].seconds)
            arm.walls.append(self.timed[i].wall_s)


class Station:
    """One evaluation at a time; this process holds neither tensors nor candidate code."""

    def __init__(
        self, plan: Plan, arms: Arms, referee: RefereeProcess, ceilings: Ceilings, gate: Gate
    ) -> None:
        self.plan = plan
        self.arms = arms
        self.referee = referee
        self.ceilings = ceilings
        self.gate = gate
        self.phases = Phases()
        self.problem: Problem | None = None
        self.lost = ""
        """Why the device cannot be used any more; empty while it can."""

    def say(self, message: dict[str, Any], *descriptors: int, free: bool = False) -> dict[str, Any]:
        """Ask the referee.

        Raises:
            PartyFailed: it cannot answer.
        """
        with self.shared(free):
            return self.referee.ask(message, descriptors, timeout_s=self.plan.reference_s)

    @contextmanager
    def shared(self, free: bool = False) -> Iterator[None]:
        """Beside others on the device."""
        with self.phases.phase("wait"):
            entered = self.gate.shared(free)
            entered.__enter__()
        try:
            yield
        finally:
            entered.__exit__(None, None, None)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Alone on the device."""
        with self.phases.phase("wait"):
            entered = self.gate.alone()
            entered.__enter__()
        try:
            yield
        finally:
            entered.__exit__(None, None, None)

    def begin(self, arm: str) -> Party:
        """A fresh process of an arm with its device ready and nothing of a solution in it.

        What an earlier process left running may keep the device from it: then the arm gets a new
        sandbox, once. If that does not help, the device is lost, and nobody is to blame.

        Raises:
            PartyFailed: no process can be had, or the device cannot be used.
        """
        for is_last in (False, True):
            child = self.arms.fork(arm)
            try:
                with self.gate.shared():
                    child.ask({"do": "begin"}, timeout_s=self.plan.load_s)
                return child
            except PartyFailed as error:
                child.close()
                self.arms.renew(arm)
                if is_last:
                    self.lost = f"the device {self.plan.device} cannot be used: {error}"
                    raise PartyFailed("DEVICE", self.lost) from error
        raise AssertionError("unreachable")

    def open(self, problem: Problem) -> None:
        """Give the referee a problem.

        Raises:
            PartyFailed: the referee does not start, or the reference cannot be imported.
        """
        self.problem = problem
        self.referee.revive()
        definition = problem.definition.model_dump(mode="json")
        with self.phases.phase("start"):
            self.say({"do": "problem", "definition": definition, "roots": problem.roots})

    def draw(
        self, frames: Frames, key: str, family: str, seed: int, free: bool = False
    ) -> list[tensors.Slot]:
        """Fresh inputs in the frame; the referee keeps its own under the key."""
        if self.referee.is_gone and self.problem is not None:
            self.open(self.problem)
        message = {
            "do": "draw",
            "key": key,
            "family": family,
            "seed": seed,
            "workload": frames.workload.model_dump(mode="json"),
            "slots": frames.in_slots,
        }
        with self.phases.phase("inputs"):
            return list(self.say(message, frames.in_memory, free=free)["slots"])

    def forget(self, key: str) -> None:
        """Let the referee drop inputs."""
        if not self.referee.is_gone:
            self.say({"do": "forget", "key": key})

    def bound(self, problem: Problem, result: WorkloadResult, key: str, frames: Frames) -> Bound:
        """The limit of a workload, by what the reference does on inputs under a key."""
        with self.phases.phase("reference"):
            counted = self.say({"do": "count", "key": key, "slots": frames.out_slots})
        operations = Operations(counted["matmul_flops"], counted["vector_flops"])
        return bound_of(problem, result.workload, operations, self.ceilings)

    def judge(self, frames: Frames, result: WorkloadResult, which: dict[str, Any]) -> bool:
        """Whether the outputs in the frame are right; the findings go into the result."""
        message = {
            "do": "judge",
            "workload": result.workload.uuid,
            "tolerance": result.workload.tolerance.model_dump(),
            "slots": frames.out_slots,
        }
        with self.phases.phase("compare"):
            reply = self.say(message | which, frames.out_memory)
        for found in reply.get("findings", []):
            result.max_absolute = max(result.max_absolute, found["max_absolute"])
            result.max_relative = max(result.max_relative, found["max_relative"])
            result.worst_matched = min(result.worst_matched, found["matched"])
            result.has_nan |= found["has_nan"]
            result.has_inf |= found["has_inf"]
            if not found["ok"]:
                family = which.get("family", "base")
                result.fail(
                    Status.INCORRECT_NUMERICAL,
                    f"{found['output']} ({family} inputs): {found['reason']}",
                )
        return result.status is Status.PASSED

    @contextmanager
    def batch(
        self,
        problem: Problem,
        result: WorkloadResult,
        frames: Frames,
        label: str,
        secret: Secret,
        free: bool = False,
    ) -> Iterator[Batch]:
        """Hidden inputs for one batch of timed calls; others under every label."""
        workload = result.workload
        chooser = random.Random(secret.seed("time", workload.uuid, label))
        size = sum(problem.definition.bytes_moved(problem.definition.sizes(workload.axes)))
        calls = max(3, min(self.plan.calls, self.plan.set_bytes // max(size, 1)))
        draws = [chooser.getrandbits(62) for _ in range(calls)]
        key = f"{workload.uuid}-{label}"
        inputs = self.draw(frames, key, "base", chooser.getrandbits(62), free)
        try:
            seed = chooser.getrandbits(31)
            yield Batch(result, frames, key, inputs, draws, seed, chooser)
        finally:
            self.forget(key)

    def stage(
        self,
        child: Party,
        batch: Batch,
        *,
        warmups: int,
        free: bool = False,
        timeout_s: float | None = None,
    ) -> None:
        """Inputs to the device and warm-ups, which compile what is not compiled yet."""
        message = {
            "do": "stage",
            "key": batch.key,
            "inputs": batch.inputs,
            "outputs": batch.frames.out_slots,
            "warmups": warmups,
        }
        limit = self.plan.stage_s if timeout_s is None else timeout_s
        with self.gate.shared(free):
            child.ask(message, (batch.frames.in_readonly,), timeout_s=limit)

    def timed_calls(self, child: Party, batch: Batch) -> Timed:
        """Time one process. The caller is alone on the device.

        Raises:
            PartyFailed: it fails, or says what cannot be.
        """
        plan, key = self.plan, batch.key
        flush_bytes = 2 * self.ceilings.cache_bytes
        room = {"do": "ready", "key": key, "calls": len(batch.draws), "flush_bytes": flush_bytes}
        child.ask(room, timeout_s=plan.stage_s)
        began = self.now()
        reply = child.ask({"do": "time", "key": key, "draws": batch.draws}, timeout_s=plan.call_s)
        sketched = child.ask(
            {"do": "sketch", "key": key, "seed": batch.seed}, timeout_s=plan.call_s
        )
        wall_s = self.now() - began
        seconds = [float(s) for s in reply["seconds"]]
        if len(seconds) != len(batch.draws) or not all(0 < s < plan.call_s for s in seconds):
            raise PartyFailed("REWARD_HACK", f"the process reports impossible times {seconds[:5]}")
        sketches = [[float(x) for x in row] for row in sketched["sketches"]]
        return Timed(seconds, wall_s, sketches)

    @staticmethod
    def now() -> float:
        """The clock outside, which no candidate can reach."""
        import time

        return time.monotonic()


def at_once(work: Callable[[int], Found], count: int = 2) -> list[Found]:
    """`work(0)`, `work(1)` ... side by side; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def status_of(error: PartyFailed) -> Status:
    """The trace status of a failed conversation; a lost device or referee is nobody's fault."""
    return Status(error.kind) if error.kind in Status.__members__ else Status.INVALID_REFERENCE


def fail_all(results: list[WorkloadResult], status: Status, reason: str) -> None:
    """Give every workload that still passes the same status."""
    for result in results:
        result.fail(status, reason)
