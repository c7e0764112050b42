"""The contract between the harness and a pack's grader.

A trial is `freeze -> run stage -> score stage`. The harness owns processes, clocks, limits and
teardown; the grader owns what is measured. A grader runs outside every sandbox and never imports,
unpickles or executes anything that candidate code wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy.typing as npt

from novum.lab.records import Probe, Split, TrialStatus
from novum.sandboxes.protocol import Confinement, Exit, Limits, SandboxedProcess

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """What to run: frozen files, a seed that the harness drew after the freeze, a budget."""

    files: Mapping[str, bytes]
    """Every file of the candidate by its path relative to the candidate's folder."""
    tree: str
    seed: int
    split: Split = "search"
    fidelity: str = "full"
    smoke: bool = False
    """A short run on little data that only shows that the code works; never a result."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One line of the trial's transcript, written by the harness: what happened when."""

    name: str
    at_s: float
    detail: Mapping[str, Any] = field(default_factory=dict)


class TokenSource(Protocol):
    """A stream of tokens, wherever it lies."""

    def __len__(self) -> int:
        """Tokens in all."""

    def read(self, first: int, n_tokens: int) -> Array:
        """`n_tokens` from `first` on, `(n_tokens,)` uint16; after the end comes the beginning."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Training tokens that come one batch a step; the number of steps is declared in advance."""

    tokens: TokenSource
    first: int = 0
    """Where the first batch begins; also what the places of random rows are drawn from."""
    spelling: Array | None = None
    """What each token is called in this trial, `(V,)` uint16; `None` leaves the numbers alone."""
    n_ranks: int = 1
    max_steps: int = 1_000_000
    smoke_steps: int = 0
    """Steps that a smoke test grants, whatever is declared; 0 outside of one."""


@dataclass(frozen=True, slots=True)
class Consumed:
    """What a run took of its stream, counted by the harness."""

    declared: int
    steps: int
    """Steps of which every rank took its batch."""
    tokens: int
    available: int
    """Tokens of the stream; more tokens taken than these is more than one epoch."""
    at_s: tuple[float, ...]
    """Wall seconds after the start at which each step's last batch was taken."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What the run stage gets.

    `info` is handed over before the clock starts, `arrays` only after it (as sealed memory or
    read-only files passed as descriptors): before `start()` the data does not exist for the
    candidate.
    """

    argv: tuple[str, ...]
    info: Mapping[str, Any]
    arrays: Mapping[str, Array | Path]
    """Arrays in memory, or `.npy` files that the harness opens read-only and passes on."""
    clock: Literal["wall", "cpu"]
    budget_s: float
    allowance_s: float
    """Wall seconds allowed for imports, compilation and warm-up before `start()`."""
    limits: Limits
    env: Mapping[str, str] = field(default_factory=dict)
    must_start: bool = True
    """Whether a run that never calls `start()` is invalid."""
    must_leave: bool = True
    """Whether a run that leaves no file is invalid."""
    artifact_bytes: int = 1 << 30
    """Most that all files of the artifact may hold together."""
    stream: StreamPlan | None = None
    """Training tokens that come batch by batch. With a stream the seed, too, comes with the start:
    initial weights that are drawn from it cannot be drawn earlier."""
    n_workers: int = 1
    """Processes that run the program side by side, as torchrun would start them."""
    serve: ServePlan | None = None
    """The score stages that will follow, so that their processes can be started ahead."""
    free_cpu_s: float | None = None
    """See `Profile.free_cpu_s`."""
    covers: Mapping[Path, bytes | None] = field(default_factory=dict)
    """What a candidate sees, in all stages of the trial, in place of files of the machine that a
    sandbox shows and that hold what it must not know: other contents, or (`None`) nothing, of a
    whole folder too. A sandbox that does not isolate covers nothing."""


@dataclass(frozen=True, slots=True)
class ServePlan:
    """Score stages on what a run leaves.

    All of their processes are started while that is collected and hashed. Until it is asked to
    load, which is when the process before it has ended, such a process has run the harness's own
    lines alone.
    """

    entry: str
    limits: Limits
    times: int = 1
    tensors: Literal["numpy", "torch"] = "torch"


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What the run stage left."""

    exit: Exit
    started: bool
    used_s: float
    """On the plan's clock, from `start()` to the end of the process or the deadline."""
    wall_s: float
    """Wall seconds from `start()` to the end."""
    hit_deadline: bool
    startup_s: float
    """Wall seconds before `start()`."""
    artifact: Path
    """Folder with what stood there at the end; links, odd and late files removed."""
    artifact_digest: str
    artifact_bytes: int
    n_files: int
    claimed: Mapping[str, float]
    """What the candidate reported of itself through `harness.claim(name, value)`."""
    phases: tuple[Phase, ...]
    consumed: Consumed | None = None
    """What it took of its stream, where it had one."""


class ScoreSession(Protocol):
    """A fresh sandboxed process that holds the artifact and the candidate's code, and answers."""

    def call(
        self, name: str, arrays: Sequence[Array], out: Array | Tensor, timeout_s: float
    ) -> float:
        """Send `arrays` through shared memory, fill `out` from the answer, return wall seconds.

        `name` is a method of what `load` returned; empty means that object itself. `out` may be a
        tensor on the grader's own GPU: large answers are then checked and reduced there.

        Raises:
            CandidateFailed: the process died, answered with the wrong shape or dtype, or was late.
        """

    def exit(self) -> Exit | None:
        """How the process ended; `None` while it runs."""


class CandidateFailed(Exception):
    """The candidate's process failed in the score stage; `status` is what the trial becomes."""

    def __init__(self, message: str, status: TrialStatus = TrialStatus.CRASHED) -> None:
        super().__init__(message)
        self.status = status


class TrialContext(Protocol):
    """What the harness offers a grader during one trial."""

    request: TrialRequest
    scratch: Path
    """Private to this trial; removed afterwards."""
    device: str
    """`cpu` or `cuda:0` as the candidate sees it."""
    grader_device: str
    """Where the grader may compute: `cpu`, or the trial's GPU as the grader's process sees it."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """The trial's GPUs, by index or UUID as the driver numbers them."""

    def run_stage(self, plan: RunPlan) -> RunOutcome:
        """Run the candidate behind the gate.

        Raises:
            CandidateFailed: it crashed, was too late or too large, never started the clock, or
                left nothing or a process behind.
        """

    def score_stage(
        self,
        artifact: Path,
        *,
        entry: str,
        limits: Limits,
        tensors: Literal["numpy", "torch"] = "torch",
    ) -> AbstractContextManager[ScoreSession]:
        """Serve `load(folder, device)` of module `entry` from a fresh process.

        `tensors` is what the candidate is handed and what it has to return.

        Raises:
            CandidateFailed: the artifact cannot be loaded, or a process was left behind.
        """

    def launch(self, confinement: Confinement) -> SandboxedProcess:
        """Start a process of a grader's own stage in the trial's sandbox, on the trial's slot.

        Cores and devices are the slot's. The grader kills it and waits for its end; a request to
        stop the run kills it too.
        """

    def run_to_end(self, stage: str, confinement: Confinement) -> Exit:
        """Launch a process of a stage of the grader's own and wait for its end.

        What it printed becomes part of the trial's log under the stage's name.

        Raises:
            CandidateFailed: a process of it outlived the stage.
            SandboxLost: the sandbox died.
        """

    def phase(self, name: str, **detail: Any) -> None:
        """Add a line to the trial's transcript."""


@dataclass(frozen=True, slots=True)
class Graded:
    """What the grader says of one trial."""

    metric: float
    observed: Mapping[str, float] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    self_reported: bool = False
    claimed: Mapping[str, float] = field(default_factory=dict)
    """What the candidate said of itself in another way than `harness.claim`."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """Everything that one trial gave. `metric` is `None` unless the status is finished."""

    status: TrialStatus
    metric: float | None
    observed: Mapping[str, float]
    claimed: Mapping[str, float]
    probes: tuple[Probe, ...]
    artifact: str
    error: str
    log: str
    """Bounded tail of what the candidate printed, control characters removed."""
    phases: tuple[Phase, ...]
    self_reported: bool = False


class Grader(Protocol):
    """What a pack's `grade.py` defines as `class Grader`."""

    def __init__(self, folder: Path, profile: Any, cache: Path) -> None:
        """`folder` is the pack, `profile` a `benchmarks.pack.Profile`, `cache` holds its data."""

    def prepare(self) -> str:
        """Make sure that the data exists; returns its fingerprint. A second call is quick.

        Raises:
            DataMissing: it cannot be made here; the message says what to do.
        """

    def trial(self, context: TrialContext) -> Graded:
        """Run and score one trial.

        Raises:
            CandidateFailed: the candidate is to blame.
        """
