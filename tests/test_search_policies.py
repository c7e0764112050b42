"""Policies are pure, beliefs shrink what was lucky, and the default finds more than its rivals."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from novum.agents.search.effects import MAX_IDEAS, Effects
from novum.agents.search.findings import Findings
from novum.agents.search.kinds import GRID, Kinds
from novum.agents.search.registry import POLICIES, make_policy
from novum.evals.suites.search import campaign, render
from novum.evals.suites.simulated.campaign import Campaign, keep_if_better
from novum.evals.suites.simulated.landscapes import landscapes
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


def effects_of_a_start(*scores: float) -> Effects:
    effects = Effects()
    for score in scores or (-1.0, 0.0, 1.0, -1.0, 1.0):
        effects.note("start", (), score)
    return effects


def mean_of(effects: Effects, idea: str) -> float:
    gains = effects.gains()
    return float(gains.mean[gains.ideas.index(idea)])


def test_one_lucky_trial_moves_a_belief_less_than_it_says_and_repeats_move_it_on() -> None:
    effects = effects_of_a_start()
    effects.add("a", Kind.DATA)
    effects.note("tree", ("a",), 2.0)
    assert 0.0 < mean_of(effects, "a") * effects.noise_sd < 1.0
    for score in (1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 2.0):
        effects.note("tree", ("a",), score)
    assert 1.3 < mean_of(effects, "a") * effects.noise_sd < 2.5


def test_trials_of_other_candidates_tell_what_each_idea_in_them_adds() -> None:
    effects = effects_of_a_start()
    truth = {"a": 3.0, "b": -2.0, "c": 1.5}
    rng = Random(1)
    for idea in truth:
        effects.add(idea, Kind.DATA)
    for i in range(60):  # never one idea alone
        some = tuple(idea for idea in truth if rng.random() < 0.7)
        effects.note(f"t{i}", some, sum(truth[idea] for idea in some) + rng.gauss(0.0, 1.0))
    for idea, effect in truth.items():
        assert effects.value((idea,))[0] == pytest.approx(effect, abs=1.0)
    gain, var = effects.value(("a", "c"))
    assert gain == pytest.approx(4.5, abs=1.0) and 0.0 < var < 0.5


def test_a_level_that_wanders_is_not_mistaken_for_effects() -> None:
    effects = effects_of_a_start()
    effects.add("a", Kind.DATA)
    rng = Random(2)
    for i in range(200):  # all scores fall by four sds, and the idea is in the later ones
        has = ("a",) if rng.random() < i / 200 else ()
        effects.note(f"t{i}", has, -i / 50 + rng.gauss(0.0, 1.0))
    assert mean_of(effects, "a") == pytest.approx(0.0, abs=0.8)


def test_an_effect_larger_than_ideas_ever_are_is_believed_as_measured() -> None:
    effects = effects_of_a_start()
    effects.add("a", Kind.DATA)
    effects.note("tree", ("a",), 40.0)
    assert effects.value(("a",))[0] == pytest.approx(40.0, abs=2.0)


def test_ideas_beyond_the_limit_are_given_up_and_what_they_taught_stays() -> None:
    effects = effects_of_a_start()
    for i in range(3 * MAX_IDEAS):
        effects.add(f"i{i}", Kind.CONSTANTS)
        effects.note(f"t{i}", (f"i{i}",), -2.0 if i % 2 else 2.0)
    assert len(effects.ideas) <= MAX_IDEAS
    assert all(mean < 0 or i in ("i0", "i2") for i, (mean, _) in list(effects.gone.items())[:20])
    before = effects.gone["i1"]
    effects.add("i1", Kind.CONSTANTS)
    assert effects.value(("i1",)) == pytest.approx(before)


def test_kinds_that_paid_are_drawn_more_often() -> None:
    kinds = Kinds()
    good, bad = (np.eye(len(GRID))[int(np.abs(GRID - x).argmin())] for x in (3.0, -1.0))
    for _ in range(12):
        kinds.add(Kind.DATA, good)
        kinds.add(Kind.CONSTANTS, bad)
    drawn = [kinds.draw((Kind.CONSTANTS, Kind.DATA), {}, Random(i)) for i in range(40)]
    assert drawn.count(Kind.DATA) >= 38


def test_what_did_not_run_is_blamed_on_the_new_idea_unless_the_carried_ones_had_never_met() -> None:
    findings = Findings("higher")
    findings.note_candidate(Candidate("start", "c", (), "start:s", ""))

    def candidate(id: str, parent: str, idea: str, label: Label, score: float | None) -> None:
        made = Proposal(id, 0, 0, "h", Kind.DATA, (parent,), "b", {"apply": [idea]})
        findings.note_proposal(made)
        findings.note_candidate(Candidate(id, id, (parent,), id, ""))
        if score is not None:
            findings.note_trial(trial(id, id, score))
        findings.note_verdict(Verdict(f"v{id}", id, id, "start", label, ""))

    findings.note_trial(trial("start", "start:s", 0.0))
    candidate("a", "start", "x", Label.NOISE, 1.0)
    candidate("b", "start", "y", Label.NOISE, 1.0)
    both = Candidate("xy", "xy", ("a", "b"), "carry:p", "")
    findings.note_candidate(both, carried=("x", "y"))
    candidate("c", "xy", "z", Label.INVALID, None)
    assert findings.sources["z"].n_broken == 1  # it may be that x and y do not go together
    findings.note_trial(trial("xy", "p", 2.0))
    candidate("d", "xy", "w", Label.INVALID, None)
    assert findings.sources["w"].n_broken == 2


def trial(tree: str, proposal: str, score: float) -> Trial:
    return Trial(
        f"t{tree}", "", tree, proposal, Purpose.SEARCH, "search", "full", 1, 0, "", "", 0,
        TrialStatus.FINISHED, metric=score,
    )  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_findings_and_random_state_give_the_same_choice(policy: str) -> None:
    run = Campaign(landscapes(3)[0], make_policy(policy), 100, 3)
    run.run()
    again = make_policy(policy)  # knows nothing but the findings
    for seed in range(10):
        choices = [p.choose(run.findings, 0, Random(seed)) for p in (run.policy, again)]
        assert choices[0] == choices[1]
        assert all(tree in run.findings.nodes for c in choices for tree in c.parents)


def test_a_simulated_campaign_repeats_and_stays_within_its_budget() -> None:
    task = ("additive", "frontier", 100, 5)
    first = campaign(task)
    assert first == campaign(task) and first.cost <= 105
    assert "| 100 | additive | frontier |" in render([first])


def test_where_nothing_helps_the_gates_claim_nothing_and_the_plain_loop_does() -> None:
    null = [landscapes(i)[4] for i in range(4)]
    honest = [Campaign(x, make_policy("frontier"), 100, i).run() for i, x in enumerate(null)]
    plain = [keep_if_better(x, 100, i) for i, x in enumerate(null)]
    assert sum(o.is_false_champion for o in honest) == 0
    assert sum(o.is_false_champion for o in plain) >= 3


def test_the_frontier_finds_more_than_one_line_of_greedy_steps() -> None:
    found = {
        name: sum(campaign(("additive", name, 250, i)).true_gain for i in range(3))
        for name in ("frontier", "greedy")
    }
    assert found["frontier"] > 1.3 * found["greedy"]
