"""The folder in which one candidate is edited.

Paths are relative, stay inside, and never pass through a link: code that runs in the workspace may
plant links, so every access walks the path component by component. Only files that the pack lists
as editable can be written; everything may be read.

A workspace confines a *tool*, not a process: what `run_command` may touch is the sandbox's promise.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from novum.errors import ToolError

MAX_FILE_BYTES = 2 << 20
MAX_FILES = 2_000
IGNORED = frozenset({"__pycache__", ".git"})


@dataclass(frozen=True)
class Snapshot:
    """What a workspace holds, against the files that it started from."""

    files: dict[str, bytes]
    """Every file of the candidate: the files it started from, and new ones that are editable."""
    changed: tuple[str, ...]
    forbidden: tuple[str, ...]
    """Files outside the editable scope that were changed or deleted."""
    left_out: tuple[str, ...]
    """New files outside the editable scope: scratch, not part of the candidate."""


class Workspace:
    """A folder with a candidate's files; `is_editable` says which of them may change."""

    def __init__(
        self, folder: Path, base: Mapping[str, bytes], is_editable: Callable[[str], bool]
    ) -> None:
        """Make `folder` hold exactly `base`. What stood there before is removed."""
        self.folder = folder
        self.is_editable = is_editable
        self.base: dict[str, bytes] = {}
        self.reset(base)

    def reset(self, base: Mapping[str, bytes]) -> None:
        """Start over from other files. A folder with nothing but plain files is written over."""
        if not self._holds_only(base):
            if self.folder.is_symlink() or self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True)
        self.base = dict(base)
        for name, content in self.base.items():
            self._write(name, content)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def leave(self) -> None:
        """Let go of the folder: it is removed, unless another candidate can be laid over it.

        To make and remove a folder and its files takes longer than to write them over.
        """
        if not self._holds_only(self.base):
            self.close()

    def path(self, name: str) -> Path:
        """The place of `name` inside the workspace.

        Raises:
            ToolError: the name is absolute, climbs out, or passes through a link.
        """
        pure = PurePosixPath(name)
        if not name or "\0" in name or pure.is_absolute() or ".." in pure.parts:
            raise ToolError(f"{name!r} is not a path inside the workspace; use a relative one")
        here = self.folder
        for part in pure.parts:
            here = here / part
            if here.is_symlink():
                raise ToolError(f"{name} passes through a link; links are not followed")
        return here

    def read_text(self, name: str) -> str:
        """Text of a file.

        Raises:
            ToolError: it does not exist, is too large or is not text.
        """
        try:
            return self.read_bytes(name).decode()
        except UnicodeDecodeError:
            raise ToolError(f"{name} is not UTF-8 text") from None

    def read_bytes(self, name: str) -> bytes:
        """Content of a regular file.

        Raises:
            ToolError: it does not exist, is not a regular file or is too large.
        """
        path = self.path(name)
        try:
            # NONBLOCK: opening a named pipe that a command left here must not hang.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise ToolError(f"cannot read {name}: {error.strerror}") from error
        with os.fdopen(fd, "rb") as file:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise ToolError(f"{name} is not a regular file")
            if info.st_size > MAX_FILE_BYTES:
                raise ToolError(f"{name} has {info.st_size} bytes; the limit is {MAX_FILE_BYTES}")
            return file.read()

    def write_text(self, name: str, text: str) -> None:
        """Write an editable file, making its folders.

        Raises:
            ToolError: the file is not editable or too large.
        """
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write an editable file, making its folders.

        Raises:
            ToolError: the file is not editable or too large.
        """
        self.require_editable(name)
        if len(content) > MAX_FILE_BYTES:
            raise ToolError(f"{name} would have {len(content)} bytes; limit {MAX_FILE_BYTES}")
        self._write(name, content)

    def delete(self, name: str) -> None:
        """Delete an editable file.

        Raises:
            ToolError: it is not editable or does not exist.
        """
        self.require_editable(name)
        try:
            self.path(name).unlink()
        except OSError as error:
            raise ToolError(f"cannot delete {name}: {error.strerror}") from error

    def require_editable(self, name: str) -> None:
        """Raise `ToolError` unless a candidate may change this file."""
        canonical = PurePosixPath(name).as_posix()
        if canonical.endswith((".pyc", ".pth")) or not self.is_editable(canonical):
            raise ToolError(f"{name} is not editable in this benchmark; see the task for what is")

    def names(self) -> tuple[str, ...]:
        """Regular files below the workspace, sorted; caches and links are left out.

        Raises:
            ToolError: there are too many to be a candidate.
        """
        found: list[str] = []
        for root, folders, files in os.walk(self.folder):
            folders[:] = sorted(f for f in folders if f not in IGNORED)
            for file in files:
                path = Path(root, file)
                if stat.S_ISREG(path.lstat().st_mode):
                    found.append(path.relative_to(self.folder).as_posix())
            if len(found) > MAX_FILES:
                raise ToolError(f"the workspace holds more than {MAX_FILES} files; remove some")
        return tuple(sorted(found))

    def snapshot(self) -> Snapshot:
        """What a candidate frozen now would hold.

        Raises:
            ToolError: a file that belongs to the candidate cannot be read.
        """
        names = self.names()
        kept = [n for n in names if n in self.base or self.is_editable(n)]
        files = {name: self.read_bytes(name) for name in kept}
        gone = [n for n in self.base if n not in files]
        changed = sorted([n for n, c in files.items() if self.base.get(n) != c] + gone)
        return Snapshot(
            files,
            tuple(changed),
            tuple(n for n in changed if not self.is_editable(n)),
            tuple(n for n in names if n not in files),
        )

    def _holds_only(self, names: Collection[str]) -> bool:
        """Whether the folder is real and flat and holds plain files of ours under these names."""
        try:
            if not stat.S_ISDIR(os.lstat(self.folder).st_mode):
                return False
            with os.scandir(self.folder) as entries:
                return all(e.name in names and _is_plain(e) for e in entries)
        except OSError:
            return False

    def _write(self, name: str, content: bytes) -> None:
        path = self.path(name)
        try:
            fd = _open(path)
        except FileNotFoundError:
            fd = self._open_below_new_folders(name, path)
        except OSError as error:
            raise ToolError(f"cannot write {name}: {error.strerror}") from error
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            # Not `O_TRUNC`: ext4 hurries a file that was emptied first to the disk on close.
            file.truncate()

    def _open_below_new_folders(self, name: str, path: Path) -> int:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _open(path)
        except OSError as error:
            raise ToolError(f"cannot write {name}: {error.strerror}") from error


def _open(path: Path) -> int:
    """A regular file to be written over; links are not followed, and a pipe does not hang."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags, 0o644)


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file with one name and the rights that a workspace gives it."""
    info = entry.stat(follow_symlinks=False)
    return stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_mode & 0o7777 == 0o644
