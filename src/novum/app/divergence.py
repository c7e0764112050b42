"""What came of `novum replay --verify`, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from novum.agents.replay.verify import Verification


def table_of(name: str, found: Verification) -> RenderableType:
    """Events by kind, made again or not; then the first difference, field by field."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("event")
    for word in ("recorded", "made again", "differing"):
        table.add_column(word, justify="right")
    for kind, (recorded, same) in found.kinds.items():
        differs = kind == _kind(found)
        n = "1" if differs else "–" if recorded == same else "not reached"
        table.add_row(kind, str(recorded), str(same), n, style="yellow" if differs else "")
    parts: list[RenderableType] = [table, Text()]
    if found.n_taken_in:
        parts.append(Text(f"events 1 to {found.n_taken_in} come from the run it was forked from"))
    n_made = found.n_same - found.n_taken_in
    parts.append(
        Text(
            f"{name}: made again {n_made} of {found.n_events - found.n_taken_in} events: "
            f"{found.n_steps} steps of the state machine, from {found.n_answers} recorded answers "
            f"and {found.n_trials} recorded trials"
        )
    )
    if found.problem:
        parts.append(Text(f"first difference: {found.problem}", "yellow"))
        if found.differences:
            parts.append(_fields(found))
    elif found.is_whole:
        parts.append(Text("all the same, and so is the chain of digests", "green"))
    else:
        parts.append(Text("the chain of digests differs", "yellow"))
    return Group(*parts)


def _kind(found: Verification) -> str:
    """The kind of the event that differs, where one does."""
    return found.problem.partition("(")[2].partition(",")[0] if found.differences else ""


def _fields(found: Verification) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("field")
    table.add_column("recorded", overflow="fold")
    table.add_column("made now", overflow="fold")
    for difference in found.differences:
        table.add_row(Text(difference.name), Text(difference.was), Text(difference.now))
    return table
