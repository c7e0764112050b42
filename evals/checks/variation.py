"""A number that a program prints should vary where the reference's does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from novum.evals.arms import beside_reference, measured, score
from novum.evals.evidence import found
from novum.evals.facts import Facts
from novum.lab.counted import counted
from novum.lab.records import Evidence, Outcome, Trial

STEP = "variation"
CHANCE = 0.01
"""Sameness that rounding explains more often than this means nothing."""


def check_variation(facts: Facts) -> Evidence:
    """FAIL (quarantine) where trials of different seeds report one number to the last digit, while
    the reference's differ so much that this is no chance: it may be printed and not measured. A
    person has to look."""
    outcome, text = Outcome.PASS, ""
    for trials in beside_reference(facts):
        mine, theirs = map(_scores, trials)
        if len(set(mine)) == 1 and sameness(theirs) ** (len(mine) - 1) < CHANCE:
            outcome = Outcome.FAIL
            text = (
                f"{len(mine)} trials of different seeds report {mine[0]:.10g} to the last digit, "
                f"{len(theirs)} of the reference give {len(set(theirs))} values"
            )
    if not text:
        mine = _scores(measured(facts))
        text = f"{counted(len(set(mine)), 'value')} in {counted(len(mine), 'trial')}"
    return found(facts.proposal.id, facts.candidate.tree, STEP, outcome, text)


def sameness(values: list[float]) -> float:
    """Chance that two trials report the same number, from those that were seen (add-one rule)."""
    pairs = len(values) * (len(values) - 1) // 2
    same = sum(n * (n - 1) // 2 for n in Counter(values).values())
    return (same + 1) / (pairs + 1)


def _scores(trials: Iterable[Trial]) -> list[float]:
    return [s for t in trials if (s := score(t)) is not None]
