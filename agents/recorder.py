"""Record: what the iteration taught. No model; a second call changes nothing."""

from __future__ import annotations

from langgraph.runtime import Runtime

from novum.agents.lab import Lab
from novum.agents.state import State

ITERATION = "iteration"


async def record(state: State, runtime: Runtime[Lab]) -> State:
    """Keep the lesson, drop what led nowhere, and close the iteration."""
    lab = runtime.context
    # From the ledger: when this node runs again, the findings have let go of the proposal.
    proposal = lab.ledger.proposal(state["proposal"]) if state.get("proposal") else None
    with lab.ledger.batch():
        if proposal is not None:
            if reason := state.get("dropped"):
                lab.drop(proposal, state.get("candidate", ""), reason, is_broken=state["broken"])
            else:
                lab.learn(proposal, state["verdict"])
        lab.note(
            ITERATION,
            f"{state['thread']}/{state['iteration']}",
            {
                "thread": state["thread"],
                "iteration": state["iteration"],
                "proposal": state.get("proposal", ""),
                "verdict": state.get("verdict", ""),
                "label": state.get("label", ""),
                "dropped": state.get("dropped", ""),
                "idle": state.get("idle", ""),
            },
        )
    if proposal is not None:
        lab.close_session(proposal.id)
    lab.iterations[state["thread"]] = state["iteration"] + 1
    return {}
