"""The harness's end of the score stage: ask a process that has loaded the artifact, copy, check."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from novum.benchmarks.harness import devices, wire
from novum.benchmarks.harness.devices import is_finite, numpy_dtype
from novum.benchmarks.harness.shared_memory import Buffer, describe, described
from novum.benchmarks.protocol import Array, CandidateFailed
from novum.errors import SandboxLost
from novum.lab.records import TrialStatus
from novum.sandboxes.protocol import Exit, ExitCause, SandboxedProcess

if TYPE_CHECKING:
    from torch import Tensor

SOCKET = "score"
POLL_S = 0.05
LAST_WORDS_S = 3.0  # between a closed connection and the end of its process
DEATH_S = 30.0
TAIL_CHARS = 2000


class Session:
    """A `ScoreSession` over one connection.

    The candidate may speak the protocol in the server's place: what it can change that way is its
    own answer. The size of the buffers is sealed, and what is checked is a private copy.
    """

    def __init__(self, process: SandboxedProcess) -> None:
        self._process = process
        self._buffers: list[Buffer] = []
        self._roles: list[Buffer | None] = []
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def accept(self, listener: socket.socket) -> None:
        """Take the one connection, which is made before the candidate's first line runs.

        Raises:
            CandidateFailed: the process ended instead.
        """
        listener.settimeout(POLL_S)
        while True:
            try:
                connection = listener.accept()[0]
            except TimeoutError:
                if not self._process.is_running:
                    raise self._died() from None
                continue
            self._connection.close()
            self._connection = connection
            listener.close()
            return

    def load(self, timeout_s: float) -> None:
        """Have the artifact loaded.

        Raises:
            CandidateFailed: it cannot be, or took too long.
        """
        self._ask({"op": "load"}, [], timeout_s)

    def call(
        self, name: str, arrays: Sequence[Array], out: Array | Tensor, timeout_s: float
    ) -> float:
        """See `ScoreSession.call`; `name` is a method of what `load` returned, empty for itself."""
        shape, dtype = tuple(out.shape), numpy_dtype(out)
        before = len(self._buffers)
        inputs = []
        for index, array in enumerate(arrays):
            buffer = self._buffer(index + 1, array.nbytes)
            inputs.append(describe(array) | {"buffer": self._buffers.index(buffer)})
            np.copyto(buffer.view(array.dtype, array.shape), array)
        answer = self._buffer(0, math.prod(shape) * dtype.itemsize)
        message = {
            "op": "call",
            "name": name,
            "inputs": inputs,
            "output": described(dtype, shape) | {"buffer": self._buffers.index(answer)},
            "new": list(range(before, len(self._buffers))),
        }
        wall_s = self._ask(message, [b.fd for b in self._buffers[before:]], timeout_s)
        if isinstance(out, np.ndarray):
            np.copyto(out, answer.view(dtype, shape))
        else:
            devices.copy_to(out, answer, dtype)
        if dtype.kind in "fc" and not is_finite(out):
            raise CandidateFailed(f"its answer to {name or 'a call'} holds NaN or infinity")
        return wall_s

    def exit(self) -> Exit | None:
        """See `ScoreSession.exit`."""
        return self._process.wait(0)

    def close(self) -> Exit:
        """End the process and give everything back.

        Raises:
            SandboxLost: the sandbox did not end it, or died.
        """
        self._connection.close()
        if self._process.wait(0) is None:
            self._process.kill()
        ended = self._process.wait(DEATH_S)
        for buffer in self._buffers:
            devices.unpin(buffer)
            with contextlib.suppress(BufferError):  # a view that the grader still holds
                buffer.close()
        self._buffers, self._roles = [], []
        if ended is None:
            raise SandboxLost(f"the sandbox did not end its processes within {DEATH_S:.0f} s")
        return ended

    def _buffer(self, role: int, n_bytes: int) -> Buffer:
        """A buffer for the output (role 0) or an input; kept from call to call where it fits."""
        while len(self._roles) <= role:
            self._roles.append(None)
        known = self._roles[role]
        if known is None or known.n_bytes < n_bytes:
            known = Buffer(n_bytes)
            self._buffers.append(known)
            self._roles[role] = known
        return known

    def _ask(self, message: Mapping[str, Any], fds: Sequence[int], timeout_s: float) -> float:
        """Send, wait for the answer, return wall seconds."""
        asked_s = time.monotonic()
        self._connection.settimeout(max(0.001, timeout_s))
        try:
            wire.send(self._connection, message, fds)
            answer = wire.receive(self._connection)
        except TimeoutError:
            self._process.kill()
            raise CandidateFailed(
                f"no answer to {message['op']} within {timeout_s:.1f} s", TrialStatus.TIMEOUT
            ) from None
        except wire.ProtocolError as error:
            raise CandidateFailed(f"the score process spoke out of turn: {error}") from error
        except OSError:
            answer = None
        wall_s = time.monotonic() - asked_s
        if answer is None:
            raise self._died()
        if answer.get("ok") is not True:
            raise CandidateFailed(clean(str(answer.get("error", "no reason given")))[:TAIL_CHARS])
        return wall_s

    def _died(self) -> Exception:
        ended = self._process.wait(LAST_WORDS_S)
        if ended is None:
            self._process.kill()
            return CandidateFailed("the score process closed its connection and stayed")
        if ended.cause is ExitCause.LOST:
            return SandboxLost("the sandbox of the score stage died")
        status = TrialStatus.TIMEOUT if ended.cause is ExitCause.TIMEOUT else TrialStatus.CRASHED
        tail = clean(ended.stderr)[-TAIL_CHARS:]
        return CandidateFailed(f"the score process ended ({ended.cause}): {tail}", status)


def clean(text: str) -> str:
    """Text without control characters, which could redraw the reader's terminal."""
    return "".join(c for c in text if c in "\n\t" or (c.isprintable() and c != "\x1b"))
