"""Processes below this one: all of them can be stopped, and none outlives the child it came from.

A solution may start threads and processes. What goes on working while the other arm is timed takes
the device from it, and what is left by one child meets the next. Copied with `worker.py` into the
sandbox: nothing of Novum is importable there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

STILL = frozenset("TtZXx")
"""States in which a thread does nothing: stopped, traced, dead."""
PAUSE_S = 5.0
"""How long processes may take to stop; one that the device's driver holds may take a while."""
LOOK_S = 0.001
_SET_CHILD_SUBREAPER = 36  # of prctl(2)
_PARENT = 1  # field of /proc/PID/stat, counted after the name


def adopt() -> None:
    """Make this process the parent of what its descendants leave behind.

    Raises:
        OSError: the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel hands over no orphans")


def children(parent: int) -> set[int]:
    """Processes that have this parent."""
    return {pid for pid, above in _parents().items() if above == parent}


def below(root: int) -> set[int]:
    """All descendants of a process."""
    parents = _parents()
    found: set[int] = set()
    layer = {root}
    while layer:
        layer = {pid for pid, above in parents.items() if above in layer} - found
        found |= layer
    return found


def pause(root: int) -> None:
    """Stop every descendant, and return when no thread of any of them runs.

    Raises:
        TimeoutError: some go on.
    """
    until = time.monotonic() + PAUSE_S
    while running := {pid for pid in below(root) if _is_running(pid)}:
        if time.monotonic() > until:
            raise TimeoutError(f"{len(running)} processes cannot be stopped")
        _signal(running, signal.SIGSTOP)
        time.sleep(LOOK_S)


def resume(root: int) -> None:
    """Let every descendant go on."""
    _signal(below(root), signal.SIGCONT)


def end_strays(root: int, known: Collection[int], limit_s: float) -> bool:
    """End the children of `root` that are not `known`, and theirs; whether all are gone in time."""
    until = time.monotonic() + limit_s
    while strays := children(root) - set(known):
        if time.monotonic() > until:
            return False
        _signal(strays, signal.SIGKILL)
        for pid in strays:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(LOOK_S)
    return True


def _signal(processes: Collection[int], number: signal.Signals) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _parents() -> dict[int, int]:
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _fields(Path("/proc", name, "stat"))):
            found[int(name)] = int(fields[_PARENT])
    return found


def _is_running(pid: int) -> bool:
    """Whether a thread of a process is in a state in which it may work."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return False
    states = [fields[0] for thread in threads if (fields := _fields(thread / "stat"))]
    return any(state not in STILL for state in states)


def _fields(path: Path) -> list[str]:
    """What /proc says after the name, which may hold anything; nothing once a process is gone."""
    try:
        return path.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
