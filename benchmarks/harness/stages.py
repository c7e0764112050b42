"""The two stages of a trial in a sandbox, and the transcript of what happened."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from novum.benchmarks.harness import artifact as artifacts
from novum.benchmarks.harness import devices, gate, gpu_watch, score, wire
from novum.benchmarks.harness.compile_cache import cache_variables
from novum.benchmarks.harness.scratch import lay_covers, lay_out
from novum.benchmarks.harness.seeds import told_seed
from novum.benchmarks.harness.shared_memory import DataStore, sealed_arrays
from novum.benchmarks.pack import Profile
from novum.benchmarks.protocol import (
    CandidateFailed,
    Phase,
    RunOutcome,
    RunPlan,
    ServePlan,
    TrialRequest,
)
from novum.errors import SandboxLost
from novum.lab.records import TrialStatus
from novum.sandboxes.protocol import (
    Confinement,
    Exit,
    ExitCause,
    Limits,
    Mount,
    Sandbox,
    SandboxedProcess,
)
from novum.sandboxes.slots import Cancelled, Slot

CANDIDATE, HARNESS, OUTPUT = Path("/trial/candidate"), Path("/trial/harness"), Path("/trial/output")
ARTIFACT = Path("/trial/artifact")
TAIL_CHARS = 2000
GPU_FULL = "CUDA out of memory"  # what torch says
SMALLER = "fewer rows in a batch, or fewer and smaller tables, need less"
_HERE = Path(__file__).parent
_STORE = DataStore()


class Stages:
    """A `TrialContext`: what the harness does for a grader during one trial."""

    def __init__(
        self,
        request: TrialRequest,
        *,
        profile: Profile,
        sandbox: Sandbox,
        slot: Slot,
        scratch: Path,
    ) -> None:
        self.request = request
        self.scratch = scratch
        self.device = "cuda:0" if profile.gpus else "cpu"
        self.grader_device = devices.find_device(slot.gpus)
        self.phases: list[Phase] = []
        self.exits: dict[str, Exit] = {}
        self.observed: dict[str, float] = {}
        self.claimed: dict[str, float] = {}
        self.artifact = ""
        self.bug: BaseException | None = None
        self._open = contextlib.ExitStack()
        self._profile = profile
        self._sandbox = sandbox
        self._slot = slot
        self._born_s = time.monotonic()
        self._n_stages = 0
        self._ahead: deque[_Server] = deque()
        self._covers: tuple[Mount, ...] = ()

    def phase(self, name: str, **detail: Any) -> None:
        """See `TrialContext.phase`."""
        self.phases.append(Phase(name, time.monotonic() - self._born_s, detail))

    def run_stage(self, plan: RunPlan) -> RunOutcome:
        """See `TrialContext.run_stage`."""
        with self._ours():
            return self._run_stage(plan)

    def launch(self, confinement: Confinement) -> SandboxedProcess:
        """See `TrialContext.launch`."""
        with self._ours():
            placed = replace(confinement, cores=self._slot.cores, gpus=self._slot.gpus)
            process = self._sandbox.start(placed)
            self._open.enter_context(self._slot.stop.kills(process))
            self._open.callback(process.kill)
            return process

    def run_to_end(self, stage: str, confinement: Confinement) -> Exit:
        """See `TrialContext.run_to_end`."""
        process = self.launch(confinement)
        with self._ours():
            ended = process.wait()
            assert ended is not None  # without a timeout, waiting ends with the process
            self._note_end(stage, ended)
            return ended

    @property
    def gpus(self) -> tuple[str, ...]:
        """See `TrialContext.gpus`."""
        return self._slot.gpus

    @property
    def is_stopped(self) -> bool:
        """Whether the run was told to stop: what went wrong since is nobody's fault."""
        return self._slot.stop.is_set

    def close(self) -> None:
        """End what a grader launched and left, and give back what it used of the GPU."""
        self._close_ahead()
        self._open.close()
        devices.release(self.grader_device)

    @contextlib.contextmanager
    def score_stage(
        self,
        artifact: Path,
        *,
        entry: str,
        limits: Limits,
        tensors: Literal["numpy", "torch"] = "torch",
    ) -> Iterator[score.Session]:
        """See `TrialContext.score_stage`."""
        began_s = time.monotonic()
        self.phase("score-stage")
        with contextlib.ExitStack() as stack:
            with self._ours():
                session = self._open_session(stack, artifact, entry, limits, tensors)
            try:
                yield session
            finally:
                with self._ours():
                    ended = session.close()
                    devices.release(self.grader_device)
                    self._note_end("score", ended)
                    self.observed["score_s"] = time.monotonic() - began_s
                    # what loading and answering really took, on a busy machine too: a candidate
                    # must not go on training where nobody counts
                    spent = self.observed.get("score_cpu_s", 0.0) + ended.cpu_s
                    self.observed["score_cpu_s"] = spent
                    self.observed["score_peak_bytes"] = float(ended.peak_bytes)

    def _run_stage(self, plan: RunPlan) -> RunOutcome:
        folder, seed = self._stage_folder("run"), told_seed(self.request.seed)
        self._covers = lay_covers(folder / "covers", plan.covers)
        lay_out(folder / "candidate", self.request.files)
        (folder / "output").mkdir()
        programs = ("harness.py", "launch.py") if plan.n_workers > 1 else ("harness.py",)
        mounts = self._mounts(folder, programs)
        mounts += (Mount(folder / "output", OUTPUT, writable=True),)
        info = {
            **plan.info,
            **({"stream": True} if plan.stream is not None else {"seed": seed}),
            "device": self.device,
            "budget_s": plan.budget_s,
            "clock": plan.clock,
            "cores": self._n_cores(),
            "workers": plan.n_workers,
        }
        argv = plan.argv
        if plan.n_workers > 1:
            launcher = self._sandbox.visible(folder / "harness" / "launch.py", mounts)
            argv = ("python", str(launcher), str(plan.n_workers), *plan.argv[1:])
        with (
            wire.listening(folder / "harness" / gate.SOCKET, gate.MAX_CONNECTIONS) as listener,
            sealed_arrays(plan.arrays, _STORE) as arrays,
        ):
            watched = gate.Gate(
                listener,
                plan,
                info=info,
                seed=seed,
                output=self._sandbox.visible(folder / "output", mounts),
                arrays=arrays,
                note=self.phase,
            )
            address = self._sandbox.visible(folder / "harness" / gate.SOCKET, mounts)
            outlives = cache_variables(self._sandbox.name, self.request.tree)
            env = {**outlives, **plan.env, "NOVUM_GATE": str(address)}
            # what outlives a trial can carry more than compiled code: a reader must know of it
            self.phase("run-stage", **({"compile_cache": sorted(outlives)} if outlives else {}))
            gpu_watch.require_free(self._slot.gpus)
            process = self._sandbox.start(
                self._confine(argv, mounts, env, plan.limits, loopback=plan.n_workers > 1)
            )
            with self._slot.stop.kills(process), gpu_watch.watching(self._slot.gpus) as use:
                record = watched.run(process)
        self.observed |= use.observed(after_s=record.startup_s)
        self._note_end("run", record.exit)
        self.claimed = record.claimed
        self._observe(record)
        if record.started and plan.serve is not None:
            self._serve_ahead(plan.serve, folder / "output")
        asked_s = time.monotonic()
        kept = artifacts.collect(folder / "output", plan.artifact_bytes, record.deadline_epoch_s)
        self.observed["collect_s"] = time.monotonic() - asked_s
        self._note_artifact(kept)
        outcome = RunOutcome(
            exit=record.exit,
            started=record.started,
            used_s=record.used_s,
            wall_s=record.wall_s,
            hit_deadline=record.hit_deadline,
            startup_s=record.startup_s,
            artifact=folder / "output",
            artifact_digest=kept.digest,
            artifact_bytes=kept.n_bytes,
            n_files=kept.n_files,
            claimed=record.claimed,
            phases=tuple(self.phases),
            consumed=record.consumed,
        )
        judge_run(outcome, plan, self.observed.get("gpu_peak_bytes"))
        return outcome

    def _open_session(
        self,
        stack: contextlib.ExitStack,
        artifact: Path,
        entry: str,
        limits: Limits,
        tensors: str,
    ) -> score.Session:
        wanted = (artifact, entry, limits, tensors)
        if self._ahead and self._ahead[0].made_for != wanted:
            self._close_ahead()
        if self._ahead:
            server = self._ahead.popleft()
        else:
            server = self._start_server(artifact, entry, limits, tensors)
        stack.enter_context(server.opened)
        session = score.Session(server.process)
        try:
            session.accept(server.listener)
            asked_s = time.monotonic()
            session.load(limits.wall_s)
            self.observed["load_s"] = time.monotonic() - asked_s
        except BaseException:
            self._note_end("score", session.close())
            raise
        self.phase("loaded")
        return session

    def _serve_ahead(self, serve: ServePlan, artifact: Path) -> None:
        """Start the processes of all score stages that will follow: they import side by side."""
        for n_before in range(serve.times):
            self._ahead.append(
                self._start_server(artifact, serve.entry, serve.limits, serve.tensors, n_before)
            )

    def _close_ahead(self) -> None:
        """End the processes that nobody will ask."""
        while self._ahead:
            self._ahead.popleft().close()

    def _start_server(
        self, artifact: Path, entry: str, limits: Limits, tensors: str, n_before: int = 0
    ) -> _Server:
        """Start a process that will load the artifact when `n_before` others have ended."""
        folder = self._stage_folder("score")
        # laid out anew: the run stage's copy has been within reach of the candidate
        lay_out(folder / "candidate", self.request.files)
        mounts = (*self._mounts(folder, ("harness.py", "serve.py")), Mount(artifact, ARTIFACT))
        seen = self._sandbox.visible
        argv = (
            "python",
            str(seen(folder / "harness" / "serve.py", mounts)),
            str(seen(folder / "harness" / score.SOCKET, mounts)),
            str(seen(folder / "candidate", mounts)),
            str(seen(artifact, mounts)),
            entry,
            self.device,
            tensors,
        )
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(wire.listening(folder / "harness" / score.SOCKET, 1))
            waits_too = replace(limits, wall_s=(1 + n_before) * limits.wall_s)
            process = self._sandbox.start(self._confine(argv, mounts, {}, waits_too))
            stack.enter_context(self._slot.stop.kills(process))
            made_for = (artifact, entry, limits, tensors)
            return _Server(made_for, process, listener, stack.pop_all())

    def _stage_folder(self, name: str) -> Path:
        self._n_stages += 1
        folder = self.scratch / f"{self._n_stages}-{name}"
        (folder / "harness").mkdir(parents=True)
        return folder

    def _mounts(self, folder: Path, programs: tuple[str, ...]) -> tuple[Mount, ...]:
        for name in programs:
            source = "client.py" if name == "harness.py" else name
            shutil.copyfile(_HERE / source, folder / "harness" / name)
        own = Mount(folder / "candidate", CANDIDATE), Mount(folder / "harness", HARNESS)
        return (*own, *self._covers)

    def _confine(
        self,
        argv: tuple[str, ...],
        mounts: tuple[Mount, ...],
        env: Mapping[str, str],
        limits: Limits,
        loopback: bool = False,
    ) -> Confinement:
        seen = {mount.target: self._sandbox.visible(mount.source, mounts) for mount in mounts}
        given = python_variables(self._n_cores()) | {"PYTHONPATH": str(seen[HARNESS])}
        return Confinement(
            argv=argv,
            cwd=seen[CANDIDATE],
            mounts=mounts,
            env=given | dict(env),
            limits=limits,
            cores=self._slot.cores,
            gpus=self._slot.gpus,
            loopback=loopback,
        )

    def _n_cores(self) -> int:
        return len(self._slot.cores) or self._profile.cores

    def _note_end(self, stage: str, ended: Exit) -> None:
        """Keep how a stage ended; what nobody may shrug off is raised here."""
        self.exits[stage] = ended
        if self._slot.stop.is_set:
            raise Cancelled
        if ended.cause is ExitCause.LOST:
            raise SandboxLost(f"the sandbox of the {stage} stage died: {_tail(ended)}")
        if ended.n_survivors:
            raise CandidateFailed(f"{ended.n_survivors} processes outlived the {stage} stage")

    def _observe(self, record: gate.GateRecord) -> None:
        self.observed |= {
            "used_s": record.used_s,
            "wall_s": record.wall_s,
            "cpu_s": record.exit.cpu_s,
            "peak_bytes": float(record.exit.peak_bytes),
            "startup_s": record.startup_s,
            "startup_cpu_s": record.startup_cpu_s,
        }

    def _note_artifact(self, kept: artifacts.Collected) -> None:
        self.artifact = kept.digest
        self.observed |= {
            "artifact_bytes": float(kept.n_bytes),
            "n_files": float(kept.n_files),
        }
        self.phase("artifact", digest=kept.digest, n_late=kept.n_late, n_odd=kept.n_odd)

    @contextlib.contextmanager
    def _ours(self) -> Iterator[None]:
        """Mark what goes wrong in here as the harness's own fault, not the grader's."""
        try:
            yield
        except (CandidateFailed, Cancelled):
            raise
        except BaseException as error:
            self.bug = error
            raise


@dataclass(frozen=True, slots=True)
class _Server:
    """A process of the score stage that has not been asked for anything."""

    made_for: tuple[Path, str, Limits, str]
    process: SandboxedProcess
    listener: socket.socket
    opened: contextlib.ExitStack

    def close(self) -> None:
        """End a process that nobody will ask."""
        with self.opened:
            self.process.kill()
            self.process.wait(score.DEATH_S)


def judge_run(outcome: RunOutcome, plan: RunPlan, gpu_peak_bytes: float | None = None) -> None:
    """Raise `CandidateFailed` unless the run stage went through all it has to.

    Memory comes first: what ran out of it while it built its model never started the clock either.
    """
    ended = outcome.exit
    is_own_end = ended.cause is ExitCause.EXITED and ended.code == 0
    if GPU_FULL in ended.stderr and not is_own_end:
        peak = "" if gpu_peak_bytes is None else f", {gpu_peak_bytes / 2**30:.1f} GiB at its peak"
        raise CandidateFailed(f"it ran out of GPU memory{peak}: {SMALLER}. {_tail(ended)}")
    if ended.cause is ExitCause.OUT_OF_MEMORY:
        used, limit = (n >> 20 for n in (ended.peak_bytes, plan.limits.memory_bytes))
        raise CandidateFailed(
            f"it ran out of memory, {used} MiB at its peak of {limit} that it may use: {SMALLER}"
        )
    if not outcome.started:
        if ended.cause is ExitCause.KILLED and outcome.startup_s >= plan.allowance_s:
            missing = "call harness.start()" if plan.must_start else "end"
            raise CandidateFailed(
                f"it did not {missing} within {plan.allowance_s:g} s", TrialStatus.TIMEOUT
            )
        if plan.must_start:
            raise CandidateFailed(f"it ended without harness.start(): {_tail(ended)}")
    if ended.cause is ExitCause.TIMEOUT:
        raise CandidateFailed(
            f"it was still running after {ended.wall_s:.0f} s", TrialStatus.TIMEOUT
        )
    if not (is_own_end or outcome.hit_deadline):
        raise CandidateFailed(f"it ended by {ended.cause} with {ended.code}: {_tail(ended)}")
    if plan.must_leave and not outcome.n_files:
        status = TrialStatus.TIMEOUT if outcome.hit_deadline else TrialStatus.CRASHED
        raise CandidateFailed("it left no file in its output folder in time", status)


def python_variables(n_cores: int) -> dict[str, str]:
    """What a Python program needs to stay on its cores and off its own folder."""
    threads = ("OMP_NUM", "MKL_NUM", "OPENBLAS_NUM", "NUMEXPR_NUM", "TORCHINDUCTOR_COMPILE")
    return {f"{name}_THREADS": str(n_cores) for name in threads} | {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",  # what is printed before a kill is kept
        "PYTHONHASHSEED": "0",
    }


def _tail(ended: Exit) -> str:
    return score.clean(ended.stderr or ended.stdout)[-TAIL_CHARS:].strip() or "it said nothing"
