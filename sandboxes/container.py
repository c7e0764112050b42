"""One container as a process tree: what it uses, how it is killed, what is left of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.sandboxes import cgroups
from novum.sandboxes.capture import Capture
from novum.sandboxes.process_tree import count_left, namespace_of

if TYPE_CHECKING:
    from docker import DockerClient

HEADER = 8  # one byte for the stream, three of padding, four for the length, big-endian
ASK_S = 1.0  # the engine answers a question about usage in 10 to 30 ms: not at every sample
STDERR = 2


class Demultiplexer:
    """Parts the attached stream of a container into standard output and standard error.

    Source: Docker Engine API, "Attach to a container", stream format.
    """

    def __init__(self, captures: tuple[Capture, Capture]) -> None:
        self._captures = captures
        self._header = bytearray()
        self._left = 0
        self._target = captures[0]

    def write(self, data: bytes) -> None:
        """Take the next bytes of the stream, cut anywhere."""
        view = memoryview(data)
        while view:
            if self._left == 0:
                n = min(HEADER - len(self._header), len(view))
                self._header += view[:n]
                view = view[n:]
                if len(self._header) == HEADER:
                    self._target = self._captures[1 if self._header[0] == STDERR else 0]
                    self._left = int.from_bytes(self._header[4:], "big")
                    self._header.clear()
                continue
            n = min(self._left, len(view))
            self._target.write(bytes(view[:n]))
            self._left -= n
            view = view[n:]


def close_stream(stream: Any) -> None:
    """Close an attached stream and the connection under it, which the SDK leaves open."""
    connection = getattr(stream, "_sock", None)
    response = getattr(stream, "_response", None)
    with contextlib.suppress(OSError):
        if response is not None:
            response.close()  # first: it flushes what it reads from, and fails once that is closed
        stream.close()
        if connection is not None:
            connection.close()


class ContainerTree:
    """The processes of one container.

    Usage is read from the container's control group where the engine runs on this host, and asked
    of the engine otherwise.
    """

    def __init__(self, client: DockerClient, identity: str, scratch: Path, stream: Any) -> None:
        self._client = client
        self._identity = identity
        self._scratch = scratch
        self._stream = stream  # closing it would close the attached connection
        state = client.api.inspect_container(identity)["State"]
        self._first = int(state["Pid"])
        self._group = cgroups.of(self._first) if self._first else None
        self._namespace = namespace_of(self._first) if self._first else ""
        self._asked_s = 0.0
        self._answer = (0.0, 0)
        self._was_oom = False

    def cpu_s(self) -> float:
        """See `Tree.cpu_s`."""
        return self._group.cpu_s() if self._group is not None else self._ask()[0]

    def resident_bytes(self) -> int:
        """See `Tree.resident_bytes`."""
        return self._group.resident_bytes() if self._group is not None else self._ask()[1]

    def n_processes(self) -> int:
        """See `Tree.n_processes`: the engine holds the bound."""
        return 0

    def n_oom_kills(self) -> int:
        """See `Tree.n_oom_kills`."""
        n = self._group.n_oom_kills() if self._group is not None else 0
        return n or int(self._was_oom)

    def kill(self) -> None:
        """See `Tree.kill`."""
        if self._namespace and namespace_of(self._first) == self._namespace:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.kill(self._first, signal.SIGKILL)  # 0.1 s sooner than through the engine
                return
        with contextlib.suppress(Exception):  # dead already; `teardown` counts what is left
            self._client.api.kill(self._identity)

    def finish(self) -> None:
        """Wait until the engine has seen the end, and note what it says of memory."""
        import docker.errors
        import requests

        until = time.monotonic() + ASK_S * 5
        with contextlib.suppress(docker.errors.APIError, requests.RequestException):
            while time.monotonic() < until:
                state = self._client.api.inspect_container(self._identity)["State"]
                self._was_oom = bool(state.get("OOMKilled"))
                if not state.get("Running"):
                    return
                time.sleep(0.01)

    def teardown(self) -> int:
        """See `Tree.teardown`."""
        with contextlib.suppress(Exception):  # removed by somebody else: gone is gone
            self._client.api.remove_container(self._identity, force=True, v=True)
        close_stream(self._stream)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return count_left(self._group, self._namespace)

    def _ask(self) -> tuple[float, int]:
        if (now := time.monotonic()) - self._asked_s < ASK_S:
            return self._answer
        self._asked_s = now
        with contextlib.suppress(Exception):  # the container may just have ended
            usage = self._client.api.stats(self._identity, stream=False, one_shot=True)
            memory = usage["memory_stats"].get("stats", {})
            n_bytes = memory.get("anon", memory.get("total_rss", 0))
            self._answer = usage["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, int(n_bytes)
        return self._answer
