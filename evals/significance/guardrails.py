"""Guardrail metrics: is memory, size or wall time worse than the reference's beyond its margin?"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

import numpy as np

from novum.evals.significance.ranks import compare_ranks
from novum.evals.significance.scores import Better, Trials, measured, signed

MAX_RANKED = 8  # trials an arm that go into the exact limits: 12,870 assignments
LEVEL = 0.05


@dataclass(frozen=True)
class GuardrailResult:
    """How much worse the candidate is at a secondary metric, against its margin."""

    status: Literal["kept", "violated", "unsure"]
    """`unsure`: worse by more than the margin, but within the spread of the trials."""
    harm: float
    """Median amount by which the candidate is worse; negative where it is better."""
    low: float
    high: float
    """90 % interval of the harm (rank limits); infinite with fewer than three trials an arm."""
    allowed: float
    """Margin in the metric's unit."""


def guardrail(
    reference: Trials,
    candidate: Trials,
    margin: float,
    *,
    better: Better,
    is_relative: bool = True,
) -> GuardrailResult:
    """Compare a secondary metric by medians, so that one odd trial neither convicts nor clears.

    `margin` is a fraction of the reference's median, or an amount in the metric's unit. Values
    that repeat exactly (parameters, bytes) are certain. Where there are too few trials for an
    interval, the estimate decides: a guardrail errs on the side of the user. A crashed candidate
    trial is the worst value.

    Raises:
        ValueError: an arm has no trial, or `margin` is negative.
    """
    base, scores = measured(signed(reference, better)), signed(candidate, better)
    if not len(base) or not len(scores) or not margin >= 0:
        raise ValueError("a guardrail needs a trial of both arms and a margin that is not negative")
    allowed = margin * abs(float(np.median(base))) if is_relative else margin
    shift = compare_ranks(base[:MAX_RANKED], scores[:MAX_RANKED], LEVEL)
    harm, low, high = -shift.shift, -shift.high, -shift.low
    if isfinite(harm) and harm <= allowed * (1 + 1e-9):
        return GuardrailResult("kept", harm, low, high, allowed)
    certain = low == -inf or low > allowed
    return GuardrailResult("violated" if certain else "unsure", harm, low, high, allowed)
