"""What the probes of the trials found: a failed probe is a mechanical proof."""

from __future__ import annotations

from novum.evals.arms import own
from novum.evals.evidence import RANK, found
from novum.evals.facts import Facts
from novum.lab.counted import counted
from novum.lab.records import Evidence, Outcome, Probe, Trial

STEP = "probes"
INVALID = "invalid"
"""`detail["means"]` of a probe that failed for a fault, not for a trick (NaN, wrong shape)."""


def check_probes(facts: Facts) -> Evidence:
    """The worst probe of every trial of the candidate; all that are not PASS are listed."""
    asked = [(t, p) for t in own(facts) for p in t.probes]
    said = [(t, p) for t, p in asked if p.outcome is not Outcome.PASS]
    if not said:
        return _evidence(facts, Outcome.PASS, f"{counted(len(asked), 'probe')} passed", [], [])
    worst = max((p.outcome for _, p in said), key=RANK.__getitem__)
    gravest = [(t, p) for t, p in said if p.outcome is worst]
    lines = list(dict.fromkeys(f"{p.name}: {p.summary}" for _, p in gravest))
    return _evidence(facts, worst, "; ".join(lines)[:600], said, gravest)


def is_fault(evidence: Evidence) -> bool:
    """Whether the failed probes say that the artifact is broken rather than dishonest."""
    return evidence.detail.get("means") == INVALID


def _evidence(
    facts: Facts,
    outcome: Outcome,
    summary: str,
    said: list[tuple[Trial, Probe]],
    gravest: list[tuple[Trial, Probe]],
) -> Evidence:
    only_faults = bool(gravest) and all(p.detail.get("means") == INVALID for _, p in gravest)
    return found(
        facts.proposal.id,
        facts.candidate.tree,
        STEP,
        outcome,
        summary,
        trials=list(dict.fromkeys(t.id for t, _ in said)),
        means=INVALID if only_faults else "",
        names=sorted({p.name for _, p in gravest}),
    )
