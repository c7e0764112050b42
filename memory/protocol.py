"""The contract of a memory: lessons go in, the nearest come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from novum.lab.records import Lesson


class Memory(Protocol):
    """What was learned. The ledger is the truth; a memory can be rebuilt from it."""

    def add(self, lesson: Lesson) -> None:
        """Keep a lesson; one with the same run and id replaces it. Found at once by `recall`."""

    def recall(self, text: str, limit: int) -> Sequence[Lesson]:
        """The lessons nearest to a text, nearest first. Each carries its verdict's label: an
        unconfirmed idea is never to be presented as proven."""

    def close(self) -> None:
        """Write what is not yet written, and let go; a second call does nothing."""
