"""A run under watch: its story, brought up to date at each look, for many readers at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from novum.app.reading import Reading
from novum.app.steering import Steering
from novum.app.wording import MARKS, one_line
from novum.errors import UsageError
from novum.lab.records import Event


class Watched:
    """One run for all requests; they take turns, and a look costs what is new since the last."""

    def __init__(self, reading: Reading, *, is_demo: bool = False) -> None:
        self._reading = reading
        self._lock = threading.Lock()
        self.is_demo = is_demo

    @contextmanager
    def look(self) -> Iterator[Reading]:
        """The run as it stands now."""
        with self._lock:
            self._reading.story.follow(self._reading.ledger)
            yield self._reading

    def seq(self) -> int:
        """Number of the latest event."""
        return self._reading.ledger.anchor().seq

    @contextmanager
    def steer(self) -> Iterator[Steering]:
        """Write to the run.

        Raises:
            UsageError: it is the recorded demo, which nobody works on.
        """
        if self.is_demo:
            raise UsageError("this is a recording; start a run of your own to steer it.")
        with self._reading.run.ledger() as ledger:
            yield Steering(ledger, author="dashboard")


def mark_of(label: str) -> str:
    """The sign of a verdict."""
    return MARKS.get(label, ("…", ""))[0]


def search(reading: Reading, kind: str, words: str, after: int, limit: int) -> list[Event]:
    """Events after a number, of one kind and with these words if they are given."""
    kinds = [kind] if kind else None
    if not words:
        return list(reading.ledger.events(after, kinds, limit))
    found: list[Event] = []
    while len(found) < limit and (page := reading.ledger.events(after, kinds, 2_000)):
        after = page[-1].seq
        found += [e for e in page if words.lower() in text_of(reading, e)]
    return found[:limit]


def text_of(reading: Reading, event: Event) -> str:
    """Everything an event says, in small letters."""
    from novum.app.steps import conversation

    text = f"{event.key} {one_line(str(event.payload))}"
    if event.kind == "answer":
        text += conversation(reading, event)
    return text.lower()
