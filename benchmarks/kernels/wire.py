"""Messages between the evaluator and its workers: length, JSON, and file descriptors beside them.

Standard library only: this file is copied next to the worker into its sandbox.
"""

from __future__ import annotations

import array
import json
import mmap
import os
import socket
import struct
from typing import Any

LARGEST_MESSAGE = 1 << 22
MAX_DESCRIPTORS = 8


class WireError(Exception):
    """The other side is gone, late, or speaks nonsense."""


def send(
    channel: socket.socket, message: dict[str, Any], descriptors: tuple[int, ...] = ()
) -> None:
    """Send one message with descriptors attached.

    Raises:
        WireError: the other side is gone or does not read.
    """
    body = json.dumps(message).encode()
    packed = (
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        if descriptors
        else []
    )
    try:
        channel.sendmsg([struct.pack("!I", len(body))], packed)
        channel.sendall(body)
    except OSError as error:
        raise WireError(f"cannot send: {error}") from error


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and its descriptors, which the caller closes.

    Raises:
        WireError: see the class; a timeout set on the socket counts as late.
    """
    descriptors: list[int] = []
    try:
        room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        head, ancillary, _, _ = channel.recvmsg(4, room)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found = array.array("i")
                found.frombytes(data[: len(data) - len(data) % found.itemsize])
                descriptors += list(found)
        head += _exactly(channel, 4 - len(head)) if head else b""
        if len(head) < 4:
            raise WireError("the other side closed the channel")
        (size,) = struct.unpack("!I", head)
        if size > LARGEST_MESSAGE:
            raise WireError(f"a message of {size} bytes is too large")
        message = json.loads(_exactly(channel, size))
        if not isinstance(message, dict):
            raise WireError("a message is not an object")
        return message, descriptors
    except (OSError, ValueError, RecursionError) as error:
        close_all(descriptors)
        raise WireError(f"cannot receive: {error}") from error
    except WireError:
        close_all(descriptors)
        raise


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = channel.recv(min(1 << 16, size - len(parts)))
        if not part:
            raise WireError("the other side closed the channel within a message")
        parts += part
    return bytes(parts)


def close_all(descriptors: list[int]) -> None:
    """Close every descriptor of a list."""
    for descriptor in descriptors:
        os.close(descriptor)


def shared_memory(size: int, name: str = "novum") -> int:
    """A descriptor of fresh anonymous memory, all zero."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    os.ftruncate(descriptor, max(size, 1))
    return descriptor


def mapped(descriptor: int, writable: bool) -> mmap.mmap:
    """The memory behind a descriptor; a private copy on write where it is not writable."""
    size = os.fstat(descriptor).st_size
    if writable:
        return mmap.mmap(descriptor, size)
    return mmap.mmap(
        descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
    )


class Maps:
    """The last few mappings, so that memory which comes again is not mapped again."""

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._known: dict[tuple[int, bool], mmap.mmap] = {}

    def get(self, descriptor: int, writable: bool) -> mmap.mmap:
        """The memory behind a descriptor; what is mapped stays the same memory: its number is not
        given to another while it is.
        """
        key = (os.fstat(descriptor).st_ino, writable)
        if key not in self._known:
            while len(self._known) >= self._most:
                self._known.pop(next(iter(self._known)))  # freed when no tensor uses it
            self._known[key] = mapped(descriptor, writable)
        return self._known[key]


def read_only(descriptor: int) -> int:
    """A second descriptor of the same memory through which nobody can write."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
