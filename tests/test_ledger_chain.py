"""Any tampering with the trace or its tables is found; what only an anchor finds is said."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novum.errors import LedgerCorrupt
from novum.lab.chain import Anchor, canonical, digest
from novum.lab.ledger import Ledger
from novum.lab.records import (
    Candidate,
    Directive,
    Kind,
    Label,
    Proposal,
    Purpose,
    TrialStatus,
    Verdict,
)

N_PROPOSALS = 6
TABLES = ("proposals", "candidates", "trials", "verdicts", "directives", "champions", "reuses")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chain") / "ledger.db"
    with Ledger.create(path) as ledger:
        for i in range(N_PROPOSALS):
            id = ledger.next_id("p", key=str(i))
            ledger.add_proposal(Proposal(id, i % 2, i, f"idea {i}", Kind.DATA, (), "playbook"))
            ledger.add_candidate(Candidate(f"tree{i}", f"commit{i}", (), id, "a change"))
            for j in range(2):
                trial = ledger.launch_trial(
                    f"{id}:{j}",
                    tree=f"tree{i}",
                    proposal=id,
                    purpose=Purpose.SEARCH,
                    split="search",
                    fidelity="full",
                    harness="h",
                    hardware="cpu",
                    slot=j,
                    nonce="n",
                    benchmark="b",
                    profile="cpu",
                    seed_index=0,
                )
                ledger.end_trial(trial.id, TrialStatus.FINISHED, metric=1.0 + i)
            ledger.add_verdict(Verdict(f"v{i}", id, f"tree{i}", "tree0", Label.NOISE, "no gain"))
            ledger.append("model.call", {"text": "…", "spent": {"tokens": i}}, f"call:{i}")
        ledger.add_directive(Directive("d1", "try Muon"))
        ledger.withdraw_directive("d1")
        ledger.set_champion("tree3", "v3")
        ledger.verify()
    return path


@contextmanager
def tampered(original: Path) -> Iterator[sqlite3.Connection]:
    """A copy to tamper with; afterwards it must be found corrupt."""
    path = original.with_name(f"copy-{random.getrandbits(64):x}.db")
    shutil.copy(original, path)
    try:
        with closing(sqlite3.connect(path)) as raw:
            before = list(raw.iterdump())
            yield raw
            raw.commit()
            is_same = list(raw.iterdump()) == before
        with Ledger.open(path, read_only=True) as ledger:
            if is_same:
                ledger.verify()
                return
            with pytest.raises(LedgerCorrupt):
                ledger.verify()
    finally:
        for file in path.parent.glob(path.name + "*"):
            file.unlink()


def n_events(raw: sqlite3.Connection) -> int:
    return int(raw.execute("SELECT count(*) FROM events").fetchone()[0])


many = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
position = st.floats(0, 1, exclude_max=True)


@many
@given(
    where=position,
    column=st.sampled_from(["seq", "at_s", "kind", "key", "payload", "previous", "digest"]),
    value=st.integers(10**6, 10**9) | st.text(st.characters(codec="ascii"), max_size=9),
)
def test_an_edited_event_is_found(
    original: Path, where: float, column: str, value: int | str
) -> None:
    with tampered(original) as raw:
        seq = 1 + int(where * n_events(raw))
        try:
            raw.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (value, seq))
        except sqlite3.IntegrityError:
            return  # the database itself refuses this edit


@many
@given(where=position, length=st.integers(1, 12))
def test_deleted_events_are_found_wherever_they_were(
    original: Path, where: float, length: int
) -> None:
    with tampered(original) as raw:
        first = 1 + int(where * n_events(raw))
        raw.execute("DELETE FROM events WHERE seq >= ? AND seq < ?", (first, first + length))


@many
@given(where=position)
def test_a_deleted_event_is_found_though_the_numbers_were_closed_up(
    original: Path, where: float
) -> None:
    with tampered(original) as raw:
        seq = 1 + int(where * n_events(raw))
        raw.execute("DELETE FROM events WHERE seq = ?", (seq,))
        raw.execute("UPDATE events SET seq = -seq WHERE seq > ?", (seq,))
        raw.execute("UPDATE events SET seq = -seq - 1 WHERE seq < 0")


@many
@given(a=position, b=position)
def test_two_swapped_events_are_found(original: Path, a: float, b: float) -> None:
    with tampered(original) as raw:
        first, second = (1 + int(x * n_events(raw)) for x in (a, b))
        raw.execute("UPDATE events SET seq = -1 WHERE seq = ?", (first,))
        raw.execute("UPDATE events SET seq = ? WHERE seq = ?", (first, second))
        raw.execute("UPDATE events SET seq = ? WHERE seq = -1", (second,))


@many
@given(where=position)
def test_an_inserted_event_is_found_though_its_own_digest_is_right(
    original: Path, where: float
) -> None:
    with tampered(original) as raw:
        seq = 1 + int(where * n_events(raw))
        raw.execute("UPDATE events SET seq = -seq WHERE seq >= ?", (seq,))
        raw.execute("UPDATE events SET seq = -seq + 1 WHERE seq < 0")
        row = raw.execute("SELECT digest FROM events WHERE seq = ?", (seq - 1,)).fetchone()
        before = row[0] if row else "0" * 64
        text = canonical({"forged": True})
        own = digest(seq, 1.0, "note", "forged", text, before)
        values = (seq, 1.0, "note", "forged", text, before, own)
        raw.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?)", values)


@many
@given(
    table=st.sampled_from(TABLES),
    where=position,
    how=st.sampled_from(["body", "delete", "column", "add"]),
)
def test_a_row_changed_behind_the_trace_is_found(
    original: Path, table: str, where: float, how: str
) -> None:
    with tampered(original) as raw:
        keys = [row[0] for row in raw.execute(f"SELECT rowid FROM {table} ORDER BY rowid")]
        key = keys[int(where * len(keys))]
        names = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
        if how == "delete":
            raw.execute(f"DELETE FROM {table} WHERE rowid = ?", (key,))
        elif how == "column":
            raw.execute(f"UPDATE {table} SET {names[2]} = 7777 WHERE rowid = ?", (key,))
        elif how == "add":
            row = list(raw.execute(f"SELECT * FROM {table} WHERE rowid = ?", (key,)).fetchone())
            row[0] = "forged"
            if table == "trials":
                row[names.index("effect")] = "forged"
            marks = ",".join("?" * len(row))
            raw.execute(f"INSERT INTO {table} VALUES ({marks})", row)
        else:
            (body,) = raw.execute(f"SELECT body FROM {table} WHERE rowid = ?", (key,)).fetchone()
            changed = json.loads(body) | {"metric": 0.1}
            statement = f"UPDATE {table} SET body = ? WHERE rowid = ?"
            raw.execute(statement, (canonical(changed), key))


@pytest.mark.parametrize("name", ["proposals", "trials.finished", "spent.tokens"])
def test_a_changed_counter_is_found(original: Path, name: str) -> None:
    with tampered(original) as raw:
        tallies = json.loads(raw.execute("SELECT tallies FROM head").fetchone()[0])
        tallies[name] += 1
        raw.execute("UPDATE head SET tallies = ?", (canonical(tallies),))


def test_a_trace_rewritten_as_a_whole_is_found_only_by_an_anchor_kept_elsewhere(
    original: Path, tmp_path: Path
) -> None:
    with Ledger.open(original, read_only=True) as ledger:
        anchor = ledger.anchor()
        events = ledger.events()
    with Ledger.create(tmp_path / "forged.db") as forged:
        for event in events[:-3]:
            forged.append(event.kind, event.payload, event.key)
        forged.verify()
        with pytest.raises(LedgerCorrupt, match="is not there any more"):
            forged.verify(anchor)
        for event in events[-3:]:
            forged.append(event.kind, event.payload, event.key)
        with pytest.raises(LedgerCorrupt, match="is not the one that was noted"):
            forged.verify(Anchor(anchor.seq, anchor.digest))
