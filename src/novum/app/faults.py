"""Which errors are the machine's and nobody's bug: what they mean, and what to do."""

from __future__ import annotations

import errno
import sqlite3

from novum.errors import DiskFull, NovumError, OperatorError

ELSEWHERE = "Name another folder with --runs or --output, or in the section [paths] of novum.toml."
FULL = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = {
    errno.EROFS: ELSEWHERE,
    errno.EACCES: ELSEWHERE,
    errno.EPERM: ELSEWHERE,
    errno.EMFILE: "Too many files are open: raise the limit (`ulimit -n`) or use fewer --threads.",
}


def actionable(error: Exception) -> Exception:
    """The error that a person can act on, out of a group or from the system; else the same one.

    A full disk comes first: what else failed beside it failed for want of room.
    """
    leaves = _leaves(error)
    if any(map(_is_full, leaves)):
        return DiskFull("no room is left on the disk. Free some space, then do it again.")
    if all(isinstance(leaf, NovumError) for leaf in leaves):
        return leaves[0]
    if isinstance(error, OSError) and error.errno in REMEDIES:
        where = f": {error.filename}" if error.filename else ""
        return OperatorError(f"{error.strerror}{where}.\n{REMEDIES[error.errno]}")
    return error


def _leaves(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _is_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in FULL)
