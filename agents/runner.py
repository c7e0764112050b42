"""Runs trials on this machine: the harness on the executor's slots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from novum.benchmarks.harness import run_trial
from novum.benchmarks.harness.gpu_watch import require_free
from novum.benchmarks.pack import Pack, Profile
from novum.benchmarks.protocol import Grader, TrialRequest, TrialResult
from novum.benchmarks.toolbox import PackTool, toolbox_of
from novum.errors import GpuBusy, NovumError, ToolError
from novum.sandboxes.executor import Executor
from novum.sandboxes.protocol import Confinement, Sandbox, SandboxedProcess
from novum.sandboxes.slots import Slot

log = logging.getLogger(__name__)
BUSY_TRIES, BUSY_S = 18, 15.0
"""Looks at a GPU that somebody else uses, of up to 20 s each, and seconds between them."""


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
            GpuBusy: somebody else used the GPUs for ten minutes.
        """

        def work(slot: Slot) -> TrialResult | None:
            require_free(slot.gpus)  # before the trial is on record
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

        for n_left in reversed(range(BUSY_TRIES)):
            try:
                return await self.executor.run(work, label)
            except GpuBusy as busy:
                if not n_left:
                    raise
                log.warning("%s waits: %s", label, str(busy).partition("\n")[0])
                await asyncio.sleep(BUSY_S)  # the next slot may have another GPU
        raise AssertionError("unreachable")

    async def use_tool(self, tool: PackTool, call: BaseModel, files: Mapping[str, bytes]) -> str:
        """See `TrialRunner.use_tool`. What goes wrong inside a pack's own code ends no run."""
        make_bench = toolbox_of(self.pack).bench

        def work(slot: Slot) -> str:
            with ExitStack() as stack:

                def launch(confinement: Confinement) -> SandboxedProcess:
                    placed = replace(confinement, cores=slot.cores, gpus=slot.gpus)
                    process = self.sandbox.start(placed)
                    stack.enter_context(slot.stop.kills(process))
                    stack.callback(process.kill)
                    return process

                try:
                    return tool.function(call, make_bench(self.grader, files, launch))
                except NovumError:
                    raise
                except Exception as error:
                    log.error("the tool %s failed", tool.name, exc_info=error)
                    raise ToolError(f"the tool failed: {type(error).__name__}: {error}") from error

        return await self.executor.run(work, tool.name)

    def kill(self) -> None:
        """Kill all trials in flight; their results say so."""
        self.executor.stop()
