"""Fork: a new run that goes on from any event of another one, under other settings or wishes.

What was recorded up to that event becomes the beginning of the new run's own chain; then a `fork`
event says where it came from. What was under way there goes on at its last recorded answer or
trial, as after a crash. Seeds come from the same nonce, so that what is the same stays the same.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from novum.agents.lab import DROPPED
from novum.agents.opening import SESSION, used_wall_s
from novum.agents.recorder import ITERATION
from novum.errors import UnknownName, UsageError
from novum.lab.chain import Anchor
from novum.lab.forking import copy_blobs, copy_candidates, copy_events
from novum.lab.ledger import Ledger
from novum.lab.records import Directive, Event, Json
from novum.lab.run import RunFolder
from novum.settings import Settings, restore_settings

FORK = "fork"
FIXED = ("benchmark", "profile", "start")
"""Settings that decide what trials mean: those of the parent would not count under others."""
OWN = frozenset(
    "format name benchmark profile created_s data_fingerprint seed_commitment versions hardware "
    "settings fork".split()
)
"""What `RunFolder.create` writes into run.toml itself."""


def fork(
    run: RunFolder,
    event: int | str,
    runs: Path | None = None,
    name: str | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    directives: Sequence[str] = (),
    author: str = "user",
) -> RunFolder:
    """Make a new run from the records of `run` up to an event; `novum resume` goes on with it.

    Args:
        event: number of the event, or its key (`verdict:...`), or the id of a proposal or trial.
        runs: folder of the new run; beside the parent unless said.
        name: `PARENT-fork-N` unless said.
        changes: settings that differ, nested as on the command line
            (`{"brain": {"default": "openai:..."}, "policy": "greedy"}`).
        directives: what the planner is told besides what stood at that event.

    Raises:
        LedgerCorrupt: the chain of the parent is broken; the message says where.
        UnknownName: it has no such event.
        UsageError: a setting that may not differ, or a name that is taken.
    """
    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        events = ledger.events()
    at = find_event(events, event)
    past = events[: at.seq]
    settings = changed(run, changes or {})
    new = begin_from(run, settings, "fork", at, runs, name or f"{run.name}-fork-*")
    try:
        copy_blobs(past, run.blobs, new.blobs)
        copy_candidates(past, run.archive(read_only=True), new.archive())
        _write(new, run, past, closing(events, at.seq), dict(changes or {}))
        _tell(new, directives, author)
    except BaseException:
        shutil.rmtree(new.path, ignore_errors=True)
        raise
    return new


def find_event(events: Sequence[Event], which: int | str) -> Event:
    """An event by its number, its key, or the id of the proposal or trial that it brought.

    Raises:
        UnknownName: there is none.
    """
    text = str(which)
    if text.isdigit() and 1 <= int(text) <= len(events):
        return events[int(text) - 1]
    for event in events:
        if text in (event.key, f"{event.key.partition(':')[2]}") or (
            event.kind in ("proposal", "trial.launched") and event.payload.get("id") == text
        ):
            return event
    raise UnknownName(
        f"there is no event {text!r}; they are numbered from 1 to {len(events)}.\n"
        "`novum replay RUN` lists them."
    )


def changed(run: RunFolder, changes: Mapping[str, Any]) -> Settings:
    """The settings of a run with some changed.

    Raises:
        UsageError: one that decides what its trials mean.
    """
    if fixed := [name for name in FIXED if changes.get(name) is not None]:
        raise UsageError(f"a fork keeps the {', '.join(fixed)} of its parent; start a new run.")
    return restore_settings(run.info.get("settings", {}), changes)


def closing(events: Sequence[Event], at: int) -> list[Event]:
    """What closes the iterations whose end was decided up to event `at`, but not yet written down.

    After a verdict only its lesson and the end of the iteration are left; nothing is decided in
    them, so the fork takes them from the parent.
    """
    ended = set()
    for event in events[:at]:
        if event.kind == "verdict" or event.kind == DROPPED:
            ended.add(str(event.payload.get("proposal") or event.key.partition(":")[2]))
    return [
        event
        for event in events[at:]
        if (event.kind == "lesson" and event.payload["proposal"] in ended)
        or (event.kind == ITERATION and event.payload["proposal"] in ended)
    ]


def _write(
    new: RunFolder,
    parent: RunFolder,
    past: Sequence[Event],
    ends: Sequence[Event],
    changes: Json,
) -> None:
    """The parent's events, the end of what was under way there, and where all this comes from."""
    at = [0.0]
    with Ledger.open(new.ledger_path, clock=lambda: at[0]) as ledger, ledger.batch():
        copy_events(past, ledger, at)
        for event in ends:
            ledger.append(event.kind, event.payload, event.key)
        ledger.mark_lost()
        if (begin := _open_session(past)) is not None:
            wall_s = used_wall_s(ledger)
            ended = {"wall_s": wall_s, "reason": "forked", "is_interrupted": True}
            ledger.append(SESSION, ended, f"{begin.key.rpartition('/')[0]}/end")
        origin = {"run": parent.name, "event": past[-1].seq, "digest": past[-1].digest}
        told = origin | {"settings": changes, "made_s": round(time.time(), 3)}
        ledger.append(FORK, told, f"{FORK}:{past[-1].digest[:16]}/{new.name}")
    with new.ledger(read_only=True) as written:
        new.note_anchor(written.anchor())


def _open_session(past: Sequence[Event]) -> Event | None:
    """The begin of the process that worked at that event; `None` when none did."""
    marks = [e for e in past if e.kind == SESSION]
    return marks[-1] if marks and marks[-1].key.endswith("/begin") else None


def _tell(new: RunFolder, directives: Sequence[str], author: str) -> None:
    with new.ledger() as ledger:
        for text in directives:
            id = ledger.next_id("d")
            ledger.add_directive(Directive(id, text, author=author, created_s=time.time()))


def begin_from(
    run: RunFolder, settings: Settings, kind: str, at: Event | Anchor, runs: Path | None, name: str
) -> RunFolder:
    """An empty folder that goes on from another run at an event, and says so under `kind`."""
    return RunFolder.create(
        runs or run.path.parent,
        name,
        benchmark=run.info["benchmark"],
        profile=run.info["profile"],
        settings=settings.saved(),
        data_fingerprint=run.info.get("data_fingerprint", ""),
        about={k: v for k, v in run.info.items() if k not in OWN}
        | {kind: {"run": run.name, "event": at.seq, "digest": at.digest}},
        nonce=run.nonce,
    )
