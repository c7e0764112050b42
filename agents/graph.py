"""The state machine of one iteration of one thread.

    START -> planner -> coder -> experimenter -> auditor -> record -> END
                |          ^         |   |           |
                +-> record +--fix----+   +-> record  +-> experimenter (more trials)

Nodes may run again from their top after a crash: answers of brains, trials, proposals, candidates
and verdicts have keys, and what has a key happens once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph

from novum.agents.auditor import after_audit, audit
from novum.agents.coder import after_code, code
from novum.agents.experimenter import after_experiment, experiment
from novum.agents.lab import Lab
from novum.agents.planner import after_plan, plan
from novum.agents.recorder import record
from novum.agents.state import State

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

RECURSION_LIMIT = 100
"""Steps of one iteration: repairs and looks of a race are few; more is a bug of ours."""


def build_graph(
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> CompiledStateGraph[State, Lab, State, State]:
    """The compiled graph; run it with a `Lab` as its context."""
    graph = StateGraph(State, context_schema=Lab)
    graph.add_node("planner", plan)
    graph.add_node("coder", code)
    graph.add_node("experimenter", experiment)
    graph.add_node("auditor", audit)
    graph.add_node("record", record)
    graph.add_edge(START, "planner")
    graph.add_conditional_edges("planner", after_plan)
    graph.add_conditional_edges("coder", after_code)
    graph.add_conditional_edges("experimenter", after_experiment)
    graph.add_conditional_edges("auditor", after_audit)
    graph.add_edge("record", END)
    return graph.compile(checkpointer=checkpointer)
