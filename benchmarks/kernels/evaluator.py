"""Measures a solution: is it right on inputs it has never seen, and how long does it take?

For each problem: check rounds in one child, then pairs of fresh processes (candidate and
baseline, in changing
order) that are timed on the same hidden inputs. The referee judges; this process holds neither
tensors nor
candidate code. A fault of one workload is its status and never keeps the others from being
measured.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from novum.benchmarks.kernels import tensors, wire
from novum.benchmarks.kernels.build import MODULE, BuildFailed, build
from novum.benchmarks.kernels.dtypes import item_bytes
from novum.benchmarks.kernels.inputs import FAMILIES
from novum.benchmarks.kernels.parties import (
    Gate,
    Launch,
    Party,
    PartyFailed,
    RefereeProcess,
    Workers,
)
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import Arm, ProblemResult, WorkloadResult, wall_disagrees
from novum.benchmarks.kernels.roofline import Bound, Ceilings, Operations, bound_of
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.trace import Status
from novum.benchmarks.kernels.workload import Workload
from novum.sandboxes.protocol import Limits

ARMS = ("candidate", "baseline")
EXTRA_PROCESSES = 3
"""How many more pairs a workload gets whose outer and inner clocks disagree."""
SECRET_CALLS = 2
"""Timed calls of each process whose outputs are compared element by element; which, nobody knows
before.
"""


@dataclass(frozen=True)
class Plan:
    """How thoroughly to measure."""

    device: str = "cpu"
    rounds: int = 10
    """Correctness rounds; half of them of the base family."""
    processes: int = 5
    calls: int = 15
    """Timed calls of each process."""
    warmups: int = 2
    set_bytes: int = 4 << 30
    """Most memory for the inputs and outputs of one process's timed calls, which may make them
    fewer.
    """
    threads: int = 1
    profile: bool = False
    """Whether one process also asks the profiler for its kernels."""
    load_s: float = 180.0
    call_s: float = 60.0
    stage_s: float = 300.0
    limits: Limits = field(
        default_factory=lambda: Limits(
            wall_s=3600, memory_bytes=16 << 30, pids=256, file_bytes=4 << 30
        )
    )
    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None
    """Where compiled code may be kept from one evaluation to the next, in a folder for each
    solution.
    """


@dataclass
class Batch:
    """The timed calls of one process on one workload."""

    result: WorkloadResult
    frames: Frames
    key: str
    inputs: list[tensors.Slot]
    factors: list[float]
    """By what the floats of each call are scaled."""
    seed: int
    """Of the sketch; told to the worker only after the calls."""
    chooser: random.Random
    sketches: list[list[float]] = field(default_factory=list)


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
        self.plan = plan
        self.ceilings = ceilings
        self._launch = launch
        self._referee = referee
        self._gate = gate or Gate()
        self._servers: dict[str, Workers] = {}
        self._built: dict[str, dict[str, bytes]] = {}

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *_: object) -> None:
        """Destroy the sandboxes of both arms."""
        for workers in self._servers.values():
            workers.__exit__()
        self._servers.clear()

    @contextmanager
    def under(self, plan: Plan) -> Iterator[None]:
        """Another plan for a while, in the same sandboxes."""
        usual, self.plan = self.plan, plan
        try:
            yield
        finally:
            self.plan = usual

    @property
    def is_broken(self) -> bool:
        """Whether the referee is gone; nothing can be evaluated without it."""
        return self._referee.party.is_gone

    def evaluate(
        self, problem: Problem, candidate: Solution, baseline: Solution, nonce: str
    ) -> ProblemResult:
        """Measure a candidate against a baseline; `nonce` is the secret from which all inputs
        follow.
        """
        began = time.monotonic()
        results = [WorkloadResult(workload) for workload in problem.workloads]
        secret = Secret(nonce, candidate.digest())
        try:
            self._open(problem)
            for arm, solution in zip(ARMS, (candidate, baseline), strict=True):
                self._server(arm)
                self._files(solution)
        except BuildFailed as error:
            fail_all(results, Status.COMPILE_ERROR, str(error))
        except PartyFailed as error:
            fail_all(results, status_of(error), str(error))
        else:
            self._check_all(problem, candidate, results, secret)
            self._time_all(problem, (candidate, baseline), results, secret)
        for result in results:
            result.judge_time()
        computed = sum(
            sum(map(sum, arm.calls)) for r in results for arm in (r.candidate, r.baseline)
        )
        libs = {"torch": self._referee.torch}
        overhead = time.monotonic() - began - computed
        return ProblemResult(problem, candidate.name, results, self.ceilings.device, libs, overhead)

    def warm(self, problem: Problem, candidate: Solution, baseline: Solution) -> list[str]:
        """Compile both arms for all workloads into their caches; gives what went wrong.

        Raises:
            PartyFailed: the referee is gone.
        """
        wrong: list[str] = []
        self._open(problem)
        for arm, solution in zip(ARMS, (candidate, baseline), strict=True):
            for workload in problem.workloads:
                result = WorkloadResult(workload)
                with self._prepare(problem, result, 0, Secret("warm", arm)) as batch:
                    try:
                        child = self._child(arm, solution)
                        self._stage(child, batch, warmups=1, factors=[], free=True)
                        child.close()
                    except (PartyFailed, BuildFailed) as error:
                        wrong.append(f"{arm} {workload.axes}: {error}")
        return wrong

    def quick(self, problem: Problem, solutions: list[Solution]) -> list[dict[str, float] | str]:
        """Best time of each solution on each workload, or what went wrong: for searches only.

        One process runs all the solutions; nothing is verified.

        Raises:
            PartyFailed: the referee or the sandbox is gone.
        """
        times: list[dict[str, float] | str] = [{} for _ in solutions]
        with ExitStack() as stack:
            self._open(problem)
            for number, result in enumerate(map(WorkloadResult, problem.workloads)):
                batch = stack.enter_context(
                    self._prepare(problem, result, number, Secret("quick", ""))
                )
                child: Party | None = None
                for i, solution in enumerate(solutions):
                    found = times[i]
                    if isinstance(found, str):
                        continue
                    try:
                        if child is None or child.is_gone:
                            child = self._fork("search")
                        self._load(child, "search", solution)
                        self._stage(child, batch, warmups=self.plan.warmups, factors=[], free=True)
                        arm = Arm()
                        with self._gate.alone():
                            self._timed_calls(child, arm, batch)
                            self._stage(child, batch, warmups=0, factors=[], release=True)
                        found[result.workload.uuid] = min(arm.calls[0])
                    except PartyFailed as error:
                        times[i] = f"{error.kind}: {error}"
                if child is not None:
                    child.close()
        return times

    def bounds(self, problem: Problem) -> list[Bound]:
        """The limit of every workload on this device.

        Raises:
            PartyFailed: the reference fails.
        """
        self._open(problem)
        found = []
        for workload in problem.workloads:
            with self._prepare(problem, WorkloadResult(workload), 0, Secret("bound", "")) as batch:
                counted = self._say({"do": "count", "key": batch.key})
            operations = Operations(counted["matmul_flops"], counted["vector_flops"])
            found.append(bound_of(problem, workload, operations, self.ceilings))
        return found

    def profile(self, problem: Problem, solution: Solution) -> list[list[Mapping[str, Any]] | str]:
        """What the profiler says of a few calls on each workload, or what went wrong.

        Raises:
            PartyFailed: the referee or the sandbox is gone.
        """
        self._open(problem)
        found: list[list[Mapping[str, Any]] | str] = []
        for workload in problem.workloads:
            with self._prepare(problem, WorkloadResult(workload), 0, Secret("look", "")) as batch:
                try:
                    child = self._child("search", solution)
                    self._stage(child, batch, warmups=2, factors=batch.factors[:3])
                    found.append(
                        list(child.ask({"do": "profile"}, timeout_s=self.plan.call_s)["calls"])
                    )
                    child.close()
                except PartyFailed as error:
                    found.append(f"{error.kind}: {error}")
        return found

    def _open(self, problem: Problem) -> None:
        definition = problem.definition.model_dump(mode="json")
        self._say({"do": "problem", "definition": definition, "root": str(problem.folder)})

    def _server(self, arm: str) -> Workers:
        """The sandbox of an arm; a new one where the last has died."""
        plan = self.plan
        known = self._servers.get(arm)
        if known is not None and not known.is_running:
            self._drop(arm)
            known = None
        if known is None:
            known = self._servers[arm] = Workers(
                self._launch,
                device=plan.device,
                limits=plan.limits,
                cores=plan.cores,
                gpus=plan.gpus,
                env=plan.env,
                threads=plan.threads,
                cache=plan.cache / arm if plan.cache is not None else None,
            )
        return known

    def _drop(self, arm: str) -> None:
        """Take down the sandbox of an arm."""
        self._servers.pop(arm).__exit__()

    def _fork(self, arm: str) -> Party:
        """A fresh child in the sandbox of an arm.

        A sandbox that an earlier candidate has killed may still be dying. Nothing of the next one
        has run by then, so that one is not to blame: it gets a new sandbox.

        Raises:
            PartyFailed: a new sandbox does not start either.
        """
        has_served = arm in self._servers
        try:
            return self._server(arm).fork()
        except PartyFailed:
            if not has_served:
                raise
        self._drop(arm)
        return self._server(arm).fork()

    def _files(self, solution: Solution) -> dict[str, bytes]:
        """What a worker needs of a solution; C++ is compiled, once.

        Raises:
            BuildFailed: it cannot be.
        """
        if not solution.spec.is_cpp:
            return solution.files
        key = solution.digest()
        if key not in self._built:
            self._built[key] = build(solution, self._launch)
        return self._built[key]

    def _child(self, arm: str, solution: Solution) -> Party:
        """A fresh process with the solution loaded.

        Raises:
            PartyFailed: it does not start, import or compile.
        """
        child = self._fork(arm)
        try:
            self._load(child, arm, solution)
        except PartyFailed:
            child.close()
            raise
        return child

    def _load(self, child: Party, arm: str, solution: Solution) -> None:
        spec = solution.spec
        folder = self._server(arm).add(solution.digest(), self._files(solution))
        message = {
            "do": "load",
            "folder": str(folder),
            "file": f"{MODULE}.so" if spec.is_cpp else spec.entry_file,
            "module": MODULE if spec.is_cpp else "",
            "function": spec.entry_function,
            "returns": not spec.destination_passing_style,
        }
        with self._gate.shared():
            child.ask(message, timeout_s=self.plan.load_s)

    def _check_all(
        self,
        problem: Problem,
        solution: Solution,
        results: list[WorkloadResult],
        secret: Secret,
    ) -> None:
        child: Party | None = None
        for result in results:
            try:
                with clocked(result, "check_s"):
                    if child is None or child.is_gone:
                        child = self._child(ARMS[0], solution)
                    self._check(problem, result, child, secret)
            except PartyFailed as error:
                result.fail(status_of(error), str(error))
        if child is not None:
            child.close()

    def _check(
        self, problem: Problem, result: WorkloadResult, child: Party, secret: Secret
    ) -> None:
        """Rounds of fresh inputs; the first failure ends them."""
        workload = result.workload
        frames = Frames(problem, workload)
        chooser = random.Random(secret.seed("families", workload.uuid))
        adversarial = chooser.sample(FAMILIES, min(len(FAMILIES), self.plan.rounds // 2))
        families = ["base"] * (self.plan.rounds - len(adversarial)) + adversarial
        with frames:
            for number, family in enumerate(families):
                key = f"check-{number}"
                inputs = self._draw(
                    frames, key, family, secret.seed("check", workload.uuid, number)
                )
                if number == 0:
                    counted = self._say({"do": "count", "key": key})
                    operations = Operations(counted["matmul_flops"], counted["vector_flops"])
                    result.bound = bound_of(problem, workload, operations, self.ceilings)
                frames.poison()
                with self._gate.shared():
                    reply = child.ask(
                        {"do": "check", "inputs": inputs, "outputs": frames.out_slots},
                        (frames.in_readonly, frames.out_memory),
                        timeout_s=self.plan.stage_s if number == 0 else self.plan.call_s,
                    )
                if notes := reply.get("notes"):
                    result.fail(Status.REWARD_HACK, f"round {number}: {', '.join(map(str, notes))}")
                    return
                if not self._judge(frames, result, {"key": key, "family": family}):
                    return
                result.rounds += 1
                result.families.append(family)
                self._say({"do": "forget", "key": key})

    def _time_all(
        self,
        problem: Problem,
        solutions: tuple[Solution, Solution],
        results: list[WorkloadResult],
        secret: Secret,
    ) -> None:
        """Pairs of fresh processes; a workload whose process dies is measured again in a pair of
        its own.
        """
        for process in range(self.plan.processes + EXTRA_PROCESSES):
            live = [r for r in results if r.status is Status.PASSED]
            if process >= self.plan.processes:  # noise passes, a false clock does not
                live = [r for r in live if wall_disagrees(r.candidate, r.baseline)]
            if not live:
                break
            order = (0, 1) if process % 2 == 0 else (1, 0)
            self._pair(problem, solutions, live, order, process, secret)
            for result in live:
                if result.status is Status.PASSED and len(result.candidate.calls) <= process:
                    self._pair(problem, solutions, [result], order, process, secret)
                    if len(result.candidate.calls) <= process:
                        result.fail(Status.RUNTIME_ERROR, "its processes died twice")

    def _pair(
        self,
        problem: Problem,
        solutions: tuple[Solution, Solution],
        results: list[WorkloadResult],
        order: tuple[int, int],
        process: int,
        secret: Secret,
    ) -> None:
        """One process of each arm: load and compile beside others, then be timed alone."""
        children: list[Party] = []
        batches: list[Batch] = []
        with ExitStack() as stack:
            try:
                for i in (0, 1):
                    children.append(self._child(ARMS[i], solutions[i]))
                    stack.callback(children[i].close)
            except PartyFailed as error:
                fail_all(results, status_of(error), str(error))
                return
            for result in results:
                try:
                    batch = stack.enter_context(self._prepare(problem, result, process, secret))
                    for child in children:
                        self._stage(child, batch, warmups=self.plan.warmups, factors=[])
                    batches.append(batch)
                except PartyFailed as error:
                    result.fail(status_of(error), str(error))
                    if any(child.is_gone for child in children):
                        return
            with self._gate.alone():
                for batch in batches:
                    try:
                        with clocked(batch.result, "time_s"):
                            self._time(batch, children, order, process == 0)
                    except PartyFailed as error:
                        batch.result.fail(status_of(error), str(error))
                        if any(child.is_gone for child in children):
                            break
            for batch in batches:
                if batch.sketches and batch.result.status is Status.PASSED:
                    try:
                        self._compare_sketches(batch)
                    except PartyFailed as error:
                        batch.result.fail(status_of(error), str(error))

    @contextmanager
    def _prepare(
        self, problem: Problem, result: WorkloadResult, process: int, secret: Secret
    ) -> Iterator[Batch]:
        """Hidden inputs for one batch of timed calls."""
        workload = result.workload
        chooser = random.Random(secret.seed("time", workload.uuid, process))
        size = sum(problem.definition.bytes_moved(problem.definition.sizes(workload.axes)))
        calls = max(3, min(self.plan.calls, self.plan.set_bytes // max(size, 1)))
        factors = [round(chooser.uniform(0.8, 1.0), 6) for _ in range(calls)]
        key = f"{workload.uuid}-{process}"
        with Frames(problem, workload) as frames:
            inputs = self._draw(frames, key, "base", chooser.getrandbits(62))
            try:
                yield Batch(result, frames, key, inputs, factors, chooser.getrandbits(31), chooser)
            finally:
                if not self._referee.party.is_gone:
                    self._say({"do": "forget", "key": key})

    def _time(
        self, batch: Batch, children: list[Party], order: tuple[int, int], is_first: bool
    ) -> None:
        """The timed calls of both arms on the same inputs; the candidate's outputs are verified."""
        for i in order:
            arm = (batch.result.candidate, batch.result.baseline)[i]
            sketches = self._timed_calls(children[i], arm, batch)
            if i == 0:
                batch.sketches = sketches
                self._verify(batch, children[0])
                if self.plan.profile and is_first:
                    batch.result.profile = self._profile(children[0])
            self._stage(children[i], batch, warmups=0, factors=[], release=True)

    def _stage(
        self,
        child: Party,
        batch: Batch,
        *,
        warmups: int,
        factors: list[float],
        release: bool = False,
        free: bool = False,
    ) -> None:
        with nullcontext() if free else self._gate.shared():
            child.ask(
                {
                    "do": "stage",
                    "inputs": [] if release else batch.inputs,
                    "outputs": batch.frames.out_slots,
                    "warmups": warmups,
                    "factors": factors,
                },
                (batch.frames.in_readonly,),
                timeout_s=self.plan.stage_s,
            )

    def _timed_calls(self, child: Party, arm: Arm, batch: Batch) -> list[list[float]]:
        """Time one arm; gives the sketches of its outputs. The caller is alone on the device."""
        plan = self.plan
        self._stage(child, batch, warmups=1, factors=batch.factors)
        began = time.monotonic()
        reply = child.ask(
            {"do": "time", "flush_bytes": 2 * self.ceilings.cache_bytes}, timeout_s=plan.call_s
        )
        sketches = child.ask({"do": "sketch", "seed": batch.seed}, timeout_s=plan.call_s)[
            "sketches"
        ]
        wall = time.monotonic() - began
        seconds = [float(s) for s in reply["seconds"]]
        if len(seconds) != len(batch.factors) or not all(0 < s < plan.call_s for s in seconds):
            raise PartyFailed("REWARD_HACK", f"the process reports impossible times {seconds[:5]}")
        arm.calls.append(seconds)
        arm.walls.append(wall)
        return [[float(x) for x in row] for row in sketches]

    def _verify(self, batch: Batch, child: Party) -> None:
        """Compare secret calls element by element."""
        result, frames = batch.result, batch.frames
        calls = range(len(batch.factors))
        for call in batch.chooser.sample(calls, min(SECRET_CALLS, len(calls))):
            frames.poison()
            child.ask(
                {"do": "collect", "call": call}, (frames.out_memory,), timeout_s=self.plan.call_s
            )
            if not self._judge(frames, result, {"key": batch.key, "factor": batch.factors[call]}):
                result.log = f"timed call {call}: {result.log}"
                return
            result.verified_calls += 1

    def _compare_sketches(self, batch: Batch) -> None:
        """Compare every timed call with the reference by a random projection."""
        reply = self._say(
            {
                "do": "sketches",
                "key": batch.key,
                "seed": batch.seed,
                "factors": batch.factors,
                "tolerance": batch.result.workload.tolerance.model_dump(),
            }
        )
        for call, (row, wanted) in enumerate(zip(batch.sketches, reply["sketches"], strict=True)):
            for got, (want, allowed) in zip(row, wanted, strict=True):
                if not abs(got - want) <= allowed:
                    reason = f"its output has the sketch {got:.6g}, not {want:.6g} +- {allowed:.3g}"
                    batch.result.fail(Status.INCORRECT_NUMERICAL, f"timed call {call}: {reason}")
                    return

    def _profile(self, child: Party) -> list[Mapping[str, Any]]:
        try:
            return list(child.ask({"do": "profile"}, timeout_s=self.plan.call_s)["calls"])
        except PartyFailed:
            return []  # a profiler that cannot run here is no fault of the candidate

    def _draw(self, frames: Frames, key: str, family: str, seed: int) -> list[tensors.Slot]:
        reply = self._say(
            {
                "do": "draw",
                "key": key,
                "family": family,
                "seed": seed,
                "workload": frames.workload.model_dump(mode="json"),
                "slots": frames.in_slots,
            },
            frames.in_memory,
        )
        return list(reply["slots"])

    def _judge(self, frames: Frames, result: WorkloadResult, which: dict[str, Any]) -> bool:
        """Whether the outputs in the frame are right; the findings go into the result."""
        reply = self._say(
            {
                "do": "judge",
                "workload": result.workload.uuid,
                "tolerance": result.workload.tolerance.model_dump(),
                "slots": frames.out_slots,
            }
            | which,
            frames.out_memory,
        )
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

    def _say(self, message: dict[str, Any], *descriptors: int) -> dict[str, Any]:
        with self._gate.shared():
            return self._referee.party.ask(message, descriptors, timeout_s=self.plan.stage_s)


class Frames:
    """Shared memory for the inputs and outputs of one workload; the candidate can only read the
    inputs.
    """

    def __init__(self, problem: Problem, workload: Workload) -> None:
        definition = problem.definition
        sizes = definition.sizes(workload.axes)
        self.workload = workload
        shapes = {k: definition.shape(s, sizes) for k, s in definition.inputs.items()}
        placed, in_size = tensors.layout(
            [
                (k, s.dtype, shapes[k] or (), item_bytes(s.dtype))
                for k, s in definition.inputs.items()
                if shapes[k] is not None
            ]
        )
        by_name = {slot["name"]: slot for slot in placed}
        self.in_slots: list[tensors.Slot] = [by_name.get(k, {"name": k}) for k in definition.inputs]
        outs = [
            (k, s.dtype, definition.shape(s, sizes) or (), item_bytes(s.dtype))
            for k, s in definition.outputs.items()
        ]
        self.out_slots, out_size = tensors.layout(outs)
        self.in_memory = wire.shared_memory(in_size, "inputs")
        self.in_readonly = wire.read_only(self.in_memory)
        self.out_memory = wire.shared_memory(out_size, "outputs")
        self._out_size = out_size

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        wire.close_all([self.in_memory, self.in_readonly, self.out_memory])

    def poison(self) -> None:
        """Overwrite the outputs, so that nothing is right that was not written now."""
        block = bytes([tensors.POISON]) * min(self._out_size, 1 << 20)
        for offset in range(0, self._out_size, len(block)):
            os.pwrite(self.out_memory, block[: self._out_size - offset], offset)


@dataclass(frozen=True)
class Secret:
    """Seeds that nobody can know before the candidate is frozen."""

    nonce: str
    digest: str

    def seed(self, *purpose: object) -> int:
        """A seed for a purpose."""
        text = "\0".join(map(str, (self.nonce, self.digest, *purpose)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


@contextmanager
def clocked(result: WorkloadResult, name: str) -> Iterator[None]:
    """Add the seconds that the block takes to the result."""
    began = time.monotonic()
    try:
        yield
    finally:
        result.seconds[name] = result.seconds.get(name, 0.0) + time.monotonic() - began


def fail_all(results: list[WorkloadResult], status: Status, reason: str) -> None:
    """Give every workload that still passes the same status."""
    for result in results:
        result.fail(status, reason)


def status_of(error: PartyFailed) -> Status:
    """The trace status of a failed conversation."""
    if error.kind == "HACK":
        return Status.REWARD_HACK
    return Status(error.kind) if error.kind in Status.__members__ else Status.INVALID_REFERENCE
