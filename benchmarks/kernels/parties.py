"""The processes an evaluation talks to: sandboxed workers, their children, and the referee."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from novum.benchmarks.kernels import wire
from novum.sandboxes.protocol import Confinement, Exit, Limits, Mount, SandboxedProcess

Launch = Callable[[Confinement], SandboxedProcess]
Message = dict[str, Any]

START_S = 120.0
SERVED = ("wire.py", "tensors.py", "worker.py")


class PartyFailed(Exception):
    """A process answered with an error, too late, or not at all; `kind` is a status of the trace
    format.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Party:
    """One connection; every question has a time limit, after which the process is given up."""

    def __init__(self, channel: socket.socket, who: str) -> None:
        self._channel = channel
        self._who = who
        self.is_gone = False

    def ask(
        self, message: Message, descriptors: Sequence[int] = (), *, timeout_s: float
    ) -> Message:
        """Send a message and wait for its reply.

        Raises:
            PartyFailed: the reply is an error, late or missing.
        """
        if self.is_gone:
            raise PartyFailed("RUNTIME_ERROR", f"{self._who} is gone")
        self._channel.settimeout(timeout_s)
        began = time.monotonic()
        try:
            wire.send(self._channel, message, tuple(descriptors))
            reply, stray = wire.receive(self._channel)
        except wire.WireError as error:
            late = time.monotonic() - began >= timeout_s
            self.close()
            kind = "TIMEOUT" if late else "RUNTIME_ERROR"
            what = f"took longer than {timeout_s:g} s" if late else "died"
            raise PartyFailed(kind, f"{self._who} {what} in `{message['do']}` ({error})") from error
        wire.close_all(stray)
        if "error" in reply:
            raise PartyFailed(str(reply.get("kind", "RUNTIME_ERROR")), str(reply["error"]))
        return reply

    def close(self) -> None:
        """Hang up; the process ends by itself or with its sandbox."""
        self.is_gone = True
        self._channel.close()


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
                ),
                cwd=self._home,
                mounts=(
                    Mount(self._code, self._code),
                    Mount(self._home, self._home, writable=True),
                    *caches,
                ),
                env=given | dict(env or {}),
                limits=limits,
                cores=cores,
                gpus=gpus,
            )
        )
        self._control: socket.socket | None = None

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
        if not folder.is_dir():
            for inner, content in files.items():
                path = folder / inner
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return folder

    def fork(self, env: Mapping[str, str] | None = None) -> Party:
        """A new child.

        Raises:
            PartyFailed: the sandbox is gone or did not start.
        """
        if self._control is None:
            self._control, _ = self._accept("the worker")
        try:
            self._control.settimeout(START_S)
            wire.send(self._control, {"do": "fork", "env": dict(env or {})})
        except wire.WireError as error:
            raise PartyFailed("RUNTIME_ERROR", f"the worker is gone: {error}") from error
        channel, _ = self._accept("a worker's child")
        return Party(channel, "the candidate's process")

    def _accept(self, who: str) -> tuple[socket.socket, Message]:
        deadline = time.monotonic() + START_S
        self._listener.settimeout(0.5)
        while True:
            try:
                channel, _ = self._listener.accept()
                break
            except TimeoutError:
                if not self._process.is_running:
                    self.exit = self._process.wait(10)
                    said = self.exit.stderr[-800:] if self.exit else ""
                    raise PartyFailed(
                        "RUNTIME_ERROR", f"{who} ended before it answered: {said}"
                    ) from None
                if time.monotonic() > deadline:
                    raise PartyFailed(
                        "TIMEOUT", f"{who} did not start within {START_S:g} s"
                    ) from None
        channel.settimeout(START_S)
        try:
            hello, stray = wire.receive(channel)
        except wire.WireError as error:
            raise PartyFailed("RUNTIME_ERROR", f"{who} did not say hello: {error}") from error
        wire.close_all(stray)
        return channel, hello


class RefereeProcess:
    """The trusted process that holds the reference; a context manager, started once for many
    problems.
    """

    def __init__(self, device: str, threads: int = 1, env: Mapping[str, str] | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nr-"))
        listener = listen(self._folder / "s")
        inherited = {
            k: v
            for k, v in os.environ.items()
            if k in ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH")
        }
        argv = [
            sys.executable,
            "-m",
            f"{__package__}.referee",
            str(self._folder / "s"),
            device,
            str(threads),
        ]
        self._process = subprocess.Popen(
            argv,
            env=inherited
            | {"PYTHONPATH": python_path(), "CUDA_VISIBLE_DEVICES": "0"}
            | dict(env or {}),
            stdin=subprocess.DEVNULL,
        )
        try:
            listener.settimeout(START_S)
            channel, _ = listener.accept()
            channel.settimeout(START_S)
            hello, _ = wire.receive(channel)
        except (OSError, wire.WireError) as error:
            self.close()
            raise PartyFailed("REFEREE", f"the referee did not start: {error}") from error
        finally:
            listener.close()
        self.torch = str(hello.get("torch", ""))
        self.party = Party(channel, "the referee")

    def __enter__(self) -> RefereeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.party.close()
        self.close()

    def close(self) -> None:
        """End the process."""
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Gate:
    """Many may use the device, or one alone: timed calls run while nothing else does."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._shared = 0
        self._waiting = 0
        self._alone = False
        self._owner = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Beside others, but not beside one that is alone or waits to be; nothing new for who is
        alone.
        """
        if self._owner == threading.get_ident():
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


def listen(path: Path) -> socket.socket:
    """A listening unix socket that any user may connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o777)
    listener.listen(16)
    return listener


def python_path() -> str:
    """`PYTHONPATH` under which a child finds the Novum that runs here."""
    import novum

    source = str(Path(novum.__file__).resolve().parents[1])
    return os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH", "")])])
