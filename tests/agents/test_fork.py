"""A fork goes on from any event of a run, and can be told from one that was made up."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from novum.agents.opening import open_lab
from novum.agents.replay.fork import fork
from novum.agents.replay.verify import verify
from novum.agents.research import work
from novum.errors import LedgerCorrupt, UnknownName, UsageError
from novum.lab.records import Event
from novum.lab.run import RunFolder
from novum.lab.toml import dumps
from novum.settings import restore_settings


def settled(run: RunFolder, **settings: Any) -> RunFolder:
    """The folder with the settings that `novum run` would have written."""
    (run.path / "run.toml").write_text(dumps(run.info | {"settings": settings}))
    return RunFolder.open(run.path)


@pytest.fixture
async def parent(make_lab: Any, tmp_path: Any) -> RunFolder:
    lab = make_lab(policy="frontier", budget={"experiments": 4})
    await work(lab, 1)
    return settled(
        lab.run,
        benchmark=str(lab.pack.folder),
        policy="frontier",
        threads=1,
        sandbox={"kind": "process"},
        budget={"experiments": 4},
        paths={"cache": str(tmp_path / "cache")},
    )


def events_of(run: RunFolder) -> tuple[Event, ...]:
    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        return ledger.events()


async def go_on(run: RunFolder) -> None:
    settings = restore_settings(run.info["settings"])
    with open_lab(run, settings) as lab:
        await work(lab, settings.threads)


async def test_a_fork_shares_its_past_with_the_parent_and_goes_on_by_itself(
    parent: RunFolder,
) -> None:
    told = events_of(parent)
    middle = next(e for e in told if e.kind == "verdict")
    child = fork(
        parent,
        middle.seq,
        changes={"policy": "greedy", "budget": {"experiments": 6}},
        directives=["Try gamma."],
    )
    await go_on(child)
    mine = events_of(child)
    assert mine[: middle.seq] == told[: middle.seq]
    origin = next(e for e in mine if e.kind == "fork")
    assert (origin.payload["run"], origin.payload["digest"]) == (parent.name, middle.digest)
    assert child.info["fork"]["event"] == middle.seq
    assert child.info["settings"]["policy"] == "greedy"
    with child.ledger(read_only=True) as ledger:
        assert len([p for p in ledger.proposals() if p.thread >= 0]) == 6
        assert len({t.id for t in ledger.trials()}) == ledger.counts()["trials"]
        assert "Try gamma." in [d.text for d in ledger.directives(standing=True)]
    found = await asyncio.to_thread(verify, child)
    assert found.problem == "" and found.is_whole and found.n_taken_in == origin.seq


@pytest.mark.parametrize(
    "kind", ["proposal", "answer", "trial.launched", "evidence", "verdict", "lesson"]
)
async def test_a_fork_from_the_middle_of_an_iteration_finishes_it(
    parent: RunFolder, kind: str
) -> None:
    at = [e for e in events_of(parent) if e.kind == kind and not e.key.startswith("proposal:c")]
    child = fork(parent, at[len(at) // 2].seq, name=f"from-{kind}")
    await go_on(child)
    with child.ledger(read_only=True) as ledger:
        ideas = [p for p in ledger.proposals() if p.thread >= 0]
        assert len(ideas) == 4
        assert all(t.status != "launched" for t in ledger.trials())
    found = await asyncio.to_thread(verify, child)
    assert found.problem == "" and found.is_whole


async def test_a_fork_under_the_same_settings_proposes_what_the_parent_did(
    parent: RunFolder,
) -> None:
    first = next(e for e in events_of(parent) if e.kind == "iteration")
    child = fork(parent, first.key)
    await go_on(child)
    with parent.ledger(read_only=True) as ours, child.ledger(read_only=True) as theirs:
        told = [replace(p, created_s=0.0) for p in ours.proposals(thread=0)]
        assert [replace(p, created_s=0.0) for p in theirs.proposals(thread=0)] == told


async def test_what_cannot_be_forked_is_refused_and_leaves_no_folder(parent: RunFolder) -> None:
    with pytest.raises(UnknownName, match="numbered from 1 to"):
        fork(parent, "nothing")
    with pytest.raises(UsageError, match="keeps the benchmark"):
        fork(parent, 5, changes={"benchmark": "nanochat"})
    with closing(sqlite3.connect(parent.ledger_path)) as db, db:
        db.execute("update events set payload = '{}' where seq = 7")
    with pytest.raises(LedgerCorrupt, match="event 7 "):
        fork(parent, 20)
    assert [p.name for p in parent.path.parent.iterdir()] == [parent.name]
