"""Record: what the iteration taught. No model; a second call changes nothing."""

from __future__ import annotations

from langgraph.runtime import Runtime

from novum.agents.lab import Lab
from novum.agents.state import State
from novum.lab.records import Proposal
from novum.memory.documents import Failure

ITERATION = "iteration"
MAX_ERROR = 2_000


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
            for fix in state.get("fixes", []):
                lab.memory.add_failure(failure_of(lab, proposal, fix["error"], state))
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
    lab.casting.note_outcome(f"p{state['thread']}-{state['iteration']}", None, None)
    if proposal is not None:
        lab.close_session(proposal.id)
    lab.iterations[state["thread"]] = state["iteration"] + 1
    return {}


def failure_of(lab: Lab, proposal: Proposal, error: str, state: State) -> Failure:
    """A failed smoke test, with the change that got rid of it if the candidate ran in the end."""
    fix = ""
    if not state.get("dropped"):
        fix = lab.findings.nodes[state["candidate"]].summary
    return Failure(lab.run.name, lab.pack.id, error[-MAX_ERROR:], fix, proposal.id)
