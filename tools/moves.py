"""Make a known change without writing it: a technique, a constant, a merge."""

from __future__ import annotations

from pydantic import BaseModel, Field

from novum.errors import ToolError
from novum.tools.desk import Desk, Moves
from novum.tools.workspace import Workspace


class ApplyMove(BaseModel, extra="forbid"):
    """Apply a technique of the benchmark's playbook to the workspace."""

    name: str = Field(description="Name of the technique.")


class SetConstant(BaseModel, extra="forbid"):
    """Give a named constant of the candidate another value."""

    name: str = Field(description="Name of the constant.")
    value: str = Field(description="Its new value, as Python writes it.", max_length=200)


class MergeCandidates(BaseModel, extra="forbid"):
    """Replace the workspace by the three-way merge of earlier candidates."""

    trees: list[str] = Field(description="Ids of the candidates.", min_length=2, max_length=4)


def apply_move(call: ApplyMove, desk: Desk) -> str:
    """Apply a technique and name the files that changed.

    Raises:
        DoesNotApply: it does not fit these files; nothing was changed.
    """
    workspace = desk.need_workspace()
    before = workspace.snapshot().files
    said = _replace(workspace, before, _moves(desk).apply(call.name, before))
    desk.applied.append(call.name)
    return said


def set_constant(call: SetConstant, desk: Desk) -> str:
    """Change a constant and name the files that changed.

    Raises:
        DoesNotApply: there is no such constant; nothing was changed.
    """
    workspace = desk.need_workspace()
    before = workspace.snapshot().files
    after = _moves(desk).set_constant(call.name, call.value, before)
    said = _replace(workspace, before, after)
    desk.applied.append(f"{call.name}={call.value}")
    return said


def merge_candidates(call: MergeCandidates, desk: Desk) -> str:
    """Bring the merge of candidates into the workspace.

    Raises:
        MergeConflict: they changed the same lines; nothing was changed.
    """
    if desk.candidates is None:
        raise ToolError("candidates cannot be merged in this role")
    workspace = desk.need_workspace()
    return _replace(workspace, workspace.snapshot().files, desk.candidates.merge(call.trees))


def _moves(desk: Desk) -> Moves:
    if desk.moves is None:
        raise ToolError("this benchmark has no playbook")
    return desk.moves


def _replace(workspace: Workspace, before: dict[str, bytes], after: dict[str, bytes]) -> str:
    changed = [n for n in sorted({*before, *after}) if before.get(n) != after.get(n)]
    for name in changed:  # all or nothing: refuse before the first write
        workspace.require_editable(name)
    for name in changed:
        if name in after:
            workspace.write_bytes(name, after[name])
        else:
            workspace.delete(name)
    return f"changed {', '.join(changed)}" if changed else "nothing changed"
