"""What an input's name says of its values, where a file says no more than "random".

A standard deviation is positive, a decay negative, the rows of a distribution sum to one: on other
numbers a reference gives NaN, or does not do the work that it is there for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def by_name(name: str, normal: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers turned into such as the name promises; float32 in and out."""
    for pattern, turned in CONVENTIONS:
        if pattern.search(name):
            return turned(normal)
    return normal


def spread_of_weights(normal: torch.Tensor) -> torch.Tensor:
    """A matrix with the spread of trained ones; vectors stay as they are."""
    return normal * normal.shape[-1] ** -0.5 if normal.dim() > 1 else normal


def causal_or_binary(normal: torch.Tensor) -> torch.Tensor:
    """A square mask is added to scores and hides what comes later; another one keeps or drops."""
    import torch

    if normal.dim() > 1 and normal.shape[-1] == normal.shape[-2]:
        hidden = torch.ones_like(normal, dtype=torch.bool).triu(1)
        return torch.zeros_like(normal).masked_fill(hidden, LOWEST)
    return (normal > 0).to(normal.dtype)


LOWEST = -65504.0
"""The lowest float16: finite in every wider type."""
CONVENTIONS: tuple[tuple[re.Pattern[str], Callable[[torch.Tensor], torch.Tensor]], ...] = (
    (re.compile(r"norm\d*_weight$"), lambda x: 1 + 0.1 * x),
    (re.compile(r"(attn|attention|routing)_weights$|probs$"), lambda x: x.softmax(-1)),
    (re.compile(r"(?i)weight|_projs?\d*$"), spread_of_weights),
    (re.compile(r"(?i)scale$|gamma"), lambda x: x.abs() * 0.1 + 0.5),
    (re.compile(r"(^|_)(rstd|std|var|variance)\d*$"), lambda x: x.abs() + 0.1),
    (re.compile(r"(^|_)cos(_cached)?$"), lambda x: x.cos()),
    (re.compile(r"(^|_)sin(_cached)?$"), lambda x: x.sin()),
    (re.compile(r"mask$"), causal_or_binary),
    (re.compile(r"^A_cumsum$"), lambda x: (-0.1 * x.abs()).cumsum(-1)),
    (re.compile(r"^(A|A_log|g)$"), lambda x: -x.abs() - 0.001),
)
