"""The ledger: what happened in a run, in an append-only chain of events and tables made from it.

Each fact is one transaction: the event, the row it makes and the counters it moves. A fact has a
key; recording it twice is recording it once, so a step that runs again after a crash repeats
nothing. Writers in several threads and processes take turns; readers never wait.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    Update,
    bindparam,
    func,
    insert,
    inspect,
    select,
    update,
)

from novum.errors import LedgerCorrupt, RecordError, UnknownName, UsageError
from novum.lab import tables as t
from novum.lab.chain import GENESIS, Anchor, canonical, checked, link
from novum.lab.codec import Record, decode, encode
from novum.lab.projection import Rebuilt, add, project
from novum.lab.queries import Queries
from novum.lab.records import (
    Candidate,
    Directive,
    Event,
    Evidence,
    Json,
    Lesson,
    Probe,
    Proposal,
    Purpose,
    Split,
    Trial,
    TrialStatus,
    Verdict,
)
from novum.lab.store import is_url, opening, settle, shown, transaction, translated

R = TypeVar("R", bound=Record)
SEED_BITS = 31
"""Every library takes a seed of 31 bits, and JSON readers keep it exactly."""


@dataclass(slots=True)
class _Head:
    """The one row of table `head` while a transaction is open."""

    end: Anchor
    tallies: dict[str, float]
    ids: dict[str, int]
    old_ids: dict[str, int]
    """As they are written: a fact seldom takes a fresh id."""
    is_written: bool = True


class Ledger(Queries):
    """Append-only record of a run over SQLite (a path) or another database (a URL).

    Args of the constructor are for `create` and `open`; `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        engine: Engine,
        target: Path | str,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(engine, target)
        self.read_only = read_only
        self._clock = clock
        self._lock = threading.RLock()
        self._is_closed = False
        self._open: Connection | None = None
        self._owner = 0
        self._head: _Head | None = None
        self._writer: Connection | None = None
        """Kept between facts: taking one from the pool costs more than the fact."""

    @classmethod
    def create(cls, target: Path | str, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Make a new ledger.

        Raises:
            UsageError: there is one already.
        """
        if not is_url(target) and Path(target).exists():
            raise UsageError(f"{target} exists already; open it, or choose another folder.")
        start = {"id": 1, "format": t.FORMAT, "seq": 0, "digest": GENESIS}
        with (
            opening(target, read_only=False) as engine,
            engine.connect().execution_options(writes=True) as connection,
        ):
            if inspect(connection).has_table(t.head.name):
                raise UsageError(f"{shown(target)} holds a ledger already.")
            t.metadata.create_all(connection)
            connection.execute(insert(t.head).values(**start, tallies="{}", ids="{}"))
            connection.commit()
        return cls(engine, target, clock=clock)

    @classmethod
    def open(
        cls,
        target: Path | str,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Ledger:
        """Open a ledger that exists.

        Raises:
            RecordError: there is none, or another version of Novum wrote it.
            LedgerCorrupt: it is no ledger, or damaged.
        """
        if not is_url(target) and not Path(target).is_file():
            raise RecordError(f"there is no ledger at {target}; `novum run` makes one.")
        with opening(target, read_only=read_only) as engine:
            with engine.connect() as connection:
                if not inspect(connection).has_table(t.head.name):
                    raise LedgerCorrupt(f"{shown(target)} is a database, but no ledger of Novum.")
                found = connection.execute(select(t.head.c.format)).scalar()
            if found != t.FORMAT:
                raise RecordError(
                    f"{shown(target)} has format {found}; this Novum reads format {t.FORMAT}.\n"
                    "Use the version of Novum that wrote it (see run.toml)."
                )
        return cls(engine, target, read_only=read_only, clock=clock)

    def close(self) -> None:
        """Let go of the database; a second call does nothing more."""
        with self._lock:
            self._let_go()
            is_first, self._is_closed = not self._is_closed, True
        if not is_first:
            return
        try:
            if not self.read_only:
                with translated(self.target):
                    settle(self._engine)
        finally:
            self._engine.dispose()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make everything recorded inside one transaction: all of it happened, or none.

        For one thread and without `await` inside: other writers wait for its end.
        """
        with self._writing():
            yield

    # --- facts ---------------------------------------------------------------------------------

    def append(self, kind: str, payload: Json, key: str) -> Event:
        """Record an event; if there is one of this key already, return that instead.

        `payload["spent"]`, a dict of numbers (`tokens`, `usd`, ...), adds to what `spent()` says.
        """
        with self._writing() as connection:
            return self._append(connection, kind, payload, key)[0]

    def add_proposal(self, proposal: Proposal) -> Proposal:
        """Record a proposal. Twice is once; other content under the same id is an error."""
        return self._fact("proposal", proposal.id, proposal)

    def add_candidate(self, candidate: Candidate) -> Candidate:
        """Record a frozen candidate. The first proposal to reach a tree owns it."""
        with self._writing() as connection:
            known = self._find(connection, t.candidates, candidate.tree)
            if known is not None:
                return decode(Candidate, known)
            return self._fact("candidate", candidate.tree, candidate)

    def add_evidence(self, evidence: Evidence) -> Evidence:
        """Record what a step of the audit found."""
        return self._fact("evidence", evidence.id, evidence)

    def add_verdict(self, verdict: Verdict) -> Verdict:
        """Record a verdict."""
        return self._fact("verdict", verdict.id, verdict)

    def add_lesson(self, lesson: Lesson) -> Lesson:
        """Record a lesson."""
        return self._fact("lesson", lesson.id, lesson)

    def add_directive(self, directive: Directive) -> Directive:
        """Record a wish of the user."""
        return self._fact("directive", directive.id, directive)

    def withdraw_directive(self, id: str) -> Directive:
        """End a directive because its author no longer wants it."""
        return self._close_directive(id, "withdrawn")

    def finish_directive(self, id: str) -> Directive:
        """End a directive because it was carried out."""
        return self._close_directive(id, "done")

    def set_champion(self, tree: str, verdict_id: str) -> None:
        """Crown a candidate on the strength of a verdict.

        Raises:
            UnknownName: there is no such verdict.
        """
        with self._writing() as connection:
            if self._find(connection, t.verdicts, verdict_id) is None:
                raise UnknownName(f"no verdict {verdict_id!r} to crown {tree[:10]} with.")
            payload = {"tree": tree, "verdict": verdict_id}
            self._append(connection, "champion", payload, f"champion:{verdict_id}")

    def next_id(self, prefix: str, *, key: str = "") -> str:
        """A fresh id such as `p12`. With a key, asked twice it is the same id."""
        with self._writing() as connection:
            if not key:
                return self._next_id(connection, prefix)
            known = self._event(connection, f"id:{prefix}:{key}")
            if known is not None:
                return str(known.payload["id"])
            payload = {"id": self._next_id(connection, prefix)}
            self._append(connection, "id", payload, f"id:{prefix}:{key}")
            return payload["id"]

    def reserve_ids(self, highest: Mapping[str, int]) -> None:
        """Let fresh ids come after these: `{"t": 41}` makes the next trial `t42` or later."""
        with self._writing() as connection:
            head = self._read_head(connection)
            for prefix, number in highest.items():
                head.ids[prefix] = max(head.ids.get(prefix, 0), number)
            head.is_written = False

    # --- trials --------------------------------------------------------------------------------

    def launch_trial(
        self,
        effect: str,
        *,
        tree: str,
        proposal: str,
        purpose: Purpose,
        split: Split,
        fidelity: str,
        harness: str,
        hardware: str,
        slot: int,
        nonce: str,
        benchmark: str,
        profile: str,
        seed_index: int | None = None,
    ) -> Trial:
        """Record that a trial is about to start, and draw its seed.

        Asked twice for the same `effect` it returns the same trial, whatever became of it. The
        seed is H(nonce, tree, index) of the tree's next index, which no candidate could know when
        it was frozen. A given `seed_index` repeats an earlier draw; then a finished trial of the
        same key is returned in place of a new one.
        """
        with self._writing() as connection:
            known = self._trial_of(connection, effect)
            if known is not None:
                return known
            index = self._next_seed(connection, tree) if seed_index is None else seed_index
            seed = draw_seed(nonce, tree, index)
            key = trial_key(
                tree=tree,
                harness=harness,
                benchmark=benchmark,
                profile=profile,
                seed=seed,
                split=split,
                fidelity=fidelity,
                hardware=hardware,
            )
            finished = self._finished(connection, key)
            if finished is not None:
                payload = {"effect": effect, "trial": finished.id}
                self._append(connection, "trial.reused", payload, f"launch:{effect}")
                return finished
            trial = Trial(
                id=self._next_id(connection, "t"),
                key=key,
                tree=tree,
                proposal=proposal,
                purpose=purpose,
                split=split,
                fidelity=fidelity,
                seed=seed,
                seed_index=index,
                harness=harness,
                hardware=hardware,
                slot=slot,
                status=TrialStatus.LAUNCHED,
                launched_s=self._clock(),
                benchmark=benchmark,
                profile=profile,
                effect=effect,
            )
            self._append(connection, "trial.launched", encode(trial), f"launch:{effect}")
            return trial

    def end_trial(
        self,
        trial_id: str,
        status: TrialStatus,
        *,
        metric: float | None = None,
        observed: Mapping[str, float] | None = None,
        claimed: Mapping[str, float] | None = None,
        probes: tuple[Probe, ...] = (),
        artifact: str = "",
        log_blob: str = "",
        error: str = "",
        self_reported: bool = False,
        ended_s: float | None = None,
    ) -> Trial:
        """Record how a trial ended, once. A second call with the same content does nothing.

        It ended now, unless `ended_s` says when. `observed["gpu_s"]`, where given, counts towards
        the GPU budget.

        Raises:
            UnknownName: there is no such trial.
            RecordError: it ended already, otherwise than this.
        """
        if status is TrialStatus.LAUNCHED:
            raise ValueError("a trial cannot end as launched")
        if (metric is None) is (status is TrialStatus.FINISHED):
            raise ValueError(f"a trial that {status} has {'no' if metric is None else 'a'} metric")
        ended: Json = {
            "status": status,
            "metric": metric,
            "observed": dict(observed or {}),
            "claimed": dict(claimed or {}),
            "probes": [encode(probe) for probe in probes],
            "artifact": artifact,
            "log_blob": log_blob,
            "error": error,
            "self_reported": self_reported,
        }
        with self._writing() as connection:
            body = self._find(connection, t.trials, trial_id)
            if body is None:
                raise UnknownName(f"no trial {trial_id!r} was launched.")
            if body["status"] != TrialStatus.LAUNCHED:
                _same(f"trial {trial_id}", {k: body[k] for k in ended}, ended)
                return decode(Trial, body)
            at_s = self._clock() if ended_s is None else max(ended_s, body["launched_s"])
            spent = {"trial_s": max(0.0, at_s - body["launched_s"])}
            if "gpu_s" in ended["observed"]:
                spent["gpu_s"] = float(ended["observed"]["gpu_s"])
            payload = {"id": trial_id, **ended, "ended_s": at_s, "spent": spent}
            event, _ = self._append(connection, "trial.ended", payload, f"end:{trial_id}")
            changed = {k: v for k, v in event.payload.items() if k != "spent"}
            return decode(Trial, body | changed)

    def mark_lost(
        self, *, is_alive: Callable[[Trial], bool] = lambda trial: False, error: str = ""
    ) -> tuple[Trial, ...]:
        """End, as `lost`, every trial that is still `launched` and whose process is gone.

        Called at resume, under the run folder's lock: then nothing of the earlier process lives.
        They ended when the last event was recorded, not after the days that nobody worked.
        """
        reason = error or "the process that ran it ended before the trial did"
        gone = [t for t in self.trials(status=TrialStatus.LAUNCHED) if not is_alive(t)]
        last = self.events(self.anchor().seq - 1, limit=1)
        ended_s = last[0].at_s if last else None
        return tuple(
            self.end_trial(trial.id, TrialStatus.LOST, error=reason, ended_s=ended_s)
            for trial in gone
        )

    # --- proof ---------------------------------------------------------------------------------

    def verify(self, anchor: Anchor | None = None) -> None:
        """Check the chain from its first event, and every table against the events.

        Found: any edit, deletion, insertion or reorder of events, a cut tail, and any row or
        counter that differs from what the events say. Not found: a trace rewritten as a whole with
        all digests, unless `anchor` was noted before and kept out of the forger's reach.

        Raises:
            LedgerCorrupt: naming the first event or row that does not hold.
        """
        with self._reading() as connection:
            end = connection.execute(select(t.head)).one_or_none()
            if end is None:
                raise LedgerCorrupt("the record of where the chain ends is gone")
            rebuilt = Rebuilt()
            rows = connection.execute(select(t.events).order_by(t.events.c.seq))
            for event in checked((tuple(row) for row in rows), Anchor(end.seq, end.digest)):
                rebuilt.apply(event)
                if anchor and event.seq == anchor.seq and event.digest != anchor.digest:
                    raise LedgerCorrupt(f"event {event.seq} is not the one that was noted then")
            if anchor and anchor.seq > end.seq:
                raise LedgerCorrupt(f"event {anchor.seq} was noted, but is not there any more")
            for table in t.FACTS:
                _compare(connection, table, rebuilt.rows[table.name])
            if json.loads(end.tallies) != rebuilt.tallies:
                raise LedgerCorrupt("the counters in table head differ from the events")

    # --- inside a transaction ------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if self.read_only:
            raise UsageError(f"{shown(self.target)} is open for reading only.")
        with self._lock:
            if self._open is not None:
                yield self._open
                return
            with translated(self.target):
                connection = self._writer = self._writer or self._connect()
                try:
                    with transaction(connection):
                        self._open, self._owner = connection, threading.get_ident()
                        yield connection
                        self._write_head(connection)
                except BaseException:
                    self._let_go()  # whatever state it is in, the next fact gets a fresh one
                    raise
                finally:
                    self._open, self._owner, self._head = None, 0, None

    def _connect(self) -> Connection:
        self._refuse_if_closed()
        return self._engine.connect().execution_options(plain=True)

    def _let_go(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if self._open is not None and self._owner == threading.get_ident():
            self._write_head(self._open)
            yield self._open
            return
        self._refuse_if_closed()
        with super()._reading() as connection:
            yield connection

    def _refuse_if_closed(self) -> None:
        # The engine would serve on, with a connection that nobody closes any more.
        if self._is_closed:
            raise RuntimeError(f"the ledger {shown(self.target)} is closed")

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """For one prepared query: the writer's connection where it is at hand and free.

        SQLite's queries are transactions of their own; another database would keep one open.
        """
        is_at_hand = self._writer is not None and self._engine.dialect.name == "sqlite"
        if not is_at_hand or not self._lock.acquire(blocking=False):
            with self._reading() as connection:
                yield connection
            return
        try:
            if self._open is not None:  # ours: the lock is held by this thread
                self._write_head(self._open)
            with translated(self.target):
                self._writer = self._writer or self._connect()
                yield self._writer
        finally:
            self._lock.release()

    def _append(
        self, connection: Connection, kind: str, payload: Json, key: str
    ) -> tuple[Event, bool]:
        known = self._event(connection, key)
        if known is not None:
            return known, False
        head = self._read_head(connection)
        event, text = link(self._clock(), kind, key, payload, head.end)
        change = project(event, text, lambda table, row: self._find(connection, table, row) or {})
        row = {"seq": event.seq, "at_s": event.at_s, "kind": kind, "key": key, "payload": text}
        row |= {"previous": event.previous, "digest": event.digest}
        self._insert(connection, t.events, row)
        if change.table is not None and change.is_new:
            self._insert(connection, change.table, change.row)
        elif change.table is not None:
            self._update(connection, change.table, change.key, change.row)
        add(head.tallies, change.tallies)
        head.end, head.is_written = Anchor(event.seq, event.digest), False
        return event, True

    def _insert(self, connection: Connection, table: Table, row: Json) -> None:
        self._prepared.run(connection, ("insert", table.name), lambda: insert(table), row)

    def _update(self, connection: Connection, table: Table, key: object, changes: Json) -> None:
        def make() -> Update:
            column = next(iter(table.primary_key))
            statement = update(table).where(column == bindparam("of"))
            return statement.values({name: bindparam(f"new_{name}") for name in changes})

        purpose = ("update", table.name, *changes)
        values = {f"new_{name}": value for name, value in changes.items()}
        self._prepared.run(connection, purpose, make, {"of": key, **values})

    def _read_head(self, connection: Connection) -> _Head:
        """Where the chain ends; read once in a transaction, which holds the lock on it."""
        if self._head is None:
            c = t.head.c

            def make() -> Select[Any]:
                return select(c.seq, c.digest, c.tallies, c.ids).with_for_update()

            ((seq, digest, tallies, ids),) = self._prepared.rows(connection, "head", make, {})
            known = json.loads(ids)
            self._head = _Head(Anchor(seq, digest), json.loads(tallies), known, dict(known))
        return self._head

    def _write_head(self, connection: Connection) -> None:
        head = self._head
        if head is None or head.is_written:
            return
        changes: Json = {"seq": head.end.seq, "digest": head.end.digest}
        changes["tallies"] = canonical(head.tallies)
        if head.ids != head.old_ids:
            changes["ids"], head.old_ids = canonical(head.ids), dict(head.ids)
        self._update(connection, t.head, 1, changes)
        head.is_written = True

    def _fact(self, kind: str, id: str, record: R) -> R:
        with self._writing() as connection:
            payload = encode(record)
            event, is_new = self._append(connection, kind, payload, f"{kind}:{id}")
            if not is_new:
                _same(f"{kind} {id}", event.payload, payload)
                return decode(type(record), event.payload)
            # As it will be read back: of what is nested in it the order may be another one.
            return decode(type(record), json.loads(canonical(event.payload)))

    def _close_directive(self, id: str, status: Literal["withdrawn", "done"]) -> Directive:
        with self._writing() as connection:
            body = self._find(connection, t.directives, id)
            if body is None:
                raise UnknownName(f"no directive {id!r}.")
            if body["status"] == "standing":
                payload = {"id": id, "status": status}
                self._append(connection, "directive.closed", payload, f"close:{id}")
                body |= payload
            return decode(Directive, body)

    def _next_id(self, connection: Connection, prefix: str) -> str:
        head = self._read_head(connection)
        head.ids[prefix] = head.ids.get(prefix, 0) + 1
        head.is_written = False
        return f"{prefix}{head.ids[prefix]}"

    def _next_seed(self, connection: Connection, tree: str) -> int:
        def make() -> Select[Any]:
            highest = func.max(t.trials.c.seed_index)
            return select(highest).where(t.trials.c.tree == bindparam("tree"))

        ((highest,),) = self._prepared.rows(connection, "seed", make, {"tree": tree})
        return 0 if highest is None else int(highest) + 1

    def _trial_of(self, connection: Connection, effect: str) -> Trial | None:
        def make() -> Select[Any]:
            return select(t.trials.c.body).where(t.trials.c.effect == bindparam("effect"))

        rows = self._prepared.rows(connection, "effect", make, {"effect": effect})
        if rows:
            return decode(Trial, json.loads(rows[0][0]))
        reuse = self._find(connection, t.reuses, effect)
        if reuse is None:
            return None
        found = self._find(connection, t.trials, reuse["trial"])
        return None if found is None else decode(Trial, found)

    def _finished(self, connection: Connection, key: str) -> Trial | None:
        def make() -> Select[Any]:
            c = t.trials.c
            statement = select(c.body).where(c.key == bindparam("key"))
            finished = statement.where(c.status == str(TrialStatus.FINISHED))
            return finished.order_by(c.seq).limit(1)

        rows = self._prepared.rows(connection, "finished", make, {"key": key})
        return decode(Trial, json.loads(rows[0][0])) if rows else None


def draw_seed(nonce: str, tree: str, index: int) -> int:
    """The seed of a candidate's trial number `index`: unknown until the candidate is frozen."""
    drawn = sha256(f"{nonce}:{tree}:{index}".encode()).digest()
    return int.from_bytes(drawn[:8]) >> (64 - SEED_BITS)


def trial_key(**parts: Any) -> str:
    """Digest of everything that decides a trial's outcome."""
    return sha256(canonical(parts).encode()).hexdigest()


def _same(what: str, known: Json, given: Json) -> None:
    """Raise unless both say the same; the time at which it was first said does not matter."""
    new = json.loads(canonical(given))
    differ = [k for k in new if k != "created_s" and canonical(known.get(k)) != canonical(new[k])]
    if differ:
        raise RecordError(
            f"{what} is on record with another {', '.join(differ)}; what happened is not rewritten."
        )


def _compare(connection: Connection, table: Any, expected: dict[str, dict[str, Any]]) -> None:
    key = next(iter(table.primary_key)).name
    n_rows = 0
    for row in connection.execute(select(table).order_by(table.c.seq)).mappings():
        n_rows += 1
        if row[key] not in expected:
            raise LedgerCorrupt(f"table {table.name} holds {row[key]}, of which no event tells")
        if dict(row) != expected[row[key]]:
            raise LedgerCorrupt(
                f"table {table.name}, row {row[key]}, differs from what its events say "
                f"(the first is event {expected[row[key]]['seq']})"
            )
    if n_rows != len(expected):
        raise LedgerCorrupt(f"table {table.name} lacks {len(expected) - n_rows} rows")
