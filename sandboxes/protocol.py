"""The sandbox protocol: what one process may see, use and leave behind.

A provider starts processes under a `Confinement` and promises what it can hold (`Promise`). The
contract suite in `tests/test_sandbox_contract.py` runs against every provider, and `novum doctor`
attacks each promise on the user's own machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Promise(StrEnum):
    """What a provider may promise; a provider lists those it keeps, and says so of the others."""

    NO_NETWORK = "no-network"
    SECRETS_UNREADABLE = "secrets-unreadable"
    WRITES_CONFINED = "writes-confined"
    PROCESSES_HIDDEN = "processes-hidden"
    NO_PRIVILEGES = "no-privileges"
    CLEAN_ENVIRONMENT = "clean-environment"
    NO_INHERITED_FDS = "no-inherited-fds"
    TIME_BOUNDED = "time-bounded"
    MEMORY_BOUNDED = "memory-bounded"
    PROCESSES_BOUNDED = "processes-bounded"
    DISK_BOUNDED = "disk-bounded"
    OUTPUT_BOUNDED = "output-bounded"
    NO_SURVIVORS = "no-survivors"
    NO_TERMINAL = "no-terminal"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one sandboxed process tree."""

    wall_s: float = 60.0
    memory_bytes: int = 4 << 30
    pids: int = 64
    file_bytes: int = 1 << 30
    """Largest single file, and the size of the private /tmp where there is one."""
    disk_bytes: int = 4 << 30
    """All that may lie in the writable mounts together."""
    output_bytes: int = 1 << 20
    """Kept of stdout and of stderr each: head and tail, with a note of what was cut."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path and where the process sees it (the same path in the `process` provider)."""

    source: Path
    target: Path
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Confinement:
    """One process to run: its words, what it sees and what it may use.

    `argv[0]` of `python` stands for the interpreter that runs Novum. The working directory is
    `cwd` as the process sees it. The environment is exactly `env` plus what the provider needs
    (PATH, HOME, TMPDIR); nothing is inherited.
    """

    argv: tuple[str, ...]
    cwd: Path
    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    cores: tuple[int, ...] = ()
    """Cores to pin to; empty means no pinning."""
    gpus: tuple[str, ...] = ()
    """Device indices or UUIDs that are visible; empty means none."""
    loopback: bool = False
    """Several processes of one program that talk over a loopback of their own; more than one GPU
    implies it."""

    @property
    def has_loopback(self) -> bool:
        """Whether IP sockets on the private loopback are allowed."""
        return self.loopback or len(self.gpus) > 1


class ExitCause(StrEnum):
    """Why a process ended, as the harness saw it; never derived from the exit code alone."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out-of-memory"
    KILLED = "killed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a sandboxed process tree ended and what it used."""

    cause: ExitCause
    code: int | None
    wall_s: float
    cpu_s: float
    peak_bytes: int
    stdout: str
    stderr: str
    truncated: bool
    n_survivors: int
    """Processes that outlived teardown; anything but 0 voids the trial."""


class SandboxedProcess(Protocol):
    """A running process tree in a sandbox."""

    @property
    def is_running(self) -> bool:
        """Whether the first process still runs."""

    def cpu_s(self) -> float:
        """CPU seconds used so far by the whole tree, dead children included."""

    def peak_bytes(self) -> int:
        """Most memory resident at once so far in the whole tree."""

    def kill(self) -> None:
        """Kill the whole tree now; a second call does nothing."""

    def wait(self, timeout_s: float | None = None) -> Exit | None:
        """Wait for the end and tear down; `None` when `timeout_s` passed first.

        The wall limit of the confinement is enforced by the provider whoever waits.
        """


class Sandbox(Protocol):
    """A provider of confinement."""

    name: str

    @property
    def promises(self) -> frozenset[Promise]:
        """What holds here. Whatever is missing is not promised, and every view says so."""

    @property
    def layers(self) -> tuple[str, ...]:
        """What enforces them on this machine (namespaces, seccomp, cgroup-v2, ...)."""

    def check(self) -> None:
        """Raise `SandboxUnavailable`, with the remedy, unless this provider can run here."""

    def start(self, confinement: Confinement) -> SandboxedProcess:
        """Start a process.

        Raises:
            SandboxUnavailable: this provider cannot run here.
            SandboxNotStarted: the sandbox itself failed to start; the caller may retry.
        """

    def visible(self, host: Path, mounts: Sequence[Mount]) -> Path:
        """Where the process sees a host path that lies under one of `mounts`."""
