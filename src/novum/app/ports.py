"""A port of this machine that a command listens on, and nobody else's."""

from __future__ import annotations

import socket

from novum.errors import UsageError

HOST = "127.0.0.1"
DASHBOARD = 8765
MCP = 8766
"""Not the dashboard's, so that both may stand beside one run."""
N_TRIED = 20


def bound(port: int) -> socket.socket:
    """A socket of this machine alone; 0 takes a free port.

    Raises:
        UsageError: somebody else has the port; the message names the next free one.
    """
    try:
        return _bound(port)
    except OSError as error:
        raise UsageError(
            f"port {port} of {HOST} cannot be taken: {error.strerror}.\n"
            f"`--port {_next_free(port)}` takes a free one."
        ) from error


def _next_free(port: int) -> int:
    """The next port that can be taken now; 0, which means any, where the next few cannot."""
    for candidate in range(port + 1, min(port + 1 + N_TRIED, 65536)):
        try:
            _bound(candidate).close()
        except OSError:
            continue
        return candidate
    return 0


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen()  # until somebody listens, a second one may bind the same port
    except OSError:
        made.close()
        raise
    return made
