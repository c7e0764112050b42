"""What a trial left: regular files only, none from after the deadline, bounded and hashed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from novum.benchmarks.protocol import CandidateFailed

MAX_FILES = 10_000
MAX_DEPTH = 16
CHUNK = 1 << 20
HASHED_AT_ONCE = 8  # files
LATE_S = 0.02  # file times tick every 4 ms, and a kill takes a few


@dataclass(frozen=True, slots=True)
class Collected:
    """What was kept of an output folder."""

    digest: str
    n_bytes: int
    n_files: int
    n_late: int
    n_odd: int
    """Links, devices, pipes and sockets that were removed."""


def collect(folder: Path, max_bytes: int, deadline_epoch_s: float | None = None) -> Collected:
    """Strip an output folder to its regular files and hash them; its writers must be dead.

    A file that changed after the deadline is removed: its status-change time is the kernel's and
    cannot be set by the program.

    Raises:
        CandidateFailed: there are too many files, or they are too large or too deep.
    """
    n_late, n_odd, n_bytes = _strip(folder, deadline_epoch_s)
    if n_bytes > max_bytes:  # before any of it is read: a sparse file costs its writer nothing
        raise CandidateFailed(f"its artifact is larger than {max_bytes} bytes")
    names = [(parent.parts, name) for parent, name, _ in _walk(folder)]
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:  # hashing lets the lock go
        entries = sorted(pool.map(partial(_hash, folder), names))
    total = sha256()
    for path, size, digest in entries:
        total.update(f"{len(path)}:{size}:".encode() + path + digest)
    return Collected(total.hexdigest(), n_bytes, len(entries), n_late, n_odd)


def _strip(folder: Path, deadline_epoch_s: float | None) -> tuple[int, int, int]:
    """Remove what does not count; returns how many late and odd files, and the bytes left.

    Hard links go too, all of them: the other name may lie outside, where a change of mode by us
    would open somebody's file.
    """
    linked = {
        (status.st_dev, status.st_ino)
        for _, _, status in _walk(folder)
        if status.st_nlink > 1  # before the first of them is removed
    }
    n_late = n_odd = n_bytes = 0
    for parent, name, status in _walk(folder):
        is_plain = stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in linked
        if not is_plain:
            os.unlink(name, dir_fd=parent.fd)
            n_odd += 1
        elif deadline_epoch_s is not None and status.st_ctime > deadline_epoch_s + LATE_S:
            os.unlink(name, dir_fd=parent.fd)
            n_late += 1
        else:
            n_bytes += status.st_size
    return n_late, n_odd, n_bytes


@dataclass(frozen=True, slots=True)
class _Folder:
    fd: int
    parts: tuple[str, ...]


def _walk(top: Path) -> Iterator[tuple[_Folder, str, os.stat_result]]:
    """Everything below `top` but folders; no link is followed, every folder is made readable."""
    n_entries = 0
    pending: list[tuple[str, ...]] = [()]
    while pending:
        parts = pending.pop()
        fd = _open_folder(top, parts)
        try:
            parent = _Folder(fd, parts)
            for name in os.listdir(fd):
                n_entries += 1
                if n_entries > MAX_FILES:
                    raise CandidateFailed(f"its artifact has more than {MAX_FILES} files")
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    yield parent, name, status
                elif len(parts) >= MAX_DEPTH:
                    raise CandidateFailed(f"its artifact is deeper than {MAX_DEPTH} folders")
                else:
                    pending.append((*parts, name))
        finally:
            os.close(fd)


def _open_folder(top: Path, parts: tuple[str, ...]) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(top, flags)
    os.fchmod(fd, 0o755)
    for name in parts:
        try:
            os.chmod(name, 0o755, dir_fd=fd)
            inner = os.open(name, flags, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def _hash(top: Path, named: tuple[tuple[str, ...], str]) -> tuple[bytes, int, bytes]:
    """Path below `top`, size and SHA-256 of one regular file; all may read it then, none run it."""
    parts, name = named
    parent = _open_folder(top, parts)
    try:
        os.chmod(name, 0o644, dir_fd=parent)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=parent)
    finally:
        os.close(parent)
    with os.fdopen(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CandidateFailed("its artifact changed while it was collected")
        digest, size = sha256(), 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return os.fsencode("/".join((*parts, name))), size, digest.digest()
