"""Requirements: what must hold before the metric counts, such as a target loss of a speedrun."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from statistics import fmean, stdev

from novum.evals.arms import comparable, noise_arms, own, stage_arms
from novum.evals.evidence import found
from novum.evals.facts import Facts
from novum.evals.significance import beats_target
from novum.lab.counted import counted
from novum.lab.records import Evidence, Outcome, Purpose, Split, Trial, TrialStatus

STEP = "requirements"
LUCK_SDS = 2.5
"""A first trial this many sds beyond the limit is no bad luck any more."""


@dataclass(frozen=True, slots=True)
class Required:
    """Whether the requirements hold, and the candidate's trials that are missing to say so."""

    evidence: Evidence
    n_missing: int = 0

    @property
    def is_missed(self) -> bool:
        return self.evidence.outcome is Outcome.FAIL


def screen(facts: Facts) -> Evidence | None:
    """FAIL where the trials of the search split miss a limit by more than their noise.

    `None` where nothing is required.
    """
    return _look(facts, "search", [t for t in own(facts) if _counts(t, "search")], LUCK_SDS)


def hold_on_average(facts: Facts) -> Evidence | None:
    """FAIL where the mean of the race's trials is beyond a limit; `None` without requirements."""
    return _look(facts, "search", list(stage_arms(facts, Purpose.RACE, "search").candidate), 0.0)


def prove(facts: Facts, purpose: Purpose, split: Split) -> Required | None:
    """Test the declared trials of a claim; `None` where nothing is required.

    The first `trials` of the stage count, in the order of launch, however many the race ran: what
    is tested was fixed before any of them.
    """
    required = facts.terms.requirements
    if not required:
        return None
    ran = stage_arms(facts, purpose, split).candidate
    n_missing = max(r.trials for r in required.values()) - len(ran)
    if n_missing > 0:
        line = f"{len(ran)} of {len(ran) + n_missing} declared trials have run"
        return Required(_evidence(facts, Outcome.NOTE, [line], ran), n_missing)
    outcome, lines, detail = Outcome.PASS, [], {}
    for name, one in sorted(required.items()):
        limit = one.limit(split)
        if limit is None:
            outcome = Outcome.FAIL
            lines.append(f"the limit of {name} has not been measured")
            continue
        declared = ran[: one.trials]
        values = [_value(t, name) for t in declared]
        result = beats_target(
            values, limit, n_declared=one.trials, better=one.better, alpha=one.alpha
        )
        if not result.passes:
            outcome = Outcome.FAIL
        lines.append(
            f"{name} {result.mean:.6g} over {result.n} declared trials, "
            f"{_distance(result.margin)} of {limit:.6g}: {result.reason}"
        )
        detail[name] = {
            "mean": result.mean if isfinite(result.mean) else None,
            "limit": limit,
            "p_value": result.p_value,
            "values": values,
        }
    return Required(_evidence(facts, outcome, lines, ran, **detail))


def _look(facts: Facts, split: Split, trials: list[Trial], allowed_sds: float) -> Evidence | None:
    required = facts.terms.requirements
    if not required or not trials:
        return None
    outcome, lines, detail = Outcome.PASS, [], {}
    for name, one in sorted(required.items()):
        limit = one.limit(split)
        values = [v for t in trials if (v := _value(t, name)) is not None]
        if limit is None or not values:
            outcome = Outcome.FAIL
            lines.append(f"{name} or its limit was not measured")
            continue
        sign = 1.0 if one.better == "lower" else -1.0
        over = sign * (fmean(values) - limit)
        allowed = allowed_sds * _noise(facts, name) / len(values) ** 0.5
        if not over <= allowed:
            outcome = Outcome.FAIL
        lines.append(
            f"{name} {fmean(values):.6g} over {counted(len(values), 'trial')} is "
            f"{_distance(-over)} of {limit:.6g}"
        )
        detail[name] = {"mean": fmean(values), "limit": limit, "allowed": allowed}
    return _evidence(facts, outcome, lines, trials, **detail)


def _noise(facts: Facts, name: str) -> float:
    """Spread of a value over trials that differ by their seed only; 0 where it is not known."""
    squares, df = 0.0, 0
    arms = {**noise_arms(facts)}
    arms.setdefault(
        facts.reference,
        tuple(t for t in comparable(facts, "search") if t.tree == facts.reference),
    )
    for trials in arms.values():
        values = [v for t in trials if (v := _value(t, name)) is not None]
        if len(values) > 1:
            squares += stdev(values) ** 2 * (len(values) - 1)
            df += len(values) - 1
    return (squares / df) ** 0.5 if df else 0.0


def _value(trial: Trial, name: str) -> float | None:
    value = trial.observed.get(name)
    is_done = trial.status is TrialStatus.FINISHED
    return value if is_done and value is not None and isfinite(value) else None


def _counts(trial: Trial, split: Split) -> bool:
    return (
        trial.purpose in (Purpose.SEARCH, Purpose.RACE)
        and trial.split == split
        and trial.fidelity == "full"
        and trial.status is TrialStatus.FINISHED
    )


def _distance(margin: float) -> str:
    return f"{abs(margin):.4g} {'on the good side' if margin >= 0 else 'short'}"


def _evidence(
    facts: Facts,
    outcome: Outcome,
    lines: list[str],
    trials: list[Trial] | tuple[Trial, ...],
    **detail: object,
) -> Evidence:
    return found(
        facts.proposal.id,
        facts.candidate.tree,
        STEP,
        outcome,
        "; ".join(lines)[:600],
        trials=[t.id for t in trials],
        **detail,
    )
