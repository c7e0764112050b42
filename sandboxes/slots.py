"""A slot: the cores and devices that one trial has to itself, and the means to stop it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from novum.sandboxes.protocol import SandboxedProcess


class Cancelled(Exception):
    """The work of a slot was told to stop."""


class Stop:
    """A request to stop that kills what runs now and whatever starts afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[SandboxedProcess] = []
        self._is_set = False

    @property
    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self._is_set

    def set(self) -> None:
        """Kill every process of the slot; a second call does nothing more."""
        with self._lock:
            self._is_set = True
            running = list(self._running)
        for process in running:
            process.kill()

    @contextmanager
    def kills(self, process: SandboxedProcess) -> Iterator[None]:
        """While this is open, a request to stop kills `process`."""
        with self._lock:
            self._running.append(process)
            is_late = self._is_set
        if is_late:
            process.kill()
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(process)


@dataclass(frozen=True, slots=True)
class Slot:
    """What one trial may use while it runs."""

    index: int = 0
    cores: tuple[int, ...] = ()
    """Cores to pin to; empty means no pinning."""
    gpus: tuple[str, ...] = ()
    stop: Stop = field(default_factory=Stop, compare=False)
