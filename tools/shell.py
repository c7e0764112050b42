"""Run a command in the sandbox."""

from __future__ import annotations

import shlex

from pydantic import BaseModel, Field

from novum.errors import ToolError
from novum.sandboxes.protocol import ExitCause
from novum.tools.desk import Desk
from novum.tools.text import bounded

MAX_S = 120.0


class RunCommand(BaseModel, extra="forbid"):
    """Run a command in the workspace, in the sandbox: no network, no data of the benchmark.

    There is no shell: no pipes, no redirection. Use `python -c ...` for more than one step.
    """

    command: str = Field(description="The command and its arguments.", min_length=1)
    timeout_s: float = Field(default=30, gt=0, le=MAX_S, description="Wall seconds it may take.")


async def run_command(call: RunCommand, desk: Desk) -> str:
    """Exit code and bounded output. A non-zero exit code is a result, not an error.

    Raises:
        ToolError: the command cannot be parsed.
        SandboxUnavailable: the sandbox is gone. The run stops.
    """
    try:
        argv = shlex.split(call.command)
    except ValueError as error:
        raise ToolError(f"cannot parse the command: {error}") from error
    if not argv:
        raise ToolError("the command is empty")
    if desk.shell is None:
        raise ToolError("commands cannot be run in this role")
    end = await desk.shell(argv, desk.need_workspace().folder, call.timeout_s)
    if end.cause is ExitCause.EXITED:
        head = f"exit code {end.code} after {end.wall_s:.1f} s"
    else:
        head = f"{end.cause} after {end.wall_s:.1f} s"
    parts = [head]
    if end.stdout.strip():
        parts.append("stdout:\n" + bounded(end.stdout.strip(), 8_000))
    if end.stderr.strip():
        parts.append("stderr:\n" + bounded(end.stderr.strip(), 4_000))
    if end.truncated:
        parts.append("[the output was cut by the sandbox]")
    return "\n".join(parts)
