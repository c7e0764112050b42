"""From the findings of all steps to a label: the last, and purely logical, part of the audit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite

from novum.evals.checks.luck import Tested, shrunken
from novum.evals.evidence import worst
from novum.evals.facts import Facts, Judgement, MoreTrials
from novum.evals.significance import NoiseModel
from novum.lab.counted import counted
from novum.lab.records import Evidence, Label, Outcome, Purpose, Split, Verdict

SELF_REPORTED = "the metric is self-reported"
"""What the reason of every good verdict on such a metric ends with."""


@dataclass(slots=True)
class Ruling:
    """Collects evidence step by step and turns it into a judgement."""

    facts: Facts
    evidence: list[Evidence] = field(default_factory=list)

    def add(self, record: Evidence) -> Evidence:
        """Keep a record and hand it back."""
        self.evidence.append(record)
        return record

    @property
    def is_suspicious(self) -> bool:
        """Whether some step asked for an extra check."""
        return worst(self.evidence) is Outcome.CONFIRM

    def ask(
        self, candidate: int, reference: int, purpose: Purpose, split: Split, reason: str
    ) -> Judgement:
        """No verdict yet: more trials."""
        more = MoreTrials(candidate, reference, purpose, split, reason)
        return Judgement(more, tuple(self.evidence))

    def rule(
        self,
        label: Label,
        reason: str,
        *,
        gain: float | None = None,
        interval: tuple[float, float] | None = None,
        p_value: float | None = None,
        split: Split = "search",
    ) -> Judgement:
        """A verdict that lists every record so far."""
        facts = self.facts
        if facts.terms.self_reported and label in (Label.CONFIRMED, Label.PROMISING):
            reason = f"{reason}; {SELF_REPORTED}"
        ids = tuple(e.id for e in self.evidence)
        content = json.dumps([facts.proposal.id, facts.candidate.tree, facts.aim, label, ids])
        verdict = Verdict(
            id=f"verdict-{sha256(content.encode()).hexdigest()[:16]}",
            proposal=facts.proposal.id,
            tree=facts.candidate.tree,
            reference=facts.reference,
            label=label,
            reason=reason,
            gain=gain if gain is not None and isfinite(gain) else None,
            interval=interval,
            p_value=p_value,
            split=split,
            evidence=ids,
            n_ideas=facts.n_ideas,
            created_s=facts.at_s,
        )
        return Judgement(verdict, tuple(self.evidence))

    def rule_tested(
        self, label: Label, reason: str, tested: Tested, split: Split, *, gain: float | None = None
    ) -> Judgement:
        """A verdict with the numbers of a race or confirmation."""
        result = tested.result
        low, high = result.low, result.high
        return self.rule(
            label,
            reason,
            gain=result.estimate if gain is None else gain,
            interval=(low, high) if isfinite(low) and isfinite(high) else None,
            p_value=result.p_value,
            split=split,
        )


def label_static(failed: Sequence[Evidence]) -> Label:
    """A broken rule of conduct is a hack; a file out of place or an empty change is invalid."""
    return Label.HACK if any(e.step == "rules" for e in failed) else Label.INVALID


def lost_race(ruling: Ruling, tested: Tested, noise: NoiseModel, split: Split) -> Judgement:
    """The verdict on a race or confirmation that was not won."""
    result = tested.result
    if result.is_regression:
        return ruling.rule_tested(Label.REGRESSION, f"worse: {result.reason}", tested, split)
    if result.outcome == "futile" or not result.estimate > 0:
        return ruling.rule_tested(Label.NOISE, result.reason, tested, split)
    reason = f"{result.reason}; {trials_wanted(result.estimate, noise, result.alpha)}"
    return ruling.rule_tested(Label.INCONCLUSIVE, reason, tested, split)


def trials_wanted(gain: float, noise: NoiseModel, alpha: float) -> str:
    """How many trials would tell whether a gain of this size is real."""
    needed = noise.trials_needed(gain, alpha=alpha) if gain > 0 and isfinite(gain) else None
    if needed is None:
        return "more trials than anyone will run could not resolve an effect of this size"
    return f"an effect of this size takes about {counted(needed, 'trial')} an arm at {alpha:g}"


def worth(facts: Facts, tested: Tested) -> float:
    """The gain to print for a race that stopped early: drawn towards what the run says of ideas."""
    value = shrunken(facts, tested.result.estimate, tested.error).shrunk
    return value if isfinite(value) else tested.result.estimate
