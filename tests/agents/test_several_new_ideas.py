"""Several new ideas in one candidate: asked for, proposed, refused, blamed and told apart."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from novum.agents.baseline import measure_noise
from novum.agents.brains.choose import choose
from novum.agents.checking import check_together
from novum.agents.choosing import CHOICE, choose_where
from novum.agents.lab import Lab
from novum.agents.observe import observe
from novum.agents.prompting import render
from novum.agents.search.findings import Findings
from novum.agents.search.frontier import is_sound, n_new
from novum.agents.search.protocol import Choice
from novum.agents.search.registry import make_policy
from novum.agents.situation import ConstantFact, Technique
from novum.errors import ToolError
from novum.lab.records import (
    Candidate,
    Kind,
    Label,
    Proposal,
    Purpose,
    Trial,
    TrialStatus,
    Verdict,
)
from novum.tools.desk import Proposed

from .test_playbook import situation

ALSO = ("data", "schedule")


def technique(name: str, **more: Any) -> Technique:
    return Technique(name=name, kind=name.rstrip("0123"), hypothesis=name, prior=0.2, **more)


MANY = tuple(technique(f"{kind}{i}") for kind in ("data", "optimiser", "schedule") for i in (0, 1))


class Search:
    """Findings that grow by proposals of named techniques on the start."""

    def __init__(self, level: float = 0.0) -> None:
        self.findings = Findings("higher")
        self.findings.note_candidate(Candidate("start", "c", (), "start:s", ""))
        self.measure("start", level)

    def measure(self, tree: str, score: float) -> None:
        self.findings.note_trial(
            Trial(
                f"t{tree}", "", tree, tree, Purpose.SEARCH, "search", "full", 1, 0, "", "", 0,
                TrialStatus.FINISHED, metric=score,
            )
        )  # fmt: skip

    def propose(self, id: str, ideas: list[str], label: Label, score: float | None = None) -> None:
        made = Proposal(id, 0, 0, "h", Kind.DATA, ("start",), "b", {"apply": ideas})
        self.findings.note_proposal(made)
        self.findings.note_candidate(Candidate(id, id, ("start",), id, ""))
        if score is not None:
            self.measure(id, score)
        self.findings.note_verdict(Verdict(f"v{id}", id, id, "start", label, ""))


def test_as_many_new_ideas_are_asked_for_as_are_likely_to_run_together() -> None:
    search = Search()
    choice = make_policy("frontier").choose(search.findings, 0, Random(3))
    assert n_new(search.findings) == 3 and len(choice.also) == 2
    asked = []
    for i in range(12):
        search.propose(f"p{i}", [f"x{i}"], Label.INVALID)
        asked.append(n_new(search.findings))
    assert asked == sorted(asked, reverse=True) and asked[-1] == 1
    for i in range(60):
        search.propose(f"q{i}", [f"y{i}"], Label.NOISE, 0.0)
    assert n_new(search.findings) == 3


def test_proposals_that_never_became_a_candidate_count_as_broken() -> None:
    findings = Search().findings
    before = findings.broken_share
    findings.note_proposal(Proposal("p", 0, 0, "h", Kind.DATA, ("start",), "b", {"apply": ["x"]}))
    findings.note_dropped("p", is_broken=False)
    assert findings.broken_share == before
    findings.note_proposal(Proposal("q", 0, 0, "h", Kind.DATA, ("start",), "b", {"apply": ["x"]}))
    findings.note_dropped("q", is_broken=True)
    assert findings.broken_share > before


def test_of_new_ideas_that_failed_together_none_is_lost_and_the_one_to_blame_is_found() -> None:
    search = Search()
    search.propose("p1", ["good", "bad"], Label.INVALID)
    sources = search.findings.sources
    assert sources["good"].is_suspect and sources["bad"].is_suspect
    search.propose("p2", ["good"], Label.NOISE, 1.0)
    search.propose("p3", ["bad"], Label.INVALID)
    assert is_sound(search.findings, "good") and not is_sound(search.findings, "bad")
    assert sources["good"].n_broken == 0 and sources["bad"].n_broken == 2


def test_ideas_of_a_cheat_are_not_carried_until_each_was_found_honest_alone() -> None:
    search = Search()
    search.propose("p1", ["honest", "cheat"], Label.HACK, 9.0)
    assert not any(is_sound(search.findings, idea) for idea in ("honest", "cheat"))
    search.propose("p2", ["honest"], Label.NOISE, 1.0)
    search.propose("p3", ["cheat"], Label.HACK, 9.0)
    assert is_sound(search.findings, "honest") and not is_sound(search.findings, "cheat")


def test_what_two_ideas_of_one_candidate_give_is_told_apart_by_later_trials() -> None:
    search = Search()
    search.measure("start", 0.1)
    search.propose("p1", ["a", "b"], Label.NOISE, 3.0)
    search.propose("p2", ["a"], Label.NOISE, 0.0)
    for i in range(6):
        search.measure("p1", 3.0 + 0.1 * (-1) ** i)
        search.measure("p2", 0.1 * (-1) ** i)
        search.measure("start", 0.1 * (-1) ** (i + 1))
    effects = search.findings.effects
    assert effects.value(("b",))[0] > 2.0 > 1.0 > effects.value(("a",))[0]


def test_new_ideas_on_a_start_that_scores_nothing_leave_beliefs_that_are_numbers() -> None:
    search = Search()
    search.propose("p1", ["a", "b"], Label.NOISE, 3.0)
    search.propose("p2", ["a"], Label.NOISE, 0.0)
    for i in range(6):
        search.measure("p1", 3.0 + 0.1 * (-1) ** i)
        search.measure("p2", 0.1 * (-1) ** i)
        search.measure("start", 0.1 * (-1) ** (i + 1))
    gains = search.findings.effects.gains()
    assert np.isfinite(gains.mean).all() and np.isfinite(gains.sd).all()


def test_the_playbook_proposes_as_many_techniques_as_there_is_room_for() -> None:
    for seed in range(20):
        _, args = choose(situation(techniques=MANY, also=ALSO, random=seed))
        names = args["move"]["apply"]
        assert len({n[:-1] for n in names}) == len(names) == 3  # of different kinds
        _, again = choose(situation(techniques=MANY, also=ALSO, random=seed), n_refused=1)
        assert len(again["move"]["apply"]) == 1
        _, alone = choose(situation(techniques=MANY, random=seed))
        assert len(alone["move"]["apply"]) == 1


def test_the_playbook_tries_what_failed_beside_others_alone() -> None:
    suspects = tuple(t.model_copy(update={"is_suspect": True}) for t in MANY[:3])
    for seed in range(20):
        _, args = choose(situation(techniques=(*suspects, *MANY[3:]), also=ALSO, random=seed))
        names = args["move"]["apply"]
        assert len(names) == 1 or not {t.name for t in suspects} & set(names)


def test_several_constants_are_turned_at_once_where_there_is_room() -> None:
    constants = tuple(ConstantFact(name=f"C{i}", value="0.5") for i in range(5))
    _, args = choose(situation(constants=constants, also=ALSO))
    assert len(args["move"]["set"]) == 3
    _, args = choose(situation(constants=constants[:2], also=ALSO))
    assert len(args["move"]["set"]) == 2
    _, args = choose(situation(constants=constants))
    assert len(args["move"]["set"]) == 1


def test_a_planner_is_told_of_the_room_where_changes_have_names() -> None:
    room = "up to 3 independent changes"
    assert room in render("planner", s=situation(techniques=MANY, also=ALSO), task="Do.")
    assert room not in render("planner", s=situation(also=ALSO), task="Do.")
    assert "independent changes" not in render("planner", s=situation(techniques=MANY), task="Do.")


async def start(make_lab: Any) -> Lab:
    lab: Lab = make_lab(policy="frontier")
    await measure_noise(lab)
    return lab


async def test_the_choice_says_how_many_were_asked_for_and_is_read_back_the_same(
    make_lab: Any,
) -> None:
    lab = await start(make_lab)
    wanted = Choice("improve", (lab.findings.start,), Kind.DATA, (), also=(Kind.SCHEDULE,))
    lab.policy.choose = lambda *_: wanted  # type: ignore[method-assign]
    made, _, seed = choose_where(lab, 0, "p0-1")
    assert made.also == (Kind.SCHEDULE,)
    assert (lab.recorded(CHOICE, "p0-1") or {})["also"] == ["schedule"]
    lab.policy.choose = lambda *_: replace(wanted, also=())  # type: ignore[method-assign]
    assert choose_where(lab, 0, "p0-1")[0] == made
    assert observe(lab, 0, 1, made, seed).also == ("schedule",)
    one = choose_where(lab, 0, "p0-2")[0]  # as in records from before there were several
    assert one.also == () and "also" not in (lab.recorded(CHOICE, "p0-2") or {})


async def test_changes_that_stand_in_each_others_way_are_refused_before_they_are_coded(
    make_lab: Any,
) -> None:
    lab = await start(make_lab)
    choice = Choice("improve", (lab.findings.start,), Kind.DATA, (), also=(Kind.SCHEDULE,))
    room = observe(lab, 0, 1, choice, 1)
    old = lab.moves.techniques["alpha"].edits[0]
    edits = (old.model_copy(update={"replace": "    # mine\n"}),)
    lab.moves.techniques["taker"] = lab.moves.techniques["alpha"].model_copy(
        update={"edits": edits}
    )
    check_together(lab, room, proposed("alpha", "gamma"))
    with pytest.raises(ToolError, match="alpha does not go with the others"):
        check_together(lab, room, proposed("taker", "alpha"))
    alone = observe(lab, 0, 1, replace(choice, also=()), 1)
    check_together(lab, alone, proposed("taker", "alpha"))  # the coder leaves out what clashes


async def test_what_was_tried_with_others_is_not_offered_or_taken_as_new_again(
    make_lab: Any,
) -> None:
    lab = await start(make_lab)
    start_tree = lab.findings.start
    made = Proposal("p0-1", 0, 1, "h", Kind.DATA, (start_tree,), "b", {"apply": ["alpha", "gamma"]})
    lab.add_proposal(made)
    files = lab.archive.files(start_tree)
    for name in ("alpha", "gamma"):
        files = lab.moves.apply(name, files)
    tree = lab.freeze(made, files, "both", ("alpha", "gamma"))
    for name in ("alpha", "gamma"):
        lab.findings.sources[name].n_run += 1
    assert lab.findings.nodes[tree].made == ("alpha", "gamma")
    choice = Choice("improve", (start_tree,), Kind.DATA, (), also=(Kind.SCHEDULE,))
    room = observe(lab, 0, 2, choice, 1)
    assert {t.name for t in room.techniques if not t.applies} == {"alpha", "gamma"}
    with pytest.raises(ToolError, match="alpha was tried with others"):
        check_together(lab, room, proposed("alpha"))
    check_together(lab, room, proposed("beta"))
    lab.findings.sources["alpha"].is_suspect = True  # it failed beside gamma: to be tried alone
    room = observe(lab, 0, 2, choice, 1)
    assert next(t for t in room.techniques if t.name == "alpha").is_suspect
    check_together(lab, room, proposed("alpha"))


def proposed(*names: str) -> Proposed:
    return Proposed("h", "data", (), {"apply": list(names)})


def test_each_kind_in_a_candidate_is_credited_with_its_share() -> None:
    search = Search(level=1.0)
    search.findings.move_kinds = {"a": Kind.DATA, "b": Kind.DATA, "c": Kind.SCHEDULE}
    made = Proposal("p", 0, 0, "h", Kind.COMBINATION, ("start",), "b", {"apply": ["a", "b", "c"]})
    search.findings.note_proposal(made)
    search.findings.note_candidate(Candidate("p", "p", ("start",), "p", ""))
    search.measure("p", 1.3)
    search.findings.note_verdict(Verdict("v", "p", "p", "start", Label.PROMISING, "", 0.3))
    kinds = search.findings.kinds
    assert set(kinds) == {Kind.DATA, Kind.SCHEDULE} and kinds[Kind.DATA].tried == 1
    assert kinds[Kind.DATA].gain_sum == pytest.approx(2 * kinds[Kind.SCHEDULE].gain_sum)
    assert kinds[Kind.SCHEDULE].gain_sum > 0


def test_a_direction_is_turned_round_by_a_loss_only_where_nothing_else_was_changed() -> None:
    search = Search()

    def turn(id: str, label: Label, **directions: str) -> dict[str, str]:
        values = {name: str(len(search.findings.nodes)) for name in directions}
        move = {"set": values, "direction": directions}
        made = Proposal(id, 0, 0, "h", Kind.CONSTANTS, ("start",), "b", move)
        search.findings.note_proposal(made)
        search.findings.note_candidate(Candidate(id, id, ("start",), id, ""))
        search.measure(id, 1.0)
        search.findings.note_verdict(Verdict(f"v{id}", id, id, "start", label, ""))
        return search.findings.directions

    assert turn("p1", Label.NOISE, RATE="up", WIDTH="up") == {}
    assert turn("p2", Label.PROMISING, RATE="up", WIDTH="up") == {"RATE": "up", "WIDTH": "up"}
    assert turn("p3", Label.NOISE, RATE="up")["RATE"] == "down"


async def test_what_did_not_run_alone_is_not_offered_as_new_again(make_lab: Any) -> None:
    lab = await start(make_lab)
    start_tree = lab.findings.start
    choice = Choice("improve", (start_tree,), Kind.DATA, (), also=(Kind.SCHEDULE,))

    def offered() -> set[str]:
        return {t.name for t in observe(lab, 0, 9, choice, 1).techniques if t.applies}

    for i, names in enumerate((["broken", "alpha"], ["broken"])):
        lab.add_proposal(
            Proposal(f"p0-{i}", 0, i, "h", Kind.DATA, (start_tree,), "b", {"apply": names})
        )
        lab.findings.note_dropped(f"p0-{i}", is_broken=True)
        assert ("broken" in offered()) == (i == 0) and "alpha" in offered()
