"""What the auditor decides from, and what it may decide.

`Facts` holds recorded values only and serialises to JSON (`dump_facts`, `load_facts`): a verdict
can be recomputed anywhere from the facts alone, without the run, the pack or the machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Literal

from pydantic import TypeAdapter

from novum.benchmarks.pack import Guardrail, Manifest, Profile, Requirement, Win
from novum.lab.records import (
    Better,
    Candidate,
    Evidence,
    Proposal,
    Purpose,
    Split,
    Trial,
    TrialStatus,
    Verdict,
)

Aim = Literal["race", "confirm", "certify"]
RULES = 2
"""Version of the auditor's rules; what they said before stays, so that old bundles can be checked.

2: a jump, and numbers that do not vary, are looked for on each split beside the reference's trials
there. Before, trials of the search split were all they were compared with, and a claim has none.
Guardrails are told in units.
"""


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything of a pack's manifest and profile that a verdict depends on."""

    metric: str
    better: Better
    win: Win
    guardrails: dict[str, Guardrail]
    max_jump: float
    clock: Literal["wall", "cpu"]
    budget_s: float
    noise_trials: int
    floor: float | None = None
    self_reported: bool = False
    requirements: dict[str, Requirement] = field(default_factory=dict)
    noise: Literal["absolute", "relative"] = "absolute"
    rules: int = 1
    """Version of the rules that hold; records from before there were versions have none."""

    @classmethod
    def of(cls, manifest: Manifest, profile: Profile) -> Terms:
        """The terms of one profile of a pack."""
        return cls(
            metric=manifest.metric.name,
            better=manifest.metric.better,
            win=manifest.win,
            guardrails=dict(manifest.guardrails),
            max_jump=profile.max_jump or manifest.max_jump,
            clock=profile.clock,
            budget_s=profile.budget_s,
            noise_trials=profile.noise_trials,
            floor=manifest.floor,
            self_reported=manifest.self_reported,
            requirements=dict(profile.requirements),
            noise=manifest.metric.noise,
            rules=RULES,
        )


@dataclass(frozen=True, slots=True)
class PastIdea:
    """What came of an earlier proposal of the run, won or lost; leave none out."""

    gain: float | None
    """In the metric's unit, positive is better; `None` where nothing was measured."""
    error: float
    """Standard error of `gain`."""
    confirm_p: float | None
    """p-value of its confirmation, if it came to one."""
    ended_s: float

    @classmethod
    def of(cls, verdict: Verdict, evidence: Iterable[Evidence]) -> PastIdea:
        """From a verdict and its evidence records."""
        gain, error, p_value = None, 0.0, None
        for record in evidence:
            if (
                record.step in ("gate", "race", "confirm")
                and record.detail.get("error") is not None
            ):
                gain, error = record.detail["gain"], record.detail["error"]
            if record.step == "confirm":
                p_value = record.detail.get("p_value")
        return cls(gain, error, p_value, verdict.created_s)


SETTLED = frozenset({TrialStatus.FINISHED, TrialStatus.CRASHED, TrialStatus.TIMEOUT})
"""The candidate's own doing. A killed or lost trial is nobody's score and is run again."""


@dataclass(frozen=True)
class Facts:
    """The recorded facts about one proposal.

    `trials` are those of this proposal, both arms, and the run's NOISE and RACE trials whatever
    their proposal (the noise and the reference's mean come from them). More does no harm: the
    auditor picks by proposal, tree, purpose, split, fidelity, harness and hardware.
    """

    proposal: Proposal
    candidate: Candidate
    reference: str
    """Tree hash of what the candidate has to beat."""
    terms: Terms
    trials: tuple[Trial, ...]
    static: tuple[Evidence, ...] = ()
    """What `precheck` and the model review found."""
    history: tuple[PastIdea, ...] = ()
    n_ideas: int = 0
    race_at: float = 0.0
    """Sds that a first trial must lie above the reference to be raced, where the search policy asks
    for more than the gate does: what lies between stays unproven."""
    aim: Aim = "race"
    """How far to go: to promising, to an entry of the list, or to a headline."""
    at_s: float = 0.0
    """Time that the verdict will carry."""

    @cached_property
    def settled(self) -> tuple[Trial, ...]:
        """Trials that ended by the candidate's own doing, in order of launch."""
        done = [t for t in self.trials if t.status in SETTLED]
        return tuple(sorted(done, key=lambda t: (t.launched_s, t.seed_index, t.id)))

    @cached_property
    def own(self) -> tuple[Trial, ...]:
        """Settled trials of the candidate in this experiment."""
        proposal, tree = self.proposal.id, self.candidate.tree
        return tuple(t for t in self.settled if t.proposal == proposal and t.tree == tree)

    @cached_property
    def by_setting(self) -> dict[tuple[str, str, str, str], tuple[Trial, ...]]:
        """Settled trials by split, fidelity, harness and hardware."""
        found: dict[tuple[str, str, str, str], list[Trial]] = {}
        for t in self.settled:
            found.setdefault((t.split, t.fidelity, t.harness, t.hardware), []).append(t)
        return {setting: tuple(trials) for setting, trials in found.items()}


@dataclass(frozen=True, slots=True)
class MoreTrials:
    """Trials to run before the auditor is asked again; interleave the arms."""

    candidate: int
    reference: int
    purpose: Purpose
    split: Split
    reason: str
    fidelity: str = "full"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict or a wish for more trials, with every step's evidence."""

    decision: Verdict | MoreTrials
    evidence: tuple[Evidence, ...]

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, if there is one yet."""
        return self.decision if isinstance(self.decision, Verdict) else None

    @property
    def more(self) -> MoreTrials | None:
        """The trials asked for, if there is no verdict yet."""
        return self.decision if isinstance(self.decision, MoreTrials) else None


@cache
def _adapter() -> TypeAdapter[Facts]:
    return TypeAdapter(Facts)


@cache
def _adapter_of_terms() -> TypeAdapter[Terms]:
    return TypeAdapter(Terms)


def dump_facts(facts: Facts) -> dict[str, Any]:
    """Facts as plain JSON values."""
    dumped: dict[str, Any] = _adapter().dump_python(facts, mode="json")
    return dumped


def outline(facts: Facts) -> dict[str, Any]:
    """What has to be recorded beside a verdict so that its facts can be found again: ids and terms.

    The records themselves, and what came of earlier ideas, are in the ledger already.
    """
    terms = _adapter_of_terms().dump_python(facts.terms, mode="json")
    if facts.terms.rules == 1:  # a run from then, made again, has to record what it did
        del terms["rules"]
    return {
        "aim": facts.aim,
        "reference": facts.reference,
        "terms": terms,
        "trials": [t.id for t in facts.trials],
        "static": [e.id for e in facts.static],
        "n_history": len(facts.history),
        "n_ideas": facts.n_ideas,
    }


def load_terms(data: Any) -> Terms:
    """Recorded terms; what a later version added stands at its default in an older record.

    Raises:
        pydantic.ValidationError: a key is missing or of another type.
    """
    return _adapter_of_terms().validate_python(data)


def load_facts(data: Any) -> Facts:
    """Facts from what `dump_facts` gave.

    Raises:
        pydantic.ValidationError: a key is missing or of another type.
    """
    return _adapter().validate_python(data)
