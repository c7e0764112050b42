"""From events to table rows: the one place that says what an event does to the tables.

`project` is pure. The ledger applies it in the transaction that appends the event; `verify` applies
it to the whole trace from nothing and compares, so that a row edited behind the trace is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table

from novum.errors import LedgerCorrupt
from novum.lab import tables as t
from novum.lab.chain import canonical
from novum.lab.records import Event, Json

Row = dict[str, Any]
Look = Callable[[Table, str], Json]
"""The body of a row that an earlier event wrote."""

ADDED: dict[str, tuple[Table, str, tuple[str, ...]]] = {
    "proposal": (t.proposals, "id", ("thread", "iteration")),
    "candidate": (t.candidates, "tree", ("proposal",)),
    "trial.launched": (
        t.trials,
        "id",
        ("effect", "key", "tree", "seed_index", "proposal", "purpose", "split", "status"),
    ),
    "trial.reused": (t.reuses, "effect", ("trial",)),
    "evidence": (t.evidence, "id", ("proposal", "tree")),
    "verdict": (t.verdicts, "id", ("proposal", "tree", "label")),
    "directive": (t.directives, "id", ("status",)),
    "lesson": (t.lessons, "id", ("proposal",)),
    "champion": (t.champions, "verdict", ("tree",)),
}
"""Kinds whose payload is a record that becomes a row: table, its key, its filter columns."""

CHANGED: dict[str, tuple[Table, str, tuple[str, ...]]] = {
    "trial.ended": (t.trials, "id", ("status",)),
    "directive.closed": (t.directives, "id", ("status",)),
}
"""Kinds whose payload names a row by its key and gives the fields that changed."""

TALLIED = {
    t.proposals: "proposals",
    t.candidates: "candidates",
    t.trials: "trials",
    t.reuses: "reuses",
    t.evidence: "evidence",
    t.verdicts: "verdicts",
    t.directives: "directives",
    t.lessons: "lessons",
    t.champions: "champions",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What one event does: at most one row written, and counters moved."""

    table: Table | None = None
    key: str = ""
    row: Row = field(default_factory=dict)
    body: Json = field(default_factory=dict)
    is_new: bool = True
    tallies: dict[str, float] = field(default_factory=dict)


def project(event: Event, text: str, look: Look) -> Change:
    """What an event does to the tables; kinds that are no fact of ours only move counters.

    A payload of any kind may hold `spent`, a dict of numbers: they add to what `spent()` reports.
    `text` is the payload as canonical JSON.
    """
    spent = event.payload.get("spent", {})
    tallies = {f"spent.{k}": float(v) for k, v in spent.items()}
    if event.kind in ADDED:
        table, key, columns = ADDED[event.kind]
        body = event.payload
        tallies |= {TALLIED[table]: 1} | _by_status(table, body, 1)
        return _change(event, table, key, columns, body, text, True, tallies)
    if event.kind in CHANGED:
        table, key, columns = CHANGED[event.kind]
        before = look(table, event.payload[key])
        body = before | {k: v for k, v in event.payload.items() if k != "spent"}
        tallies |= _by_status(table, before, -1)
        for name, one in _by_status(table, body, 1).items():
            tallies[name] = tallies.get(name, 0) + one
        return _change(event, table, key, columns, body, canonical(body), False, tallies)
    return Change(tallies=tallies)


def _by_status(table: Table, body: Json, one: int) -> dict[str, float]:
    if table is t.verdicts:
        return {f"verdicts.{body['label']}": one}
    if table in (t.trials, t.directives):
        return {f"{TALLIED[table]}.{body['status']}": one}
    return {}


def _change(
    event: Event,
    table: Table,
    key: str,
    columns: tuple[str, ...],
    body: Json,
    text: str,
    is_new: bool,
    tallies: dict[str, float],
) -> Change:
    row: Row = {key: body[key], "body": text}
    if is_new:
        row["seq"] = event.seq  # a changed row keeps its place
    row |= {name: body[name] for name in columns}
    return Change(table, body[key], row, body, is_new, tallies)


class Rebuilt:
    """The tables as the events alone say they must be."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {table.name: {} for table in t.FACTS}
        self.bodies: dict[tuple[str, str], Json] = {}
        self.tallies: dict[str, float] = {}

    def apply(self, event: Event) -> None:
        """Take in the next event.

        Raises:
            LedgerCorrupt: the event changes a row that no event wrote, or lacks a field.
        """
        try:
            text = canonical(event.payload)
            change = project(event, text, lambda table, key: self.bodies[table.name, key])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LedgerCorrupt(
                f"event {event.seq} ({event.kind}) does not fit those before it: {error!r}"
            ) from error
        add(self.tallies, change.tallies)
        if change.table is None:
            return
        name = change.table.name
        before = {} if change.is_new else self.rows[name][change.key]
        self.rows[name][change.key] = before | change.row
        self.bodies[name, change.key] = change.body


def add(tallies: dict[str, float], more: dict[str, float]) -> None:
    """Add to counters in place."""
    for name, amount in more.items():
        tallies[name] = tallies.get(name, 0) + amount
