"""Smoke test, submit, give up: how a coder ends its work."""

from __future__ import annotations

from pydantic import BaseModel, Field

from novum.errors import ToolError
from novum.tools.desk import Desk, GaveUp, Submitted
from novum.tools.text import bounded


class SmokeTest(BaseModel, extra="forbid"):
    """Run the candidate for a moment on little data to see whether it works at all."""


class Submit(BaseModel, extra="forbid"):
    """Hand in the files of the workspace as the candidate. They are frozen and measured."""

    summary: str = Field(description="What changed, in one sentence.", min_length=1, max_length=600)


class GiveUp(BaseModel, extra="forbid"):
    """Say that the change cannot be made, so that nothing is measured."""

    reason: str = Field(description="Why, in one sentence.", min_length=1, max_length=600)


async def smoke_test(call: SmokeTest, desk: Desk) -> str:
    """Say whether the candidate runs; what went wrong is a result, not an error."""
    if desk.smoke is None:
        raise ToolError("there is no smoke test in this role")
    wrong = await desk.smoke(desk.need_workspace().snapshot().files)
    return f"the smoke test failed:\n{bounded(wrong)}" if wrong else "the smoke test passed"


def submit(call: Submit, desk: Desk) -> str:
    """Freeze the workspace as the candidate.

    Raises:
        ToolError: nothing was changed, a file outside the scope was, or it was tried before.
    """
    snapshot = desk.need_workspace().snapshot()
    if snapshot.forbidden:
        names = ", ".join(snapshot.forbidden[:10])
        raise ToolError(f"these files may not be changed; restore them: {names}")
    if not snapshot.changed:
        raise ToolError("nothing was changed; edit something, or call give_up")
    if desk.check_files is not None:
        desk.check_files(snapshot.files)
    desk.outcome = Submitted(snapshot.files, call.summary)
    left = f"; left out, not editable: {', '.join(snapshot.left_out[:10])}"
    return f"submitted {', '.join(snapshot.changed[:20])}{left if snapshot.left_out else ''}"


def give_up(call: GiveUp, desk: Desk) -> str:
    """End the work without a candidate."""
    desk.outcome = GaveUp(call.reason)
    return "given up"
