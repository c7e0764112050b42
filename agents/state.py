"""The state of one iteration: ids and counters, plain JSON, small.

A checkpoint stores all of it at each step, so nothing large belongs here: texts, files, messages
and results are in the ledger, the archive and the blobs, found by these ids.
"""

from __future__ import annotations

from typing import TypedDict


class Wanted(TypedDict):
    """Trials that the next step of the experiment asks for."""

    purpose: str
    split: str
    fidelity: str
    candidate: int
    reference: int
    reason: str


class Fix(TypedDict):
    """A failed smoke test that came back to the coder after its turn `turn`."""

    turn: int
    error: str


class State(TypedDict, total=False):
    """What the nodes read and write. Keys appear as the iteration goes on."""

    thread: int
    iteration: int
    reference: str
    """Tree that the candidate has to beat: the head when the proposal was made."""
    proposal: str
    candidate: str
    """Tree hash of the frozen candidate."""
    turns: int
    """Turns of the coder so far."""
    fixes: list[Fix]
    dropped: str
    """Why the iteration ends without a verdict."""
    broken: bool
    """Whether it was dropped because the change could not be made or does not run."""
    idle: str
    """Why the planner had nothing to propose."""
    confused: bool
    """Whether it had ideas, but none that could be accepted: asked again, it may have others."""
    wanted: Wanted | None
    n_steps: int
    """Nodes that have run in this iteration."""
    step: int
    """Batches of trials run so far."""
    verdict: str
    """Id of the verdict."""
    label: str
