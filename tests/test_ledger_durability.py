"""What the ledger has acknowledged survives `kill -9` at any instant, and queries stay flat."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import event, text

from novum.lab.ledger import Ledger
from novum.lab.records import Kind, Label, Proposal, Purpose, TrialStatus

APPEND = """
import os, sys
from pathlib import Path
from typing import Any
from novum.lab.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
i = int(sys.argv[2])
while True:
    ledger.append("note", {"i": i, "text": "x" * 100, "spent": {"tokens": 1}}, f"note:{i}")
    os.write(1, b"%d\\n" % i)
    i += 1
"""
N_KILLS = 8


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.create(path).close()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    rng = random.Random(7)
    n_acked = 0
    for _ in range(N_KILLS):
        command = [sys.executable, "-c", APPEND, str(path), str(n_acked)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().splitlines()
            n_acked = int(rest[-1] if rest else first) + 1
        with Ledger.open(path) as ledger:
            ledger.verify()
            n_events = ledger.counts()["events"]
            assert n_acked <= n_events <= n_acked + 1, "at most one was written but not yet acked"
            assert ledger.spent()["tokens"] == n_events
    assert n_acked > N_KILLS


def test_no_query_of_the_ledger_scans_a_table(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "ledger.db") as ledger:
        ledger.add_proposal(Proposal("p1", 0, 0, "h", Kind.DATA, (), "b"))
    asked: list[str] = []

    def note(statement: str) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            asked.append(statement)

    def watch(raw: sqlite3.Connection, *_: object) -> None:
        raw.set_trace_callback(note)

    # Before its first fact a ledger asks everything by the pool.
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        event.listen(ledger._engine, "checkout", watch)
        ledger.proposals(thread=0, last=5)
        ledger.proposals(last=5)
        ledger.candidates(proposal="p1")
        ledger.candidates(last=5)
        for filters in (
            {"tree": "t"},
            {"proposal": "p1"},
            {"purpose": Purpose.NOISE},
            {"status": TrialStatus.LAUNCHED},
            {"tree": "t", "split": "sealed"},
            {"last": 5},
        ):
            ledger.trials(**filters)
        ledger.evidence(proposal="p1")
        ledger.verdicts(tree="t")
        ledger.verdicts(label=Label.CONFIRMED)
        ledger.verdicts(last=3)
        ledger.directives(standing=True)
        ledger.lessons(last=3)
        ledger.champion()
        ledger.events(after=5, kinds=["verdict"], limit=3)
        ledger.event("proposal:p1")
        event.remove(ledger._engine, "checkout", watch)
        assert len(asked) > 15
        with ledger._engine.connect() as connection:
            for statement in list(asked):
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}"):
                    is_scan = row.detail.startswith("SCAN") and "USING INDEX" not in row.detail
                    assert not is_scan, f"{row.detail}: {statement}"
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
