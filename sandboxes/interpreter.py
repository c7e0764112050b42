"""What a sandboxed program needs to see of the host: the interpreter and the system's libraries.

Host paths are kept, so that a virtual environment, its base and the paths compiled into libraries
mean the same inside. All of it is read-only there.
"""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import novum

# Programs, libraries, and the few files of /etc that the dynamic linker, the C library and
# compilers look up. No accounts, no host names, no keys.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SYSTEM_FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/OpenCL",
    "/nix/store",
)
# The accounts that exist inside: torch and others ask for the name of the user.
PASSWD = "root:x:0:0:root:/:/bin/sh\nnovum:x:{uid}:{gid}:novum:/tmp:/bin/sh\n"
GROUP = "root:x:0:\nnovum:x:{gid}:\n"


@functools.cache
def folders() -> tuple[Path, ...]:
    """Folders of the interpreter that runs Novum, outside `SYSTEM`; none lies in another."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    paths |= {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths.add(os.path.dirname(os.path.realpath(sys.executable)))
    paths.add(os.path.dirname(sys.executable))
    if site.ENABLE_USER_SITE:
        paths.add(site.getusersitepackages())
    found = {Path(os.path.abspath(path)) for path in paths if path and os.path.isdir(path)}
    found |= {path.resolve() for path in found}
    return _outermost(p for p in found if not _is_system(p) and not _is_too_wide(p))


def shown() -> tuple[Path, ...]:
    """Folders of this machine that a sandbox which isolates shows: `folders()` and the system."""
    return (*folders(), *map(Path, SYSTEM))


def package_folders() -> tuple[Path, ...]:
    """Folders of Novum itself below `folders()` or the system: hidden, they hold the graders."""
    homes = {Path(p).resolve() for p in novum.__path__}
    return tuple(sorted(h for h in homes if any(base in h.parents for base in shown())))


def environment() -> dict[str, str]:
    """The variables that a provider adds; everything else comes from the confinement."""
    path = (os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin")
    return {"PATH": ":".join(dict.fromkeys(path)), "HOME": "/tmp", "TMPDIR": "/tmp"}


def resolve(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv` with `python` replaced by the interpreter that runs Novum."""
    return (sys.executable, *argv[1:]) if argv and argv[0] == "python" else argv


def _outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    kept: list[Path] = []
    for path in sorted(paths):
        if not any(base == path or base in path.parents for base in kept):
            kept.append(path)
    return tuple(kept)


def _is_system(path: Path) -> bool:
    return any(Path(base) == path or Path(base) in path.parents for base in SYSTEM)


def _is_too_wide(path: Path) -> bool:
    """Whether the folder would show the user's own files: a home, a root, a folder of homes."""
    home = Path(os.path.expanduser("~"))
    return path == home or path in home.parents or path == Path(path.anchor)
