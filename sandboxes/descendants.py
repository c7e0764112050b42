"""The processes below one supervisor, found by parenthood, by control group and by their home."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from novum.sandboxes.accounts import Accounts, stat_fields
from novum.sandboxes.cgroups import Group
from novum.sandboxes.process_tree import descendants, is_alive, private_bytes

GONE_S = 5.0
REAP_S = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")
_COLLECTED, _THREADS = slice(13, 15), 17  # of /proc/PID/stat, after the name


class SupervisedTree:
    """Everything below `supervise.py`; a `Tree` for the watcher.

    While the supervisor lives it is the parent of every orphan below it, and when it ends by
    itself it has proved that nothing is left. If the program kills it, what is left is found by
    its control group, or else among the processes seen before and by `HOME` in their environment.

    Without a control group CPU time is sampled; see `Accounts`.
    """

    def __init__(self, outer: subprocess.Popen[bytes], group: Group | None, home: Path) -> None:
        self._outer = outer
        self._group = group
        self._home = home
        self._accounts = Accounts()
        self._lock = threading.RLock()  # the watcher looks, and so does whoever asks for CPU time

    def cpu_s(self) -> float:
        """See `Tree.cpu_s`."""
        if self._group is not None:
            return self._group.cpu_s()
        with self._lock:
            self._look()
            collected = stat_fields(self._outer.pid)[_COLLECTED]
            return self._accounts.cpu_s(sum(int(word) for word in collected) / _TICKS)

    def resident_bytes(self) -> int:
        """See `Tree.resident_bytes`."""
        if self._group is not None:
            return self._group.resident_bytes()
        return sum(private_bytes(pid) for pid in self._look())

    def n_processes(self) -> int:
        """See `Tree.n_processes`."""
        if self._group is not None:
            return 0
        fields = [stat_fields(pid) for pid in self._look()]
        return sum(int(field[_THREADS]) for field in fields if field)

    def n_oom_kills(self) -> int:
        """See `Tree.n_oom_kills`."""
        return self._group.n_oom_kills() if self._group is not None else 0

    def kill(self) -> None:
        """See `Tree.kill`: the supervisor stays, to collect the dead and report."""
        self._signal(signal.SIGCONT, self._outer.pid)  # the program may have stopped it
        self._signal(signal.SIGTERM, self._outer.pid)  # the program may not have been born yet
        for pid in self._members():
            self._signal(signal.SIGKILL, pid)

    def finish(self) -> None:
        """See `Tree.finish`: the supervisor has collected them all."""

    def teardown(self) -> int:
        """See `Tree.teardown`."""
        try:
            is_proved = self._outer.wait(REAP_S) == 0
        except subprocess.TimeoutExpired:
            is_proved = False
        until = time.monotonic() + GONE_S
        while left := self._left(is_proved):
            for pid in left:
                self._signal(signal.SIGKILL, pid)
            if time.monotonic() > until:
                break
            time.sleep(0.005)
        self._outer.kill()
        self._outer.wait()
        if self._group is not None:
            self._group.remove()
        shutil.rmtree(self._home, ignore_errors=True)
        return len(left)

    def _left(self, is_proved: bool) -> set[int]:
        found = set(self._group.pids()) if self._group is not None else set()
        if not is_proved:
            found |= self._members() | _at_home(self._home)
        return {pid for pid in found if pid != self._outer.pid and is_alive(pid)}

    def _members(self) -> set[int]:
        with self._lock:
            found = set(self._look())
            found |= self._accounts.living()
        if self._group is not None:
            found.update(self._group.pids())
        found.discard(self._outer.pid)
        return found

    def _look(self) -> list[int]:
        """Processes below the supervisor now; their accounts are brought up to date."""
        with self._lock:
            here = descendants(self._outer.pid)
            self._accounts.look(here)
            return here

    def _signal(self, number: int, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _at_home(home: Path) -> set[int]:
    """Processes whose environment names this home, as far as we may look."""
    found, mark = set(), f"HOME={home}".encode()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.add(int(name))
    return found
