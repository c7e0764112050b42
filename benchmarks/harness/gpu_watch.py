"""What a trial does to its GPUs, as the driver sees it: memory, load, power, and who else is there.

`nvidia-smi` is asked and not the candidate: once before a trial, whether the GPU is free, and once
a second from its start to its end, and with it the counters of the tensor cores. All but memory is
told for the time that its clock runs: a start that compiles for a minute would halve it. Without
the program nothing is observed and nothing is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from novum.benchmarks.harness.tensor_cores import TensorCores
from novum.errors import GpuBusy, SandboxUnavailable

PROGRAM = "nvidia-smi"
ASK_S = 10.0
FREE_WITHIN_S = 20.0  # a killed process's memory is given back within a second or two
POLL_S = 0.5
OWN_BYTES = 2 << 30  # contexts of this process and of the driver
SAMPLE_FIELDS = "memory.used,utilization.gpu,power.draw,clocks.sm"
MIB = 1 << 20
FIRST_BFLOAT16 = 8.0  # compute capability of the first GPUs with bfloat16 tensor cores

Sample = tuple[float, float]
"""Seconds since the watch began, and a value."""


@dataclass
class GpuUse:
    """Samples of one trial, over all its GPUs; all but memory with the seconds since the first."""

    memory_bytes: list[float] = field(default_factory=list)
    busy: list[Sample] = field(default_factory=list)
    power_w: list[Sample] = field(default_factory=list)
    clock_mhz: list[Sample] = field(default_factory=list)
    tensor_busy: list[Sample] = field(default_factory=list)
    opened_s: float = field(default_factory=time.monotonic)

    def add(self, line: str) -> None:
        """Take one line of `nvidia-smi`; what it does not know is left out."""
        numbers = [as_number(word) for word in line.split(",")]
        if len(numbers) == 4:
            memory_mib, busy, power_w, clock_mhz = numbers
            at_s = time.monotonic() - self.opened_s
            if memory_mib is not None:
                self.memory_bytes.append(memory_mib * MIB)
            keep(self.busy, at_s, None if busy is None else busy / 100)
            keep(self.power_w, at_s, power_w)
            keep(self.clock_mhz, at_s, clock_mhz)

    def add_tensor_busy(self, share: float | None) -> None:
        """Take the share of time in which tensor cores worked since it was asked last."""
        keep(self.tensor_busy, time.monotonic() - self.opened_s, share)

    def observed(self, after_s: float = 0.0) -> dict[str, float]:
        """Peak of memory, means of what the rest was after `after_s`; only what was seen."""
        seen: dict[str, float] = {}
        if self.memory_bytes:
            seen["gpu_peak_bytes"] = max(self.memory_bytes)
        for name in ("busy", "power_w", "clock_mhz", "tensor_busy"):
            samples: list[Sample] = getattr(self, name)
            if values := [value for at_s, value in samples if at_s > after_s]:
                seen[f"gpu_{name}"] = fmean(values)
        return seen


def as_number(word: str) -> float | None:
    """A number, or `None` for what the driver does not report."""
    try:
        return float(word)
    except ValueError:
        return None


def keep(samples: list[Sample], at_s: float, value: float | None) -> None:
    """Append a value that is known."""
    if value is not None:
        samples.append((at_s, value))


@contextlib.contextmanager
def watching(gpus: Sequence[str], program: str = PROGRAM) -> Iterator[GpuUse]:
    """Sample the GPUs once a second while this is open."""
    use = GpuUse()
    if not gpus or (path := shutil.which(program)) is None:
        yield use
        return
    query = f"--query-gpu={SAMPLE_FIELDS}"
    words = [path, query, "--format=csv,noheader,nounits", "-lms", "1000", "-i", ",".join(gpus)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    lines = process.stdout
    counters = TensorCores(gpus)

    def read() -> None:
        for i, line in enumerate(lines):
            use.add(line)
            if i % len(gpus) == len(gpus) - 1:  # a line for each GPU
                use.add_tensor_busy(counters.read())

    reader = threading.Thread(target=read, name="novum-gpu", daemon=True)
    reader.start()
    try:
        yield use
    finally:
        process.kill()
        process.wait()
        reader.join()
        lines.close()
        counters.close()


def require_free(
    gpus: Sequence[str], *, program: str = PROGRAM, within_s: float = FREE_WITHIN_S
) -> None:
    """Wait until nobody but this process holds memory of the GPUs.

    Raises:
        GpuBusy: somebody still does after `within_s`; the message names the processes.
    """
    if not gpus or shutil.which(program) is None:
        return
    until_s = time.monotonic() + within_s
    while True:
        used = {gpu: used_bytes(gpu, program) for gpu in gpus}
        full = {gpu: n for gpu, n in used.items() if n is not None and n > OWN_BYTES}
        others = {gpu: strangers(gpu, program) for gpu in full}
        if not full:
            return
        if time.monotonic() >= until_s:
            raise GpuBusy(in_use(full, others))
        time.sleep(min(POLL_S, within_s / 4 + 0.01))


def in_use(full: Mapping[str, float], others: Mapping[str, Sequence[str]]) -> str:
    """What to tell a user whose GPU is taken."""
    said = [
        f"GPU {gpu} has {n / 2**30:.1f} GiB in use, held by "
        + (", ".join(f"process {pid}" for pid in others[gpu]) or "processes the driver hides")
        for gpu, n in full.items()
    ]
    return (
        "; ".join(said) + ".\nA trial beside them would measure them too. End them, or name other "
        "GPUs with CUDA_VISIBLE_DEVICES."
    )


def require_bfloat16(gpus: Sequence[str], program: str = PROGRAM) -> None:
    """Refuse GPUs without bfloat16.

    Raises:
        SandboxUnavailable: one of them is too old; the message says which.
    """
    for gpu in gpus if shutil.which(program) is not None else ():
        for line in ask(program, "--query-gpu=name,compute_cap", gpu):
            name, _, capability = (word.strip() for word in line.rpartition(","))
            number = as_number(capability)
            if number is not None and number < FIRST_BFLOAT16:
                raise SandboxUnavailable(
                    f"GPU {gpu} ({name}) has compute capability {capability} and no bfloat16; this "
                    "profile needs 8.0 or later (A100, RTX 30, and newer). Use the cpu profile."
                )


def used_bytes(gpu: str, program: str) -> float | None:
    """Memory in use on a GPU, `None` where the driver does not say."""
    values = [as_number(line) for line in ask(program, "--query-gpu=memory.used", gpu)]
    known = [value for value in values if value is not None]
    return known[0] * MIB if known else None


def strangers(gpu: str, program: str) -> list[str]:
    """Processes that compute on a GPU, this one left out."""
    lines = ask(program, "--query-compute-apps=pid", gpu)
    return [pid for line in lines if (pid := line.strip()).isdigit() and int(pid) != os.getpid()]


def ask(program: str, query: str, gpu: str) -> list[str]:
    """Lines of one answer; none when the program fails or hangs."""
    words = [program, query, "--format=csv,noheader,nounits", "-i", gpu]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.splitlines() if answer.returncode == 0 else []
