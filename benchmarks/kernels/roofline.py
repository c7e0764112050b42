"""How fast a problem could be: bytes and FLOPs of the definition over the measured ceilings of a
device.

    T_SOL = max(bytes / copy bandwidth, matrix FLOPs / matrix rate by type, time of an empty call)

Bytes are those that must move: every input read once, every output written once. Matrix FLOPs
are counted by
running the reference under a dispatch mode. Other operations are counted and shown, but do not
enter the
bound: leaving them out only makes it harder to reach. Where a reference does more than it must
(masked halves,
rows that nobody looks up), the problem's `roofline.json` says so with its reason.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from novum.benchmarks.kernels.expressions import evaluate
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.workload import Workload

FLOOR_SHARE = 0.9
"""A time under this share of T_SOL is physically suspect: measured ceilings are within 10 % of the
true ones.
"""


@dataclass
class Operations:
    """What a reference did."""

    matmul_flops: dict[str, int] = field(default_factory=dict)
    """By element type of the operands."""
    vector_flops: int = 0
    """One for each element that an operation without a matrix product writes."""


class Ceilings(BaseModel, frozen=True, use_attribute_docstrings=True):
    """What one device can do, measured once and kept with every result."""

    device: str
    """Name of the device."""
    copy_bytes_per_s: float
    """Bytes read and written by a large copy."""
    read_bytes_per_s: float
    """Bytes read by a large reduction: the most that memory delivers."""
    matmul_flops_per_s: dict[str, float]
    """By element type."""
    empty_call_s: float
    """What the timing method reads for a call that does nothing."""
    cache_bytes: int
    """Last-level cache; twice as much is overwritten before each timed call."""
    details: dict[str, Any] = {}

    def matmul_rate(self, dtype: str) -> float:
        """FLOP/s for a type; an unmeasured one counts as the fastest, so that the bound stays a
        bound.
        """
        return self.matmul_flops_per_s.get(dtype) or max(self.matmul_flops_per_s.values())


@dataclass(frozen=True)
class Bound:
    """The limit of one workload and what sets it."""

    t_sol_s: float
    floor_s: float
    """Below this a time is quarantined."""
    by: Literal["memory", "compute", "call", "file"]
    bytes: int
    matmul_flops: Mapping[str, int]
    vector_flops: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a trace."""
        return asdict(self) | {"matmul_flops": dict(self.matmul_flops)}


def count_operations(run: Callable[..., Any], inputs: list[Any]) -> Operations:
    """Run a reference once and count what it computes, operation by operation."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    counts = Operations()

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """To keep torch.compile out of the counting costs its import, more than a second; only
            a reference that has imported it itself needs that.
            """
            return "torch._dynamo" in sys.modules

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            packet = func._overloadpacket
            if packet in flop_registry:
                flops = int(flop_registry[packet](*args, **(kwargs or {}), out_val=out))
                first = next(a for a in args if isinstance(a, torch.Tensor) and a.dim() > 1)
                dtype = str(first.dtype).removeprefix("torch.")
                counts.matmul_flops[dtype] = counts.matmul_flops.get(dtype, 0) + flops
            elif not func.is_view:
                outs = out if isinstance(out, (tuple, list)) else (out,)
                counts.vector_flops += sum(o.numel() for o in outs if isinstance(o, torch.Tensor))
            return out

    counter: Any = Counter
    given = [v.clone() if isinstance(v, torch.Tensor) else v for v in inputs]
    with counter(), torch.no_grad():
        run(*given)
    return counts


def bound_of(
    problem: Problem, workload: Workload, counted: Operations, ceilings: Ceilings
) -> Bound:
    """The limit of a workload on a device.

    A `sol_latency_ms` in the workload's line stands for T_SOL where a file brings one.
    """
    sizes = problem.definition.sizes(workload.axes)
    moved = sum(problem.definition.bytes_moved(sizes))
    matmul, vector = dict(counted.matmul_flops), counted.vector_flops
    if (right := problem.correction) is not None:
        if right.bytes is not None:
            moved = evaluate(right.bytes, sizes)
        if right.matmul_flops is not None:
            matmul = {dtype: evaluate(text, sizes) for dtype, text in right.matmul_flops.items()}
        if right.vector_flops is not None:
            vector = evaluate(right.vector_flops, sizes)
    memory = moved / ceilings.copy_bytes_per_s
    compute = sum(flops / ceilings.matmul_rate(dtype) for dtype, flops in matmul.items())
    limits: dict[Literal["memory", "compute", "call"], float] = {
        "memory": memory,
        "compute": compute,
        "call": ceilings.empty_call_s,
    }
    limit = max(limits, key=lambda name: limits[name])
    by: Literal["memory", "compute", "call", "file"] = limit
    t_sol = limits[limit]
    # Outputs may stay in the cache and reads can be quicker than copies, so the floor counts less
    # than T_SOL does.
    outside = max(0.0, moved - ceilings.cache_bytes)
    floor = FLOOR_SHARE * max(outside / ceilings.read_bytes_per_s, compute)
    given = (workload.model_extra or {}).get("sol_latency_ms")
    if isinstance(given, (int, float)) and math.isfinite(given) and given > 0:
        t_sol, by = float(given) / 1e3, "file"
    return Bound(t_sol, floor, by, moved, matmul, vector)


def score(t_s: float, t_baseline_s: float, t_sol_s: float) -> float:
    """S = 1 / (1 + (T - T_SOL) / (T_b - T_SOL)): 0.5 at the baseline's time, 1 at the limit.

    Where the baseline already is at the limit, only the limit counts: 1 or 0.
    Source: SOL-ExecBench, sol_score (arXiv:2603.19173).
    """
    if t_baseline_s <= t_sol_s:
        return 1.0 if t_s <= t_sol_s else 0.0
    share = (t_s - t_sol_s) / (t_baseline_s - t_sol_s)
    return 1.0 / (1.0 + share) if share > -1.0 else math.inf
