"""What a run knows while it works is what its ledger says, to the last bit, at every step."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from novum.agents.brains.registry import register
from novum.agents.brains.scripted import ScriptedModel, calls
from novum.agents.graph import STEP
from novum.agents.lab import Lab
from novum.agents.research import work
from novum.lab.records import Purpose

from .test_cut_off import propose, work_until

PACK = Path(__file__).parent.parent / "packs" / "climb"
CHEAP = """
[profiles.tiny.fidelities.cheap]
budget_s = 0.5
"""
Compare = Callable[[Lab], list[str]]


class Watch:
    """Compares after every step of every thread, in the process that made it."""

    def __init__(self) -> None:
        self.n_steps = 0
        self.found: list[str] = []

    def check(self) -> None:
        assert self.n_steps
        assert not self.found, "\n".join(self.found[:20])


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, as_recorded: Compare) -> Watch:
    """Watches all labs of a test."""
    found = Watch()
    note = Lab.note

    def watched(lab: Lab, kind: str, key: str, payload: dict[str, Any]) -> None:
        note(lab, kind, key, payload)
        if kind == STEP and not found.found:
            found.n_steps += 1
            found.found = [f"after step {key}: {one}" for one in as_recorded(lab)]

    monkeypatch.setattr(Lab, "note", watched)
    return found


@pytest.mark.parametrize("policy", ["frontier", "greedy"])
async def test_threads_that_share_what_they_find_know_what_is_recorded(
    make_lab: Any, watch: Watch, as_recorded: Compare, policy: str
) -> None:
    given = {"policy": policy, "budget": {"experiments": 8}}
    lab = make_lab(**given)
    await work(lab, 2)
    watch.check()
    assert not as_recorded(lab)
    assert not as_recorded(make_lab(**given))


async def test_a_run_that_was_cut_off_among_its_trials_knows_what_is_recorded(
    make_lab: Any, watch: Watch, as_recorded: Compare
) -> None:
    given = {"policy": "frontier", "profile": "slow", "budget": {"experiments": 5}}
    lab = make_lab(**given)
    running = asyncio.create_task(work(lab, 2))
    while not running.done() and not lab.ledger.trials(purpose=Purpose.SEARCH):
        await asyncio.sleep(0.02)
    lab.control.interrupt()
    await running
    assert not as_recorded(lab)
    lab = make_lab(**given)
    assert not as_recorded(lab)
    await work(lab, 2)
    watch.check()
    assert not as_recorded(lab)


async def test_what_cheap_trials_say_is_known_as_it_is_recorded(
    make_lab: Any, watch: Watch, as_recorded: Compare, tmp_path: Path
) -> None:
    folder = tmp_path / "packs" / "climb"
    shutil.copytree(PACK, folder)
    with (folder / "pack.toml").open("a") as file:
        file.write(CHEAP)
    given = {"benchmark": str(folder), "policy": "frontier"}
    lab = make_lab(budget={"experiments": 4}, **given)
    await work(lab, 2)
    lab = make_lab(budget={"experiments": 8}, **given)
    await work(lab, 2)
    assert lab.ledger.trials(purpose=Purpose.SCREEN)
    watch.check()
    assert not as_recorded(lab)


async def test_how_the_models_of_an_ensemble_did_is_known_as_it_is_recorded(
    make_lab: Any, watch: Watch, as_recorded: Compare
) -> None:
    def player(name: str, settings: Any) -> ScriptedModel:
        enough = calls(("nothing_left", {"reason": "that was all"}))
        model = ScriptedModel(answers=[propose(name), *[enough] * 20])
        for answer in model.answers:
            answer.usage_metadata = {"input_tokens": 90, "output_tokens": 10, "total_tokens": 100}
            answer.response_metadata = {"cost_usd": 0.1}
        return model

    register("pair", player)
    given = {"brain": {"planner": "pair:alpha,pair:beta"}, "budget": {"experiments": 2}}
    lab = make_lab(**given)
    await work(lab, 1)
    watch.check()
    assert lab.casting.records and not as_recorded(lab)


async def test_a_drop_that_is_recorded_again_after_a_kill_counts_once(
    make_lab: Any, watch: Watch, as_recorded: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def players() -> dict[str, Any]:
        give_up = calls(("give_up", {"reason": "no"}))
        return {
            "planner": ScriptedModel(answers=[propose("alpha")]),
            "coder": ScriptedModel(answers=[give_up]),
            "budget": {"experiments": 1},
        }

    lab = make_lab(**players())
    await work_until(lab, monkeypatch, lambda: lab.ledger.event("dropped:p0-0") is not None)
    lab = make_lab(**players())
    await work(lab, 1)
    assert (lab.findings.n_closed, lab.findings.since_progress) == (1, 1)
    watch.check()
    assert not as_recorded(lab)
