"""The report of a run with a requirement: loss against time, and the history of records."""

from __future__ import annotations

import re

from markupsafe import Markup

from novum.app.ideas import Best, Idea
from novum.app.numbers import MetricName
from novum.app.required import pictures, records
from novum.app.story import Story
from novum.lab.records import (
    Candidate,
    Kind,
    Label,
    Proposal,
    Purpose,
    Split,
    Trial,
    TrialStatus,
    Verdict,
)

LIMITS = {"loss": {"better": "lower", "search": 3.28, "sealed": 3.30, "trials": 5, "alpha": 0.01}}


def trial(
    n: int, tree: str, seconds: float, loss: float, purpose: Purpose, split: Split = "search"
) -> Trial:
    return Trial(
        f"t{n}", f"k{n}", tree, f"p{tree}", purpose, split, "full", n, n, "h", "cpu", 0,
        TrialStatus.FINISHED, seconds, {"loss": loss}, launched_s=n, ended_s=n + 1,
    )  # fmt: skip


def story() -> Story:
    made = Story(MetricName("time", "s", "lower", 2), {"requirements": LIMITS})
    trials = [
        trial(1, "start", 10.0, 3.27, Purpose.NOISE),
        trial(2, "start", 10.4, 3.26, Purpose.NOISE),
        trial(3, "a", 5.0, 3.25, Purpose.RACE),
        trial(4, "b", 2.0, 9.0, Purpose.SEARCH),
        trial(5, "a", 5.1, 3.31, Purpose.CERTIFY, "sealed"),
    ]
    made.trials = {t.id: t for t in trials}
    for t in trials:
        made.by_tree.setdefault(t.tree, []).append(t.id)
    for number, (tree, words, move) in enumerate(
        [("a", "Muon <b>needs</b> fewer steps", {"apply": ["muon"]}), ("b", "no training", {})], 1
    ):
        proposal = Proposal(f"p{tree}", 0, number, words, Kind.OPTIMISER, ("start",), "x", move)
        made.ideas[proposal.id] = Idea(proposal, number, tree)
        made.candidates[tree] = Candidate(tree, "k", ("start",), proposal.id, "")
    made.best = [Best(3.0, "a", "pa", 5.0, 0.2, 1)]
    return made


def test_each_trial_is_drawn_against_its_own_target_and_a_miss_is_hollow() -> None:
    ((name, picture),) = pictures(story())
    assert name == "loss" and picture.count('<circle class="trial') == 5
    assert picture.count(" missed") == 2, "idea b, and a on the sealed split"
    assert "search target 3.28" in picture and "sealed target 3.3" in picture
    assert "<b>needs" not in picture and "muon" in picture


def test_records_begin_at_the_start_and_say_what_technique_they_came_from() -> None:
    start, row = records(story())
    assert (start.name, start.value, start.bar, start.factor) == ("start", "10.20", 100.0, "")
    assert row.value == "5.00 ± 0.20" and row.name == "#1" and row.required == "loss 3.25"
    assert row.techniques == "muon" and row.words.startswith("Muon <b>needs")
    assert row.gain == "+51.0 %" and row.factor == "2.04 ×"


def test_a_record_names_what_it_stands_on_and_does_not_repeat_its_own_names() -> None:
    made = story()
    proposal = Proposal(
        "pc", 0, 3, "Each of rope, relu2 helps: both do", Kind.OPTIMISER, ("a",), "x",
        {"apply": ["rope", "relu2"]},
    )  # fmt: skip
    made.ideas["pc"] = Idea(proposal, 3, "c")
    made.candidates["c"] = Candidate("c", "k", ("mix",), "pc", "")
    summary = "2 ideas together: muon, qk_norm"
    made.candidates["mix"] = Candidate("mix", "k", ("a",), "carry:1", summary)
    made.best.append(Best(4.0, "c", "pc", 4.0, 0.2, 1))
    row = records(made)[-1]
    assert (row.techniques, row.stands_on, row.words) == (
        "rope, relu2",
        "muon, qk_norm",
        "both do",
    )


def test_a_confirmed_champion_ends_the_history_beside_the_start_of_its_own_test() -> None:
    made = story()
    assert not any(row.is_confirmed for row in records(made))
    certified = [
        trial(6, "start", 11.0, 3.29, Purpose.CERTIFY, "sealed"),
        trial(7, "a", 5.5, 3.28, Purpose.CERTIFY, "sealed"),
    ]
    made.trials |= {t.id: t for t in certified}
    verdict = Verdict(
        "v1", "ptest", "a", "start", Label.CONFIRMED, "t reached the bound", 5.5, split="sealed"
    )
    proposal = Proposal("ptest", 0, 0, "test", Kind.OPTIMISER, ("start",), "x", {})
    made.tests["ptest"] = Idea(proposal, 0, "a", ["t6", "t7"], verdict)
    made.champion = ("a", "v1")
    last = records(made)[-1]
    assert last.is_confirmed and last.name == "#1" and last.value == "5.50"
    assert (last.gain, last.factor, last.required) == ("+50.0 %", "2.00 ×", "loss 3.28")
    assert last.techniques == "muon" and "same test with 11.00" in last.words
    ((_, picture),) = pictures(made)
    assert ">champion #1</text>" in picture and picture.count('class="record"') == 3


def test_names_of_records_that_lie_together_do_not_cover_each_other() -> None:
    made = story()
    made.best += [Best(4.0 + i, "a", "pa", 5.0, 0.2, 1) for i in range(3)]
    ((_, picture),) = pictures(made)
    places = re.findall(r'x="([\d.]+)" y="([\d.]+)">#1</text>', picture)
    assert len(places) == len(set(places)) == 4


def test_a_run_without_requirements_has_no_such_picture() -> None:
    made = story()
    made.info = {}
    assert pictures(made) == [] and records(made)[0].required == ""
    made.best = []
    assert records(made) == [], "a start alone is no history"
    made.info = {"requirements": LIMITS}
    made.trials.clear()
    assert isinstance(pictures(made)[0][1], Markup)
