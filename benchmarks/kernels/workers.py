"""A sandbox in which fresh processes run the solutions of one arm."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from novum.benchmarks.kernels import wire
from novum.benchmarks.kernels.parties import (
    KEPT_MEMORY,
    START_S,
    Launch,
    Message,
    Party,
    PartyFailed,
    accept,
    listen,
)
from novum.sandboxes.protocol import Confinement, Exit, ExitCause, Limits, Mount

DYING_S = 1.0
"""How long a sandbox that has lost a process may take to end itself."""
SERVED = (
    "wire.py",
    "tensors.py",
    "answers.py",
    "timed.py",
    "offspring.py",
    "runner.py",
    "worker.py",
)


class Workers:
    """A sandbox in which children run the solutions of one arm.

    The children share the sandbox and nothing else: each has its own interpreter state, and on a
    GPU its own
    context. Leaving the `with` block destroys the sandbox with whatever still runs in it.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        device: str,
        limits: Limits,
        cores: tuple[int, ...] = (),
        gpus: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        threads: int = 1,
        cache: Path | None = None,
        early: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nk-"))
        self.exit: Exit | None = None
        self._code = self.folder / "code"
        self._home = self.folder / "home"
        self._code.mkdir()
        self._home.mkdir()
        for name in SERVED:
            shutil.copy(Path(__file__).parent / name, self._code / name)
        self._listener = listen(self._home / "s")
        for folder in (self.folder, self._home):
            folder.chmod(0o777)
        kept = cache or self._home
        kept.mkdir(parents=True, exist_ok=True)
        kept.chmod(0o777)
        given = {
            "HOME": str(self._home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TRITON_CACHE_DIR": str(kept / "triton"),
            "TORCHINDUCTOR_CACHE_DIR": str(kept / "inductor"),
        }
        caches = (Mount(cache, cache, writable=True),) if cache is not None else ()
        self._process = launch(
            Confinement(
                argv=(
                    "python",
                    str(self._code / "worker.py"),
                    str(self._home / "s"),
                    device,
                    str(threads),
                    *(["early"] if early else []),
                ),
                cwd=self._home,
                mounts=(
                    Mount(self._code, self._code),
                    Mount(self._home, self._home, writable=True),
                    *caches,
                ),
                env=given | (KEPT_MEMORY if device == "cpu" else {}) | dict(env or {}),
                limits=limits,
                cores=cores,
                gpus=gpus,
            )
        )
        self._memory_bytes = limits.memory_bytes
        self._control: socket.socket | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._control is not None:
            self._control.close()
        self._listener.close()
        self._process.kill()
        self.exit = self._process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_running(self) -> bool:
        """Whether the sandbox can still fork children."""
        return self._process.is_running

    def add(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Lay out a solution's files, once; gives the folder as the worker sees it."""
        folder = self._code / name
        with self._lock:
            if not folder.is_dir():
                for inner, content in files.items():
                    path = folder / inner
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
        return folder

    def fork(self, compile_threads: int = 1) -> Party:
        """A new child.

        Raises:
            PartyFailed: the sandbox is gone or did not start.
        """
        with self._lock:
            if self._control is None:
                self._control, _ = self._accept("the worker")
            try:
                self._control.settimeout(START_S)
                wire.send(self._control, {"do": "fork", "compile_threads": compile_threads})
            except wire.WireError as error:
                raise PartyFailed("RUNTIME_ERROR", f"the worker is gone: {error}") from error
            channel, _ = self._accept("a worker's child")
            try:
                pid = int(wire.receive(self._control)[0]["pid"])
            except (wire.WireError, KeyError, ValueError) as error:
                channel.close()
                raise PartyFailed("RUNTIME_ERROR", f"the worker is gone: {error}") from error
        return Party(
            channel, "the candidate's process", lambda: self._end(pid), why=self._why_it_died
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Everything that runs here stands still: whatever it is, it takes nothing from others.

        Raises:
            PartyFailed: something does not stop, or the sandbox is gone.
        """
        self._hold("pause")
        try:
            yield
        finally:
            self._hold("resume")

    def _hold(self, what: str) -> None:
        with self._lock:
            if self._control is None:
                return
            try:
                self._control.settimeout(START_S)
                wire.send(self._control, {"do": what})
                reply, stray = wire.receive(self._control)
            except wire.WireError as error:
                raise PartyFailed("RUNTIME_ERROR", f"the worker is gone: {error}") from error
        wire.close_all(stray)
        if "error" in reply:
            raise PartyFailed("REWARD_HACK", str(reply["error"]))

    def _why_it_died(self) -> str:
        """What the sandbox says when it has ended with its processes; empty when it has not."""
        self.exit = self._process.wait(DYING_S)
        if self.exit is None:
            return ""
        limit = f", limit {self._memory_bytes / 2**30:.3g} GiB"
        is_full = self.exit.cause is ExitCause.OUT_OF_MEMORY
        return f"its sandbox ended: {self.exit.cause.replace('-', ' ')}{limit if is_full else ''}"

    def _end(self, pid: int) -> None:
        """Have a child ended: one that hangs would go on using the device."""
        with self._lock:
            if self._control is not None:
                with suppress(wire.WireError):
                    wire.send(self._control, {"do": "end", "pid": pid})

    def _accept(self, who: str) -> tuple[socket.socket, Message]:
        try:
            channel = accept(self._listener, lambda: self._process.is_running)
        except TimeoutError:
            if self._process.is_running:
                raise PartyFailed("TIMEOUT", f"{who} did not start within {START_S:g} s") from None
            self.exit = self._process.wait(10)
            said = self.exit.stderr[-800:] if self.exit else ""
            raise PartyFailed("RUNTIME_ERROR", f"{who} ended before it answered: {said}") from None
        try:
            hello, stray = wire.receive(channel)
        except wire.WireError as error:
            raise PartyFailed("RUNTIME_ERROR", f"{who} did not say hello: {error}") from error
        wire.close_all(stray)
        return channel, hello
