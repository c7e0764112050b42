"""Turns on GPUs: one trial at a time on each, over all processes of the machine.

Two programs that measure on one GPU measure each other. Whoever does holds a lock on a file that
is named after the GPU; it falls when the process ends, however it ends. A program that is no part
of Novum may hold it as well: `flock /tmp/novum-gpu-UUID.lock COMMAND`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

FOLDER = Path("/tmp")  # not TMPDIR: it has to be the same for all


def take_turn(gpus: Sequence[str], folder: Path = FOLDER) -> ExitStack | None:
    """Hold these GPUs until the result is closed; `None` while another process holds one.

    A lock that cannot be made (a folder that may not be written to) keeps nobody out.
    """
    held = ExitStack()
    for gpu in gpus:
        fd = _open(folder / f"novum-gpu-{gpu}.lock")
        if fd is None:
            continue
        held.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            return None
    return held


def _open(path: Path) -> int | None:
    # A file of another user is opened as it is: creating it is refused in a shared folder.
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_CREAT):
        try:
            return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError:
            continue
    return None
