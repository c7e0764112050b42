"""How thoroughly to measure, and the secrets from which hidden inputs follow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from novum.sandboxes.protocol import Limits

ARMS = ("candidate", "baseline")
SEARCH = "search"
"""The sandbox of unverified looks at a researcher's own files."""
EXTRA_PROCESSES = 3
"""How many more pairs a workload gets whose outer and inner clocks disagree."""
SECRET_CALLS = 2
"""Timed calls of each process whose outputs are compared element by element; which, nobody knows
before.
"""


@dataclass(frozen=True)
class Plan:
    """How thoroughly to measure."""

    device: str = "cpu"
    rounds: int = 10
    """Correctness rounds; half of them of the base family."""
    processes: int = 5
    calls: int = 15
    """Timed calls of each process."""
    warmups: int = 2
    set_bytes: int = 2 << 30
    """Most memory for the inputs and outputs of one process's timed calls, which may make them
    fewer.
    """
    pairs: int = 1
    """Pairs of processes that are prepared together and then timed in one go, so that everybody
    else has to leave the device fewer times.
    """
    pairs_bytes: int = 2 << 30
    """Most inputs and outputs of those together; more make them fewer."""
    threads: int = 1
    early: bool = False
    """Whether what torch.compile and Triton need is imported once, before processes are forked."""
    profile: bool = False
    """Whether the profiler is asked for the kernels of a few calls."""
    load_s: float = 180.0
    call_s: float = 60.0
    stage_s: float = 300.0
    """First calls of a workload, in which it may compile."""
    reference_s: float = 300.0
    """One question to the referee."""
    compile_threads: int = 1
    """Processes in which torch.compile may compile, where it is asked to compile at leisure."""
    limits: Limits = field(
        default_factory=lambda: Limits(
            wall_s=3600, memory_bytes=16 << 30, pids=256, file_bytes=4 << 30
        )
    )
    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None
    """Where compiled code may be kept from one evaluation to the next, in a folder for each
    arm.
    """


@dataclass(frozen=True)
class Secret:
    """Seeds that nobody can know before the candidate is frozen."""

    nonce: str
    digest: str

    def seed(self, *purpose: object) -> int:
        """A seed for a purpose."""
        text = "\0".join(map(str, (self.nonce, self.digest, *purpose)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])
