"""How much lies in a folder that a sandboxed process may write, whatever it did to hide it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

MAX_ENTRIES = 200_000  # a file system has finitely many inodes, and walking them takes a second


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below `folder`, links not followed, in no order; what vanishes is left out.

    Raises:
        OSError: with `ENAMETOOLONG`, a folder lies deeper than a path can say.
    """
    pending = [os.fspath(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise


def excess(folders: Sequence[Path], limit_bytes: int) -> str | None:
    """Why the folders hold more than they may, in words; `None` when they do not."""
    n_bytes = n_entries = 0
    try:
        for folder in folders:
            for entry in entries(folder):
                n_entries += 1
                with contextlib.suppress(OSError):
                    n_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
                if n_bytes > limit_bytes:
                    return f"they hold more than {limit_bytes} bytes"
                if n_entries > MAX_ENTRIES:
                    return f"they hold more than {MAX_ENTRIES} files"
    except OSError as error:
        return f"they are nested deeper than can be looked into ({error.strerror})"
    return None
