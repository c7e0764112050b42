"""Compares an output with the reference: matched ratio, error cap, NaN, a bound for sketches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from novum.benchmarks.kernels.tensors import numbers
from novum.benchmarks.kernels.workload import Tolerance

if TYPE_CHECKING:
    import torch

CAP_FACTOR = 10.0
"""Where a file has no error cap, no element may miss by more than this times its own tolerance
allows at most.
"""
LARGER_CAP = 4.0
"""Where inputs of another size make larger outputs, the cap follows the largest of them: rounding
alone moves it by its last digit. The same factor as in calibration.
"""
SKETCH_SIGMAS = 6.0


@dataclass(frozen=True)
class Difference:
    """How far one output is from the reference."""

    ok: bool
    reason: str
    max_absolute: float
    max_relative: float
    matched: float
    has_nan: bool
    has_inf: bool


def compare(
    got: torch.Tensor, want: torch.Tensor, tolerance: Tolerance, scale: float = 1.0
) -> Difference:
    """Compare two tensors of one shape; `scale` widens the absolute parts for inputs of another
    size.
    """
    import torch

    exact = not want.is_floating_point()
    wide = torch.float64 if exact or want.dtype == torch.float64 else torch.float32
    left, right = numbers(got, wide), numbers(want, wide)
    if not left.numel():
        return Difference(True, "", 0.0, 0.0, 1.0, False, False)
    if tolerance.allow_negative_inf:
        both = (left == -math.inf) & (right == -math.inf)
        left, right = left.masked_fill(both, 0.0), right.masked_fill(both, 0.0)
    has_nan, has_inf = bool(left.isnan().any()), bool(left.isinf().any())
    if has_nan or has_inf:
        kind = "NaN" if has_nan else "infinity"
        return Difference(False, f"the output holds {kind}", 0.0, 0.0, 0.0, has_nan, has_inf)
    size = right.abs()
    error = (left - right).abs()
    atol = tolerance.max_atol if exact else tolerance.max_atol * scale
    allowed = atol + tolerance.max_rtol * size
    matched = float((error <= allowed).to(torch.float32).mean())
    max_absolute = float(error.max())
    relative = float((error / size.clamp(min=max(atol, 1e-12))).max())
    cap = tolerance.max_error_cap
    cap = CAP_FACTOR * float(allowed.max()) if cap is None else cap if exact else cap * scale
    if scale > 1.0 and not exact:
        cap = max(cap, LARGER_CAP * float(allowed.max()))
    reason = ""
    if matched < tolerance.required_matched_ratio:
        needed = tolerance.required_matched_ratio
        reason = f"{matched:.4%} of the elements are within tolerance, {needed:.4%} must be"
    elif max_absolute > cap:
        reason = f"one element is off by {max_absolute:.4g}, more than the cap of {cap:.4g}"
    elif not bool(left.any()) and bool(right.any()):
        reason = "the output is all zero, the reference is not"
    return Difference(not reason, reason, max_absolute, relative, matched, False, False)


def sketch_bound(want: torch.Tensor, tolerance: Tolerance, scale: float = 1.0) -> float:
    """How far the sketch of a right answer may lie from the reference's.

    A sketch weighs elements with standard normal numbers, so errors within tolerance add up like
    a random walk.
    """
    import torch

    atol = tolerance.max_atol * (scale if want.is_floating_point() else 1.0)
    allowed = atol + tolerance.max_rtol * numbers(want).abs()
    square = float(allowed.to(torch.float64).pow(2).sum())
    if want.element_size() == 1 and tolerance.max_error_cap is not None:
        # Codes differ by whole steps: where a quotient lies halfway, its last bit decides.
        share = 1.0 - tolerance.required_matched_ratio
        square += share * want.numel() * tolerance.max_error_cap**2
    length = math.sqrt(square)
    return SKETCH_SIGMAS * length + 1e-9
