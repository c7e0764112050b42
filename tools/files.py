"""Read and search the files of a workspace."""

from __future__ import annotations

import subprocess

from pydantic import BaseModel, Field

from novum.errors import ToolError
from novum.tools.text import bounded, numbered
from novum.tools.workspace import Workspace

MAX_LINES = 400
MAX_HITS = 60
SEARCH_S = 10


class ListFiles(BaseModel, extra="forbid"):
    """List the files of the workspace with their sizes and whether you may change them."""


class ReadFile(BaseModel, extra="forbid"):
    """Read a file, or some lines of it."""

    path: str = Field(description="File to read, relative to the workspace.")
    start: int = Field(default=1, ge=1, description="First line, counted from 1.")
    count: int = Field(default=MAX_LINES, ge=1, le=MAX_LINES, description="Number of lines.")


class SearchFiles(BaseModel, extra="forbid"):
    """Find lines that match a regular expression in all text files of the workspace."""

    pattern: str = Field(
        description="Extended regular expression, as for grep -E.", min_length=1, max_length=200
    )


def list_files(call: ListFiles, workspace: Workspace) -> str:
    """One line a file: size in bytes, whether it may be changed, path."""
    lines = [
        f"{workspace.path(name).lstat().st_size:>9}  "
        f"{'editable' if workspace.is_editable(name) else 'fixed   '}  {name}"
        for name in workspace.names()
    ]
    return bounded("\n".join(lines) or "the workspace is empty")


def read_file(call: ReadFile, workspace: Workspace) -> str:
    """The asked-for lines with their numbers.

    Raises:
        ToolError: the file cannot be read, or it ends before `start`.
    """
    lines = workspace.read_text(call.path).splitlines()
    if call.start > max(len(lines), 1):
        raise ToolError(f"{call.path} has {len(lines)} lines; start is {call.start}")
    part = lines[call.start - 1 : call.start - 1 + call.count]
    shown = numbered(part, call.start)
    last = call.start - 1 + len(part)
    if last < len(lines):
        shown += f"\n[{len(lines) - last} more lines; read on with start={last + 1}]"
    return bounded(shown, where="read fewer lines at a time")


def search_files(call: SearchFiles, workspace: Workspace) -> str:
    """Matching lines as `path:line:text`.

    `grep` in a process of its own, because a pattern can be made to run for ever in Python.

    Raises:
        ToolError: the pattern is not a regular expression, or it takes too long.
    """
    names = [f"./{name}" for name in workspace.names()]
    if not names:
        return "the workspace is empty"
    argv = [
        "grep",
        "-HnIE",
        "-D",
        "skip",
        "-m",
        str(MAX_HITS + 1),
        "-e",
        call.pattern,
        "--",
        *names,
    ]
    try:
        done = subprocess.run(
            argv, cwd=workspace.folder, capture_output=True, timeout=SEARCH_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"the search took more than {SEARCH_S} s; simplify the pattern") from None
    if done.returncode > 1:
        raise ToolError(f"{call.pattern!r}: {done.stderr.decode(errors='replace').strip()[:300]}")
    hits = done.stdout.decode(errors="replace").splitlines()
    shown = [line.removeprefix("./")[:300] for line in hits[:MAX_HITS]]
    if len(hits) > MAX_HITS:
        shown.append(f"[{len(hits) - MAX_HITS} more; narrow the pattern]")
    return "\n".join(shown) or "no line matches"
