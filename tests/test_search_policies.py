"""Policies are pure, beliefs shrink what was lucky, and the default finds more than its rivals."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from novum.agents.search.effects import MAX_IDEAS, Effects
from novum.agents.search.findings import Findings
from novum.agents.search.kinds import Kinds
from novum.agents.search.mixture import GRID
from novum.agents.search.registry import POLICIES, make_policy
from novum.evals.suites.search import SEVERAL, campaign, render, render_screens
from novum.evals.suites.simulated.campaign import PLAIN, Campaign, keep_if_better
from novum.evals.suites.simulated.landscapes import draw_idea, landscapes
from novum.evals.suites.simulated.screened import ScreenedCampaign
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


def test_trials_from_before_the_start_was_measured_do_not_pass_for_the_start() -> None:
    """As measured: two recipes in seconds, then the start, which takes four times as long."""
    effects = Effects()
    for idea in ("counted", "rotary"):
        effects.add(idea, Kind.DATA)
    effects.note("both", ("counted", "rotary"), -2.6)
    effects.note("one", ("counted",), -3.6)
    assert effects.value(("counted",)) == (0.0, 0.0) and effects.gains().ideas == ()
    for score in (-11.5, -10.2, -11.8, -12.0, -11.3):
        effects.note("start", (), score)
    for score in (-2.7, -2.6):
        effects.note("both", ("counted", "rotary"), score)
    for score in (-3.5, -4.0):
        effects.note("one", ("counted",), score)
    assert effects.level == pytest.approx(-11.4, abs=1.0)
    assert effects.mean_of(("counted",)) == pytest.approx(7.6, abs=1.5)
    assert effects.mean_of(("counted", "rotary")) == pytest.approx(8.7, abs=1.5)


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
    for i in range(MAX_IDEAS * 4 // 3):
        effects.add(f"i{i}", Kind.CONSTANTS)
        effects.note(f"t{i}", (f"i{i}",), -2.0 if i % 2 else 2.0)
    assert len(effects.ideas) <= MAX_IDEAS and not effects.settled  # one trial settles nothing
    assert all(int(idea[1:]) % 2 for idea in effects.gone)
    lost = next(iter(effects.gone))
    before = effects.gone[lost]
    effects.add(lost, Kind.CONSTANTS)
    assert effects.value((lost,)) == pytest.approx(before)


def test_ideas_that_never_ran_take_no_room_in_the_model() -> None:
    effects = effects_of_a_start()
    for i in range(2 * MAX_IDEAS):
        effects.add(f"broken{i}", Kind.SYSTEMS)
    effects.add("good", Kind.DATA)
    for _ in range(8):
        effects.note("tree", ("good",), 3.0)
    assert tuple(effects.ideas) == ("good",) and mean_of(effects, "good") > 1.0


def many_good_ideas(n_good: int, n_bad: int, n_trials: int) -> tuple[Effects, dict[str, float]]:
    """A model that was fed what a long campaign would: ideas come one by one, each is carried in
    three trials of four from then on, and the good ones help by one sd."""
    rng = Random(4)
    truth = {f"g{i}": 1.0 for i in range(n_good)} | {f"b{i}": -2.0 for i in range(n_bad)}
    names = sorted(truth, key=lambda _: rng.random())
    effects = effects_of_a_start()
    for i in range(n_trials):
        known = names[: 1 + i * len(names) // n_trials]
        some = []
        for idea in known:
            effects.add(idea, Kind.DATA)
            if idea not in effects.gone and rng.random() < 0.75:
                some.append(idea)
        score = sum(truth[idea] for idea in some) + rng.gauss(0.0, 1.0)
        effects.note(f"t{i}", some, score)
    return effects, truth


def test_a_run_with_more_good_ideas_than_the_model_holds_keeps_them_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("novum.agents.search.effects.MAX_IDEAS", 64)
    monkeypatch.setattr("novum.agents.search.effects.KEEP", 48)
    effects, truth = many_good_ideas(120, 40, 1_200)
    good = {idea for idea, effect in truth.items() if effect > 0}
    assert len(effects.ideas) <= 64 and len(effects.settled) > 40
    assert not good & effects.gone.keys() and not effects.settled.keys() - good
    # The whole is measured by every trial, however many parts of it have no column any more.
    gain, var = effects.value(tuple(good))
    assert gain == pytest.approx(120.0, abs=6.0) and var < 9.0
    assert effects.level == pytest.approx(0.0, abs=6.0)


def test_the_order_in_which_a_candidates_ideas_are_named_changes_nothing() -> None:
    rng = Random(5)
    one, other = effects_of_a_start(), effects_of_a_start()
    for i in range(80):
        some = [f"i{j}" for j in range(i // 2 + 1) if rng.random() < 0.5]
        score = rng.gauss(0.0, 1.0)
        for effects, named in ((one, some), (other, some[::-1])):
            for idea in named:
                effects.add(idea, Kind.DATA)
            effects.note(f"t{i}", named, score)
    a, b = one.gains(), other.gains()
    assert a.ideas == b.ideas
    assert np.array_equal(a.mean, b.mean) and np.array_equal(a.sd, b.sd)


def test_asking_what_is_believed_changes_nothing() -> None:
    asked, silent = effects_of_a_start(), effects_of_a_start()
    rng = Random(6)
    for i in range(60):
        score = rng.gauss(0.0, 1.0)
        for effects in (asked, silent):
            effects.add(f"i{i}", Kind.DATA)
            effects.note(f"t{i}", (f"i{i}", f"i{i // 2}"), score)
        asked.gains()
        asked.value((f"i{i}",))
        asked.kinds.draw((Kind.DATA, Kind.SYSTEMS), rng)
    assert np.array_equal(asked.gains().mean, silent.gains().mean)


def test_kinds_that_paid_are_drawn_more_often() -> None:
    kinds = Kinds()
    good, bad = (np.eye(len(GRID))[int(np.abs(GRID - x).argmin())] for x in (3.0, -1.0))
    for _ in range(12):
        kinds.add(Kind.DATA, good)
        kinds.add(Kind.CONSTANTS, bad)
    drawn = [kinds.draw((Kind.CONSTANTS, Kind.DATA), Random(i)) for i in range(40)]
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


def test_an_index_fed_with_the_same_records_chooses_the_same_after_ideas_were_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("novum.agents.search.effects.MAX_IDEAS", 48)
    monkeypatch.setattr("novum.agents.search.effects.KEEP", 36)
    run = Campaign(landscapes(8)[0], make_policy("frontier"), 400, 8)
    again = Findings("higher", move_kinds=run.kinds)
    follow(run.findings, again, monkeypatch)
    run.run()
    assert run.findings.effects.settled == again.effects.settled != {}
    for seed in range(5):
        choices = [run.policy.choose(f, 0, Random(seed)) for f in (run.findings, again)]
        assert choices[0] == choices[1]
        assert set(again.effects.settled) <= set(choices[0].carry or ())


def follow(first: Findings, second: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand every record that the first gets to the second, as a resumed run reads the ledger."""
    for name in ("proposal", "candidate", "trial", "verdict", "dropped", "clashes"):
        original = getattr(first, f"note_{name}")
        copy = getattr(second, f"note_{name}")

        def both(*given: Any, _one: Any = original, _other: Any = copy, **named: Any) -> None:
            _one(*given, **named)
            _other(*given, **named)

        monkeypatch.setattr(first, f"note_{name}", both)


def test_a_screen_that_does_not_predict_switches_itself_off() -> None:
    blind = [ScreenedCampaign(landscapes(i)[0], make_policy("greedy"), 100, i, 0.0) for i in (1, 2)]
    outcomes = [campaign.run() for campaign in blind]
    assert all(o.off_at is not None and o.n_saved <= 3 for o in outcomes)
    table = render_screens(outcomes)
    assert "| 100 | additive | greedy, screen 0 |" in table and "2 of 2" in table


def test_the_cheap_fidelity_correlates_as_it_was_told_to() -> None:
    landscape = landscapes(1)[0]
    rng = Random(7)
    ideas = [frozenset([i]) for _ in range(800) if (i := draw_idea(Kind.DATA, rng))]
    full = [landscape.value(i) for i in ideas]
    for told in (0.0, 0.5, 0.9):
        cheap = [landscape.cheap_value(i, told) for i in ideas]
        assert np.corrcoef(full, cheap)[0, 1] == pytest.approx(told, abs=0.12)


def test_a_simulated_campaign_repeats_and_stays_within_its_budget() -> None:
    task = ("additive", "frontier", 100, 5)
    first = campaign(task)
    assert first == campaign(task) and first.cost <= 105 + 1e-6
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


def test_the_plain_loop_keeps_several_new_ideas_or_none_of_them() -> None:
    one, several = (campaign(("additive", policy, 60, 3)) for policy in (PLAIN, SEVERAL))
    assert several.policy == SEVERAL and one.policy == PLAIN
    assert several.true_gain != one.true_gain and abs(several.cost - 60) < 2
    land = landscapes(3)[0]
    assert keep_if_better(land, 60, 3, n_new=1).true_gain == one.true_gain
