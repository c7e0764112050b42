"""The state machine of one iteration of one thread.

    START -> planner -> coder -> experimenter -> auditor -> record -> END
                |          ^         |   |           |
                +-> record +--fix----+   +-> record  +-> experimenter (more trials)

With `--approve plan` the `approver` stands between planner and coder, with `--approve run` between
coder and experimenter: it waits for a person, and leads to `record` when the answer is no.

Nodes may run again from their top after a crash: answers of brains, trials, proposals, candidates
and verdicts have keys, and what has a key happens once. After each node a `step` event keeps the
digest of the state, so that a replay can be compared step by step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from novum.agents.approver import after_approval, after_code, after_plan, approve
from novum.agents.auditor import after_audit, audit
from novum.agents.coder import code
from novum.agents.experimenter import after_experiment, experiment
from novum.agents.lab import Lab
from novum.agents.planner import plan
from novum.agents.recorder import record
from novum.agents.state import State
from novum.lab.chain import canonical

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

Node = Callable[[State, Runtime[Lab]], Awaitable[State]]
STEP = "step"
RECURSION_LIMIT = 100
"""Steps of one iteration: repairs and looks of a race are few; more is a bug of ours."""


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[State, Lab, State, State]:
    """The compiled graph; run it with a `Lab` as its context."""
    graph = StateGraph(State, context_schema=Lab)
    graph.add_node("planner", traced("planner", plan))
    graph.add_node("approver", traced("approver", approve))
    graph.add_node("coder", traced("coder", code))
    graph.add_node("experimenter", traced("experimenter", experiment))
    graph.add_node("auditor", traced("auditor", audit))
    graph.add_node("record", traced("record", record))
    graph.add_edge(START, "planner")
    graph.add_conditional_edges("planner", after_plan)
    graph.add_conditional_edges("approver", after_approval)
    graph.add_conditional_edges("coder", after_code)
    graph.add_conditional_edges("experimenter", after_experiment)
    graph.add_conditional_edges("auditor", after_audit)
    graph.add_edge("record", END)
    return graph.compile(checkpointer=checkpointer)


def traced(name: str, node: Node) -> Any:
    """A node that leaves a digest of the state after it, typed as the graph wants nodes."""

    async def run(state: State, runtime: Runtime[Lab]) -> State:
        lab = runtime.context
        id, n = f"p{state['thread']}-{state['iteration']}", state.get("n_steps", 0)
        await lab.turn(id)
        out = await node(state, runtime)
        out["n_steps"] = n + 1
        await lab.turn(id)
        key = f"{state['thread']}/{state['iteration']}/{n}"
        lab.note(STEP, key, {"node": name, "state": digest_of({**state, **out})})
        return out

    return run


def digest_of(state: Any) -> str:
    """Digest of a state."""
    return sha256(canonical(state).encode()).hexdigest()[:16]
