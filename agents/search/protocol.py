"""The contract of a search policy: from findings and a recorded random state to a choice."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Protocol

from novum.agents.search.findings import Findings
from novum.agents.situation import Mode
from novum.lab.records import Kind


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the next proposal starts."""

    mode: Mode
    parents: tuple[str, ...]
    """Tree hashes; two or more for `combine`."""
    kind_hint: Kind | None = None
    """A kind of change that would keep the search diverse."""
    carry: tuple[str, ...] | None = None
    """Known ideas that are to be in what is changed or measured: those that the first parent lacks
    are merged into it. `None` takes the parents as they are."""
    resolve: str = ""
    """A known idea that clashes with these, for a coder to make it fit."""
    also: tuple[Kind, ...] = ()
    """Kinds of further new ideas that may go into the same candidate, where each has a name by
    which it can be told from the others."""


class SearchPolicy(Protocol):
    """Pure: the same findings, thread and random state give the same choice."""

    name: str
    race_at: float
    """Sds above the reference from which a first trial is worth a race. What is below stays
    unproven and may be built on all the same. Never laxer than the gate's own."""

    def final_set(self, findings: Findings) -> tuple[str, ...] | None:
        """Known ideas that the candidate to certify should be made of; `None` where only what was
        measured as it is may be certified."""

    def choose(self, findings: Findings, thread: int, rng: Random) -> Choice:
        """Where a thread goes next. `findings` holds at least the start."""
