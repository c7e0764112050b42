"""What a measurement depends on besides the candidate: harness, grader, data, hardware."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from novum.benchmarks.pack import Pack, Profile, digest_files

_INFORMATION = Path("/proc/driver/nvidia/gpus")


def harness_digest(pack: Pack, fingerprint: str) -> str:
    """Digest of the harness, the pack's grader and rules, and its data's fingerprint.

    Two trials with different digests are not compared.
    """
    parts = {"harness": own_digest(), "pack": pack.digest, "data": fingerprint}
    return digest_files({name: value.encode() for name, value in parts.items()})


@functools.cache
def own_digest() -> str:
    """Digest of the harness's own code and of its contract with graders."""
    here = Path(__file__).parent
    files = {path.name: path.read_bytes() for path in here.glob("*.py")}
    files["protocol"] = (here.parent / "protocol.py").read_bytes()
    return digest_files(files)


def hardware_class(profile: Profile) -> str:
    """The hardware that a slot of this profile has; times on different classes do not compare."""
    if profile.gpus:
        names = _gpu_names()
        return f"{profile.gpus}x {names[0] if names else 'unknown GPU'}"
    return f"{profile.cores}x {_cpu_name()}"


def _gpu_names() -> list[str]:
    names = []
    for path in sorted(_INFORMATION.glob("*/information")):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    return names


@functools.cache
def _cpu_name() -> str:
    with open("/proc/cpuinfo") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    named = {key.strip(): " ".join(value.split()) for key, value in fields.items()}
    return named.get("model name") or f"{os.uname().machine} {named.get('CPU part', '')}".strip()
