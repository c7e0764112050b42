"""What proposals and candidates are told apart by: what they try, and what they are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

from novum.agents.situation import move_key
from novum.lab.records import Json


def attempt_key(move: Json, hypothesis: str) -> str:
    """What a proposal tries, whoever says it: its move, or else the words of its hypothesis."""
    if key := move_key(move):
        return key
    words = " ".join(re.findall(r"[a-z0-9.]+", hypothesis.lower()))
    return f"~{sha256(words.encode()).hexdigest()[:12]}"


def lineage_key(parents: tuple[str, ...]) -> tuple[str, ...]:
    """Parents without their order."""
    return tuple(sorted(parents))


def merge_moves(moves: Iterable[str]) -> tuple[str, ...]:
    """Each technique once; of a constant's values only the last."""
    found: dict[str, str] = {}
    for move in moves:
        name = move.split("=", 1)[0]
        found.pop(name, None)
        found[name] = move
    return tuple(found.values())


def ideas_of(ideas: Iterable[str]) -> tuple[str, ...]:
    """What a candidate is made of, in one order: each once, of a constant's values the last."""
    return tuple(sorted(merge_moves(ideas)))
