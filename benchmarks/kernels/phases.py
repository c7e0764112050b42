"""Where the wall time of an evaluation goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = (
    "start",
    "load",
    "compile",
    "inputs",
    "reference",
    "rounds",
    "stage",
    "timing",
    "compare",
    "profile",
    "wait",
)
"""start: processes and device contexts; load: importing solutions; compile: the first call of
each workload; inputs: drawing them and writing them to shared memory; reference: counting its
operations; rounds: the candidate's checked calls; stage: inputs to the device and warm-ups in
fresh processes; timing: alone on the device; compare: the reference computed, and outputs
compared with it; profile: calls under the profiler; wait: for others to leave the device."""


class Phases:
    """Seconds by name; not for several threads at once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[list[float]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block under a name, less what phases inside it count."""
        began = time.monotonic()
        inner = [0.0]
        self._open.append(inner)
        try:
            yield
        finally:
            self._open.pop()
            took = time.monotonic() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + took - inner[0]
            if self._open:
                self._open[-1][0] += took

    def rounded(self) -> dict[str, float]:
        """Seconds to the hundredth, in the order of `NAMES`."""
        return {n: round(self.seconds[n], 2) for n in NAMES if n in self.seconds}
