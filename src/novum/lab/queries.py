"""What can be asked of a ledger. Every query uses an index; none scans a whole run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Integer, Select, Table, bindparam, select

from novum.errors import UnknownName
from novum.lab import tables as t
from novum.lab.chain import Anchor
from novum.lab.codec import Record, decode
from novum.lab.prepared import Prepared
from novum.lab.records import (
    Candidate,
    Directive,
    Event,
    Evidence,
    Json,
    Label,
    Lesson,
    Proposal,
    Purpose,
    Split,
    Trial,
    TrialStatus,
    Verdict,
)
from novum.lab.store import shown, translated

R = TypeVar("R", bound=Record)
EVENT = tuple(t.events.c)
MAX_NAMED = 500
"""Ids in one query: some databases take a thousand parameters and no more."""


class Queries:
    """The reading half of a ledger; safe from any number of threads and processes."""

    def __init__(self, engine: Engine, target: Path | str) -> None:
        self._engine = engine
        self._prepared = Prepared(engine.dialect)
        self.target = target

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(self.target), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """A connection for a single prepared query."""
        with self._reading() as connection:
            yield connection

    def proposal(self, id: str) -> Proposal:
        """The proposal of this id. Raises `UnknownName` when there is none."""
        return self._one(t.proposals, Proposal, id)

    def find_proposal(self, id: str) -> Proposal | None:
        """The proposal of this id, if there is one."""
        with self._asking() as connection:
            body = self._find(connection, t.proposals, id)
        return None if body is None else decode(Proposal, body)

    def proposals(
        self, *, thread: int | None = None, last: int | None = None
    ) -> tuple[Proposal, ...]:
        """Proposals in the order in which they were made; only the `last` few if asked."""
        where = {} if thread is None else {"thread": thread}
        return self._many(t.proposals, Proposal, where, last)

    def candidate(self, tree: str) -> Candidate:
        """The candidate of this tree hash. Raises `UnknownName` when there is none."""
        return self._one(t.candidates, Candidate, tree)

    def candidates(
        self, *, proposal: str | None = None, last: int | None = None
    ) -> tuple[Candidate, ...]:
        """Candidates in the order in which they were frozen."""
        where = {} if proposal is None else {"proposal": proposal}
        return self._many(t.candidates, Candidate, where, last)

    def holds(self, id: str) -> bool:
        """Whether a proposal, trial, verdict, evidence record, directive or lesson has this id."""
        tables = (t.proposals, t.trials, t.verdicts, t.evidence, t.directives, t.lessons)
        with self._asking() as connection:
            return any(self._find(connection, table, id) is not None for table in tables)

    def trees(self, prefix: str, limit: int = 2) -> tuple[str, ...]:
        """Tree hashes that begin like this; two are enough to know that it is not one."""
        if not prefix or not set(prefix) <= set("0123456789abcdef"):
            return ()
        c = t.candidates.c.tree
        # A range and not `LIKE`, which no index of SQLite serves.
        statement = select(c).where(c >= prefix, c < prefix + "g").order_by(c).limit(limit)
        with self._reading() as connection:
            return tuple(connection.execute(statement).scalars())

    def trial(self, id: str) -> Trial:
        """The trial of this id. Raises `UnknownName` when there is none."""
        return self._one(t.trials, Trial, id)

    def trials(
        self,
        *,
        tree: str | None = None,
        proposal: str | None = None,
        purpose: Purpose | None = None,
        status: TrialStatus | None = None,
        split: Split | None = None,
        last: int | None = None,
    ) -> tuple[Trial, ...]:
        """Trials in the order in which they were launched."""
        asked = {"tree": tree, "proposal": proposal, "purpose": purpose}
        asked |= {"status": status, "split": split}
        where = {k: str(v) for k, v in asked.items() if v is not None}
        return self._many(t.trials, Trial, where, last)

    def trials_of(self, ids: Sequence[str]) -> dict[str, Trial]:
        """The trials of these ids, as far as there are such."""
        found: dict[str, Trial] = {}
        c = t.trials.c
        with self._reading() as connection:
            for i in range(0, len(ids), MAX_NAMED):
                statement = select(c.id, c.body).where(c.id.in_(ids[i : i + MAX_NAMED]))
                rows = connection.execute(statement)
                found.update((id, decode(Trial, json.loads(body))) for id, body in rows)
        return found

    def evidence(
        self, *, proposal: str | None = None, tree: str | None = None, last: int | None = None
    ) -> tuple[Evidence, ...]:
        """Evidence records, oldest first."""
        asked = {"proposal": proposal, "tree": tree}
        where = {k: v for k, v in asked.items() if v is not None}
        return self._many(t.evidence, Evidence, where, last)

    def verdict(self, id: str) -> Verdict:
        """The verdict of this id. Raises `UnknownName` when there is none."""
        return self._one(t.verdicts, Verdict, id)

    def verdicts(
        self,
        *,
        proposal: str | None = None,
        tree: str | None = None,
        label: Label | None = None,
        last: int | None = None,
    ) -> tuple[Verdict, ...]:
        """Verdicts, oldest first."""
        asked = {"proposal": proposal, "tree": tree, "label": label}
        where = {k: str(v) for k, v in asked.items() if v is not None}
        return self._many(t.verdicts, Verdict, where, last)

    def lessons(self, *, last: int | None = None) -> tuple[Lesson, ...]:
        """Lessons, oldest first."""
        return self._many(t.lessons, Lesson, {}, last)

    def directives(self, *, standing: bool = False) -> tuple[Directive, ...]:
        """Directives, oldest first; only those that still stand if asked."""
        where = {"status": "standing"} if standing else {}
        return self._many(t.directives, Directive, where, None)

    def champion(self) -> tuple[str, str] | None:
        """Tree hash and verdict id of the champion; `None` before there is one."""
        statement = select(t.champions.c.tree, t.champions.c.verdict)
        with self._reading() as connection:
            row = connection.execute(statement.order_by(t.champions.c.seq.desc()).limit(1)).first()
        return None if row is None else (row[0], row[1])

    def events(
        self, after: int = 0, kinds: Sequence[str] | None = None, limit: int | None = None
    ) -> tuple[Event, ...]:
        """Events after a number, in order."""
        c = t.events.c
        statement = select(t.events).where(c.seq > after).order_by(c.seq).limit(limit)
        if kinds is not None:
            statement = statement.where(c.kind.in_(kinds))
        with self._reading() as connection:
            return tuple(event_of(row) for row in connection.execute(statement))

    def lines(
        self, after: int, kinds: Sequence[str], limit: int
    ) -> Sequence[tuple[int, str, str, str]]:
        """Like `events`, as (number, kind, key, payload text): most of an event's time is the JSON
        of its payload, and who reads a whole run needs few of them."""
        c = t.events.c
        statement = select(c.seq, c.kind, c.key, c.payload).where(c.seq > after)
        few = statement.where(c.kind.in_(kinds)).order_by(c.seq).limit(limit)
        with self._reading() as connection:
            return [tuple(row) for row in connection.execute(few)]

    def latest(self, kinds: Sequence[str], n: int) -> tuple[Event, ...]:
        """The last `n` events of some kinds, in order."""
        c = t.events.c
        statement = select(t.events).where(c.kind.in_(kinds)).order_by(c.seq.desc()).limit(n)
        with self._reading() as connection:
            rows = connection.execute(statement).all()
        return tuple(event_of(row) for row in reversed(rows))

    def event(self, key: str) -> Event | None:
        """The event of this key, if there is one."""
        with self._asking() as connection:
            return self._event(connection, key)

    def counts(self) -> dict[str, int]:
        """How many there are of `proposals`, `trials.finished`, `verdicts.noise`, `events`, ..."""
        tallies, anchor = self._tallies()
        counted = {k: int(v) for k, v in tallies.items() if not k.startswith("spent.")}
        return counted | {"events": anchor.seq}

    def spent(self) -> dict[str, float]:
        """What was spent: `trial_s`, `gpu_s`, and what events said they spent (tokens, usd)."""
        tallies, _ = self._tallies()
        return {k.partition(".")[2]: v for k, v in tallies.items() if k.startswith("spent.")}

    def anchor(self) -> Anchor:
        """Where the chain ends now. Kept elsewhere, it proves later that no tail was cut off."""
        return self._tallies()[1]

    def _tallies(self) -> tuple[dict[str, float], Anchor]:
        statement = select(t.head.c.tallies, t.head.c.seq, t.head.c.digest)
        with self._reading() as connection:
            row = connection.execute(statement).one()
        return json.loads(row.tallies), Anchor(row.seq, row.digest)

    def _event(self, connection: Connection, key: str) -> Event | None:
        def make() -> Select[Any]:
            return select(*EVENT).where(t.events.c.key == bindparam("key"))

        rows = self._prepared.rows(connection, "event", make, {"key": key})
        if not rows:
            return None
        seq, at_s, kind, key, payload, previous, digest = rows[0]
        return Event(seq, at_s, kind, key, json.loads(payload), previous, digest)

    def _find(self, connection: Connection, table: Table, key: str) -> Json | None:
        def make() -> Select[Any]:
            column = next(iter(table.primary_key))
            return select(table.c.body).where(column == bindparam("key"))

        rows = self._prepared.rows(connection, ("find", table.name), make, {"key": key})
        return json.loads(rows[0][0]) if rows else None

    def _one(self, table: Table, record: type[R], key: str) -> R:
        with self._asking() as connection:
            body = self._find(connection, table, key)
        if body is None:
            raise UnknownName(f"no {record.__name__.lower()} {key!r} in {shown(self.target)}.")
        return decode(record, body)

    def _many(
        self, table: Table, record: type[R], where: Mapping[str, Any], last: int | None
    ) -> tuple[R, ...]:
        def make() -> Select[Any]:
            asked = [table.c[name] == bindparam(name) for name in where]
            statement = select(table.c.body).where(*asked)
            if last is None:
                return statement.order_by(table.c.seq)
            return statement.order_by(table.c.seq.desc()).limit(bindparam("last", type_=Integer))

        purpose = ("many", table.name, *where, last is None)
        values = {**where} if last is None else {**where, "last": last}
        with self._asking() as connection:
            rows = self._prepared.rows(connection, purpose, make, values)
        bodies = [row[0] for row in rows]
        if last is not None:
            bodies.reverse()
        return tuple(decode(record, json.loads(body)) for body in bodies)


def event_of(row: Any) -> Event:
    """An event from its row."""
    payload = json.loads(row.payload)
    return Event(row.seq, row.at_s, row.kind, row.key, payload, row.previous, row.digest)
