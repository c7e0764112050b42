"""Run the state machine again from a recording and compare every event that it makes.

Nothing is asked of a model and no trial is run: answers and results come from the records, and what
the machine decides from them (proposals, code, audits, verdicts, what to run next, the state after
each step) must be what was recorded, event by event, with all threads in the recorded order. The
clock shows the time of the last recorded event, so limits on time are decided as they were then.

Of a run that was forked from another one, the events up to the fork are taken in as they are: the
machine made them in the parent, where they can be verified.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novum.agents.approvals import ASKED
from novum.agents.baseline import measure_noise
from novum.agents.brains.ensemble import Brain, members, seat
from novum.agents.brains.recorded import RecordedModel
from novum.agents.certify import certify, confirm_head
from novum.agents.experience import EXPERIENCE
from novum.agents.graph import RECURSION_LIMIT, build_graph
from novum.agents.lab import Lab
from novum.agents.loading import load
from novum.agents.opening import SESSION, brains_of, remember, used_wall_s
from novum.agents.replay.parts import (
    RecordedAnswers,
    RecordedRunner,
    ReplayLedger,
)
from novum.agents.replay.script import Difference, Diverged, EndOfRecording, Script
from novum.agents.replay.stage import make_lab, own_memory, scratch_copy
from novum.agents.screens import as_recorded
from novum.errors import LedgerCorrupt, RecordError, RecordingMiss
from novum.lab.forking import copy_candidates
from novum.lab.records import Event, Label
from novum.lab.run import RunFolder
from novum.memory.experience import Experience
from novum.memory.protocol import Memory
from novum.settings import Settings, restore_settings


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of a replay."""

    n_events: int
    """Events of the recording."""
    n_same: int
    """Events that were made again, or put in where users and processes made them."""
    kinds: dict[str, tuple[int, int]]
    """By kind of event: how many were recorded, and how many of them were made again."""
    n_taken_in: int
    """Events before a fork, which are the parent's and were not made again here."""
    n_steps: int
    n_answers: int
    n_trials: int
    """Recorded trials that stood in for experiments."""
    problem: str
    """The first divergence, or why the machine cannot go on; empty when all is the same."""
    at: int
    """Number of the event where that is; 0 when all is the same."""
    differences: tuple[Difference, ...]
    """The fields in which that event differs."""
    is_same_chain: bool
    """Whether the digests of the new chain are those of the recorded one, as far as it got."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was recorded was made again."""
        return not self.problem and self.n_same == self.n_events and self.is_same_chain


def verify(run: RunFolder) -> Verification:
    """Check the chain of a run, then make its events again in a scratch folder.

    Raises:
        LedgerCorrupt: the chain or a table is damaged; the message says where.
    """
    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        events = ledger.events()
    if not events:
        raise RecordError(f"run {run.name} has no events yet.")
    with tempfile.TemporaryDirectory(prefix="novum-replay-") as scratch:
        return asyncio.run(_verify(run, events, Path(scratch)))


async def _verify(run: RunFolder, events: tuple[Event, ...], scratch: Path) -> Verification:
    settings = restore_settings(run.info.get("settings", {}))
    forks = [event.seq for event in events if event.kind == "fork"]
    n_taken_in = forks[-1] if forks else 0
    script = Script(events, n_taken_in)
    copy = scratch_copy(run, scratch)
    with (
        closing(ReplayLedger.create(copy.ledger_path)) as ledger,
        closing(remember(copy, own_memory(settings), run.info["benchmark"])) as memory,
    ):
        assert isinstance(ledger, ReplayLedger)
        lab = _lab(run, copy, settings, script, ledger, memory)
        if n_taken_in:
            _take_in(run, lab, ledger, script)
        # The copy is thrown away, and this thread alone writes it: one transaction will do.
        with ledger.batch():
            ledger.begin(script)
            fault = await _play(lab, script)
        at = ledger.anchor()
        is_same = at.seq == script.position and (
            at.seq == 0 or events[at.seq - 1].digest == at.digest
        )
    made = events[n_taken_in : script.position]
    recorded, same = (Counter(e.kind for e in part) for part in (events[n_taken_in:], made))
    return Verification(
        n_events=len(events),
        n_same=script.position,
        kinds={kind: (n, same[kind]) for kind, n in sorted(recorded.items())},
        n_taken_in=n_taken_in,
        n_steps=sum(e.kind == "step" for e in made),
        n_answers=sum(e.kind == "answer" for e in made),
        n_trials=sum(e.kind == "trial.ended" for e in made),
        problem=str(fault or ""),
        at=min(script.position + 1, len(events)) if fault else 0,
        differences=fault.differences if isinstance(fault, Diverged) else (),
        is_same_chain=is_same,
    )


def _take_in(run: RunFolder, lab: Lab, ledger: ReplayLedger, script: Script) -> None:
    """Know what was recorded before a fork, as the process did that went on from there."""
    copy_candidates(script.events[: script.position], run.archive(read_only=True), lab.archive)
    ledger.restore(script)
    load(lab)
    if (known := lab.recorded(EXPERIENCE, EXPERIENCE)) is not None:
        lab.experience = Experience.from_json(known)
    lab.budget.used_wall_s = used_wall_s(ledger)
    spent = ledger.spent()
    lab.budget.tokens = int(spent.get("tokens", 0))
    lab.budget.cost_usd = spent.get("cost_usd", 0.0)
    begins = [e for e in script.events[script.position :] if e.kind == SESSION]
    if begins:
        lab.budget.started_s = begins[0].at_s


async def _play(lab: Lab, script: Script) -> Exception | None:
    """Make the events again; returns what stands in the way, if anything does."""
    work = asyncio.ensure_future(_research(lab, script))
    watch = asyncio.ensure_future(script.watch())
    try:
        await asyncio.wait([work, watch], return_when=asyncio.FIRST_COMPLETED)
        (work if work.done() else watch).result()
    except BaseException as error:
        for fault in _leaves(error):
            match fault:
                case EndOfRecording():
                    continue
                case Diverged() | RecordingMiss() | LedgerCorrupt():
                    return fault
                case RecordError():
                    return RecordError(f"after event {script.position}: {fault}")
                case _:
                    raise
    finally:
        for task in (work, watch):
            task.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)
    if script.next is not None:
        return Diverged(script.next, "the machine ended before it")
    return None


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for e in error.exceptions for leaf in _leaves(e)]
    return [error]


async def _research(lab: Lab, script: Script) -> None:
    """What `research.work` does, process after process, with the iterations that were recorded."""
    for part in _parts(script.events[script.position :]):
        await measure_noise(lab)
        lab.update_reserve()
        threads: dict[int, set[int]] = {}
        for owner in {script.owners[e.key] for e in part}:
            if found := re.fullmatch(r"p(\d+)-(\d+)", owner):
                threads.setdefault(int(found[1]), set()).add(int(found[2]))
        async with asyncio.TaskGroup() as group:
            for thread, iterations in threads.items():
                group.create_task(_thread(lab, script, thread, sorted(iterations)))
        if any(event.key.startswith("level:certify-") for event in part):
            await certify(lab)


def _parts(events: Sequence[Event]) -> list[list[Event]]:
    """Events up to the end of each search that came to its end, and those of the last one.

    An interrupted process leaves iterations to the next one; one that ended leaves none.
    """
    parts: list[list[Event]] = [[]]
    for event in events:
        parts[-1].append(event)
        is_end = event.kind == SESSION and event.key.endswith("/end")
        if is_end and not event.payload.get("is_interrupted"):
            parts.append([])
    return [part for part in parts if part]


async def _thread(lab: Lab, script: Script, thread: int, iterations: list[int]) -> None:
    graph = build_graph()
    config: Any = {"recursion_limit": RECURSION_LIMIT}
    for iteration in iterations:
        await script.turn(f"p{thread}-{iteration}")
        out = await graph.ainvoke({"thread": thread, "iteration": iteration}, config, context=lab)
        if out.get("label") == Label.PROMISING:
            lab.update_reserve()
            head = lab.findings.head
            level = f"level:confirm-{head.tree[:10]}-"
            is_next = any(k.startswith(level) and not script.is_past(k) for k in script.by_key)
            if is_next and head.tree == out["candidate"]:
                await confirm_head(lab)


def _lab(
    run: RunFolder,
    copy: RunFolder,
    settings: Settings,
    script: Script,
    ledger: ReplayLedger,
    memory: Memory,
) -> Lab:
    slots = int(run.info.get("slots", settings.slots or 1))
    model = RecordedModel(find=RecordedAnswers(script, run.blobs).find)
    lab = make_lab(
        copy,
        settings,
        script.events,
        ledger,
        memory,
        RecordedRunner(script, run.blobs, slots),
        {role: _seat(spec, model) for role, spec in brains_of(settings).items()},
        lambda: ledger.now_s,
        turn=script.turn,
        must_ask=lambda _, id: f"{ASKED}:{id}" in script.by_key,
        is_replay=True,
        screens=as_recorded(script.events),
    )

    def outside(event: Event, before_s: float) -> None:
        if event.kind == SESSION and event.key.endswith("/begin"):
            lab.session = int(event.key.split(":")[1].split("/")[0])
            # Nobody worked between two processes.
            start_s = lab.budget.started_s
            lab.budget.started_s += max(0.0, event.at_s - max(before_s, start_s))
        if event.kind == EXPERIENCE:
            lab.experience = Experience.from_json(event.payload)

    ledger.on_outside = outside
    return lab


def _seat(spec: str, model: RecordedModel) -> Brain:
    """One recording answers for all, but an ensemble is cast as it was."""
    return seat(spec, dict.fromkeys((spec, *members(spec)), model))
