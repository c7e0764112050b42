"""The contract of a memory: lessons go in, the nearest come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from novum.lab.records import Lesson
from novum.memory.documents import Failure, Knowledge


class Memory(Protocol):
    """What was learned. The ledger is the truth; a memory can be rebuilt from it."""

    def add(self, lesson: Lesson) -> None:
        """Keep a lesson; one with the same run and id replaces it. Found at once by `recall`."""

    def recall(self, text: str, limit: int) -> Sequence[Lesson]:
        """The lessons nearest to a text, nearest first. Each carries its verdict's label: an
        unconfirmed idea is never to be presented as proven."""

    def lessons(self, benchmark: str) -> Iterable[Lesson]:
        """All lessons on a benchmark, of whatever run."""

    def add_failure(self, failure: Failure) -> None:
        """Keep an error and what became of it."""

    def recall_failures(self, error: str, limit: int) -> Sequence[Failure]:
        """Earlier errors like this one, those with a fix first."""

    def add_knowledge(self, entries: Iterable[Knowledge]) -> None:
        """Keep what a pack knows; none of it is a finding."""

    def recall_knowledge(self, text: str, limit: int) -> Sequence[Knowledge]:
        """What the pack knows that bears on a text."""

    def close(self) -> None:
        """Write what is not yet written, and let go; a second call does nothing."""
