"""The processes of one PID namespace, seen from the host."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

from novum.sandboxes.accounts import Accounts, stat_fields
from novum.sandboxes.cgroups import Group

GONE_S = 5.0
REAP_S = 2.0
LISTING_S = 0.02
PARENT_FIELD, THREADS_FIELD = 1, 17  # of /proc/PID/stat, counted after the name


class NamespaceTree:
    """The first process of a sandbox, its parent outside, and everything below them.

    The kernel ends a PID namespace with its first process, so that one signal ends them all and
    the death of the first proves the death of the rest; the count of survivors checks that proof.
    """

    def __init__(
        self, outer: subprocess.Popen[bytes], first: int, group: Group | None, info: int
    ) -> None:
        self._outer = outer
        self._info = info  # bwrap writes there at the end; a closed pipe would kill it
        self._group = group
        self._first = first
        self._handle = os.pidfd_open(first)
        self._namespace = namespace_of(first)
        self._accounts = Accounts()
        self._lock = threading.Lock()  # the watcher looks, and so does whoever asks for CPU time
        self._listed: list[int] = []
        self._listed_s = 0.0

    def cpu_s(self) -> float:
        """See `Tree.cpu_s`."""
        if self._group is not None:
            return self._group.cpu_s()
        with self._lock:
            self._accounts.look(self._processes())
            return self._accounts.cpu_s()

    def resident_bytes(self) -> int:
        """See `Tree.resident_bytes`."""
        if self._group is not None:
            return self._group.resident_bytes()
        return sum(private_bytes(pid) for pid in self._processes())

    def n_processes(self) -> int:
        """See `Tree.n_processes`."""
        if self._group is not None:
            return 0
        fields = [stat_fields(pid) for pid in self._processes()[1:]]
        return sum(int(field[THREADS_FIELD]) for field in fields if field)

    def n_oom_kills(self) -> int:
        """See `Tree.n_oom_kills`."""
        return self._group.n_oom_kills() if self._group is not None else 0

    def kill(self) -> None:
        """See `Tree.kill`."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def finish(self) -> None:
        """See `Tree.finish`."""

    def teardown(self) -> int:
        """See `Tree.teardown`."""
        self.kill()
        poller = select.poll()
        poller.register(self._handle, select.POLLIN)
        poller.poll(GONE_S * 1000)
        os.close(self._handle)
        try:
            self._outer.wait(REAP_S)  # it collects the first process; only then is its group empty
        except subprocess.TimeoutExpired:
            self._outer.kill()
            self._outer.wait()
        os.close(self._info)
        n_left = count_left(self._group, self._namespace)
        if self._group is not None:
            self._group.remove()
        return n_left

    def _processes(self) -> list[int]:
        """The first process and all below it; looked up once for the questions of one sample."""
        if (now := time.monotonic()) - self._listed_s > LISTING_S:
            self._listed, self._listed_s = [self._first, *descendants(self._first)], now
        return self._listed


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents before children.

    Source: proc_pid_task_tid_children(5); kernels built without it are scanned whole.
    """
    found = [pid]
    for parent in found:  # grows while it is read
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", "rb") as file:
                    found += [int(word) for word in file.read().split()]
        except FileNotFoundError:
            if parent == pid and os.path.exists(f"/proc/{pid}/task/{pid}"):
                return _scan(pid)
        except OSError:
            continue  # it ended meanwhile
    return found[1:]


def _scan(pid: int) -> list[int]:
    parents = {int(name): stat_fields(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = [pid]
    for parent in found:
        found += [child for child, f in parents.items() if f and int(f[PARENT_FIELD]) == parent]
    return found[1:]


def count_left(group: Group | None, namespace: str) -> int:
    """Processes still alive in a group or namespace; waits up to 5 s for none."""
    until = time.monotonic() + GONE_S
    while True:
        left = set(group.pids()) if group is not None else set()
        left = {pid for pid in left | members(namespace) if is_alive(pid)}
        if not left or time.monotonic() > until:
            return len(left)
        time.sleep(0.01)


def namespace_of(pid: int) -> str:
    """The name of a process's PID namespace; empty when we may not look."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def members(namespace: str) -> set[int]:
    """Processes of the host that live in this PID namespace, as far as we may look."""
    if not namespace:
        return set()
    return {
        int(pid)
        for pid in os.listdir("/proc")
        if pid.isdigit() and namespace_of(int(pid)) == namespace
    }


def is_alive(pid: int) -> bool:
    """Whether the process exists and is more than a record that waits to be collected."""
    fields = stat_fields(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def private_bytes(pid: int) -> int:
    """Resident memory that is not a file's: anonymous and shared."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(
        int(line.split()[1]) * 1024
        for line in text.splitlines()
        if line.startswith(("RssAnon", "RssShmem"))
    )
