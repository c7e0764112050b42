"""Who may use the device: many at once, or one alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Many may use the device, or one alone: timed calls run while nothing else does."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._shared = 0
        self._waiting = 0
        self._alone = False
        self._owner = 0

    @contextmanager
    def shared(self, free: bool = False) -> Iterator[None]:
        """Beside others, but not beside one that is alone or waits to be; nothing new for who is
        alone, and no bound at all for who is `free`.
        """
        if free or self._owner == threading.get_ident():
            yield
            return
        with self._condition:
            self._condition.wait_for(lambda: not self._alone and not self._waiting)
            self._shared += 1
        try:
            yield
        finally:
            with self._condition:
                self._shared -= 1
                self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Without any other."""
        with self._condition:
            self._waiting += 1
            self._condition.wait_for(lambda: not self._alone and not self._shared)
            self._waiting -= 1
            self._alone = True
            self._owner = threading.get_ident()
        try:
            yield
        finally:
            with self._condition:
                self._alone = False
                self._owner = 0
                self._condition.notify_all()
