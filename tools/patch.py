"""Apply a unified diff to a workspace: all of it, or nothing.

Hunks are placed by their lines, not by their numbers: models count lines badly. A hunk whose lines
occur more than once goes to the place nearest to its number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from novum.errors import DoesNotApply
from novum.tools.workspace import Workspace

HEADER = re.compile(r"^@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")
NOWHERE = "/dev/null"


class ApplyPatch(BaseModel, extra="forbid"):
    """Apply a unified diff (`--- a/FILE`, `+++ b/FILE`, `@@` hunks) to the workspace."""

    diff: str = Field(description="The diff. Either all of it applies, or nothing is changed.")


@dataclass
class Hunk:
    """One passage: its line number in the old file, old lines and new lines."""

    start: int
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


@dataclass
class FilePatch:
    """The hunks of one file; `None` as a name means that there is no such side."""

    old_name: str | None
    new_name: str | None
    hunks: list[Hunk] = field(default_factory=list)


def apply_patch(call: ApplyPatch, workspace: Workspace) -> str:
    """Apply a diff and name the files that changed.

    Raises:
        DoesNotApply: the diff is malformed or a hunk does not fit; nothing was changed.
        ToolError: a file is not editable; nothing was changed.
    """
    patches = parse(call.diff)
    results: dict[str, str | None] = {}
    for patch in patches:
        for name in {patch.old_name, patch.new_name} - {None}:
            workspace.require_editable(str(name))
        before = "" if patch.old_name is None else _current(patch.old_name, results, workspace)
        after = place(before, patch)
        if patch.old_name is not None and patch.old_name != patch.new_name:
            results[patch.old_name] = None
        if patch.new_name is not None:
            results[patch.new_name] = after
    for name, text in results.items():
        if text is None:
            workspace.delete(name)
        else:
            workspace.write_text(name, text)
    return "patched " + ", ".join(results)


def parse(diff: str) -> list[FilePatch]:
    """Files and hunks of a unified diff.

    Raises:
        DoesNotApply: it holds no hunk, or a line before its file header.
    """
    patches: list[FilePatch] = []
    old_name: str | None = None
    hunk: Hunk | None = None
    lines = diff.splitlines()
    for i, line in enumerate(lines):
        following = lines[i + 1] if i + 1 < len(lines) else ""
        if line.startswith("--- ") and following.startswith("+++ "):
            old_name, hunk = _name(line), None
        elif line.startswith("+++ ") and hunk is None:
            patches.append(FilePatch(old_name, _name(line)))
        elif match := HEADER.match(line):
            if not patches:
                raise DoesNotApply(f"line {i + 1} of the diff: a hunk before any `+++ FILE`")
            hunk = Hunk(int(match[1]))
            patches[-1].hunks.append(hunk)
        elif hunk is not None and not line.startswith("\\"):
            _add(hunk, line, i + 1)
    if not patches or not any(p.hunks for p in patches):
        raise DoesNotApply("the diff holds no hunk; it needs `--- a/F`, `+++ b/F` and `@@` lines")
    return patches


def place(text: str, patch: FilePatch) -> str:
    """`text` with all hunks applied.

    Raises:
        DoesNotApply: the old lines of a hunk are not in the text.
    """
    lines = text.splitlines()
    shift = 0
    for hunk in patch.hunks:
        at = _find(lines, hunk, shift)
        if at is None:
            quoted = "\n".join(hunk.old[:6])
            raise DoesNotApply(
                f"hunk at line {hunk.start} of {patch.old_name or patch.new_name} does not fit; "
                f"these lines are not there one after another:\n{quoted}"
            )
        lines[at : at + len(hunk.old)] = hunk.new
        shift += len(hunk.new) - len(hunk.old)
    return "\n".join(lines) + "\n" if lines else ""


def _find(lines: list[str], hunk: Hunk, shift: int) -> int | None:
    expected = hunk.start - 1 + shift
    if not hunk.old:
        return min(max(expected + (1 if hunk.start else 0), 0), len(lines))
    n = len(hunk.old)
    places = [i for i in range(len(lines) - n + 1) if lines[i : i + n] == hunk.old]
    return min(places, key=lambda i: abs(i - expected), default=None)


def _current(name: str, results: dict[str, str | None], workspace: Workspace) -> str:
    if (text := results.get(name)) is not None:
        return text
    return workspace.read_text(name)


def _name(line: str) -> str | None:
    name = line[4:].split("\t")[0].strip()
    if name == NOWHERE:
        return None
    return name[2:] if name.startswith(("a/", "b/")) else name


def _add(hunk: Hunk, line: str, number: int) -> None:
    mark, rest = line[:1], line[1:]
    if mark in (" ", ""):  # editors strip the blank of an empty context line
        hunk.old.append(rest)
        hunk.new.append(rest)
    elif mark == "-":
        hunk.old.append(rest)
    elif mark == "+":
        hunk.new.append(rest)
    elif not line.startswith(("diff ", "index ", "new file", "deleted file")):
        raise DoesNotApply(f"line {number} of the diff begins with none of ' ', '+', '-': {line!r}")
