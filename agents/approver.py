"""The approver: where an iteration waits for a person to say yes or no."""

from __future__ import annotations

from typing import Literal

from langgraph.runtime import Runtime
from langgraph.types import interrupt

from novum.agents.approvals import Answer, answer_to, ask_for
from novum.agents.lab import Lab
from novum.agents.state import State
from novum.tools.recall import REFUSED


async def approve(state: State, runtime: Runtime[Lab]) -> State:
    """Ask, wait, and go on as the answer says.

    Reads `proposal` and `candidate`; writes `dropped` when the answer is no. The answer is in the
    ledger and not in the checkpoint, so that it may come while nothing runs.
    """
    lab, proposal = runtime.context, state["proposal"]
    id = ask_for(lab.ledger, proposal, state.get("candidate", ""))
    if lab.is_replay:  # when the recorded thread went on, it had its answer
        await lab.turn(proposal)
    answer = answer_to(lab.ledger, id)
    if answer is None:
        interrupt({"approval": id})
        answer = answer_to(lab.ledger, id)
        assert answer is not None  # whoever resumes the graph has seen it
    if answer.is_approved:
        return {}
    return {"dropped": refusal(answer), "broken": False}


def refusal(answer: Answer) -> str:
    """Why an iteration ends here, in words."""
    return f"{REFUSED}{answer.who}" + (f": {answer.why}" if answer.why else "")


def after_plan(state: State, runtime: Runtime[Lab]) -> Literal["approver", "coder", "record"]:
    """Write code for a proposal, once it is approved; with none, record that."""
    if not state.get("proposal"):
        return "record"
    is_asked = runtime.context.must_ask("plan", state["proposal"])
    return "approver" if is_asked else "coder"


def after_code(
    state: State, runtime: Runtime[Lab]
) -> Literal["approver", "experimenter", "record"]:
    """Measure a candidate, once that is approved; without one there is only something to record."""
    if state.get("dropped"):
        return "record"
    is_asked = runtime.context.must_ask("run", f"{state['proposal']}/{state['candidate'][:12]}")
    return "approver" if is_asked else "experimenter"


def after_approval(state: State, _: Runtime[Lab]) -> Literal["coder", "experimenter", "record"]:
    """What was approved happens; what was refused is recorded."""
    if state.get("dropped"):
        return "record"
    return "experimenter" if state.get("candidate") else "coder"
