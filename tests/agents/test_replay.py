"""Replay makes a run again from its records and says where it differs."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from novum.agents.brains.registry import make_brain
from novum.agents.brains.scripted import ScriptedModel, calls
from novum.agents.outside import packed
from novum.agents.replay.verify import Verification, verify
from novum.agents.research import work
from novum.errors import LedgerCorrupt, RecordingMiss
from novum.evals import facts
from novum.lab.records import Directive, Kind, Label, Lesson, Purpose, TrialStatus
from novum.lab.run import RunFolder
from novum.memory.chroma import ChromaMemory
from novum.settings import Settings

PACK_SETTINGS = {"policy": "frontier", "budget": {"experiments": 6}}


@pytest.fixture
def recorded(make_lab: Any) -> Any:
    """Makes a recorded run; returns its folder."""

    async def make(name: str = "run", n_threads: int = 2, **given: Any) -> RunFolder:
        lab = make_lab(name, **{**PACK_SETTINGS, **given})
        await work(lab, n_threads)
        return keep_settings(lab)

    return make


def keep_settings(lab: Any, **more: Any) -> RunFolder:
    """`run.toml` with the settings of the lab, as `novum run` writes it."""
    from novum.lab.toml import dumps
    from novum.settings import restore_settings

    folder: RunFolder = lab.run
    values = {
        "benchmark": str(lab.pack.folder),
        "policy": type(lab.policy).__name__.lower().removesuffix("policy"),
        "profile": lab.profile.name,
        "brain": {"default": lab.brain_names["planner"]},
        "budget": {"experiments": lab.budget.limits.experiments},
    }
    values["budget"] = {k: v for k, v in values["budget"].items() if v is not None}
    settings: Settings = restore_settings({**values, **more})
    info = {**folder.info, "settings": settings.saved(), "slots": lab.runner.n_slots}
    (folder.path / "run.toml").write_text(dumps(info))
    return RunFolder.open(folder.path)


async def check(folder: RunFolder) -> Verification:
    return await asyncio.to_thread(verify, folder)


async def test_a_run_of_two_threads_is_made_again_event_by_event(recorded: Any) -> None:
    folder = await recorded()
    found = await check(folder)
    assert found.problem == "", found.problem
    assert found.is_whole
    assert found.n_steps >= 6 * 5 and found.n_trials > 20
    with folder.ledger(read_only=True) as ledger:
        n_recorded = Counter(event.kind for event in ledger.events())
        # Planner and coder answer once an idea; one that is only measured again asks nobody.
        asked = [p for p in ledger.proposals() if p.thread >= 0 and "retest" not in p.move]
    assert found.n_answers == n_recorded["answer"] >= 2 * len(asked) > 0
    assert found.n_steps == n_recorded["step"] and found.n_trials == n_recorded["trial.ended"]


async def test_a_run_of_older_rules_is_made_again_by_them(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as then:
        then.setattr(facts, "RULES", 1)
        folder = await recorded(n_threads=1, budget={"experiments": 2})
    with folder.ledger(read_only=True) as ledger:
        outlines = [e.payload for e in ledger.events(kinds=["facts"])]
    assert outlines and all("rules" not in outline["terms"] for outline in outlines)
    found = await check(folder)
    assert found.is_whole, found.problem


async def test_what_the_machine_would_not_have_done_is_the_first_divergence(
    recorded: Any,
) -> None:
    folder = await recorded(n_threads=1, budget={"experiments": 2})
    with folder.ledger(read_only=True) as ledger:
        verdict = next(e for e in ledger.events(kinds=["verdict"]))
    forge(folder, verdict.seq, lambda payload: payload | {"label": "confirmed", "gain": 9.0})
    found = await check(folder)
    assert not found.is_whole and found.n_same == verdict.seq - 1
    assert f"event {verdict.seq} (verdict" in found.problem
    assert "gain was 9.0" in found.problem and "label was" in found.problem


async def test_a_tampered_trace_says_where_the_chain_breaks(recorded: Any) -> None:
    folder = await recorded(n_threads=1, budget={"experiments": 2})
    with closing(sqlite3.connect(folder.ledger_path)) as db, db:
        db.execute("update events set payload = '{}' where seq = 20")
    with pytest.raises(LedgerCorrupt, match="event 20 .* was changed after it was written"):
        await check(folder)


async def test_a_truncated_trace_says_that_its_tail_is_missing(recorded: Any) -> None:
    folder = await recorded(n_threads=1, budget={"experiments": 2})
    with closing(sqlite3.connect(folder.ledger_path)) as db, db:
        db.execute("delete from events where seq > 30")
    with pytest.raises(LedgerCorrupt, match="ends at event 30"):
        await check(folder)


async def test_a_run_cut_off_resumed_and_steered_is_made_again(make_lab: Any) -> None:
    given = {"profile": "slow", "budget": {"experiments": 4}, "policy": "frontier"}
    lab = make_lab(**given)
    running = asyncio.create_task(work(lab, 2))
    while len(lab.ledger.trials(purpose=Purpose.SEARCH)) < 2:
        await asyncio.sleep(0.02)
    lab.control.interrupt()
    await running
    lab = make_lab(**given)
    idea = {"hypothesis": "gamma helps", "kind": "schedule", "move": {"apply": ["gamma"]}}
    lab.ledger.add_directive(Directive("d1", "Not that.", action={"ban": "useless"}))
    lab.ledger.add_directive(Directive("d2", "Try gamma.", action={"idea": idea}))
    lab.ledger.add_directive(Directive("d3", "Again.", action={"idea": idea}))
    await work(lab, 2)
    assert "done" in {d.status for d in lab.ledger.directives()}
    found = await check(keep_settings(lab))
    assert found.problem == "", found.problem
    assert found.is_whole


async def test_a_final_test_that_was_interrupted_is_made_again(make_lab: Any) -> None:
    given = {"profile": "slow", "budget": {"experiments": 2}}
    lab = make_lab(**given)
    running = asyncio.create_task(work(lab, 1))
    while not lab.ledger.trials(purpose=Purpose.CERTIFY, status=TrialStatus.LAUNCHED):
        assert not running.done()
        await asyncio.sleep(0.02)
    lab.control.interrupt()
    await running
    assert not lab.ledger.verdicts(last=1)[0].proposal.startswith("certify-")
    lab = make_lab(**given)
    await work(lab, 1)
    assert lab.ledger.verdicts(last=1)[0].proposal.startswith("certify-")
    found = await check(keep_settings(lab))
    assert found.problem == "", found.problem
    assert found.is_whole


async def test_a_run_that_was_interrupted_is_made_again_as_far_as_it_goes(make_lab: Any) -> None:
    lab = make_lab(profile="slow", budget={"experiments": 4})
    running = asyncio.create_task(work(lab, 2))
    while len(lab.ledger.trials(purpose=Purpose.SEARCH)) < 2:
        await asyncio.sleep(0.02)
    lab.control.interrupt()
    await running
    found = await check(keep_settings(lab))
    assert found.problem == "", found.problem
    assert found.is_whole


async def test_bad_calls_and_repairs_of_a_coder_are_made_again(make_lab: Any) -> None:
    coder = ScriptedModel(
        answers=[
            "I shall think first.",
            calls(("write_file", {"path": "solve.py", "text": "raise RuntimeError\n"}),
                  ("submit", {"summary": "broken"})),
            calls(("write_file", {"path": "solve.py", "text": 'RATE = 1.0\nF = "alpha"\n'}),
                  ("smoke_test", {}), ("submit", {"summary": "repaired"})),
        ]
    )  # fmt: skip
    planner = ScriptedModel(
        answers=[calls(("propose", {"hypothesis": "rewrite it", "kind": "systems"}))]
    )
    lab = make_lab(planner=planner, coder=coder, budget={"experiments": 1})
    await work(lab, 1)
    found = await check(keep_settings(lab))
    assert found.problem == "", found.problem
    assert found.is_whole and found.n_answers == 4


async def test_a_recording_plays_a_brain_and_ends_where_it_ends(
    make_lab: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab("first", budget={"experiments": 2})
    await work(lab, 1)
    told = [(p.hypothesis, p.move) for p in lab.ledger.proposals(thread=0)]
    monkeypatch.chdir(tmp_path)
    brain = make_brain(f"recorded:{lab.run.path}")
    again = make_lab("second", planner=brain, coder=brain, budget={"experiments": 3})
    summary = await work(again, 1)
    assert [(p.hypothesis, p.move) for p in again.ledger.proposals(thread=0)] == told
    assert "holds no answer to p0-2/planner/0" in summary.reason
    with pytest.raises(RecordingMiss, match="without a key"):
        await brain.ainvoke("hello")


def forge(folder: RunFolder, seq: int, change: Any) -> None:
    """Rewrite an event, all digests after it, the tables and the anchor: only replay finds it."""
    with folder.ledger(read_only=True) as ledger:
        events = ledger.events()
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm", "anchor.toml"):
        (folder.path / name).unlink(missing_ok=True)
    from novum.lab.ledger import Ledger

    now = 0.0
    with Ledger.create(folder.ledger_path, clock=lambda: now) as ledger:
        for event in events:
            now = event.at_s
            payload = change(event.payload) if event.seq == seq else event.payload
            ledger.append(event.kind, payload, event.key)
        ledger.verify()


async def test_what_was_handed_in_from_outside_is_made_again(make_lab: Any) -> None:
    lab = make_lab(brain={"default": "external"}, budget={"experiments": 1})
    move = {"files": lab.run.blobs.put(packed({"solve.py": b"RATE = 1.0\n"}))}
    idea = {"hypothesis": "a better rate", "kind": "systems", "move": move}
    lab.ledger.add_directive(Directive("d1", "Try it.", action={"idea": idea}))
    await work(lab, 1)
    folder = keep_settings(lab)
    found = await check(folder)
    assert found.problem == "", found.problem
    assert found.is_whole


async def test_noise_that_one_thread_measured_for_both_is_measured_once_again(
    make_lab: Any,
) -> None:
    given = {"brain": {"default": "external"}, "budget": {"experiments": 2}, "profile": "slow"}
    lab = make_lab(**given, noise="needed")
    for name in ("alpha", "beta"):
        move = {
            "files": lab.run.blobs.put(packed({"solve.py": f'RATE = 1.0\nF = "{name}"\n'.encode()}))
        }
        idea = {"hypothesis": f"better with {name}", "kind": "systems", "move": move}
        lab.ledger.add_directive(Directive(name, "Try it.", action={"idea": idea}))
    await work(lab, 2)
    found = await check(keep_settings(lab, noise="needed", profile="slow", threads=2))
    assert found.problem == "", found.problem
    assert found.is_whole


async def test_a_claim_is_made_again_with_the_trials_that_were_declared(make_lab: Any) -> None:
    given = {"brain": {"default": "external"}, "budget": {"experiments": 1}}
    lab = make_lab(**given, noise="needed", confirm_trials=3)
    move = {"files": lab.run.blobs.put(packed({"solve.py": b"RATE = 3.0\n"})), "claim": True}
    idea = {"hypothesis": "a better rate", "kind": "systems", "move": move}
    lab.ledger.add_directive(Directive("d1", "Try it.", action={"idea": idea}))
    await work(lab, 1)
    found = await check(keep_settings(lab, noise="needed", confirm_trials=3))
    assert found.problem == "", found.problem
    assert found.is_whole


async def test_a_stop_while_a_thread_waits_for_ideas_is_made_again(make_lab: Any) -> None:
    lab = make_lab(brain={"default": "external"}, budget={"experiments": 2})
    running = asyncio.create_task(work(lab, 1))
    with lab.run.ledger() as outside:
        while outside.event("choice:p0-0") is None:
            await asyncio.sleep(0.02)
        outside.add_directive(Directive("d1", "Stop.", action={"stop": True}))
    await running
    found = await check(keep_settings(lab))
    assert found.problem == "", found.problem
    assert found.is_whole


async def test_a_run_that_began_with_what_another_found_is_made_again_without_that_memory(
    recorded: Any, tmp_path: Path
) -> None:
    memory = ChromaMemory.open(tmp_path / "shared")
    memory.add(
        Lesson(
            id="l",
            benchmark="climb",
            hypothesis="both help",
            kind=Kind.COMBINATION,
            diff_summary="",
            label=Label.PROMISING,
            gain=0.1,
            interval=None,
            cost_s=1.0,
            proposal="p0-0",
            tree="t",
            run="earlier",
            profile="tiny",
            start="plain",
            lineage=("alpha", "beta"),
            total_gain=0.1,
        )
    )
    memory.close()
    folder = await recorded(memory={"where": str(tmp_path / "shared")})
    shutil.rmtree(tmp_path / "shared")
    with folder.ledger(read_only=True) as ledger:
        assert "run earlier ended with" in ledger.proposals()[0].hypothesis
    assert (await check(folder)).is_whole


async def test_a_run_that_ended_and_was_given_more_is_made_again_process_by_process(
    make_lab: Any,
) -> None:
    given = {"policy": "frontier"}
    await work(make_lab(budget={"experiments": 2}, **given), 1)
    lab = make_lab(budget={"experiments": 4}, **given)
    await work(lab, 1)
    found = await check(keep_settings(lab))
    assert found.problem == "", found.problem
    assert found.is_whole
    assert all(n == same for n, same in found.kinds.values())
