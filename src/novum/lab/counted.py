"""A count with its noun, as every message writes it."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """`1 file`, `2,000 files`; the noun has a plain plural."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
