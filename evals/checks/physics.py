"""What cannot be true is not announced, whatever every other check says."""

from __future__ import annotations

from statistics import fmean

from novum.evals.arms import own, reference_trials, score
from novum.evals.evidence import found
from novum.evals.facts import Facts
from novum.lab.records import Evidence, Outcome, Purpose

STEP = "physics"


def check_physics(facts: Facts) -> Evidence:
    """FAIL (quarantine) beyond the pack's floor or after a jump that history makes implausible.

    The floor needs one trial only: a single time below the speed of light is impossible, however
    good the mean. The jump is taken from the mean, as a fraction of the reference's.
    """
    terms = facts.terms
    mine = [
        (t.id, s)
        for t in own(facts)
        if t.purpose not in (Purpose.SMOKE, Purpose.SCREEN) and (s := score(t)) is not None
    ]
    sign = 1.0 if terms.better == "higher" else -1.0
    if terms.floor is not None:
        floor = terms.floor
        beyond = [(i, s) for i, s in mine if not sign * s <= sign * floor]
        if beyond:
            trial, value = beyond[0]
            line = f"{terms.metric} {value:.6g} is beyond {floor:.6g}, which cannot be reached"
            return _evidence(facts, Outcome.FAIL, line, [trial])
    before = [s for t in reference_trials(facts) if (s := score(t)) is not None]
    if not mine or not before:
        return _evidence(facts, Outcome.PASS, "nothing to compare yet", [])
    base = fmean(before)
    gain = sign * (fmean(s for _, s in mine) - base)
    jump = gain / max(abs(base), 1e-12)
    line = f"one step of {jump:+.1%} of the reference"
    if not jump <= terms.max_jump:
        line += f"; above {terms.max_jump:.0%} a person has to look"
        return _evidence(facts, Outcome.FAIL, line, [i for i, _ in mine])
    best = max((p.gain for p in facts.history if p.gain is not None), default=0.0)
    if best > 0 and len(facts.history) >= 5 and gain > 10 * best:
        line += f"; more than ten times the best of {len(facts.history)} earlier gains"
        return _evidence(facts, Outcome.NOTE, line, [i for i, _ in mine])
    return _evidence(facts, Outcome.PASS, line, [])


def _evidence(facts: Facts, outcome: Outcome, summary: str, trials: list[str]) -> Evidence:
    return found(facts.proposal.id, facts.candidate.tree, STEP, outcome, summary, trials=trials)
