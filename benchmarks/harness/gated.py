"""The standard flow of a trial, for packs whose candidate trains, saves and is then asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from novum.benchmarks.pack import Profile
from novum.benchmarks.protocol import (
    Array,
    Graded,
    RunOutcome,
    RunPlan,
    ScoreSession,
    TrialContext,
    TrialRequest,
)

GRACE_S = 15.0  # what a busy machine may take to start and end a sandbox
CPU_SLOWDOWN = 4.0  # wall seconds that one second of CPU time may take on a busy machine


class GatedGrader(ABC):
    """Run behind the gate, then score what was saved.

    A pack says how to make its data and its arrays, and how to compute its metric from the answers
    of a `ScoreSession`; processes, clocks and limits are the harness's.
    """

    argv: ClassVar[tuple[str, ...]] = ("python", "train.py")
    entry: ClassVar[str] = "train"
    """Module of the candidate that offers `load(folder, device)`."""
    tensors: ClassVar[Literal["numpy", "torch"]] = "torch"
    """What the loaded object is handed and has to return."""

    def __init__(self, folder: Path, profile: Profile, cache: Path) -> None:
        self.folder = folder
        self.profile = profile
        self.cache = cache

    @abstractmethod
    def prepare(self) -> str:
        """See `Grader.prepare`."""

    @abstractmethod
    def arrays(self, request: TrialRequest) -> Mapping[str, Array | Path]:
        """What the candidate gets after `start()`, by name: arrays or `.npy` files."""

    @abstractmethod
    def measure(self, context: TrialContext, session: ScoreSession, outcome: RunOutcome) -> Graded:
        """Ask the loaded artifact and compute the metric.

        Raises:
            CandidateFailed: let through from the session's calls.
        """

    def info(self, request: TrialRequest) -> Mapping[str, Any]:
        """What the candidate may know before the clock starts, beside what the harness adds."""
        return {}

    def trial(self, context: TrialContext) -> Graded:
        """See `Grader.trial`."""
        outcome = context.run_stage(self.plan(context.request))
        with context.score_stage(
            outcome.artifact,
            entry=self.entry,
            limits=self.profile.limits(self.profile.score_s),
            tensors=self.tensors,
        ) as session:
            return self.measure(context, session, outcome)

    def plan(self, request: TrialRequest) -> RunPlan:
        """The run stage of a request."""
        profile = self.profile
        budget_s = profile.budget(request.fidelity)
        if request.smoke:
            budget_s = min(budget_s, profile.smoke_s)
        slowdown = CPU_SLOWDOWN if profile.clock == "cpu" else 1.0
        wall_s = profile.allowance_s + slowdown * budget_s + GRACE_S
        return RunPlan(
            argv=self.argv,
            info=self.info(request),
            arrays=self.arrays(request),
            clock=profile.clock,
            budget_s=budget_s,
            allowance_s=profile.allowance_s,
            free_cpu_s=profile.free_cpu_s,
            limits=profile.limits(wall_s),
            artifact_bytes=profile.file_bytes,
        )
