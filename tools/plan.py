"""Propose, or say that nothing is left: how a planner ends its work."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator

from novum.lab.records import Kind
from novum.tools.desk import Desk, NothingLeft, Proposed

KINDS = ", ".join(Kind)


class Propose(BaseModel, extra="forbid"):
    """Propose one change that is worth measuring."""

    hypothesis: str = Field(
        description="What you expect, and why, in one or two sentences.",
        min_length=1,
        max_length=2_000,
    )
    kind: str = Field(description=f"What the change is about: one of {KINDS}.")
    parents: list[str] = Field(
        default_factory=list,
        max_length=4,
        description="Ids of the candidates to start from; empty for the suggested ones.",
    )
    move: dict[str, Any] = Field(
        default_factory=dict,
        description='Optional: a technique of the playbook, as {"apply": ["name", ...]}, '
        '{"set": {"CONSTANT": "value"}} or {"merge": true}.',
    )

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return Kind(kind).value


class SayNothingLeft(BaseModel, extra="forbid"):
    """Say that nothing is left that is worth measuring."""

    reason: str = Field(description="Why, in one sentence.", min_length=1, max_length=600)


def propose(call: Propose, desk: Desk) -> str:
    """End the planner's turn with a proposal.

    Raises:
        ToolError: it was tried before, starts from nowhere, or a directive forbids it.
    """
    proposed = Proposed(call.hypothesis, call.kind, tuple(call.parents), call.move)
    if desk.check_proposal is not None:
        desk.check_proposal(proposed)
    desk.outcome = proposed
    return "proposed"


def nothing_left(call: SayNothingLeft, desk: Desk) -> str:
    """End the planner's turn without one."""
    desk.outcome = NothingLeft(call.reason)
    return "noted"
