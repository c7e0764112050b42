"""A number that a program prints should vary where the reference's does."""

from __future__ import annotations

from collections.abc import Iterable

from novum.evals.arms import own, reference_trials, score
from novum.evals.evidence import found
from novum.evals.facts import Facts
from novum.lab.records import Evidence, Outcome, Purpose, Trial

STEP = "variation"
MIN_TRIALS = 3
"""Trials of each arm before sameness means something: two agree by rounding now and then."""


def check_variation(facts: Facts) -> Evidence:
    """FAIL (quarantine) where trials of different seeds report one number to the last digit while
    the reference's all differ: it may be printed and not measured. A person has to look."""
    mine = _scores(t for t in own(facts) if t.purpose is not Purpose.SMOKE)
    theirs = _scores(reference_trials(facts))
    does_vary = len(theirs) >= MIN_TRIALS and len(set(theirs)) == len(theirs)
    if len(mine) >= MIN_TRIALS and len(set(mine)) == 1 and does_vary:
        outcome = Outcome.FAIL
        text = (
            f"{len(mine)} trials of different seeds report {mine[0]:.10g} to the last digit, "
            f"{len(theirs)} of the reference all differ"
        )
    else:
        outcome, text = Outcome.PASS, f"{len(set(mine))} values in {len(mine)} trials"
    return found(facts.proposal.id, facts.candidate.tree, STEP, outcome, text)


def _scores(trials: Iterable[Trial]) -> list[float]:
    return [s for t in trials if (s := score(t)) is not None]
