"""Timed calls: every one on inputs of its own, which did not exist before.

Copied with `worker.py` into the sandbox: nothing of Novum is importable there.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __package__:
    from novum.benchmarks.kernels import answers, tensors
else:
    import answers  # type: ignore[import-not-found,no-redef]
    import tensors  # type: ignore[import-not-found,no-redef]

Marks = list[tuple[Any, Any]]
"""Outputs of one call, each with the mark it had when the call was over."""
LEAD_CYCLES = 2_000_000
"""How long the device waits before each timed call, about a millisecond: the processor launches
meanwhile, so that events show the device's time and not that of launching. With half of it, one of
five baseline processes on a busy host (5 cores, 8 problems side by side) still showed launching.
"""


def time_on_cpu(
    run: Callable[..., Any],
    bases: list[Any],
    sets: Sequence[list[Any]],
    outputs: Sequence[list[Any]],
    draws: Sequence[int],
) -> tuple[list[float], list[Any], list[Marks]]:
    """Seconds of each call on a monotonic clock, what the calls returned, and marks of it."""
    for inputs, changes in zip(sets, changes_of(bases, draws), strict=True):
        fill_all(inputs, bases, changes)
    seconds, results, marks = [], [], []
    collects = gc.isenabled()
    for inputs, outs in zip(sets, outputs, strict=True):
        began = time.perf_counter()
        result = run(*inputs, *outs)
        ended = time.perf_counter()
        gc.disable()  # no object that a call left ends, and works, before its outputs are marked
        seconds.append(ended - began)
        marks.append(marked(result, outs))
        results.append(result)
    if collects:
        gc.enable()
    return seconds, results, marks


def time_on_gpu(
    run: Callable[..., Any],
    bases: list[Any],
    sets: Sequence[list[Any]],
    outputs: Sequence[list[Any]],
    draws: Sequence[int],
    flush: Any,
) -> tuple[list[float], list[Any], list[Marks]]:
    """Seconds of each call between two events, what the calls returned, and marks of it.

    The stream waits, writes the call's inputs, overwrites the cache and runs the call. Work that a
    call puts on another stream without waiting for this one reads inputs that are not there yet.
    """
    import torch

    event: Any = torch.cuda.Event
    pairs = [(event(enable_timing=True), event(enable_timing=True)) for _ in sets]
    results: list[Any] = []
    marks: list[Marks] = []
    collects = gc.isenabled()
    changes = changes_of(bases, draws)
    forget_persisting_lines()
    torch.cuda.synchronize()
    for (start, end), inputs, outs, change in zip(pairs, sets, outputs, changes, strict=True):
        torch.cuda._sleep(LEAD_CYCLES)  # type: ignore[no-untyped-call]
        fill_all(inputs, bases, change)
        flush.zero_()
        start.record()
        result = run(*inputs, *outs)
        gc.disable()  # as on a processor
        end.record()
        marks.append(marked(result, outs))
        results.append(result)
    torch.cuda.synchronize()
    if collects:
        gc.enable()
    return [start.elapsed_time(end) / 1e3 for start, end in pairs], results, marks


def marked(result: Any, outs: list[Any]) -> Marks:
    """What a call wrote, marked when its time is over: what comes later is not its work."""
    return [(value, answers.mark(value)) for value in outs or answers.tensors_in(result)]


def changed(marks: list[Marks]) -> list[int]:
    """Calls whose outputs are not any more what they were when the clock stopped."""
    import torch

    return [
        number
        for number, outputs in enumerate(marks)
        if any(not torch.equal(answers.mark(value), before) for value, before in outputs)
    ]


def changes_of(bases: list[Any], draws: Sequence[int]) -> list[list[Any]]:
    """How each call changes each input; made before any clock runs."""
    return [
        [tensors.change_of(v, draw, i) if hasattr(v, "data_ptr") else None for i, v in row]
        for draw, row in ((draw, list(enumerate(bases))) for draw in draws)
    ]


def fill_all(inputs: list[Any], bases: list[Any], changes: list[Any]) -> None:
    """Write the values of one call into the tensors of its set."""
    for target, source, change in zip(inputs, bases, changes, strict=True):
        if hasattr(target, "data_ptr"):
            tensors.fill(target, source, change)


def profiled(
    run: Callable[..., Any],
    sets: Sequence[list[Any]],
    outputs: Sequence[list[Any]],
    on_gpu: bool,
) -> list[dict[str, Any]]:
    """Busy time and names of the kernels (operations on a CPU) of each call, from a trace."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    wanted = "CUDA" if on_gpu else "CPU"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    calls = []
    for inputs, outs in zip(sets, outputs, strict=True):
        with profile(activities=[activity]) as trace:
            run(*inputs, *outs)
            if on_gpu:
                torch.cuda.synchronize()
        events = [e for e in trace.events() if e.device_type.name == wanted]
        names = sorted(e.name[:120] for e in events)
        if on_gpu:
            busy = union([(e.time_range.start, e.time_range.end) for e in events])
        else:
            busy = sum(e.self_cpu_time_total for e in events)
        calls.append({"seconds": busy / 1e6, "kernels": names})
    return calls


def union(spans: Sequence[tuple[float, float]]) -> float:
    """How much of a line the spans cover together."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def forget_persisting_lines() -> None:
    """Reset lines that an access policy keeps in the second-level cache, where the runtime can."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libcudart" in line:
            try:
                ctypes.CDLL(line.split()[-1]).cudaCtxResetPersistingL2Cache()
            except (OSError, AttributeError):
                continue
            return
