"""Write git's loose objects and refs with a file each and nothing else.

libgit2 makes a temporary file, links it to its name, unlinks it, looks into the packs before each
object and reads it again after: twice the time for the same files.
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from pathlib import Path

from novum.lab.trees import Objects

LEVEL = 1
"""Of compression: packs, in which objects end, are compressed anew."""
MAX_KNOWN = 4_096


class LooseWriter:
    """Writes into the repository of one process; not safe from several threads at once."""

    def __init__(self, repository: Path) -> None:
        self._objects = os.fspath(repository / "objects")
        self._root = os.fspath(repository)
        self._known: OrderedDict[str, None] = OrderedDict()
        """Objects that are there for certain: most files of a candidate are its parent's."""

    def write(self, objects: Objects) -> int:
        """Write objects, those without which others mean nothing first; returns how many."""
        return sum(self._write(digest, whole) for digest, whole in objects.items())

    def point(self, ref: str, commit: str) -> None:
        """Make a ref name a commit."""
        _replace(f"{self._root}/{ref}", f"{self._root}/{ref}.lock", f"{commit}\n".encode(), 0o644)

    def _write(self, digest: str, whole: bytes) -> bool:
        if digest in self._known:
            self._known.move_to_end(digest)
            return False
        path = f"{self._objects}/{digest[:2]}/{digest[2:]}"
        is_new = not os.path.exists(path)
        if is_new:
            _replace(path, f"{self._objects}/tmp_obj_{digest}", zlib.compress(whole, LEVEL), 0o444)
        self._known[digest] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return is_new


def _replace(path: str, new: str, content: bytes, mode: int) -> None:
    """Let a file appear under its name only when it is whole."""
    with os.fdopen(_create(new, mode), "wb") as file:
        try:
            file.write(content)
            file.flush()
            _rename(new, path)
        except BaseException:
            os.unlink(new)
            raise


def _create(path: str, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, mode)
    except FileExistsError:  # of a process that was killed
        os.unlink(path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path))
    return os.open(path, flags, mode)


def _rename(new: str, path: str) -> None:
    try:
        os.replace(new, path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path))
        os.replace(new, path)
