"""Start child processes from one thread that lives as long as the process does.

The kernel's parent-death signal, which `bwrap --die-with-parent` uses, fires when the *thread* that
started the child ends (prctl(2), PR_SET_PDEATHSIG): a sandbox started from a short-lived thread
would die with that thread. The same thread can also pin itself for a moment, so that a child is
born on the cores it is meant for.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future


class Spawner:
    """Runs `subprocess.Popen` on a thread of its own."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[tuple[_Order, Future[subprocess.Popen[bytes]]]]
        self._orders = queue.SimpleQueue()
        self._pid = 0
        self._lock = threading.Lock()

    def start(
        self,
        argv: Sequence[str],
        *,
        pass_fds: Sequence[int],
        stdout: int,
        stderr: int,
        cores: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `argv` with an empty standard input and a new process group, on `cores`.

        The environment is `env`, or only a PATH where that is `None`.
        """
        with self._lock:
            if self._pid != os.getpid():  # also after a fork, which copies no threads
                self._orders = queue.SimpleQueue()
                threading.Thread(target=self._serve, name="novum-spawn", daemon=True).start()
                self._pid = os.getpid()
        answer: Future[subprocess.Popen[bytes]] = Future()
        order = _Order(tuple(argv), tuple(pass_fds), stdout, stderr, tuple(cores), env)
        self._orders.put((order, answer))
        return answer.result()

    def _serve(self) -> None:
        orders = self._orders
        while True:
            order, answer = orders.get()
            try:
                answer.set_result(order.run())
            except BaseException as error:  # the caller's to handle
                answer.set_exception(error)
            del order, answer


class _Order:
    def __init__(
        self,
        argv: tuple[str, ...],
        pass_fds: tuple[int, ...],
        stdout: int,
        stderr: int,
        cores: tuple[int, ...],
        env: Mapping[str, str] | None,
    ) -> None:
        self.argv, self.pass_fds, self.cores = argv, pass_fds, cores
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin"} if env is None else dict(env)
        self.stdout, self.stderr = stdout, stderr

    def run(self) -> subprocess.Popen[bytes]:
        before = os.sched_getaffinity(0)
        if self.cores:
            os.sched_setaffinity(0, self.cores)
        try:
            return subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=self.stdout,
                stderr=self.stderr,
                pass_fds=self.pass_fds,
                env=self.env,
                cwd="/",
                process_group=0,
            )
        finally:
            if self.cores:
                os.sched_setaffinity(0, before)


SPAWNER = Spawner()
