"""What machine and what software a run uses."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from novum.lab.records import Json

PACKAGES = (
    "novum",
    "torch",
    "triton",
    "numpy",
    "langgraph",
    "langchain-core",
    "chromadb",
    "sqlalchemy",
    "pygit2",
    "tokenizers",
)
"""Packages whose version a reader of a result may need."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def hardware() -> Json:
    """The machine: processor, cores this process may use, memory in bytes, GPUs."""
    import psutil

    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": list(gpus()),
        "system": f"{platform.system()} {platform.release()}",
        "host": platform.node(),
    }


@cache
def gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs of this machine, by index."""
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    return tuple(line.strip() for line in done.stdout.splitlines()) if done.returncode == 0 else ()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
