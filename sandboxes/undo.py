"""Take back what starting a sandbox made, when a later step of it fails.

Each piece is put on an `ExitStack` as it is made; a start that succeeds clears the stack.
"""

from __future__ import annotations

import contextlib
import os
import subprocess


def open_pipe(on_failure: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose ends no program inherits by accident: read end, write end."""
    ends = os.pipe2(os.O_CLOEXEC)
    for fd in ends:
        on_failure.callback(close_quietly, fd)
    return ends


def close_quietly(fd: int) -> None:
    """Close a descriptor, unless somebody has."""
    with contextlib.suppress(OSError):
        os.close(fd)


def end_process(outer: subprocess.Popen[bytes]) -> None:
    """Kill a process and wait for it."""
    outer.kill()
    outer.wait()
