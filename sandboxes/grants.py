"""Let the user of a container reach the files that are mounted for it, and nobody else.

A container run by root does not run as root inside: its user owns nothing of the host. A folder
that `tempfile` made (mode 0700) would be closed to it. The id below belongs to no account, so
that what is granted to it is granted to nobody on the host.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from novum.sandboxes.protocol import Mount

SANDBOX_ID = 64365  # unassigned: above users and below the 16-bit `nobody`


def container_user() -> tuple[int, int]:
    """User and group id of processes in a container: our own, or nobody's when we are root."""
    if os.geteuid() == 0:
        return SANDBOX_ID, SANDBOX_ID
    return os.geteuid(), os.getegid()


def grant(mounts: Sequence[Mount], uid: int, gid: int) -> None:
    """Open every mount to `uid`: writable ones are given to it, others become readable by `gid`.

    Does nothing when the container runs as our own user. Links are never followed, and files that
    everybody may read stay as they are.
    """
    if uid == os.geteuid():
        return
    for mount in mounts:
        for path, status in _below(mount.source):
            if mount.writable:
                os.chown(path, uid, gid, follow_symlinks=False)
            elif not _is_open(status) and not stat.S_ISLNK(status.st_mode):
                os.chown(path, -1, gid, follow_symlinks=False)
                os.chmod(path, stat.S_IMODE(status.st_mode) | _group_bits(status))


def _is_open(status: os.stat_result) -> bool:
    if stat.S_ISSOCK(status.st_mode):
        needed = stat.S_IROTH | stat.S_IWOTH  # connecting is writing
    elif stat.S_ISDIR(status.st_mode):
        needed = stat.S_IROTH | stat.S_IXOTH
    else:
        needed = stat.S_IROTH
    return status.st_mode & needed == needed


def _group_bits(status: os.stat_result) -> int:
    if stat.S_ISSOCK(status.st_mode):
        return stat.S_IRGRP | stat.S_IWGRP
    if stat.S_ISDIR(status.st_mode):
        return stat.S_IRGRP | stat.S_IXGRP
    return stat.S_IRGRP


def _below(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    yield os.fspath(top), os.lstat(top)
    if not os.path.isdir(top):
        return
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            yield path, os.lstat(path)
