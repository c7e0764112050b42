"""A second run with the same memory begins with what the first one found, and wins it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from novum.agents.experience import recipes, take_experience
from novum.agents.research import work
from novum.lab.records import Kind, Label, Lesson
from novum.memory.experience import summarise

LESSON = Lesson(
    id="lesson-p0-0",
    benchmark="climb",
    hypothesis="wider is better",
    kind=Kind.ARCHITECTURE,
    diff_summary="",
    label=Label.PROMISING,
    gain=0.04,
    interval=(0.02, 0.06),
    cost_s=1.0,
    proposal="p0-0",
    tree="t",
    run="first",
    profile="tiny",
    start="plain",
    moves=("wide",),
    lineage=("wide", "STEPS=9"),
    total_gain=0.04,
)
HERE: dict[str, Any] = {"benchmark": "climb", "profile": "tiny", "start": "plain", "own": "second"}


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, Any]:
    return {"memory": {"where": str(tmp_path / "shared")}}


async def test_a_second_run_starts_with_the_recipe_of_the_first(
    make_lab: Any, shared: dict[str, Any], tmp_path: Path
) -> None:
    lab = make_lab("one", **shared)
    await work(lab, 1)
    won = lab.findings.head
    assert won.label in ("promising", "confirmed") and won.moves
    lab.memory.close()

    lab = make_lab("two", **shared)
    await work(lab, 1)
    first = lab.ledger.proposals()[0]
    named = [*first.move["apply"], *(f"{k}={v}" for k, v in first.move.get("set", {}).items())]
    best = lab.experience.recipes[0]
    assert best.run == "one" and sorted(named) == sorted(best.moves)
    assert "run one ended with" in first.hypothesis
    assert lab.findings.nodes[lab.ledger.verdicts()[0].tree].label in ("promising", "confirmed")
    kept = lab.experience
    lab.memory.close()

    again = make_lab("two", **shared)
    again.memory.add(replace(LESSON, run="later", created_s=9e9))
    take_experience(again)
    assert again.experience == kept, "a resumed run goes on with what it began with"
    again.memory.close()


async def test_what_a_directive_bans_or_the_pack_lacks_is_left_out_of_a_recipe(
    make_lab: Any, shared: dict[str, Any]
) -> None:
    lab = make_lab("two", **shared)
    lab.experience = summarise(
        [replace(LESSON, lineage=("gone",))], **HERE | {"own": "somebody else"}
    )
    assert lab.experience.recipes and recipes(lab) == ()
    lab.experience = summarise([LESSON], **HERE)
    lab.moves.techniques["wide"] = next(iter(lab.moves.techniques.values()))
    assert recipes(lab)[0].moves == ("wide", "STEPS=9")
    lab.directives.bans = lambda name: name == "wide"
    assert recipes(lab)[0].moves == ("STEPS=9",)


def test_lessons_of_another_profile_start_or_the_run_itself_do_not_count() -> None:
    others = [
        replace(LESSON, profile="gpu"),
        replace(LESSON, start="modern"),
        replace(LESSON, benchmark="kernels"),
        replace(LESSON, run="second"),
    ]
    assert summarise(others, **HERE).n_lessons == 0
    found = summarise([*others, LESSON], **HERE)
    assert found.n_lessons == 1 and found.runs == ("first",)
    assert found.moves["wide"].won == 1 and found.moves["wide"].gain_sum == pytest.approx(0.04)
    assert found.recipes[0].moves == ("wide", "STEPS=9")


def test_a_recipe_is_only_what_won_and_what_did_not_run_adds_no_gain() -> None:
    broken = replace(LESSON, id="l2", label=Label.INVALID, gain=None, total_gain=None)
    noise = replace(LESSON, id="l3", label=Label.NOISE, gain=0.001, total_gain=0.2)
    found = summarise([broken, noise], **HERE)
    assert found.recipes == ()
    earlier = found.moves["wide"]
    assert (earlier.tried, earlier.won, earlier.broken, earlier.weight) == (2, 0, 1, 1.0)


def test_experience_survives_the_way_through_the_ledger() -> None:
    found = summarise([LESSON], **HERE)
    assert type(found).from_json(found.to_json()) == found
