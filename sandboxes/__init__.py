"""Where code runs: the sandbox protocol, its providers, and the executor that owns the slots."""

from novum.sandboxes.protocol import (
    Confinement,
    Exit,
    ExitCause,
    Limits,
    Mount,
    Promise,
    Sandbox,
    SandboxedProcess,
)
from novum.sandboxes.registry import available, find_sandbox

__all__ = [
    "Confinement",
    "Exit",
    "ExitCause",
    "Limits",
    "Mount",
    "Promise",
    "Sandbox",
    "SandboxedProcess",
    "available",
    "find_sandbox",
]
