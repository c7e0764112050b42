"""Watch one sandboxed process tree from outside: output, time, memory, disk, and why it ended.

Both isolating providers hand their tree to one `Watched`: a thread reads the output, samples the
tree, kills it at a limit, proves that nothing is left and keeps the account. What the program says
of itself plays no part in it.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from novum.sandboxes.capture import Capture
from novum.sandboxes.disk import excess
from novum.sandboxes.protocol import Exit, ExitCause, Limits

SAMPLE_S = 0.05  # a tree that allocates 10 GB/s overshoots by 0.5 GB where no cgroup stops it first
DISK_SAMPLE_S = 0.5
SAMPLE_SHARE = 20  # a look at a large tree or many files takes at most this share of a core
DRAIN_S = 2.0
DEATH_S = 10.0  # a process in uninterruptible I/O dies late; it is then counted as a survivor
CHUNK = 1 << 16

Sink = Callable[[bytes], None]


class Tree(Protocol):
    """What a provider knows of the processes it started."""

    def cpu_s(self) -> float:
        """CPU seconds so far, dead children included."""

    def resident_bytes(self) -> int:
        """Memory in use now."""

    def n_processes(self) -> int:
        """Threads of the program now; 0 where the kernel holds their number."""

    def n_oom_kills(self) -> int:
        """Processes that the kernel killed for memory."""

    def kill(self) -> None:
        """Kill everything, at once; must not block."""

    def finish(self) -> None:
        """Called once when the first process is dead, before the last look at the account."""

    def teardown(self) -> int:
        """Wait until all is gone, give everything back, return how many processes are left."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Descriptors that the watcher reads until they close, and owns."""

    status: int
    """Where `init.py` reports; it closes when the sandbox's first process dies."""
    output: Mapping[int, Sink]


class Watched:
    """A `SandboxedProcess` over any `Tree`."""

    def __init__(
        self,
        tree: Tree,
        channels: Channels,
        captures: tuple[Capture, Capture],
        limits: Limits,
        writable: Sequence[Path] = (),
        held: bytes = b"",
    ) -> None:
        self._tree = tree
        self._channels = channels
        self._stdout, self._stderr = captures
        self._limits = limits
        self._writable = writable
        self._report = bytearray(held)
        self._started_s = time.monotonic()
        self._cause: ExitCause | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._exit: Exit | None = None
        self._failure: BaseException | None = None
        self._killed_s = 0.0
        self._cpu_before_s = tree.cpu_s()  # what making the sandbox took is not the program's
        self._cpu_s = 0.0
        self._peak_bytes = 0
        self._thread = threading.Thread(target=self._run, name="novum-watch", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """See `SandboxedProcess.is_running`."""
        return not self._done.is_set()

    def cpu_s(self) -> float:
        """See `SandboxedProcess.cpu_s`."""
        with self._lock:
            self._account_cpu()
            return self._cpu_s

    def peak_bytes(self) -> int:
        """See `SandboxedProcess.peak_bytes`."""
        self._sample()
        return self._peak_bytes

    def kill(self) -> None:
        """See `SandboxedProcess.kill`."""
        self._end(ExitCause.KILLED)

    def wait(self, timeout_s: float | None = None) -> Exit | None:
        """See `SandboxedProcess.wait`."""
        if not self._done.wait(timeout_s):
            return None
        if self._failure is not None:
            raise self._failure
        return self._exit

    def _run(self) -> None:
        try:
            self._exit = self._watch()
        except BaseException as error:  # handed to whoever waits
            self._failure = error
            with contextlib.suppress(Exception):
                self._tree.kill()
                self._tree.teardown()
        finally:
            self._done.set()

    def _watch(self) -> Exit:
        deadline = self._started_s + self._limits.wall_s
        next_disk = self._started_s + DISK_SAMPLE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._channels.status, selectors.EVENT_READ, self._take_report)
            for fd, sink in self._channels.output.items():
                selector.register(fd, selectors.EVENT_READ, sink)
            is_alive, next_sample = True, 0.0
            while is_alive:
                is_alive = self._read(
                    selector, min(SAMPLE_S, max(0.0, deadline - time.monotonic()))
                )
                if (now := time.monotonic()) >= next_sample:
                    self._sample()
                    self._enforce()
                    took = time.monotonic() - now
                    next_sample = now + max(SAMPLE_S, SAMPLE_SHARE * took)
                if now >= deadline:
                    self._end(ExitCause.TIMEOUT)
                    deadline = now + DEATH_S  # asked for once; the end follows
                if self._killed_s and now >= self._killed_s + DEATH_S:
                    is_alive = False
                if now >= next_disk:
                    if reason := excess(self._writable, self._limits.disk_bytes):
                        self._note(f"novum: killed for its writable folders: {reason}\n")
                        self._end(ExitCause.KILLED)
                    took = time.monotonic() - now
                    next_disk = now + max(DISK_SAMPLE_S, SAMPLE_SHARE * took)
            wall_s = time.monotonic() - self._started_s
            self._sample()
            self._tree.finish()
            n_oom_kills = self._tree.n_oom_kills()
            n_survivors = self._tree.teardown()
            self._drain(selector)
        return self._account(wall_s, n_oom_kills, n_survivors)

    def _read(self, selector: selectors.BaseSelector, timeout_s: float) -> bool:
        """Read what there is; whether the status channel is still open."""
        for key, _ in selector.select(timeout_s):
            try:
                data = os.read(key.fd, CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if data:
                key.data(data)
                continue
            selector.unregister(key.fd)
            os.close(key.fd)
            if key.fd == self._channels.status:
                return False
        return True

    def _drain(self, selector: selectors.BaseSelector) -> None:
        """Read what lies in the pipes; they end by themselves, for nobody is left to hold them."""
        until = time.monotonic() + DRAIN_S
        while selector.get_map() and time.monotonic() < until:
            self._read(selector, 0.05)
        for key in list(selector.get_map().values()):
            selector.unregister(key.fd)
            os.close(key.fd)

    def _take_report(self, data: bytes) -> None:
        self._report += data[: 4096 - len(self._report)]

    def _note(self, text: str) -> None:
        self._stderr.write(text.encode())

    def _sample(self) -> None:
        with self._lock:
            if self._done.is_set():
                return
            self._account_cpu()
            self._peak_bytes = max(self._peak_bytes, self._tree.resident_bytes())

    def _account_cpu(self) -> None:
        if not self._done.is_set():
            self._cpu_s = max(self._cpu_s, self._tree.cpu_s() - self._cpu_before_s)

    def _enforce(self) -> None:
        if self._tree.n_oom_kills() or self._peak_bytes > self._limits.memory_bytes:
            self._end(ExitCause.OUT_OF_MEMORY)
        if self._tree.n_processes() > self._limits.pids:
            self._note("novum: killed: more processes than the limit allows\n")
            self._end(ExitCause.KILLED)

    def _end(self, cause: ExitCause) -> None:
        with self._lock:
            if self._done.is_set() or self._cause is not None:
                return
            self._cause = cause
            self._killed_s = time.monotonic()
            self._tree.kill()

    def _account(self, wall_s: float, n_oom_kills: int, n_survivors: int) -> Exit:
        status, reported_cpu_s = _parse(bytes(self._report))
        with self._lock:
            cause, code = self._cause, None
            if n_oom_kills and cause is None:
                cause = ExitCause.OUT_OF_MEMORY
            if cause is None and status is None:
                cause = ExitCause.LOST
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
            if cause is None:
                cause = ExitCause.SIGNALLED if os.WIFSIGNALED(status or 0) else ExitCause.EXITED
            elif cause in (ExitCause.TIMEOUT, ExitCause.KILLED, ExitCause.OUT_OF_MEMORY):
                code = -signal.SIGKILL
            self._cpu_s = max(self._cpu_s, reported_cpu_s)
            if n_oom_kills:  # the kernel acted between two samples
                self._peak_bytes = max(self._peak_bytes, self._limits.memory_bytes)
        return Exit(
            cause=cause,
            code=code,
            wall_s=wall_s,
            cpu_s=self._cpu_s,
            peak_bytes=self._peak_bytes,
            stdout=self._stdout.text(),
            stderr=self._stderr.text(),
            truncated=self._stdout.truncated or self._stderr.truncated,
            n_survivors=n_survivors,
        )


def read_line(fd: int, timeout_s: float) -> bytes:
    """Bytes up to the end of a line, and what came with it.

    Raises:
        TimeoutError: nothing came.
        ValueError: the other end closed first.
    """
    data, until = b"", time.monotonic() + timeout_s
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while b"\n" not in data:
        if not poller.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError(f"no answer within {timeout_s:.0f} s")
        if not (chunk := os.read(fd, 4096)):
            raise ValueError("it ended before it was ready")
        data += chunk
    return data


def _parse(report: bytes) -> tuple[int | None, float]:
    """Wait status and CPU seconds from the last line of `init.py`; `None` when it never came."""
    for line in report.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "exit":
            return int(words[1]), float(words[2])
    return None, 0.0
