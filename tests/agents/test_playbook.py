"""How the playbook chooses and codes, and where the search policies send it."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from novum.agents.brains.choose import bundle_size, choose, scaled
from novum.agents.brains.playbook import PlaybookModel
from novum.agents.brains.registry import make_brain
from novum.agents.prompting import render
from novum.agents.search.findings import Findings
from novum.agents.search.registry import make_policy
from novum.agents.situation import Branch, BudgetLeft, ConstantFact, Situation, Technique
from novum.errors import UnknownName
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

HEAD = Branch(tree="a" * 40, label="start", gain=0.0, n_trials=5)


def situation(**changes: Any) -> Situation:
    given: dict[str, Any] = {
        "benchmark": "b",
        "metric": "loss",
        "better": "lower",
        "task": "Lower it.",
        "thread": 0,
        "iteration": 0,
        "mode": "improve",
        "parents": (HEAD,),
    }
    return Situation(**given | changes)


def technique(name: str, prior: float, kind: str = "architecture", **more: Any) -> Technique:
    return Technique(name=name, kind=kind, hypothesis=f"{name} helps.", prior=prior, **more)


def picks(n: int = 200, **changes: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in range(n):
        name, args = choose(situation(random=seed, **changes))
        found.update(args["move"].get("apply", ()) if name == "propose" else [name])
    return found


def test_the_same_random_state_gives_the_same_choice_and_another_may_not() -> None:
    many = tuple(technique(f"t{i}", 0.02) for i in range(8))
    assert choose(situation(techniques=many, random=3)) == choose(
        situation(techniques=many, random=3)
    )
    assert len(picks(techniques=many)) == 8


def test_what_the_pack_expects_more_of_comes_first_until_evidence_says_otherwise() -> None:
    strong, weak = technique("strong", 0.1), technique("weak", 0.0)
    assert picks(techniques=(strong, weak)).most_common(1)[0][0] == "strong"
    failed = technique("strong", 0.1, tried=6, gain_sum=-0.3, weight=6.0)
    paid = technique("weak", 0.0, tried=6, won=6, gain_sum=0.3, weight=6.0)
    assert picks(techniques=(failed, paid)).most_common(1)[0][0] == "weak"


def test_present_tried_broken_and_unfitting_techniques_are_left_alone() -> None:
    head = HEAD.model_copy(update={"moves": ("here",)})
    many = (
        technique("here", 0.5),
        technique("tried", 0.5),
        technique("unfit", 0.5, applies=False),
        technique("broken", 0.5, broken=2),
        technique("open", 0.01),
    )
    assert set(picks(parents=(head,), techniques=many, attempted=("+tried",))) == {"open"}


def test_scarce_trials_stack_strong_techniques_of_different_kinds() -> None:
    many = tuple(
        technique(f"{kind}{i}", 0.2, kind) for kind in ("data", "optimiser") for i in range(6)
    )
    name, args = choose(situation(techniques=many, budget=BudgetLeft(trials=18)))
    assert name == "propose" and len(args["move"]["apply"]) == 4
    assert {n.rstrip("0123456789") for n in args["move"]["apply"][:2]} == {"data", "optimiser"}
    drawn = [(0.2, t) for t in many]
    assert bundle_size(drawn, situation(budget=BudgetLeft(trials=10_000))) == 1
    assert bundle_size(drawn, situation()) == 1


def test_constants_are_turned_when_techniques_run_dry_and_a_winning_direction_is_kept() -> None:
    fact = ConstantFact(name="RATE", value="0.1", better="up")
    up = 0
    for seed in range(100):
        _, args = choose(situation(constants=(fact,), random=seed))
        up += float(args["move"]["set"]["RATE"]) > 0.1
    assert up > 80
    assert choose(situation())[0] == "nothing_left"
    done = ConstantFact(name="N", value="1", tried=("2", "1", "0"))
    assert choose(situation(constants=(done,)))[0] == "nothing_left"


@pytest.mark.parametrize(
    ("text", "factor", "want"),
    [
        ("4", 0.5, "2"),
        ("1", 0.7, None),
        ("1", 0.5, None),
        ("0.01", 2.0, "0.02"),
        ("0", 2.0, None),
        ("x", 2.0, None),
    ],
)
def test_scaling_keeps_integers_whole(text: str, factor: float, want: str | None) -> None:
    assert scaled(text, factor) == want


def test_branches_are_merged_with_the_missing_techniques_as_a_fallback() -> None:
    first = HEAD.model_copy(update={"moves": ("a",)})
    second = HEAD.model_copy(update={"tree": "b" * 40, "moves": ("a", "c", "RATE=2")})
    name, args = choose(situation(mode="combine", parents=(first, second)))
    assert name == "propose" and args["parents"] == [first.tree, second.tree]
    assert args["move"] == {"merge": True, "apply": ["c"]}


def coder(move: dict[str, Any], *replies: str) -> list[tuple[str, Any]]:
    """The calls that the playbook makes after its first answer got these replies."""
    proposal = {"hypothesis": "h", "move": move, "parents": ["x", "y"]}
    messages: list[Any] = [HumanMessage("go", additional_kwargs={"proposal": proposal})]
    model = PlaybookModel()
    answer = model.invoke(messages)
    if replies:
        messages.append(answer)
        for call, text in zip(answer.tool_calls, replies, strict=True):
            messages.append(ToolMessage(text, tool_call_id=call["id"] or ""))
        answer = model.invoke(messages)
    assert isinstance(answer, AIMessage)
    return [(c["name"], c["args"]) for c in answer.tool_calls]


def test_the_playbook_codes_through_tool_calls_and_leaves_out_what_does_not_fit() -> None:
    move = {"apply": ["a", "b", "c"]}
    assert [n for n, _ in coder(move)] == ["apply_move"] * 3 + ["submit"]
    after = coder(move, "changed", "error: b does not fit", "skipped", "skipped")
    assert after == [("apply_move", {"name": "c"}), ("submit", {"summary": "h"})]
    after = coder({"apply": ["a"]}, "error: no", "skipped")
    assert after == [("give_up", {"reason": "error: no"})]


def test_a_merge_that_conflicts_falls_back_on_stacking_the_techniques() -> None:
    move = {"merge": True, "apply": ["c"]}
    assert [n for n, _ in coder(move)] == ["merge_candidates", "submit"]
    after = coder(move, "error: both changed the same lines", "skipped")
    assert after == [("apply_move", {"name": "c"}), ("submit", {"summary": "h"})]


def test_an_unknown_brain_or_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownName, match="playbook"):
        make_brain("oracle")
    with pytest.raises(UnknownName, match="frontier"):
        make_policy("luck")


def test_the_planner_prompt_tells_all_and_never_calls_an_unconfirmed_candidate_proven() -> None:
    promising = Branch(tree="b" * 40, label="promising", gain=0.1, n_trials=2, moves=("a",))
    text = render(
        "planner",
        s=situation(
            frontier=(promising,),
            directives=("[d1] Be bold.",),
            techniques=(technique("muon", 0.1),),
            constants=(ConstantFact(name="RATE", value="0.1", tried=("0.2",)),),
            attempted=("+muon",),
            budget=BudgetLeft(trials=12, experiments=3),
        ),
        task="Lower it.",
    )
    for part in ("Be bold.", "`muon`", "`RATE = 0.1`; tried: 0.2", "about 12 trials", "+10.00%"):
        assert part in text
    assert "only `confirmed` was measured again" in text and "confirmed, estimated" not in text


def grown() -> Findings:
    """A start, and two branches that each won a race against it."""
    findings = Findings("lower")
    findings.note_candidate(Candidate("start", "c0", (), "start:plain", "Start"))
    note_trials(findings, "start", "start:plain", Purpose.NOISE, 1.0)
    for tree, name, value in (("left", "a", 0.8), ("right", "b", 0.9)):
        proposal = Proposal(
            f"p-{tree}", 0, 0, "h", Kind.ARCHITECTURE, ("start",), "playbook", {"apply": [name]}
        )
        findings.note_proposal(proposal)
        findings.note_candidate(Candidate(tree, tree, ("start",), proposal.id, name))
        note_trials(findings, tree, proposal.id, Purpose.RACE, value)
        findings.note_verdict(
            Verdict(f"v-{tree}", proposal.id, tree, "start", Label.PROMISING, "won", 1.0 - value)
        )
    return findings


def note_trials(
    findings: Findings, tree: str, proposal: str, purpose: Purpose, value: float
) -> None:
    findings.note_trial(
        Trial(
            f"t-{tree}", "k", tree, proposal, purpose, "search", "full", 1, 0, "h", "w", 0,
            TrialStatus.FINISHED, metric=value,
        )
    )  # fmt: skip


def test_the_head_is_the_best_that_won_and_moves_are_credited() -> None:
    findings = grown()
    assert [n.tree for n in findings.frontier] == ["left", "right", "start"]
    assert findings.gain(findings.head) == pytest.approx(0.2)
    assert findings.moves["a"].won == 1 and findings.moves["b"].gain_sum == pytest.approx(0.1)
    assert findings.kinds[Kind.ARCHITECTURE].tried == 2
    assert findings.tried_on(("start",)) == {"+a": "p-left", "+b": "p-right"}


def test_frontier_carries_what_is_believed_to_help_and_greedy_improves_the_head() -> None:
    findings = grown()
    policy = make_policy("frontier")
    choices = [policy.choose(findings, 0, Random(seed)) for seed in range(20)]
    carried = Counter(idea for choice in choices for idea in choice.carry or ())
    assert set(carried) == {"a", "b"} and min(carried.values()) > 12
    assert all(set(findings.nodes[c.parents[0]].ideas) <= set(c.carry or ()) for c in choices)
    assert policy.final_set(findings) == ("a", "b")
    assert make_policy("greedy").choose(findings, 0, Random(0)).parents == ("left",)


def test_a_sealed_test_that_decides_nothing_takes_nothing_from_a_race_that_was_won() -> None:
    findings = grown()
    for label, stays in ((Label.INCONCLUSIVE, True), (Label.CONFIRMED, True), (Label.NOISE, False)):
        findings.note_verdict(
            Verdict("v", "certify-left", "left", "start", label, "", split="sealed")
        )
        assert ("left" in [n.tree for n in findings.frontier]) is stays
    assert findings.n_closed == 2
