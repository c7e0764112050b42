"""Was this tried before? Near-duplicates are refused with a pointer to the earlier experiment.

Pure. Three signs, the surest first: the same files, the same move on the same parents, and a
hypothesis that says the same in other words while the move does not differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from novum.memory.embeddings import NgramEmbedder

NEAR = 0.85
"""Cosine of n-gram vectors from which two hypotheses say the same: rewordings that swap the order
or an article lie above, other values of one constant are told apart by their numbers."""
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")
NEGATION = re.compile(
    r"\b(?:no|not|without|remove|drop|less|lower|smaller|fewer|shorter|decrease|reduce)\b"
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An experiment as far as novelty is concerned."""

    proposal: str
    hypothesis: str
    parents: tuple[str, ...]
    move: Mapping[str, Any]
    tree: str = ""
    """Tree hash of what it made, once that is known."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The earlier experiment that a new one would repeat."""

    earlier: str
    reason: Literal["files", "move", "hypothesis"]
    similarity: float


def find_duplicate(new: Attempt, earlier: Iterable[Attempt]) -> Duplicate | None:
    """The earlier attempt that a new one repeats, or `None`.

    The same idea on other parents is no repetition: there it may work.
    """
    past = [a for a in earlier if a.proposal != new.proposal]
    for old in past:
        if new.tree and old.tree == new.tree:
            return Duplicate(old.proposal, "files", 1.0)
    beside = [a for a in past if sorted(a.parents) == sorted(new.parents)]
    for old in beside:
        if new.move and _plain(old.move) == _plain(new.move):
            return Duplicate(old.proposal, "move", 1.0)
    open_moves = [a for a in beside if not (a.move and new.move)]
    return _nearest(new, open_moves)


def _nearest(new: Attempt, past: list[Attempt]) -> Duplicate | None:
    if not past or not new.hypothesis.strip():
        return None
    vectors = NgramEmbedder().embed([new.hypothesis, *(a.hypothesis for a in past)])
    likeness = vectors[1:] @ vectors[0]
    for i in sorted(range(len(past)), key=lambda i: -likeness[i]):
        if likeness[i] < NEAR:
            return None
        if _sense(past[i].hypothesis) == _sense(new.hypothesis):
            return Duplicate(past[i].proposal, "hypothesis", float(likeness[i]))
    return None


def _plain(move: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a move does; the direction of a constant is a note about it, not part of it."""
    values = {str(k): str(v) for k, v in (move.get("set") or {}).items()}
    return (
        tuple(sorted(move.get("apply") or ())),
        tuple(sorted(values.items())),
        bool(move.get("merge")),
    )


def _sense(text: str) -> tuple[list[str], int]:
    """Numbers and negations: two words apart, and yet the contrary."""
    words = text.lower()
    return sorted(NUMBER.findall(words)), len(NEGATION.findall(words)) % 2
