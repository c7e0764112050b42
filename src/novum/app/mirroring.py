"""Keep a mirror of a run up to date by a thread that only reads the run.

It looks a few times a second whether the run has new events, and copies what is new. After a copy
it rests for many times as long as that took, so that it never takes more than a small share of the
time, however large the run and however slow the mirror. A mirror that cannot be written is said
once and tried again; the run never waits for it while it works.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from novum.lab.ledger import Ledger
from novum.lab.mirror import Mirror
from novum.lab.run import RunFolder

LOOK_S = 0.25
REST = 15
"""Times as long as a copy took: at most a sixteenth of the time goes into copying."""
RETRY_S = 5.0
MAX_RETRY_S = 60.0
CLOSE_S = 60.0
"""How long the end of a run waits for the last copy."""


@contextmanager
def mirrored(run: RunFolder, folder: Path | None) -> Iterator[None]:
    """Mirror a run into a folder while something works on it.

    Raises:
        UsageError: the folder cannot be a mirror of this run.
    """
    if folder is None:
        yield
        return
    if (folder / run.name).resolve() == run.path.resolve():
        print(f"this is the mirror itself: {run.path} is mirrored nowhere", file=sys.stderr)
        yield
        return
    mirroring = Mirroring(run, folder)
    mirroring.start()
    try:
        yield
    finally:
        mirroring.close()


class Mirroring:
    """A thread that mirrors a run until it is closed."""

    def __init__(self, run: RunFolder, folder: Path) -> None:
        self.mirror = Mirror(run, folder)
        self.n_copies = 0
        self.busy_s = 0.0
        self.seq = 0
        """Of the last event that the mirror holds."""
        self.failed = ""
        """Why the mirror is behind; empty while it is not."""
        self._run = run
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            UsageError: the folder cannot be a mirror of this run.
        """
        try:
            self.mirror.check()
        except OSError as error:
            self._failed(error)  # said now, tried again by the thread
        self._thread.start()

    def close(self) -> None:
        """Copy what is new and end; a mirror that does not answer is left behind."""
        self._end.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._say(f"does not answer; it holds the run up to event {self.seq}")
        elif self.failed:
            self._say(f"holds the run up to event {self.seq} only: {self.failed}")

    def _work(self) -> None:
        wait_s = RETRY_S
        while True:
            try:
                with self._run.ledger(read_only=True) as ledger:
                    if self._has_begun(ledger):
                        with self.mirror.open():
                            self._keep(ledger)
                return
            except Exception as error:  # of any kind: a mirror never stops a run
                self._failed(error)
            if self._end.is_set():
                return
            self._end.wait(wait_s)
            wait_s = min(2 * wait_s, MAX_RETRY_S)

    def _has_begun(self, ledger: Ledger) -> bool:
        """Wait for the first event; a run that ends without one goes away, and is not mirrored."""
        while not self._end.is_set() and not ledger.anchor().seq:
            self._end.wait(LOOK_S)
        return ledger.anchor().seq > 0

    def _keep(self, ledger: Ledger) -> None:
        """Copy whenever something is new, until the end and then once more."""
        while True:
            is_last = self._end.is_set()
            began = time.monotonic()
            if is_last or ledger.anchor().seq > self.seq:
                self.seq = self.mirror.copy().seq
                self.n_copies += 1
                self._worked()
            took = time.monotonic() - began
            self.busy_s += took
            if is_last:
                return
            self._end.wait(max(LOOK_S, REST * took))

    def _failed(self, error: Exception) -> None:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        if not self.failed:
            self._say(f"cannot be written, the run goes on without it: {said}")
        self.failed = said

    def _worked(self) -> None:
        if self.failed:
            self._say(f"is written again and holds the run up to event {self.seq}")
        self.failed = ""

    def _say(self, text: str) -> None:
        print(f"mirror {self.mirror.path} {text}", file=sys.stderr, flush=True)


def follow(run: RunFolder, folder: Path) -> int:
    """Mirror a run until no process works on it; returns the last event that the mirror holds.

    Raises:
        UsageError: the folder cannot be a mirror of this run.
    """
    mirroring = Mirroring(run, folder)
    mirroring.start()
    try:
        while run.holder() is not None:
            time.sleep(LOOK_S)
    finally:
        mirroring.close()
    return mirroring.seq
