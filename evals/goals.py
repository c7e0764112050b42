"""What a suite measured, as a table with the goals beside it."""

from __future__ import annotations

from collections.abc import Iterable

Row = tuple[str, str, str, bool | None]
"""Name, value, goal and whether it is met; `None` where there is no goal."""
MARKS = {None: "", True: "met", False: "MISSED"}


def table(rows: Iterable[Row], name: int, value: int) -> str:
    """Rows as lines, their first two columns `name` and `value` characters wide."""
    return "\n".join(
        f"{what:<{name}} {seen:<{value}} {goal:>7} {MARKS[is_met]}".rstrip()
        for what, seen, goal, is_met in rows
    )


def all_met(rows: Iterable[Row]) -> bool:
    """Whether no goal is missed."""
    return all(is_met is not False for *_, is_met in rows)
