"""Folders of one trial: laid out before, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from novum.errors import UsageError
from novum.sandboxes.protocol import Mount


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A private folder that is removed at the end, whatever a trial has done to it."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="trial-", dir=parent))
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder with everything below it, also folders that nobody may enter."""
    pending = [os.fspath(folder)]
    while pending:
        path = pending.pop()
        with contextlib.suppress(OSError):  # `rmtree` says what cannot be removed
            os.chmod(path, 0o700)
            with os.scandir(path) as entries:
                pending += [e.path for e in entries if e.is_dir(follow_symlinks=False)]
    shutil.rmtree(folder)


def lay_out(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a new folder and make all of it read-only.

    Raises:
        UsageError: a path leads out of the folder.
    """
    folder.mkdir()
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise UsageError(f"a candidate's file may not be called {name!r}")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o444)
    for parent, _, _ in os.walk(folder, topdown=False):
        os.chmod(parent, 0o555)


def lay_covers(folder: Path, covers: Mapping[Path, bytes | None]) -> tuple[Mount, ...]:
    """Write what a program is to see in place of files of the machine, as mounts over those.

    `folder` is made. A place that does not exist is left out. `None` covers a file or folder with
    an empty one.
    """
    (folder / "nothing").mkdir(parents=True)
    (folder / "empty").write_bytes(b"")
    mounts = []
    for number, (place, content) in enumerate(sorted(covers.items())):
        if not place.exists():
            continue
        source = folder / ("nothing" if place.is_dir() else "empty")
        if content:
            source = folder / str(number)
            source.write_bytes(content)
            source.chmod(0o444)
        mounts.append(Mount(source, place))
    return tuple(mounts)
