"""Run trials: recorded before they start, ended whatever happens, never twice for one effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel

from novum.agents.control import Interrupted, side_by_side
from novum.benchmarks.protocol import TrialRequest, TrialResult
from novum.benchmarks.toolbox import PackTool
from novum.errors import SandboxLost, SandboxNotStarted
from novum.lab.records import Purpose, Split, Trial, TrialStatus

if TYPE_CHECKING:
    from novum.agents.lab import Lab

MAX_LOST = 2
"""Times that a trial is run again after its sandbox, not its candidate, failed."""
NOBODYS_SCORE = (TrialStatus.LOST, TrialStatus.KILLED)
FAILED = (TrialStatus.CRASHED, TrialStatus.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Order:
    """One trial to run. `effect` is its key: the same order again gets the same trial."""

    tree: str
    proposal: str
    purpose: Purpose
    effect: str
    split: Split = "search"
    fidelity: str = "full"
    files: Mapping[str, bytes] | None = None
    """The candidate's files where they are not in the archive (a smoke test while coding)."""


class TrialRunner(Protocol):
    """Slots, and the harness that runs trials on them."""

    @property
    def n_slots(self) -> int:
        """Trials that run side by side."""

    async def run(
        self, prepare: Callable[[int], TrialRequest | None], label: str
    ) -> TrialResult | None:
        """Wait for a slot, first come first served; ask `prepare` (in a worker thread, with the
        number of the slot) what to run on it, and run that; `None` when there was nothing.
        `label` is the key of the trial.

        Raises:
            SandboxLost: the sandbox failed, not the candidate.
        """

    async def use_tool(self, tool: PackTool, call: BaseModel, files: Mapping[str, bytes]) -> str:
        """Wait for a slot, and let a tool of the pack look at these files there.

        Raises:
            ToolError: it cannot be done, or the tool itself failed.
        """

    def kill(self) -> None:
        """Kill all trials in flight; their results say so. Safe from any thread."""


async def run_orders(lab: Lab, orders: Sequence[Order]) -> list[Trial]:
    """Run trials side by side, as many as there are slots; they start in the given order.

    Raises:
        Interrupted: the run was told to stop; what was in flight is recorded as killed.
    """
    if len(orders) == 1:
        return [await run_order(lab, orders[0])]
    async with side_by_side() as group:
        tasks = [group.create_task(run_order(lab, order)) for order in orders]
    return [task.result() for task in tasks]


async def run_order(lab: Lab, order: Order) -> Trial:
    """Run one trial, and again while it is the machine that fails.

    Raises:
        Interrupted: the run was told to stop.
        SandboxLost: the sandbox failed every time.
    """
    n_lost = 0
    for attempt in count():
        effect = order.effect if attempt == 0 else f"{order.effect}#{attempt}"
        trial, is_ours = await run_once(lab, order, effect)
        if trial.status not in NOBODYS_SCORE:
            return trial
        if lab.control.is_interrupted:
            raise Interrupted
        # What died with an earlier process says nothing about the sandbox.
        n_lost += is_ours
        if n_lost > MAX_LOST:
            break
    raise SandboxLost(
        f"trial {trial.id} was lost {n_lost} times, last: {trial.error}\n"
        "`novum doctor` checks the sandbox; `novum resume` goes on from here."
    )


async def run_once(lab: Lab, order: Order, effect: str) -> tuple[Trial, bool]:
    """Launch a trial under a key, run it and record its end; or return it if it ended before.

    Says beside it whether it was run here and now.
    """
    launched: list[Trial] = []

    def prepare(slot: int) -> TrialRequest | None:
        if lab.control.is_interrupted:
            raise Interrupted
        trial = launch(lab, order, effect, slot)
        launched.append(trial)
        if trial.status is not TrialStatus.LAUNCHED:
            return None
        return TrialRequest(
            files=order.files if order.files is not None else lab.archive.files(order.tree),
            tree=order.tree,
            seed=trial.seed,
            split=order.split,
            fidelity=order.fidelity,
            smoke=order.purpose is Purpose.SMOKE,
        )

    try:
        result = await lab.runner.run(prepare, effect)
    except SandboxLost as error:
        status = whose_loss(order, error)
        ended = lab.ledger.end_trial(launched[0].id, status, error=str(error))
    except BaseException as error:
        # A bug of ours, a full disk or a cancelled task: the row must not stay open while we live.
        if launched and launched[0].status is TrialStatus.LAUNCHED:
            is_stop = isinstance(error, asyncio.CancelledError)
            reason = "the run was told to stop" if is_stop else repr(error)[:500]
            ended = lab.ledger.end_trial(launched[0].id, TrialStatus.KILLED, error=reason)
            lab.note_trial(ended)
        raise
    else:
        if result is None:
            return launched[0], False
        ended = end(lab, launched[0], result)
    lab.note_trial(ended)
    return ended, True


def whose_loss(order: Order, error: SandboxLost) -> TrialStatus:
    """What a trial is called whose sandbox failed.

    On the sealed split a sandbox that dies under the program counts as its crash: a candidate that
    could bring that about would do so where its seed is bad, and be drawn anew.
    """
    is_program_s = order.split == "sealed" and not isinstance(error, SandboxNotStarted)
    return TrialStatus.CRASHED if is_program_s else TrialStatus.LOST


def launch(lab: Lab, order: Order, effect: str, slot: int) -> Trial:
    """Record that a trial starts, and draw its seed; or find the trial of this effect."""
    return lab.ledger.launch_trial(
        effect,
        tree=order.tree,
        proposal=order.proposal,
        purpose=order.purpose,
        split=order.split,
        fidelity=order.fidelity,
        harness=lab.harness,
        hardware=lab.hardware,
        slot=slot,
        nonce=lab.run.nonce,
        benchmark=lab.pack.id,
        profile=lab.profile.name,
    )


def end(lab: Lab, trial: Trial, result: TrialResult) -> Trial:
    """Record how a trial ended, its log in a blob."""
    return lab.ledger.end_trial(
        trial.id,
        result.status,
        metric=result.metric,
        observed=result.observed,
        claimed=result.claimed,
        probes=result.probes,
        artifact=result.artifact,
        log_blob=lab.run.blobs.put(result.log),
        error=result.error[:4_000],
        self_reported=result.self_reported,
    )


def interleave(*arms: Sequence[Order]) -> list[Order]:
    """The arms' orders in turn, so that a drift of the machine hits both alike."""
    longest = max((len(arm) for arm in arms), default=0)
    return [arm[i] for i in range(longest) for arm in arms if i < len(arm)]


def what_failed(lab: Lab, trial: Trial) -> str:
    """What went wrong in a trial, with the end of its log; empty when nothing did."""
    if trial.status not in FAILED:
        return ""
    printed = lab.run.blobs.text(trial.log_blob)
    return f"{trial.status}: {trial.error}\n\n{printed[-4_000:]}".strip()
