"""Times: pairs of fresh processes, candidate and baseline, on the same hidden inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from novum.benchmarks.kernels.frames import Frames
from novum.benchmarks.kernels.parties import Party, PartyFailed
from novum.benchmarks.kernels.plan import ARMS, EXTRA_PROCESSES, SECRET_CALLS, Secret
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import WorkloadResult, wall_disagrees
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.station import Batch, Station, at_once, fail_all, status_of
from novum.benchmarks.kernels.trace import Status


@contextmanager
def blamed_on(arm: int) -> Iterator[None]:
    """A failure of the baseline's process is no fault of the candidate."""
    try:
        yield
    except PartyFailed as error:
        if ARMS[arm] == "baseline":
            raise PartyFailed("INVALID_REFERENCE", f"the baseline: {error}") from error
        raise


@dataclass
class Pair:
    """A fresh process of each arm, with the inputs of all workloads on the device."""

    children: list[Party]
    order: tuple[int, int]
    """Which arm goes first, by its place in `ARMS`."""
    batches: list[Batch]


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
        planned, done = self.station.plan.processes, 0
        while done < planned + EXTRA_PROCESSES:
            live = [r for r in results if r.status is Status.PASSED]
            if done >= planned:  # noise passes, a false clock does not
                live = [r for r in live if wall_disagrees(r.candidate, r.baseline)]
            if not live:
                break
            count = min(self.together(live), planned - done) if done < planned else 1
            self.pairs(live, {process: f"{process}" for process in range(done, done + count)})
            done += count
            for result in live:
                self.fill_up(result, done)

    def together(self, results: list[WorkloadResult]) -> int:
        """How many pairs are prepared at once, by the memory that their inputs and outputs take."""
        plan, definition = self.station.plan, self.problem.definition
        sizes = [definition.sizes(result.workload.axes) for result in results]
        needed = sum(sum(definition.bytes_moved(size)) for size in sizes)
        return max(1, min(plan.pairs, plan.pairs_bytes // max(needed, 1)))

    def fill_up(self, result: WorkloadResult, wanted: int) -> None:
        """Measure one workload in pairs of its own until it has as many as the others."""
        while result.status is Status.PASSED and len(result.candidate.calls) < wanted:
            process = len(result.candidate.calls)
            self.pairs([result], {process: f"{process}, again"})
            if len(result.candidate.calls) == process:
                result.fail(Status.RUNTIME_ERROR, "its processes died twice")

    def pairs(self, results: list[WorkloadResult], labels: Mapping[int, str]) -> None:
        """One process of each arm for each number: load and compile beside others, then be timed
        alone, one pair after the other.

        A second try has another label, so other inputs: a process that dies on purpose learns
        nothing for the next.
        """
        with ExitStack() as stack:
            try:
                begun = self.begin(stack, len(labels))
            except PartyFailed as error:
                if len(labels) == 1:  # else each is tried again in a pair of its own
                    fail_all(results, status_of(error), str(error))
                return
            pairs = []
            for (process, label), children in zip(labels.items(), begun, strict=True):
                live = [result for result in results if result.status is Status.PASSED]
                order = (0, 1) if process % 2 == 0 else (1, 0)
                batches = self.stage_all(stack, children, live, label)
                pairs.append(Pair(children, order, batches))
            self.alone(pairs)
            for pair in pairs:
                pair.children[1].close()  # what it holds of the device is others' now
            for pair in pairs:
                self.judge(pair)
                pair.children[0].close()

    def judge(self, pair: Pair) -> None:
        """Verify what was timed, and keep it where it is right."""
        candidate = pair.children[0]
        for batch in pair.batches:
            if len(batch.timed) < len(ARMS) or candidate.is_gone:
                continue  # measured again in a pair of its own
            try:
                self.verify(batch, candidate)
            except PartyFailed as error:
                batch.result.fail(status_of(error), str(error))
                candidate.close()
            if batch.result.status is Status.PASSED:
                batch.keep()

    def begin(self, stack: ExitStack, count: int) -> list[list[Party]]:
        """Fresh processes of each arm, all at once, with solutions loaded: `count` pairs.

        Raises:
            PartyFailed: one does not start, import or compile.
        """
        station, n_arms = self.station, len(ARMS)

        def start(i: int) -> Party:
            child = station.begin(ARMS[i % n_arms])
            stack.callback(child.close)
            return child

        with station.phases.phase("start"):
            children = at_once(start, n_arms * count)

        def load(i: int) -> None:
            arm = i % n_arms
            with blamed_on(arm):
                station.arms.load(children[i], ARMS[arm], self.solutions[arm])

        with station.phases.phase("load"):
            at_once(load, n_arms * count)
        return [children[n_arms * i : n_arms * (i + 1)] for i in range(count)]

    def stage_all(
        self,
        stack: ExitStack,
        children: list[Party],
        results: list[WorkloadResult],
        label: str,
    ) -> list[Batch]:
        """Inputs and warm-ups of every workload in both processes; none where one fails."""
        station = self.station
        batches = []
        for result in results:
            frames = self.frames[result.workload.uuid]
            try:
                batch = stack.enter_context(
                    station.batch(self.problem, result, frames, label, self.secret)
                )
                with station.phases.phase("stage"):
                    self.stage(children, batch)
                batches.append(batch)
            except PartyFailed as error:
                result.fail(status_of(error), str(error))
                return []
        return batches

    def stage(self, children: list[Party], batch: Batch) -> None:
        """Both arms at once.

        Raises:
            PartyFailed: a process fails.
        """

        def one(i: int) -> None:
            with blamed_on(i):
                self.station.stage(children[i], batch, warmups=self.station.plan.warmups)

        at_once(one)

    def alone(self, pairs: list[Pair]) -> None:
        """The timed calls of all pairs, workloads and arms, while nobody else uses the device."""
        with self.station.alone(), self.station.phases.phase("timing"):
            for pair in pairs:
                for batch in pair.batches:
                    try:
                        self.time(batch, pair.children, pair.order)
                    except PartyFailed as error:
                        batch.result.fail(status_of(error), str(error))
                        pair.children[0].close()  # the others are measured again
                        break

    def time(self, batch: Batch, children: list[Party], order: tuple[int, int]) -> None:
        """Both arms on the same inputs, one after the other.

        While the baseline is timed, nothing of the candidate runs: a thread that works on would
        slow the baseline.

        Raises:
            PartyFailed: a process fails.
        """
        arms = self.station.arms
        for i in order:
            is_baseline = ARMS[i] == "baseline"
            with arms.paused(ARMS[0]) if is_baseline else nullcontext(), blamed_on(i):
                batch.timed[i] = self.station.timed_calls(children[i], batch)
                children[i].ask(
                    {"do": "release", "key": batch.key, "outputs": i == 1},
                    timeout_s=self.station.plan.call_s,
                )

    def verify(self, batch: Batch, child: Party) -> None:
        """Compare secret calls element by element, then all by their sketches."""
        result, frames, station = batch.result, batch.frames, self.station
        calls = range(len(batch.draws))
        with station.phases.phase("compare"):
            for call in batch.chooser.sample(calls, min(SECRET_CALLS, len(calls))):
                frames.poison()
                with station.shared():
                    child.ask(
                        {"do": "collect", "key": batch.key, "call": call},
                        (frames.out_memory,),
                        timeout_s=station.plan.call_s,
                    )
                if not station.judge(frames, result, {"key": batch.key, "draw": batch.draws[call]}):
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
            "draws": batch.draws,
            "tolerance": batch.result.workload.tolerance.model_dump(),
        }
        reply = self.station.say(message)
        for call, (row, wanted) in enumerate(
            zip(batch.timed[0].sketches, reply["sketches"], strict=True)
        ):
            for got, (want, allowed) in zip(row, wanted, strict=True):
                if not abs(got - want) <= allowed:
                    reason = f"its output has the sketch {got:.6g}, not {want:.6g} +- {allowed:.3g}"
                    batch.result.fail(Status.INCORRECT_NUMERICAL, f"timed call {call}: {reason}")
                    return
