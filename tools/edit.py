"""Write and edit the files of a workspace."""

from __future__ import annotations

from pydantic import BaseModel, Field

from novum.errors import ToolError
from novum.tools.workspace import Workspace


class WriteFile(BaseModel, extra="forbid"):
    """Write a whole file, replacing what it held."""

    path: str = Field(description="File to write, relative to the workspace.")
    text: str = Field(description="Its whole content.")


class EditFile(BaseModel, extra="forbid"):
    """Replace one passage of a file."""

    path: str = Field(description="File to edit, relative to the workspace.")
    old: str = Field(description="Passage to replace. It must occur exactly once.", min_length=1)
    new: str = Field(description="Passage to put in its place.")


class DeleteFile(BaseModel, extra="forbid"):
    """Delete a file."""

    path: str = Field(description="File to delete, relative to the workspace.")


def write_file(call: WriteFile, workspace: Workspace) -> str:
    """Write a file and say how long it is.

    Raises:
        ToolError: the file is not editable.
    """
    workspace.write_text(call.path, call.text)
    return f"wrote {call.path}: {len(call.text.splitlines())} lines"


def edit_file(call: EditFile, workspace: Workspace) -> str:
    """Replace one passage of a file and say where.

    Raises:
        ToolError: `old` is missing or ambiguous, or the file is not editable.
    """
    workspace.require_editable(call.path)
    text = workspace.read_text(call.path)
    if (found := text.count(call.old)) != 1:
        advice = "quote it exactly, with its indentation" if found == 0 else "quote more lines"
        raise ToolError(f"`old` occurs {found} times in {call.path}; {advice}")
    line = text[: text.index(call.old)].count("\n") + 1
    workspace.write_text(call.path, text.replace(call.old, call.new))
    return f"edited {call.path} at line {line}"


def delete_file(call: DeleteFile, workspace: Workspace) -> str:
    """Delete a file.

    Raises:
        ToolError: it is not editable or does not exist.
    """
    workspace.delete(call.path)
    return f"deleted {call.path}"
