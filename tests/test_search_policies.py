"""Policies are pure, beliefs shrink what was lucky, and the default finds more than its rivals."""

from __future__ import annotations

from random import Random

import pytest

from novum.agents.search.beliefs import Beliefs
from novum.agents.search.registry import POLICIES, make_policy
from novum.evals.suites.search import campaign, render
from novum.evals.suites.simulated.campaign import Campaign, keep_if_better
from novum.evals.suites.simulated.landscapes import landscapes
from novum.lab.records import Kind


def beliefs_of_a_start(*scores: float) -> Beliefs:
    beliefs = Beliefs()
    beliefs.add_start("start")
    for score in scores:
        beliefs.note("start", score)
    return beliefs


def test_one_lucky_trial_moves_a_belief_less_than_it_says_and_repeats_move_it_on() -> None:
    beliefs = beliefs_of_a_start(-1.0, 0.0, 1.0, -1.0, 1.0)
    beliefs.add("child", ("start",), "start", Kind.DATA)
    beliefs.note("child", 2.0)
    once = beliefs.known["child"].mean
    assert 0.0 < once < 1.0
    for _ in range(7):
        beliefs.note("child", 2.0)
    assert 1.5 < beliefs.known["child"].mean < 2.1
    assert beliefs.top[0] == "child" and beliefs.beats("child", "start")


def test_a_merge_is_believed_to_be_the_sum_of_what_its_parents_gained() -> None:
    beliefs = beliefs_of_a_start(-1.0, 0.0, 1.0, -1.0, 1.0)
    for name in ("a", "b"):
        beliefs.add(name, ("start",), "start", Kind.DATA)
        for score in (2.5, 3.5, 3.0):
            beliefs.note(name, score)
    beliefs.add("ab", ("a", "b"), "start", Kind.COMBINATION)
    gains = [beliefs.known[n].mean - beliefs.known["start"].mean for n in ("a", "b", "ab")]
    assert beliefs.known["ab"].prior - beliefs.known["start"].mean == pytest.approx(sum(gains[:2]))


def test_effects_larger_than_any_known_are_believed_as_measured() -> None:
    beliefs = beliefs_of_a_start(-1.0, 0.0, 1.0, -1.0, 1.0)
    for name, score in (("a", 40.0), ("b", 41.0)):  # both hold the same large gain
        beliefs.add(name, ("start",), "start", Kind.DATA)
        beliefs.note(name, score)
        assert beliefs.known[name].mean == pytest.approx(score, abs=1.0)
    beliefs.add("ab", ("a", "b"), "start", Kind.COMBINATION)
    beliefs.note("ab", 39.0)
    assert beliefs.top == ["b", "a", "ab", "start"]


def test_kinds_that_paid_are_expected_to_pay_and_a_banned_candidate_is_not_built_on() -> None:
    beliefs = beliefs_of_a_start(-1.0, 0.0, 1.0, -1.0, 1.0)
    for i in range(12):
        for kind, score in ((Kind.DATA, 3.0), (Kind.CONSTANTS, -1.0)):
            tree = f"{kind}{i}"
            beliefs.add(tree, ("start",), "start", kind)
            beliefs.note(tree, score)
            beliefs.close(tree)
    assert beliefs.expected_gain(Kind.DATA) > 3 * beliefs.expected_gain(Kind.CONSTANTS)
    beliefs.ban("data0")
    assert "data0" not in beliefs.top


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
