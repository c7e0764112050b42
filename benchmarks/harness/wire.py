"""The channel between the harness and a process that has executed candidate code.

One JSON object a packet of a `SOCK_SEQPACKET` unix socket, with descriptors beside it. Everything
that arrives is hostile: sizes are bounded, only JSON is parsed, descriptors that were not asked
for are closed, and a sender that floods is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MESSAGE_BYTES = 1 << 16
MESSAGES_PER_S = 2000.0  # a client asks for the time left 20 times a second
BURST = 2000.0


class ProtocolError(Exception):
    """The other side does not speak the protocol; the message says how."""


class Quota:
    """A bucket of messages that fills again at a steady rate."""

    def __init__(self, per_s: float = MESSAGES_PER_S, burst: float = BURST) -> None:
        self._per_s, self._burst, self._left = per_s, burst, burst
        self._at_s = time.monotonic()

    def take(self) -> None:
        """Spend one.

        Raises:
            ProtocolError: nothing is left.
        """
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at_s) * self._per_s)
        self._at_s = now
        if self._left < 1:
            raise ProtocolError("it floods the harness with messages")
        self._left -= 1


@contextlib.contextmanager
def listening(path: Path, backlog: int) -> Iterator[socket.socket]:
    """A listening socket at `path` that every user inside the sandbox may connect to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        # by way of its folder, since the path of a socket may not be longer than 107 bytes
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        os.chmod(path, 0o666)
        listener.listen(backlog)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next message, or `None` when the other side is gone.

    Raises:
        ProtocolError: it is not a JSON object, or too long.
        TimeoutError: the socket has a timeout and nothing came.
        BlockingIOError: the socket does not block and nothing is there.
    """
    try:
        data, fds, flags, _ = socket.recv_fds(connection, MESSAGE_BYTES, 16)
    except ConnectionError:
        return None
    for fd in fds:
        os.close(fd)
    if not data:
        return None
    if flags & socket.MSG_TRUNC:
        raise ProtocolError(f"its message is longer than {MESSAGE_BYTES} bytes")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"its message is not JSON: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise ProtocolError("its message is not a JSON object")
    return message


def send(connection: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message.

    Raises:
        ValueError: it is too long (ours, not the other side's).
        OSError: the other side is gone or does not read.
    """
    data = json.dumps(message).encode()
    if len(data) > MESSAGE_BYTES:
        raise ValueError(f"a message of {len(data)} bytes; at most {MESSAGE_BYTES} can be sent")
    socket.send_fds(connection, [data], list(fds))
