"""Bounded text for a reader with a small window."""

from __future__ import annotations

MAX_CHARS = 12_000


def bounded(text: str, limit: int = MAX_CHARS, where: str = "") -> str:
    """`text`, or its head and tail with a note of how much was cut and where the rest lies."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    rest = f"; {where}" if where else ""
    note = f"\n[... {len(text) - limit} of {len(text)} characters cut here{rest} ...]\n"
    return text[:head] + note + text[-tail:]


def numbered(lines: list[str], first: int) -> str:
    """Lines with their numbers, as an editor shows them."""
    return "\n".join(f"{i:>5}  {line}" for i, line in enumerate(lines, first))
