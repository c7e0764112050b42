"""What cannot be true is not announced, whatever every other check says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

from novum.evals.arms import beside_reference, measured, score
from novum.evals.evidence import found
from novum.evals.facts import Facts
from novum.lab.records import Evidence, Outcome, Trial

STEP = "physics"


def check_physics(facts: Facts) -> Evidence:
    """FAIL (quarantine) beyond the pack's floor or after a jump that history makes implausible.

    The floor needs one trial only: a single time below the speed of light is impossible, however
    good the mean. The jump is that of the means on one split, as a fraction of the reference's.
    """
    terms = facts.terms
    mine = [(t.id, s) for t in measured(facts) if (s := score(t)) is not None]
    sign = 1.0 if terms.better == "higher" else -1.0
    if terms.floor is not None:
        floor = terms.floor
        beyond = [(i, s) for i, s in mine if not sign * s <= sign * floor]
        if beyond:
            trial, value = beyond[0]
            line = f"{terms.metric} {value:.6g} is beyond {floor:.6g}, which cannot be reached"
            return _evidence(facts, Outcome.FAIL, line, [trial])
    jumps = [_jump(sign, *trials) for trials in beside_reference(facts)]
    known = [jump for jump in jumps if jump is not None]
    if not known:
        return _evidence(facts, Outcome.PASS, "nothing to compare yet", [])
    share, gain = max(known, key=lambda jump: math.inf if math.isnan(jump[0]) else jump[0])
    line = f"one step of {share:+.1%} of the reference"
    if not share <= terms.max_jump:
        line += f"; above {terms.max_jump:.0%} a person has to look"
        return _evidence(facts, Outcome.FAIL, line, [i for i, _ in mine])
    best = max((p.gain for p in facts.history if p.gain is not None), default=0.0)
    if best > 0 and len(facts.history) >= 5 and gain > 10 * best:
        line += f"; more than ten times the best of {len(facts.history)} earlier gains"
        return _evidence(facts, Outcome.NOTE, line, [i for i, _ in mine])
    return _evidence(facts, Outcome.PASS, line, [])


def _jump(
    sign: float, mine: Iterable[Trial], theirs: Iterable[Trial]
) -> tuple[float, float] | None:
    """Gain as a share of the reference's mean, and in the metric's unit; `None` without both."""
    after, before = ([s for t in arm if (s := score(t)) is not None] for arm in (mine, theirs))
    if not after or not before:
        return None
    base = fmean(before)
    gain = sign * (fmean(after) - base)
    return gain / max(abs(base), 1e-12), gain


def _evidence(facts: Facts, outcome: Outcome, summary: str, trials: list[str]) -> Evidence:
    return found(facts.proposal.id, facts.candidate.tree, STEP, outcome, summary, trials=trials)
