"""Landlock: a process gives up file and network access that it cannot regain.

This file stands alone (standard library only, imports nothing of Novum): `init.py` loads it inside
the sandbox, where the package is not visible.

Source: landlock(7), Linux `include/uapi/linux/landlock.h`.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ABI_RIGHTS = ((1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_READ = EXECUTE | READ_FILE | READ_DIR
_BIND_TCP, _CONNECT_TCP = 1, 2  # ABI 4
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2  # ABI 6


def abi() -> int:
    """The kernel's Landlock version; 0 where it has none or it is switched off."""
    version = _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(0, version)


def restrict(
    writable: Iterable[str], devices: Iterable[str] = ("/dev",), loopback: bool = False
) -> int:
    """Read anywhere, write only under `writable` and into existing `devices`; no TCP; for good.

    What there is to read is for the mount namespace to decide. Returns the ABI in force, 0 when
    the kernel has no Landlock and nothing was restricted.

    Raises:
        OSError: the kernel has Landlock and refused the rules.
    """
    version = abi()
    if version == 0:
        return 0
    handled = sum(rights for since, rights in _ABI_RIGHTS if version >= since)
    network = _BIND_TCP | _CONNECT_TCP if version >= 4 and not loopback else 0
    scopes = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= 6 else 0
    attributes = struct.pack("=QQQ", handled, network, scopes)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _checked(_CREATE_RULESET, attributes[:size], size, 0)
    try:
        _allow(ruleset, "/", _READ & handled)
        for path in devices:
            _allow(ruleset, path, (_READ | WRITE_FILE | TRUNCATE | IOCTL_DEV) & handled)
        for path in writable:
            _allow(ruleset, path, handled & ~IOCTL_DEV)
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "no_new_privs was refused")
        _checked(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        _checked(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)


def _checked(number: int, *arguments: int | bytes) -> int:
    result = _call(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock call {number}: {os.strerror(error)}")
    return result


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return int(_libc().syscall(ctypes.c_long(number), *words))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
