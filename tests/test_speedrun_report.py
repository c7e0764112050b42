"""The report of a run with a requirement: loss against time, and the history of records."""

from __future__ import annotations

from markupsafe import Markup

from novum.app.ideas import Best, Idea
from novum.app.numbers import MetricName
from novum.app.required import pictures, records
from novum.app.story import Story
from novum.lab.records import Kind, Proposal, Purpose, Split, Trial, TrialStatus

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
    made.best = [Best(3.0, "a", "pa", 5.0, 0.2, 1)]
    return made


def test_each_trial_is_drawn_against_its_own_target_and_a_miss_is_hollow() -> None:
    ((name, picture),) = pictures(story())
    assert name == "loss" and picture.count("<circle") == 5
    assert picture.count(" missed") == 2, "idea b, and a on the sealed split"
    assert "search target 3.28" in picture and "sealed target 3.3" in picture
    assert "<b>needs" not in picture and "muon" in picture


def test_records_say_what_technique_they_came_from() -> None:
    (row,) = records(story())
    assert row["value"] == "5.00" and row["idea"] == "#1"
    assert row["technique"].startswith("muon: Muon") and row["required"] == "loss 3.28"
    assert row["gain"] == "+51.0 %"


def test_a_run_without_requirements_has_no_such_picture() -> None:
    made = story()
    made.info = {}
    assert pictures(made) == [] and records(made)[0]["required"] == ""
    made.info = {"requirements": LIMITS}
    made.trials.clear()
    assert isinstance(pictures(made)[0][1], Markup)
