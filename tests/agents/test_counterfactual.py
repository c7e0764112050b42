"""Other decisions over recorded results: as far as these reach, and never further."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from novum.agents.opening import open_lab
from novum.agents.replay.counterfactual import Counterfactual, counterfactual
from novum.agents.replay.hybrid import again, live_models
from novum.agents.replay.pool import Recording, TrialPool
from novum.agents.research import work
from novum.benchmarks.protocol import TrialRequest
from novum.errors import LedgerCorrupt, UnknownName, UsageError
from novum.lab.records import Purpose
from novum.lab.run import RunFolder
from novum.lab.toml import dumps
from novum.settings import restore_settings


@pytest.fixture
async def recorded(make_lab: Any, tmp_path: Any) -> RunFolder:
    lab = make_lab(policy="greedy", budget={"experiments": 5})
    await work(lab, 1)
    settings = {
        "benchmark": str(lab.pack.folder),
        "policy": "greedy",
        "threads": 1,
        "sandbox": {"kind": "process"},
        "budget": {"experiments": 5},
        "paths": {"cache": str(tmp_path / "cache")},
    }
    (lab.run.path / "run.toml").write_text(dumps(lab.run.info | {"settings": settings}))
    return RunFolder.open(lab.run.path)


async def test_trials_side_by_side_end_in_the_order_in_which_they_ended_then(
    recorded: RunFolder,
) -> None:
    with recorded.ledger(read_only=True) as ledger:
        noise = ledger.trials(purpose=Purpose.NOISE)
    ends = [3.0, 5.0, 1.0, 4.0, 2.0]
    trials = {t.id: replace(t, ended_s=end) for t, end in zip(noise, ends, strict=True)}
    pool = TrialPool(Recording(trials=trials), recorded.blobs, 2)
    ended: list[int] = []

    async def run(i: int) -> None:
        request = TrialRequest({}, noise[i].tree, i)
        result = await pool.run(lambda _: request, "")
        assert result is not None and result.metric == noise[i].metric
        ended.append(i)

    await asyncio.gather(*map(run, range(5)))
    assert ended == [2, 4, 0, 3, 1]


async def played(run: RunFolder, *given: Any) -> Counterfactual:
    return await asyncio.to_thread(counterfactual, run, *given)


@pytest.mark.parametrize("policy", ["greedy", None])
async def test_the_same_policy_and_audit_take_the_same_course(
    recorded: RunFolder, policy: str | None
) -> None:
    found = await played(recorded, policy)
    assert [s.then for s in found.steps] == [s.now for s in found.steps]
    assert len(found.steps) == found.n_recorded == 5 and "all 5" in found.end
    assert found.now.kept == found.then.kept != ()
    assert found.now.champion == found.then.champion != ""
    assert found.now.is_confirmed and found.then.is_confirmed
    assert found.now.trial_s == pytest.approx(found.then.trial_s)


async def test_a_stricter_audit_judges_every_idea_again_and_keeps_less(
    recorded: RunFolder,
) -> None:
    found = await played(recorded, None, {"alpha_list": 1e-15})
    assert found.changed == {"alpha_list": 1e-15} and len(found.steps) == found.n_recorded
    assert [s.id for s in found.steps] == [f"p0-{i}" for i in range(5)]
    assert set(found.now.kept) < set(found.then.kept)
    assert all(s.now == "undecided" for s in found.steps if s.then != s.now)


async def test_a_gain_that_is_too_small_for_the_audit_is_no_headline(recorded: RunFolder) -> None:
    found = await played(recorded, None, {"min_gain": 0.9})
    assert found.then.is_confirmed and not found.now.is_confirmed


async def test_another_policy_uses_only_what_was_tried_and_says_where_it_ends(
    recorded: RunFolder,
) -> None:
    found = await played(recorded, "tree")
    assert found.policy == "tree" and found.end
    with recorded.ledger(read_only=True) as ledger:
        known = {p.id for p in ledger.proposals()}
    assert {s.id for s in found.steps} <= known
    assert len({s.id for s in found.steps}) == len(found.steps) == found.then.n_ideas


async def test_wrong_names_values_and_records_are_refused(recorded: RunFolder) -> None:
    with pytest.raises(UnknownName, match="no search policy"):
        counterfactual_now(recorded, "nonsense")
    with pytest.raises(UsageError, match="no audit setting 'alpha'"):
        counterfactual_now(recorded, None, {"alpha": 0.1})
    with pytest.raises(UsageError, match="wrong audit settings"):
        counterfactual_now(recorded, None, {"alpha_list": 7})
    with closing(sqlite3.connect(recorded.ledger_path)) as db, db:
        db.execute("delete from events where seq > 25")
    for use in (counterfactual_now, live_models_now, again):
        with pytest.raises(LedgerCorrupt, match="ends at event 25"):
            use(recorded)


def counterfactual_now(run: RunFolder, *given: Any) -> Counterfactual:
    found: Counterfactual = in_thread(counterfactual, run, *given)
    return found


def live_models_now(run: RunFolder) -> Any:
    return in_thread(live_models, run)


def in_thread(function: Any, *given: Any) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *given).result()


async def test_live_models_are_answered_from_recorded_trials_and_end_where_these_do(
    recorded: RunFolder,
) -> None:
    found = await asyncio.to_thread(live_models, recorded)
    first = found.ideas[0]
    # The playbook is as good as its random state: it begins as it did then.
    assert first.then == "p0-0" and (first.label or first.reason) and found.n_trials > 5
    assert found.end


async def test_a_live_model_that_goes_elsewhere_is_told_that_nothing_was_measured(
    recorded: RunFolder, tmp_path: Any
) -> None:
    script = tmp_path / "script.jsonl"
    lines = []
    for i in range(20):
        planned = f'{{"calls": [["propose", {{"hypothesis": "rate {i}", "kind": "constants"}}]]}}'
        change = f'"old": "RATE = 0.5", "new": "RATE = 0.{61 + i}"'
        coded = (
            f'{{"calls": [["edit_file", {{"path": "solve.py", {change}}}], '
            '["submit", {"summary": "another rate"}]]}'
        )
        lines += [planned, coded]
    script.write_text("\n".join(lines))
    changes = {"brain": {"default": f"scripted:{script}"}, "budget": {"experiments": 20}}
    found = await asyncio.to_thread(live_models, recorded, changes)
    assert "were never measured" in found.end
    assert all(i.then == "" and "holds no further" in i.reason for i in found.ideas)


async def test_recorded_models_propose_the_same_and_are_measured_again(
    recorded: RunFolder,
) -> None:
    run = again(recorded)
    settings = restore_settings(run.info["settings"])
    assert settings.brain.default.startswith("recorded:")
    with open_lab(run, settings) as lab:
        await work(lab, 1)
    with recorded.ledger(read_only=True) as old, run.ledger(read_only=True) as new:
        assert [p.hypothesis for p in new.proposals(thread=0)] == [
            p.hypothesis for p in old.proposals(thread=0)
        ]
        assert new.counts()["trials"] == old.counts()["trials"]
    assert run.info["again"]["run"] == recorded.name
