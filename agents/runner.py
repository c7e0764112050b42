"""Runs trials on this machine: the harness on the executor's slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from novum.benchmarks.harness import run_trial
from novum.benchmarks.pack import Pack, Profile
from novum.benchmarks.protocol import Grader, TrialRequest, TrialResult
from novum.sandboxes.executor import Executor
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.slots import Slot


@dataclass
class LocalRunner:
    """Trials of one benchmark in one sandbox provider on the slots of one executor."""

    pack: Pack
    profile: Profile
    grader: Grader
    sandbox: Sandbox
    executor: Executor
    scratch: Path

    @property
    def n_slots(self) -> int:
        """Trials that run side by side."""
        return len(self.executor.slots)

    async def run(
        self, prepare: Callable[[int], TrialRequest | None], label: str
    ) -> TrialResult | None:
        """Wait for a slot, ask `prepare` what to run on it, and run that.

        Raises:
            SandboxLost: the sandbox failed, not the candidate.
        """

        def work(slot: Slot) -> TrialResult | None:
            request = prepare(slot.index)
            if request is None:
                return None
            return run_trial(
                request,
                pack=self.pack,
                profile=self.profile,
                grader=self.grader,
                sandbox=self.sandbox,
                slot=slot,
                scratch=self.scratch,
            )

        return await self.executor.run(work, label)

    def kill(self) -> None:
        """Kill all trials in flight; their results say so."""
        self.executor.stop()
