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
from langgraph.types import Command

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
Route = Callable[[State, Runtime[Lab]], str]
STEP = "step"
RECURSION_LIMIT = 100
"""Steps of one iteration: repairs and looks of a race are few; more is a bug of ours."""


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[State, Lab, State, State]:
    """The compiled graph; run it with a `Lab` as its context."""
    graph = StateGraph(State, context_schema=Lab)

    def add(name: str, node: Node, after: Route, *destinations: str) -> None:
        graph.add_node(name, traced(name, node, after), destinations=destinations)

    add("planner", plan, after_plan, "approver", "coder", "record")
    add("approver", approve, after_approval, "coder", "experimenter", "record")
    add("coder", code, after_code, "approver", "experimenter", "record")
    add("experimenter", experiment, after_experiment, "coder", "auditor", "record")
    add("auditor", audit, after_audit, "experimenter", "record")
    add("record", record, after_record, END)
    graph.add_edge(START, "planner")
    return graph.compile(checkpointer=checkpointer)


def traced(name: str, node: Node, after: Route) -> Any:
    """A node that leaves a digest of the state after it and says itself which node is next.

    A conditional edge would come to the same, but LangGraph runs one in another thread: of an
    iteration's own time, a tenth. Typed as the graph wants nodes.
    """

    async def run(state: State, runtime: Runtime[Lab]) -> Command[str]:
        lab = runtime.context
        id, n = f"p{state['thread']}-{state['iteration']}", state.get("n_steps", 0)
        await lab.turn(id)
        out = await node(state, runtime)
        out["n_steps"] = n + 1
        await lab.turn(id)
        key = f"{state['thread']}/{state['iteration']}/{n}"
        new: State = {**state, **out}
        lab.note(STEP, key, {"node": name, "state": digest_of(new)})
        return Command(update=out, goto=after(new, runtime))

    return run


def after_record(state: State, _: Runtime[Lab]) -> str:
    """The iteration is over."""
    return END


def digest_of(state: Any) -> str:
    """Digest of a state."""
    return sha256(canonical(state).encode()).hexdigest()[:16]
