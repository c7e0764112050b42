"""Copy files and databases of a live run so that each appears whole or not at all.

Nothing is written in place: a file is written beside its place, flushed to the disk, and renamed.
A database is copied by SQLite's own backup, as it stood at one moment, while others write to it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

FRESH_S = 2.0
"""A folder that changed so short a time ago may change again within its time's own resolution."""
BUSY_S = 30.0


class Copier:
    """Copies into one folder, which nobody else writes to meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[Path, int] = {}
        self._touched: set[Path] = set()
        self._new: list[tuple[Path, Path]] = []

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file; its mode goes along, since some are their owner's alone.

        Raises:
            OSError: either cannot be reached, or no room is left.
        """
        new = self._stage(source, target)
        _flush(new)
        self.reveal(new, target)

    def _stage(self, source: Path, target: Path) -> Path:
        with source.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            new = self._beside(target)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
        return new

    def write(self, text: str, target: Path) -> None:
        """Write a file."""
        new = self._beside(target)
        with new.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.reveal(new, target)

    def snapshot(self, source: Path, target: Path) -> Path:
        """Copy a database as it stands now; returns the file, to be `reveal`ed later.

        The copy needs no log beside it, so a reader of it writes nothing.

        Raises:
            sqlite3.Error: the database is damaged or locked, or no room is left.
        """
        new = self._beside(target)
        uri = f"file:{quote(str(source.absolute()))}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as old,
            closing(sqlite3.connect(new, isolation_level=None)) as copy,
        ):
            copy.execute("PRAGMA synchronous=OFF")  # flushed below, in one go
            old.backup(copy)  # in one step, so from one moment
            copy.execute("PRAGMA journal_mode=DELETE")
        _flush(new)
        return new

    def reveal(self, new: Path, target: Path) -> None:
        """Give a file that is whole its name."""
        os.replace(new, target)
        self._touched.add(target.parent)

    def copy_new(self, source: Path, target: Path, name: re.Pattern[str]) -> list[str]:
        """Copy files of a folder that the copy lacks, and return the names of all there are.

        They get their names by `reveal_new`: to flush many at once takes little longer than one.
        For files that never change under one name. One that goes while it is copied is left out.
        """
        found = self._changed(source)
        if found is None:
            return []
        names = sorted((n for n in found if name.fullmatch(n)), key=_in_order)
        missing = [n for n in names if not (target / n).exists()]
        if missing:
            target.mkdir(parents=True, exist_ok=True)
        for each in missing:
            try:
                self._new.append((self._stage(source / each, target / each), target / each))
            except FileNotFoundError:
                if (source / each).exists():
                    raise  # it is the copy's folder that went
        return names

    def reveal_new(self) -> None:
        """Give what `copy_new` copied its names, in that order."""
        for new, _ in self._new:
            _flush(new)
        for new, target in self._new:
            self.reveal(new, target)
        self._new.clear()

    def forget(self) -> None:
        """Look at every folder again: an earlier pass was cut off."""
        self._seen.clear()
        self._new.clear()

    def flush(self) -> None:
        """Make the names of what was copied last, too."""
        for folder in self._touched:
            _flush(folder)
        self._touched.clear()

    def _beside(self, target: Path) -> Path:
        new = target.with_name(f"{target.name}.mirrored")
        for left in (new, new.with_name(new.name + "-journal")):
            left.unlink(missing_ok=True)  # of a process that was killed
        return new

    def _changed(self, folder: Path) -> list[str] | None:
        """Names in a folder; `None` where nothing was added since they were last told."""
        try:
            at = folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if self._seen.get(folder) == at:
            return None
        if time.time() - at / 1e9 > FRESH_S:
            self._seen[folder] = at
        return os.listdir(folder)


def subfolders(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """Folders in a folder whose names fit."""
    if folder.is_dir():
        yield from (folder / n for n in sorted(os.listdir(folder)) if name.fullmatch(n))


def _in_order(name: str) -> tuple[bool, str]:
    """An index comes after the pack that it is of: it is what a reader looks for."""
    return name.endswith(".idx"), name


def drop(paths: Iterable[Path]) -> None:
    """Remove files that may be there."""
    for path in paths:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
            raise
    finally:
        os.close(descriptor)
