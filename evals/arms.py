"""Sort recorded trials into the arms of an experiment.

Only trials under the same harness, grader, data and hardware class can be compared, and the trials
that selected a candidate never count for it: SMOKE, SCREEN and SEARCH trials stay out of every
arm that is tested, and no seed counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from novum.evals.facts import Facts
from novum.lab.records import Purpose, Split, Trial, TrialStatus

UNSELECTED = frozenset({Purpose.NOISE, Purpose.RACE})
"""Purposes whose trials were not looked at before it was decided to keep them."""
SEALED = frozenset({Purpose.CONFIRM, Purpose.CERTIFY})
"""The same on the sealed split, where nothing is selected."""
SPLITS: tuple[Split, ...] = ("search", "sealed")
TESTING = (Purpose.RACE, Purpose.CONFIRM, Purpose.CERTIFY)
"""Purposes whose trials decide."""


@dataclass(frozen=True, slots=True)
class Arms:
    """Trials of both arms of one stage, in order of launch."""

    reference: tuple[Trial, ...]
    candidate: tuple[Trial, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(t.id for t in (*self.reference, *self.candidate))


def score(trial: Trial) -> float | None:
    """The observed metric; `None` for a trial that failed."""
    return trial.metric if trial.status is TrialStatus.FINISHED else None


def own(facts: Facts, *purposes: Purpose) -> tuple[Trial, ...]:
    """Settled trials of the candidate in this experiment, for the given purposes or all."""
    return tuple(t for t in facts.own if not purposes or t.purpose in purposes)


def measured(facts: Facts) -> tuple[Trial, ...]:
    """Settled trials of the candidate in this experiment whose metric says how good it is."""
    return tuple(t for t in own(facts) if t.purpose not in (Purpose.SMOKE, Purpose.SCREEN))


def measuring(facts: Facts) -> tuple[str, str] | None:
    """Harness digest and hardware class of the candidate's latest trial."""
    trials = [t for t in facts.own if t.purpose is not Purpose.SMOKE]
    return (trials[-1].harness, trials[-1].hardware) if trials else None


def comparable(facts: Facts, split: Split) -> tuple[Trial, ...]:
    """Settled trials at full fidelity on a split under the candidate's harness and hardware."""
    where = measuring(facts)
    return facts.by_setting.get((split, "full", *where), ()) if where else ()


def stage_arms(facts: Facts, purpose: Purpose, split: Split) -> Arms:
    """Both arms of a testing stage of this proposal; a repeated seed counts once."""
    stage = [
        t
        for t in comparable(facts, split)
        if t.purpose is purpose and t.proposal == facts.proposal.id
    ]
    selecting = (
        {t.seed for t in own(facts, Purpose.SMOKE, Purpose.SCREEN, Purpose.SEARCH)}
        if split == "search"
        else set()
    )
    return Arms(
        _distinct(t for t in stage if t.tree == facts.reference),
        _distinct(t for t in stage if t.tree == facts.candidate.tree and t.seed not in selecting),
    )


def reference_trials(facts: Facts, split: Split = "search") -> tuple[Trial, ...]:
    """Unselected trials of the reference: what a first trial is compared with."""
    unselected = UNSELECTED if split == "search" else SEALED
    return _distinct(
        t for t in comparable(facts, split) if t.tree == facts.reference and t.purpose in unselected
    )


def beside_reference(facts: Facts) -> list[tuple[tuple[Trial, ...], tuple[Trial, ...]]]:
    """By split, the candidate's trials that measure it and those of the reference beside them."""
    mine = measured(facts)
    if facts.terms.rules < 2:
        return [(mine, reference_trials(facts))]
    return [
        (tuple(t for t in mine if t.split == split), reference_trials(facts, split))
        for split in SPLITS
    ]


def noise_arms(facts: Facts) -> dict[str, tuple[Trial, ...]]:
    """Unselected trials of other experiments by tree: arms that differ by their seed only.

    Once this proposal's race has begun, what other threads measure later is left out, so that the
    bounds of a race do not move while it runs.
    """
    began = min((t.launched_s for t in own(facts, *TESTING)), default=inf)
    arms: dict[str, list[Trial]] = {}
    for trial in comparable(facts, "search"):
        is_other = trial.purpose in UNSELECTED and trial.proposal != facts.proposal.id
        if is_other and trial.ended_s <= began:
            arms.setdefault(trial.tree, []).append(trial)
    return {tree: _distinct(trials) for tree, trials in sorted(arms.items())}


def _distinct(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    by_seed: dict[int, Trial] = {}
    for trial in trials:
        by_seed.setdefault(trial.seed, trial)
    return tuple(by_seed.values())
