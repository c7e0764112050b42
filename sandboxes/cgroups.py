"""Control groups: limits and accounts of a whole process tree, kept by the kernel.

Two forms: version 2 where a folder of it is delegated to us (or we are root), version 1 where its
controllers are writable. Where neither is, `Groups.find` answers `None` and the providers fall back
on rlimits and on sampling, and promise less.

Source: Linux `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/{memory,pids,cpuacct}.rst`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from novum.sandboxes.protocol import Limits

MOUNT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_V1_CONTROLLERS = ("memory", "pids", "cpuacct")
_V2_CONTROLLERS = ("memory", "pids")
_counter = itertools.count()
_unremoved: list[Path] = []  # still populated when their sandbox ended; tried again later


class Group(Protocol):
    """One control group that holds one sandbox."""

    def add(self, pid: int) -> None:
        """Move a process in; what it starts later is in from birth."""

    def cpu_s(self) -> float:
        """CPU seconds of everything that ever ran in the group."""

    def resident_bytes(self) -> int:
        """Anonymous and shared memory charged now; caches of files are not counted."""

    def n_oom_kills(self) -> int:
        """Processes that the kernel killed because the group's memory was used up."""

    def pids(self) -> list[int]:
        """Processes in the group now."""

    def remove(self) -> None:
        """Give the group back; processes must be gone."""


class Groups(Protocol):
    """Where groups can be made."""

    @property
    def version(self) -> int:
        """Of the kernel's interface: 1 or 2."""

    def create(self, limits: Limits, n_own: int) -> Group:
        """A group under `limits`, with room for `n_own` processes of the sandbox itself.

        Raises:
            OSError: the kernel refused.
        """


def of(pid: int, mount: Path = MOUNT) -> Group | None:
    """The group that somebody else (a container engine) made for `pid`, if we can see it."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    paths = {names: path.lstrip("/") for _, names, path in (x.split(":", 2) for x in lines)}
    if (mount / "cgroup.controllers").exists():
        folder = mount / paths.get("", "")
        return V2Group(folder) if (folder / "memory.stat").exists() and paths.get("") else None
    by_controller = {n: path for names, path in paths.items() for n in names.split(",")}
    folders = {name: mount / name / by_controller.get(name, "") for name in _V1_CONTROLLERS}
    is_own = all(by_controller.get(name) and folders[name].is_dir() for name in _V1_CONTROLLERS)
    return V1Group(folders) if is_own else None


def find(mount: Path = MOUNT, membership: Path = _MEMBERSHIP) -> Groups | None:
    """The strongest form of control groups that this process may write, if any."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    own = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    return _find_v2(mount, own.get("", "/")) or _find_v1(mount, own)


def _find_v2(mount: Path, own: str) -> Groups | None:
    if not (mount / "cgroup.controllers").exists():
        return None
    mine = mount / own.lstrip("/")
    # a delegated folder of ours first; the top only for root, as container engines do
    for base in (mine, mine.parent, mount):
        if base != mount and mount not in base.parents:
            continue
        if _is_writable(base / "cgroup.procs") and _enable_v2(base):
            return V2Groups(base)
    return None


def _enable_v2(base: Path) -> bool:
    """Whether children of `base` get memory and pids controllers, after trying to say so."""
    control = base / "cgroup.subtree_control"
    try:
        if not set(_V2_CONTROLLERS) <= set((base / "cgroup.controllers").read_text().split()):
            return False
        if set(_V2_CONTROLLERS) <= set(control.read_text().split()):
            return True
        # A group with members cannot pass controllers on; we do not move processes that may
        # belong to somebody else, so a delegated scope must hold Novum in a child of its own.
        control.write_text(" ".join(f"+{name}" for name in _V2_CONTROLLERS))
    except OSError:
        return False
    return True


def _find_v1(mount: Path, own: dict[str, str]) -> Groups | None:
    by_controller = {name: path for names, path in own.items() for name in names.split(",")}
    folders = {}
    for name in _V1_CONTROLLERS:
        folder = mount / name / by_controller.get(name, "/").lstrip("/")
        if not _is_writable(folder / "cgroup.procs"):
            return None
        folders[name] = folder
    return V1Groups(folders)


def _is_writable(path: Path) -> bool:
    # the folder's own bits lie on a read-only mount, as in most containers
    return path.exists() and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _name() -> str:
    _unremoved[:] = [folder for folder in _unremoved if not _is_removed(folder)]
    return f"novum-{os.getpid()}-{next(_counter)}"


def sweep(groups: Groups | None) -> int:
    """Remove empty groups left by runs that were killed; returns how many."""
    if isinstance(groups, V2Groups):
        bases: Iterable[Path] = (groups.base,)
    elif isinstance(groups, V1Groups):
        bases = groups.folders.values()
    else:
        return 0
    n_removed = 0
    for folder in (f for base in bases for f in base.glob("novum-*-*") if f.is_dir()):
        owner = folder.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):  # still populated: not ours to break
                folder.rmdir()
                n_removed += 1
    return n_removed


@dataclass(frozen=True)
class V2Groups:
    """Groups below one delegated folder of the unified hierarchy."""

    base: Path
    version: int = 2

    def create(self, limits: Limits, n_own: int) -> Group:
        """See `Groups.create`."""
        folder = self.base / _name()
        folder.mkdir()
        try:
            (folder / "memory.max").write_text(str(limits.memory_bytes))
            _write_if_there(folder / "memory.swap.max", "0")
            _write_if_there(folder / "memory.oom.group", "1")
            (folder / "pids.max").write_text(str(limits.pids + n_own))
        except OSError:
            _remove(folder)
            raise
        return V2Group(folder)


@dataclass(frozen=True)
class V2Group:
    """One folder of the unified hierarchy."""

    folder: Path

    def add(self, pid: int) -> None:
        """See `Group.add`."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def cpu_s(self) -> float:
        """See `Group.cpu_s`."""
        return _fields(self.folder / "cpu.stat").get("usage_usec", 0) / 1e6

    def resident_bytes(self) -> int:
        """See `Group.resident_bytes`."""
        stat = _fields(self.folder / "memory.stat")
        return stat.get("anon", 0) + stat.get("shmem", 0)

    def n_oom_kills(self) -> int:
        """See `Group.n_oom_kills`."""
        return _fields(self.folder / "memory.events").get("oom_kill", 0)

    def pids(self) -> list[int]:
        """See `Group.pids`."""
        return _pids(self.folder)

    def remove(self) -> None:
        """See `Group.remove`."""
        _remove(self.folder)


@dataclass(frozen=True)
class V1Groups:
    """Groups below our own folder of each controller."""

    folders: dict[str, Path]
    version: int = 1

    def create(self, limits: Limits, n_own: int) -> Group:
        """See `Groups.create`."""
        name = _name()
        group = V1Group({key: base / name for key, base in self.folders.items()})
        try:
            for folder in group.folders.values():
                folder.mkdir()
            memory = group.folders["memory"]
            (memory / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
            _write_if_there(memory / "memory.memsw.limit_in_bytes", str(limits.memory_bytes))
            (group.folders["pids"] / "pids.max").write_text(str(limits.pids + n_own))
        except OSError:
            group.remove()
            raise
        return group


@dataclass(frozen=True)
class V1Group:
    """The same name below each controller of the old hierarchies."""

    folders: dict[str, Path] = field(default_factory=dict)

    def add(self, pid: int) -> None:
        """See `Group.add`."""
        for folder in self.folders.values():
            (folder / "cgroup.procs").write_text(str(pid))

    def cpu_s(self) -> float:
        """See `Group.cpu_s`."""
        try:
            return int((self.folders["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
        except (OSError, ValueError):
            return 0.0

    def resident_bytes(self) -> int:
        """See `Group.resident_bytes`."""
        stat = _fields(self.folders["memory"] / "memory.stat")
        return stat.get("total_rss", 0) + stat.get("total_shmem", stat.get("shmem", 0))

    def n_oom_kills(self) -> int:
        """See `Group.n_oom_kills`."""
        return _fields(self.folders["memory"] / "memory.oom_control").get("oom_kill", 0)

    def pids(self) -> list[int]:
        """See `Group.pids`."""
        return _pids(self.folders["pids"])

    def remove(self) -> None:
        """See `Group.remove`."""
        for folder in self.folders.values():
            _remove(folder)


def _fields(path: Path) -> dict[str, int]:
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {w[0]: int(w[1]) for w in words if len(w) == 2 and w[1].isdigit()}


def _pids(folder: Path) -> list[int]:
    try:
        return [int(word) for word in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _write_if_there(path: Path, value: str) -> None:
    if path.exists():
        with contextlib.suppress(OSError):
            path.write_text(value)


def _remove(folder: Path) -> None:
    """The last process leaves its group a moment after it is seen dead: try for up to 0.2 s."""
    for _ in range(20):
        if _is_removed(folder):
            return
        time.sleep(0.01)
    _unremoved.append(folder)


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
