"""Signed scores: larger is better whatever the metric's direction, and a crash is the worst."""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Better = Literal["lower", "higher"]
FloatArray = NDArray[np.float64]
Trials = Sequence[float | None]
"""Scores of one arm in the order they ran; `None`, NaN or infinity stands for a crashed trial."""

CRASHED = float("-inf")


def signed(values: Iterable[float | None], better: Better) -> FloatArray:
    """Turn scores round so that larger is better; a crashed or non-finite trial becomes `CRASHED`.

    An infinite throughput or a loss of minus infinity is a fault of the measurement, never a win.

    Raises:
        ValueError: `better` is neither `lower` nor `higher`.
    """
    if better not in ("lower", "higher"):
        raise ValueError(f"`better` is {better!r}; say `lower` or `higher`")
    sign = 1.0 if better == "higher" else -1.0
    scores = [CRASHED if v is None or not isfinite(v) else sign * float(v) for v in values]
    return np.array(scores, dtype=np.float64)


def measured(scores: FloatArray) -> FloatArray:
    """Return the trials that delivered a value, in order.

    Used for the reference only: its crashes are left out and must be run again, so that a
    reference that fell over makes no candidate look good.
    """
    return scores[np.isfinite(scores)]
