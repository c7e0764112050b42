"""Guardrails: a second metric that a win must not pay with."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from novum.evals.arms import comparable, own
from novum.evals.evidence import RANK, found
from novum.evals.facts import Facts
from novum.evals.significance import guardrail
from novum.lab.records import Evidence, Outcome, Purpose, Trial, TrialStatus
from novum.lab.units import measured

STEP = "guardrails"


def check_guardrails(facts: Facts) -> Evidence:
    """FAIL where the candidate is worse than the reference by more than the margin, beyond doubt.

    A guardrail that the reference has and the candidate lacks fails too: leaving a measurement out
    must not be a way past it.
    """
    mine = _finished(own(facts))
    splits = (comparable(facts, "search"), comparable(facts, "sealed"))
    theirs = _finished(t for trials in splits for t in trials if t.tree == facts.reference)
    outcome, lines = Outcome.PASS, []
    for name, rail in sorted(facts.terms.guardrails.items()):
        before = [t.observed[name] for t in theirs if name in t.observed]
        after = [t.observed[name] for t in mine if name in t.observed]
        if not before or not mine:
            continue
        if not after or not all(map(isfinite, after)):
            outcome = Outcome.FAIL
            lines.append(f"{name} was not measured")
            continue
        result = guardrail(before, after, rail.margin, better=rail.better)
        said = {"kept": Outcome.PASS, "unsure": Outcome.NOTE, "violated": Outcome.FAIL}
        outcome = max(outcome, said[result.status], key=RANK.__getitem__)
        lines.append(f"{name} {result.status}: {_said(facts, name, result.harm, result.allowed)}")
    summary = "; ".join(lines) or "the pack has no guardrail that was measured in both arms"
    return found(facts.proposal.id, facts.candidate.tree, STEP, outcome, summary)


def _said(facts: Facts, name: str, harm: float, allowed: float) -> str:
    if facts.terms.rules < 2:
        return f"worse by {harm:.6g}, allowed {allowed:.6g}"
    way = "worse" if harm > 0 else "better"
    return f"{way} by {measured(name, abs(harm))}, {measured(name, allowed)} worse are allowed"


def _finished(trials: Iterable[Trial]) -> list[Trial]:
    return [
        t
        for t in trials
        if t.status is TrialStatus.FINISHED
        and t.fidelity == "full"
        and t.purpose is not Purpose.SMOKE
    ]
