"""How long the parts of a lab take, measured from outside while it works."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SEARCH = "search (policy and model)"


@dataclass
class Times:
    """What the stopwatches have seen so far."""

    totals: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds by part; what one part does in the course of another counts for both."""
    recalls: list[float] = field(default_factory=list)
    """Seconds of each recall from the memory."""
    ends: list[float] = field(default_factory=list)
    """When iterations ended."""


class Stopwatch:
    """Stands before an object and adds up the time spent in its methods, by any thread."""

    def __init__(self, inner: Any, name: str, times: Times) -> None:
        self._inner, self._name, self._times = inner, name, times

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "batch":
            return self._batch
        value = getattr(self._inner, attribute)
        return _timed(value, self._name, self._times) if callable(value) else value

    def recall(self, text: str, limit: int) -> Any:
        """Of a memory: each is noted, as a recall is what a proposal in words waits for."""
        began = time.perf_counter()
        found = self.__getattr__("recall")(text, limit)
        self._times.recalls.append(time.perf_counter() - began)
        return found

    @contextmanager
    def _batch(self) -> Iterator[None]:
        """Only the begin and the end count: what is recorded in between counts itself."""
        began = time.perf_counter()
        with self._inner.batch():
            self._times.totals[self._name] += time.perf_counter() - began
            yield
            began = time.perf_counter()
        self._times.totals[self._name] += time.perf_counter() - began


def watch(lab: Any, times: Times) -> None:
    """Put stopwatches before the parts of a lab, and note when its iterations end."""
    lab.ledger = Stopwatch(lab.ledger, "ledger (SQLite, hash chain)", times)
    lab.archive = Stopwatch(lab.archive, "archive (git)", times)
    lab.run.blobs = Stopwatch(lab.run.blobs, "blobs", times)
    lab.memory = Stopwatch(lab.memory, "memory (Chroma)", times)
    lab.policy = Stopwatch(lab.policy, SEARCH, times)
    for name in (n for n in dir(lab.findings) if n.startswith("note_")):
        setattr(lab.findings, name, _timed(getattr(lab.findings, name), SEARCH, times))
    close = lab.close_session

    def closed(proposal: str) -> None:
        close(proposal)
        times.ends.append(time.perf_counter())

    lab.close_session = closed


def _timed(function: Callable[..., Any], name: str, times: Times) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            times.totals[name] += time.perf_counter() - began

    return timed
