"""The processes an evaluation talks to, and the referee among them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from novum.benchmarks.kernels import wire
from novum.sandboxes.protocol import Confinement, SandboxedProcess

Launch = Callable[[Confinement], SandboxedProcess]
Message = dict[str, Any]

START_S = 120.0
REFEREE_CLAIMS = frozenset(("INVALID_REFERENCE",))
GRACE_S = 2.0
"""How long a referee may take to end when its channel is closed."""
KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""The C library's allocator keeps what a large tensor leaves, as the one of the device does: to
fetch fresh pages for each tensor took as long as to compute what is in them.
"""


class PartyFailed(Exception):
    """A process answered with an error, too late, or not at all; `kind` is a status of the trace
    format.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


CLAIMS = frozenset(
    (
        "RUNTIME_ERROR",
        "COMPILE_ERROR",
        "INCORRECT_SHAPE",
        "INCORRECT_DTYPE",
        "REWARD_HACK",
    )
)
"""What a candidate's process may say of itself. Its code can speak through the channel, too: no
message of it makes a workload pass, or puts the blame elsewhere."""


class Party:
    """One connection; every question has a time limit, after which the process is given up."""

    def __init__(
        self,
        channel: socket.socket,
        who: str,
        at_close: Callable[[], None] | None = None,
        claims: frozenset[str] = CLAIMS,
        why: Callable[[], str] | None = None,
    ) -> None:
        """`why` says what is known of the end of a process that died."""
        self._channel = channel
        self._who = who
        self._at_close = at_close
        self._claims = claims
        self._why = why
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
            known = self._why() if self._why is not None and not late else ""
            raise PartyFailed(
                kind, f"{self._who} {what} in `{message['do']}` ({known or error})"
            ) from error
        wire.close_all(stray)
        if "last" in reply:
            self.close()
        if "error" in reply:
            kind, said = str(reply.get("kind")), str(reply["error"])
            if kind not in self._claims:
                raise PartyFailed("REWARD_HACK", f"{self._who} sent a forged {kind}: {said}")
            raise PartyFailed(kind, said)
        return reply

    def close(self) -> None:
        """Hang up and have the process ended; a second time does nothing."""
        if self.is_gone:
            return
        self.is_gone = True
        self._channel.close()
        if self._at_close is not None:
            self._at_close()


class RefereeProcess:
    """The trusted process that holds the reference; a context manager, started once for many
    problems, and anew when a reference has killed it.

    It starts beside whatever else starts, and is waited for where it is first needed.
    """

    def __init__(self, device: str, threads: int = 1, env: Mapping[str, str] | None = None) -> None:
        self._words = [device, str(threads)]
        inherited = {
            k: v
            for k, v in os.environ.items()
            if k in ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH")
        }
        given = {"PYTHONPATH": python_path(), "CUDA_VISIBLE_DEVICES": "0"}
        kept = KEPT_MEMORY if device == "cpu" else {}
        self._env = inherited | given | kept | dict(env or {})
        self._hello: Message = {}
        self._start()

    def _start(self) -> None:
        self._party: Party | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="nr-"))
        path = self._folder / "s"
        self._listener = listen(path)
        argv = [sys.executable, "-m", f"{__package__}.referee", str(path), *self._words]
        self._process = subprocess.Popen(argv, env=self._env, stdin=subprocess.DEVNULL)

    @property
    def party(self) -> Party:
        """The connection, once the process has answered.

        Raises:
            PartyFailed: it does not start.
        """
        if self._party is None:
            self._party = self._meet()
        return self._party

    def _meet(self) -> Party:
        try:
            channel = accept(self._listener, lambda: self._process.poll() is None)
            hello, _ = wire.receive(channel)
        except (OSError, wire.WireError) as error:
            self.close()
            code = self._process.returncode
            raise PartyFailed(
                "REFEREE", f"the referee did not start (exit code {code}): {error}"
            ) from error
        finally:
            self._listener.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        self._hello = hello
        return Party(channel, "the process of the reference", self.close, REFEREE_CLAIMS)

    def __enter__(self) -> RefereeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._party is not None:
            self._party.close()
            return
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._process.kill()
        self._process.wait()

    @property
    def is_gone(self) -> bool:
        """Whether it died, hung or broke its device; what it held is lost."""
        if self._party is None:
            return self._process.poll() is not None
        return self._party.is_gone

    @property
    def torch(self) -> str:
        """The version of its PyTorch, waited for; empty where it does not start."""
        with suppress(PartyFailed):
            self.meet()
        return str(self._hello.get("torch", ""))

    @property
    def architecture(self) -> str:
        """The compute capability of its GPU (`9.0`); empty on a CPU.

        Raises:
            PartyFailed: it does not start.
        """
        self.meet()
        return str(self._hello.get("architecture", ""))

    def meet(self) -> None:
        """Wait until it answers.

        Raises:
            PartyFailed: it does not start.
        """
        self._party = self.party

    def revive(self) -> None:
        """Start it anew if it is gone.

        Raises:
            PartyFailed: it does not start.
        """
        if self.is_gone:
            self._start()

    def ask(
        self, message: Message, descriptors: Sequence[int] = (), *, timeout_s: float
    ) -> Message:
        """Ask the referee; whatever goes wrong there is the reference's fault.

        Raises:
            PartyFailed: it cannot answer.
        """
        party = self.party
        try:
            return party.ask(message, descriptors, timeout_s=timeout_s)
        except PartyFailed as error:
            raise PartyFailed("INVALID_REFERENCE", str(error)) from error

    def close(self) -> None:
        """End the process."""
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def listen(path: Path) -> socket.socket:
    """A listening unix socket that any user may connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o777)
    listener.listen(16)
    return listener


def accept(listener: socket.socket, is_running: Callable[[], bool]) -> socket.socket:
    """The connection of a process that was just started.

    Raises:
        TimeoutError: it ended before, or `START_S` have passed.
    """
    deadline = time.monotonic() + START_S
    listener.settimeout(0.5)
    while True:
        try:
            channel, _ = listener.accept()
        except TimeoutError:
            if not is_running() or time.monotonic() > deadline:
                raise
            continue
        channel.settimeout(START_S)
        return channel


def python_path() -> str:
    """`PYTHONPATH` under which a child finds the Novum that runs here."""
    import novum

    source = str(Path(novum.__file__).resolve().parents[1])
    return os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH", "")])])
