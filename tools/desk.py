"""What the tools of one researcher reach: its workspace, and the few services of the lab.

The services are protocols, so that tools know neither the graph nor the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from novum.benchmarks.toolbox import PackTool
from novum.lab.records import Json, Lesson
from novum.memory.documents import Knowledge
from novum.sandboxes.protocol import Exit
from novum.tools.workspace import Workspace


class Shell(Protocol):
    """Runs commands in the sandbox with a workspace mounted."""

    async def __call__(self, argv: Sequence[str], workspace: Path, timeout_s: float) -> Exit:
        """Run a command in the workspace's folder and wait for its end."""


class Smoke(Protocol):
    """Runs a short trial that shows whether the code works at all."""

    async def __call__(self, files: Mapping[str, bytes]) -> str:
        """An empty text when it works, what went wrong otherwise."""


class Moves(Protocol):
    """The pack's playbook, as edits."""

    def apply(self, name: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """All files after a technique was applied.

        Raises:
            DoesNotApply: the technique does not fit these files, or there is none of that name.
        """

    def set_constant(self, name: str, value: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """All files after a constant was given another value.

        Raises:
            DoesNotApply: no such constant.
        """


class ToolRunner(Protocol):
    """Runs the tools of a pack, each on a slot of its own."""

    async def __call__(self, tool: PackTool, call: BaseModel, files: Mapping[str, bytes]) -> str:
        """What the tool says of these files.

        Raises:
            ToolError: it cannot be done, or the tool itself failed.
        """


class Precedents(Protocol):
    """What earlier experiments taught."""

    def recall(self, text: str, limit: int) -> Sequence[Lesson]:
        """The lessons nearest to a text, nearest first."""

    def recall_knowledge(self, text: str, limit: int) -> Sequence[Knowledge]:
        """What the pack knows that bears on a text."""


class Candidates(Protocol):
    """The archive, as far as a coder needs it."""

    def merge(self, trees: Sequence[str]) -> dict[str, bytes]:
        """Files of a three-way merge.

        Raises:
            MergeConflict: both sides changed the same lines.
            ToolError: a tree is unknown.
        """


@dataclass(frozen=True, slots=True)
class Submitted:
    """The coder is done: these files, and what changed in a sentence."""

    files: dict[str, bytes]
    summary: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The coder could not do it, and says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Proposed:
    """The planner's proposal as it was worded."""

    hypothesis: str
    kind: str
    parents: tuple[str, ...]
    move: Json


@dataclass(frozen=True, slots=True)
class NothingLeft:
    """The planner knows nothing worth testing, and says why."""

    reason: str


@dataclass
class Desk:
    """Where one role works in one iteration. `outcome` ends its turn."""

    workspace: Workspace | None = None
    shell: Shell | None = None
    smoke: Smoke | None = None
    moves: Moves | None = None
    precedents: Precedents | None = None
    candidates: Candidates | None = None
    check_proposal: Callable[[Proposed], None] | None = None
    """Raises `ToolError` for a proposal that must not be made."""
    check_files: Callable[[Mapping[str, bytes]], None] | None = None
    """Raises `ToolError` for files that must not be submitted."""
    applied: list[str] = field(default_factory=list)
    """Techniques and constants (`NAME=value`) that the tools have put into the workspace."""
    outcome: Submitted | GaveUp | Proposed | NothingLeft | None = None
    bench: ToolRunner | None = None
    """Where the tools of the pack run."""

    def need_workspace(self) -> Workspace:
        """The workspace; a tool that edits is never offered without one."""
        assert self.workspace is not None
        return self.workspace
