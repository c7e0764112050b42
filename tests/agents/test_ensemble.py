"""Several models share a role; the one whose verified gains cost least gets more of the work."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from novum.agents.brains.ensemble import Casting, Ensemble, members
from novum.agents.brains.registry import make_brains, register
from novum.agents.brains.scripted import ScriptedModel, calls
from novum.agents.replay.verify import verify
from novum.agents.research import work
from novum.app.numbers import MetricName
from novum.app.proposers import proposers, table, worth_telling
from novum.app.story import Story
from novum.errors import UsageError
from novum.lab.records import Label
from novum.lab.run import RunFolder
from novum.lab.toml import dumps
from novum.settings import BrainSettings

PAIR = Ensemble({"a": ScriptedModel(answers=[]), "b": ScriptedModel(answers=[])})


def played(casting: Casting, n: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for i in range(n):
        found.update(casting.choose({"planner": PAIR}, Random(i)).values())
    return found


def outcome(casting: Casting, spec: str, label: Label | None, gain: float | None) -> None:
    casting.note_cast("p", {"planner": spec})
    casting.note_outcome("p", label, gain)


def test_untried_models_are_drawn_alike() -> None:
    shares = played(Casting(), 1_000)
    assert 400 < shares["a"] < 600


def test_verified_gain_draws_work_and_unverified_gain_does_not() -> None:
    casting = Casting()
    for _ in range(12):
        outcome(casting, "a", Label.PROMISING, 0.05)
        outcome(casting, "b", Label.NOISE, 0.2)
    assert played(casting, 300)["a"] > 270
    assert casting.records["b"].gain_sum == 0.0


def test_at_equal_gain_the_cheaper_model_is_preferred_and_money_counts_only_if_all_is_priced() -> (
    None
):
    casting = Casting()
    for _ in range(30):
        outcome(casting, "a", Label.PROMISING, 0.03)
        outcome(casting, "b", Label.PROMISING, 0.03)
    casting.note_cost("a", 1_000, 3.0)
    casting.note_cost("b", 9_000, 1.0)
    costs = casting.costs(("a", "b"))
    assert costs["a"] == pytest.approx(1.25) and costs["b"] == pytest.approx(0.75)
    assert played(casting, 300)["b"] > 200
    casting.note_cost("b", 0, None)
    costs = casting.costs(("a", "b"))
    assert costs["a"] < costs["b"], "one price is unknown: tokens decide"


def test_an_ensemble_is_named_with_commas_and_refuses_what_cannot_share() -> None:
    assert members("openai:a, ollama:b") == ("openai:a", "ollama:b")
    for spec in ("external,playbook", "playbook,playbook"):
        with pytest.raises(UsageError):
            make_brains({"planner": spec}, BrainSettings(), None)
    with pytest.raises(UsageError, match="one model reviews"):
        make_brains({"auditor": "playbook,scripted:x"}, BrainSettings(), None)
    with pytest.raises(UsageError, match="price of openai:b"):
        settings = BrainSettings(base_url="http://127.0.0.1:1/v1", prices={"openai:a": (1, 1)})
        make_brains({"planner": "openai:a,openai:b"}, settings, 5.0)


def proposer(name: str) -> ScriptedModel:
    move = {"apply": [name]}
    args = {"hypothesis": f"{name} helps", "kind": "architecture", "move": move}
    enough = calls(("nothing_left", {"reason": "that was all"}))
    return ScriptedModel(answers=[calls(("propose", args)), *[enough] * 20])


async def test_a_run_of_an_ensemble_records_who_played_and_is_resumed_and_replayed_so(
    make_lab: Any,
) -> None:
    register("twin", lambda words, settings: proposer(words))
    spec = "twin:alpha,twin:beta"
    given = {"brain": {"planner": spec}, "budget": {"experiments": 3}, "policy": "greedy"}
    lab = make_lab("run", **given)
    await work(lab, 1)
    proposals = lab.ledger.proposals()
    who = {p.brain for p in proposals if p.thread >= 0}
    assert who and who <= set(members(spec))
    for p in proposals:
        if p.thread >= 0:
            assert lab.ledger.event(f"choice:{p.id}").payload["cast"] == {"planner": p.brain}
    assert sum(r.n for r in lab.casting.records.values()) >= len(who)
    before = lab.casting.records

    again = make_lab("run", **given)
    assert again.casting.records == before, "a resumed run knows how its models did"

    folder: RunFolder = again.run
    values = {"benchmark": str(again.pack.folder), "profile": again.profile.name, **given}
    info = {**folder.info, "settings": values, "slots": again.runner.n_slots}
    (folder.path / "run.toml").write_text(dumps(info))
    assert (await asyncio.to_thread(verify, RunFolder.open(folder.path))).is_whole


async def test_status_says_what_each_model_gained_and_cost(make_lab: Any) -> None:
    def paid(name: str, cost_usd: float | None) -> ScriptedModel:
        model = proposer(name)
        for answer in model.answers:
            answer.usage_metadata = {"input_tokens": 90, "output_tokens": 10, "total_tokens": 100}
            answer.response_metadata = {"cost_usd": cost_usd}
        return model

    register("paid", lambda words, settings: paid(words, 0.25 if words == "alpha" else None))
    spec = "paid:alpha,paid:beta"
    lab = make_lab("run", brain={"planner": spec}, budget={"experiments": 2}, policy="greedy")
    await work(lab, 1)
    story = Story(MetricName("loss", "", "lower"))
    story.follow(lab.ledger)
    found = {p.name: p for p in proposers(story)}
    assert set(found) <= {*members(spec), "playbook"} and worth_telling(list(found.values()))
    asked = {e.payload["brain"] for e in lab.ledger.events(kinds=["answer"])}
    for name in set(members(spec)) & asked:
        who, record = found[name], lab.casting.records[name]
        assert who.n_ideas == sum(p.brain == name for p in lab.ledger.proposals())
        assert who.tokens == record.tokens == 100 * who.n_answers
        assert who.gain == pytest.approx(record.gain_sum, rel=0.2)
        assert (who.unpriced_tokens > 0) == (name == "paid:beta")
    assert sum(p.n_won for p in found.values()) >= 1
    text = table(list(found.values()))
    assert "verified gain" in text.splitlines()[0]
    assert "unknown" in text or "paid:beta" not in found
