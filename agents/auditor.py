"""The auditor: gathers the recorded facts, and lets the audit say what they mean."""

from __future__ import annotations

from typing import Literal

from langgraph.runtime import Runtime

from novum.agents.lab import Lab
from novum.agents.state import State, Wanted
from novum.evals.audit import judge
from novum.evals.facts import MoreTrials


async def audit(state: State, runtime: Runtime[Lab]) -> State:
    """Give a verdict, or ask for more trials.

    Reads `proposal`, `candidate` and `reference`; writes `verdict` and `label`, or `wanted`.
    """
    lab = runtime.context
    proposal = lab.findings.proposals.get(state["proposal"])
    if proposal is None:  # judged just before a crash
        (known,) = lab.ledger.verdicts(proposal=state["proposal"], last=1)
        return {"wanted": None, "verdict": known.id, "label": known.label}
    facts = lab.facts(proposal, state["candidate"], state["reference"])
    judgement = judge(facts)
    if judgement.more is not None:
        return {"wanted": as_wanted(judgement.more)}
    assert judgement.verdict is not None
    lab.add_verdict(judgement.verdict, judgement.evidence, facts)
    return {"wanted": None, "verdict": judgement.verdict.id, "label": judgement.verdict.label}


def as_wanted(more: MoreTrials) -> Wanted:
    """What the audit asks for, as a checkpoint keeps it."""
    return Wanted(
        purpose=more.purpose,
        split=more.split,
        fidelity=more.fidelity,
        candidate=more.candidate,
        reference=more.reference,
        reason=more.reason,
    )


def after_audit(state: State, _: Runtime[Lab]) -> Literal["experimenter", "record"]:
    """More trials, or a verdict to record."""
    return "experimenter" if state.get("wanted") else "record"
