"""Sets tolerances so that an honest answer passes and one lower precision fails.

    python -m novum.benchmarks.kernels.calibrate [PROBLEM ...]     rewrites the workload files

Honest: the reference with every type one step wider (bfloat16 to float32, float32 to float64),
rounded at the
end: what an implementation with another order and precision of its steps is measured against.
Degraded: the reference on inputs rounded to one lower
precision. The tolerance starts at what the output type resolves, grows while honest answers miss
it, and is
refused when the degraded one passes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.benchmarks.kernels.compare import compare
from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.dtypes import ONE_LOWER, is_float, item_bytes, torch_dtype
from novum.benchmarks.kernels.inputs import draw_inputs
from novum.benchmarks.kernels.problem import SHIPPED, load_problem, write_lines
from novum.benchmarks.kernels.workload import Tolerance, Workload

if TYPE_CHECKING:
    import torch

START = {"float64": 1e-7, "float32": 1e-4, "float16": 2e-3, "bfloat16": 1e-2}
"""Relative tolerance: between half a step (bfloat16: 0.2 %) and what one lower precision loses."""
LEAST = {"attention_prefill": 2e-2, "attention_window": 2e-2, "attention_decode": 2e-2}
"""Where good kernels round a step that the reference does not: attention weights, to bfloat16 for
the product.
"""
RATIO = 0.999
EXACT_RATIO = 0.995
"""Quantised outputs are compared bit by bit; a different rounding of a tie is allowed, one step at
most.
"""
HEADROOM = 2.0
STEPS = 5


class CannotCalibrate(Exception):
    """No tolerance tells an honest answer from a degraded one."""


def calibrate(definition: Definition, workload: Workload, root: Path, seed: int = 1) -> Tolerance:
    """The tolerance of a workload.

    Raises:
        CannotCalibrate: see the class.
    """
    import torch

    space: dict[str, Any] = {}
    exec(compile(definition.reference, "reference.py", "exec"), space)  # the user's own definition
    inputs = draw(definition, workload, space, root, seed)
    want = in_order(definition, space["run"](*inputs))
    wide_space: dict[str, Any] = {}
    wider = definition.reference.replace("torch.float32", "torch.float64").replace(
        "torch.bfloat16", "torch.float32"
    )
    exec(compile(wider, "wider.py", "exec"), wide_space)
    honest = in_order(definition, wide_space["run"](*[widened(v) for v in inputs]))
    degraded = in_order(definition, space["run"](*[lowered(v) for v in inputs]))
    floats = [w for w, s in zip(want, definition.outputs.values(), strict=True) if is_wide(s.dtype)]
    if not floats:
        raise CannotCalibrate(f"{definition.name} has no output to calibrate on")
    dtypes = [s.dtype for s in definition.outputs.values() if is_wide(s.dtype)]
    narrow = [
        s.dtype
        for s in definition.outputs.values()
        if is_float(s.dtype) and item_bytes(s.dtype) == 1
    ]
    steps = any(s.dtype == "int8" for s in definition.outputs.values())
    rtol = max([LEAST.get(definition.name, 0.0), *(START[d] for d in dtypes)])
    typical = min(middle(w) for w in floats)
    for _ in range(STEPS):
        atol = rtol * typical
        largest = max(float(w.to(torch.float64).abs().max()) for w in floats)
        cap = 4 * (atol + rtol * largest)
        exact = steps or bool(narrow)
        found = Tolerance(
            max_atol=significant(atol),
            max_rtol=significant(rtol),
            required_matched_ratio=EXACT_RATIO if exact else RATIO,
            max_error_cap=32.0 if narrow else 1.0 if steps else significant(cap),
        )
        half = found.model_copy(update={"max_atol": atol / HEADROOM, "max_rtol": rtol / HEADROOM})
        if passes(honest, want, half):
            break
        rtol *= 2
    else:
        raise CannotCalibrate(
            f"{definition.name} {workload.axes}: honest answers differ by more than {rtol:g}"
        )
    if passes(degraded, want, found):
        raise CannotCalibrate(
            f"{definition.name} {workload.axes}: one lower precision passes {found}"
        )
    return found


def draw(
    definition: Definition, workload: Workload, space: dict[str, Any], root: Path, seed: int
) -> list[Any]:
    """Inputs of the base family on the CPU."""
    entry: Callable[..., Any] | None = space.get(definition.custom_inputs_entrypoint or "")
    if not any(source.type == "custom" for source in workload.inputs.values()):
        entry = None
    return draw_inputs(
        definition, workload, entry, seed=seed, family="base", device="cpu", roots=[str(root)]
    )


def in_order(definition: Definition, found: Any) -> list[torch.Tensor]:
    """Outputs in order, in the definition's types."""
    values = list(found) if isinstance(found, (tuple, list)) else [found]
    return [
        v.to(torch_dtype(s.dtype)) for v, s in zip(values, definition.outputs.values(), strict=True)
    ]


def is_wide(dtype: str) -> bool:
    """Whether outputs of this type are compared within a tolerance of their own."""
    return is_float(dtype) and item_bytes(dtype) > 1


def name_of(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def widened(value: Any) -> Any:
    """A float tensor one step wider."""
    import torch

    steps = {"bfloat16": torch.float32, "float16": torch.float32, "float32": torch.float64}
    return (
        value.to(steps.get(name_of(value), value.dtype))
        if isinstance(value, torch.Tensor)
        else value
    )


def lowered(value: Any) -> Any:
    """A tensor rounded to one lower precision, in its own type: int8 keeps four bits."""
    import torch

    if isinstance(value, torch.Tensor) and value.dtype == torch.int8:
        return value // 16 * 16
    if not isinstance(value, torch.Tensor) or name_of(value) not in ONE_LOWER:
        return value
    return value.to(torch_dtype(ONE_LOWER[name_of(value)])).to(value.dtype)


def passes(got: list[torch.Tensor], want: list[torch.Tensor], tolerance: Tolerance) -> bool:
    """Whether every output is right."""
    return all(compare(g, w, tolerance).ok for g, w in zip(got, want, strict=True))


def significant(value: float) -> float:
    """Two digits are enough for a tolerance."""
    return float(f"{value:.2g}")


def middle(values: torch.Tensor) -> float:
    """A typical magnitude: the median over a sample, so that a few large elements do not widen the
    tolerance.
    """
    import torch

    flat = values.to(torch.float64).abs().reshape(-1)
    return float(flat[:: max(1, flat.numel() // 100_000)].median())


CAPS = {"batch": 1, "rows": 64, "tokens": 64, "experts": 8, "slots": 4096, "channels": 64}
"""Axes that do not change how large an output is, cut down so that calibration runs on a CPU."""
LONGEST = 1024
"""Longest square of scores computed here."""


def capped(problem: str, workload: Workload) -> tuple[Workload, float]:
    """A smaller workload with outputs like this one's, and by what factor its typical output is
    smaller.

    Averages over t independent values shrink like t**-0.5; a window of 1024 keys stops that.
    """
    axes = {name: min(size, CAPS.get(name, size)) for name, size in workload.axes.items()}
    if problem == "adamw_step":
        axes["n"] = min(axes["n"], 1 << 18)
    if problem in ("gemm", "gemm_bias_gelu"):
        axes["m"] = min(axes["m"], 32)
    factor = 1.0
    if problem in ("attention_prefill", "attention_window") and axes["time"] > LONGEST:
        reach = min(axes["time"], 2 * LONGEST) if problem == "attention_window" else axes["time"]
        axes["time"], factor = LONGEST, (LONGEST / reach) ** 0.5
    return workload.model_copy(update={"axes": axes}), factor


def tolerance_of(folder: Path, definition: Definition, workload: Workload) -> Tolerance:
    """The tolerance of one workload of a shipped problem.

    Raises:
        CannotCalibrate: see the class.
    """
    small, factor = capped(folder.name, workload)
    found = calibrate(definition, small, folder)
    return found.model_copy(update={"max_atol": significant(found.max_atol * factor)})


def rewrite(folder: Path) -> list[Tolerance]:
    """Calibrate every workload of a problem and write the tolerances into its files."""
    written = []
    for profile, name in (("cpu", "workload.cpu.jsonl"), ("cuda", "workload.jsonl")):
        problem = load_problem(folder, profile)
        lines = []
        for workload in problem.workloads:
            tolerance = tolerance_of(folder, problem.definition, workload)
            lines.append(workload.model_copy(update={"tolerance": tolerance}))
        write_lines(folder / name, lines)
        written += [line.tolerance for line in lines]
    return written


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(p.name for p in SHIPPED.iterdir() if p.is_dir()):
        try:
            for tolerance in rewrite(SHIPPED / name):
                print(name, tolerance.model_dump(exclude_none=True), flush=True)
        except CannotCalibrate as error:
            print(f"{name}: CANNOT: {error}")
