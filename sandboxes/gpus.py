"""Which device nodes a process needs to use some of the NVIDIA GPUs, and no others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from novum.errors import SandboxUnavailable

INFORMATION = Path("/proc/driver/nvidia/gpus")
ASK_S = 10.0
# shared by all GPUs; the capability folder is needed for slices of a partitioned one
CONTROL_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver describes it."""

    uuid: str
    minor: int


def installed(
    information: Path = INFORMATION, dev: Path = Path("/dev"), program: str = "nvidia-smi"
) -> tuple[Gpu, ...]:
    """All GPUs of the driver, in the order of their device nodes, by one name everywhere.

    Some containers hide the driver's own folder, and a kernel that passes the driver through
    (gVisor) shows the nodes alone: then `nvidia-smi` says the names. Nodes that it does not list
    one for one are named by their index.
    """
    if found := _described(information):
        return found
    names = [path.name.removeprefix("nvidia") for path in dev.glob("nvidia[0-9]*")]
    minors = sorted(int(name) for name in names if name.isdigit())
    listed = asked(program)
    if not minors:
        return listed
    if len(listed) == len(minors):
        return tuple(Gpu(gpu.uuid, minor) for gpu, minor in zip(listed, minors, strict=True))
    return tuple(Gpu(str(i), minor) for i, minor in enumerate(minors))


def _described(information: Path) -> tuple[Gpu, ...]:
    found = []
    for path in information.glob("*/information"):
        fields = dict(
            (key.strip(), value.strip())
            for key, _, value in (line.partition(":") for line in path.read_text().splitlines())
        )
        if fields.get("Device Minor", "").isdigit():
            found.append(Gpu(uuid=fields.get("GPU UUID", ""), minor=int(fields["Device Minor"])))
    return tuple(sorted(found, key=lambda gpu: gpu.minor))


@lru_cache(maxsize=8)  # it takes up to a second, and every trial needs the answer
def asked(program: str) -> tuple[Gpu, ...]:
    """What `nvidia-smi` lists, in its order; nothing where it is missing or does not answer."""
    if shutil.which(program) is None:
        return ()
    words = [program, "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    rows = [line.split(", ") for line in answer.stdout.splitlines()]
    return tuple(Gpu(row[1], int(row[0])) for row in rows if len(row) == 2 and row[0].isdigit())


def visible(information: Path = INFORMATION) -> tuple[Gpu, ...]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` names, in its order; all where it says nothing.

    Raises:
        SandboxUnavailable: it names one that is not here.
    """
    present = installed(information)
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return present
    return choose([name for word in wanted.split(",") if (name := word.strip())], present)


def choose(wanted: Sequence[str], present: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The GPUs named by index (in the order of their nodes) or UUID.

    Raises:
        SandboxUnavailable: one of them is not here.
    """
    chosen = []
    for name in wanted:
        matches = [
            gpu for index, gpu in enumerate(present) if name == gpu.uuid or name == str(index)
        ]
        if not matches:
            raise SandboxUnavailable(
                f"GPU {name} was asked for and the driver lists {len(present)}: "
                f"{', '.join(gpu.uuid for gpu in present) or 'none'}.\n"
                "Check `nvidia-smi -L`, or ask for the cpu profile."
            )
        chosen.append(matches[0])
    return tuple(chosen)


def nodes(chosen: Sequence[Gpu], dev: Path = Path("/dev")) -> tuple[Path, ...]:
    """Device nodes of the chosen GPUs and of the driver, those that exist."""
    names = [*(f"nvidia{gpu.minor}" for gpu in chosen), *CONTROL_NODES]
    return tuple(path for name in names if (path := dev / name).exists())
