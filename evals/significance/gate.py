"""The SEARCH gate: is one trial of an idea worth more trials?

Mild on purpose: it steers the search and proves nothing. About one idea in twelve that changes
nothing passes it (1.37 standard errors of the difference to the mean of five reference trials).
It has no p-value, because one trial has none.
"""

from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Literal

from novum.evals.significance.noise import NoiseModel
from novum.evals.significance.scores import Better, Trials, measured, signed

PROMISING_SDS = 1.5
"""Of 1.5, 2 and 3 the one with most true gain in a simulated campaign of 400 trials whose reference
had five fresh ones: 14.0, 9.9 and 3.4 sd, at 7.3, 2.7 and 0.2 false keeps. The race ends those."""
DROP_SDS = 1.0


@dataclass(frozen=True)
class GateResult:
    """What the first trial(s) of an idea say; the trials are then set aside for good."""

    outcome: Literal["promising", "inconclusive", "dropped"]
    """`inconclusive` may be tried once more: hand in both trials."""
    gain: float
    """Candidate's mean minus the reference's, positive is better; -inf after a crash."""
    error: float
    """Standard error of `gain`, for `shrink`."""
    gain_sds: float
    """`gain` in pooled sds, scaled so that one trial is the unit: compare with `PROMISING_SDS`."""
    n: int
    reason: str


def search_gate(
    reference: Trials, candidate: Trials | float | None, noise: NoiseModel, *, better: Better
) -> GateResult:
    """Judge an idea by its first trial (or trials) against the reference's trials.

    `promising` when the candidate beats the reference's mean by 1.5 pooled sd, `dropped` when it
    is worse by more than one, or crashed. With n candidate trials the thresholds shrink so that
    the chance of passing without a gain stays that of one trial.

    Raises:
        ValueError: no reference trial was measured, no candidate trial was handed in, or the
            noise model has no degree of freedom: run more baseline trials first.
    """
    trials = [candidate] if candidate is None or isinstance(candidate, (int, float)) else candidate
    base, scores = measured(signed(reference, better)), signed(trials, better)
    if not len(base) or not len(scores) or not noise.df:
        raise ValueError("the gate needs a reference trial, a candidate trial and a measured noise")
    m, n = len(base), len(scores)
    gain = float(scores.mean() - base.mean())
    error = noise.sd * sqrt(1.0 / n + 1.0 / m)
    if not isfinite(gain):
        return GateResult("dropped", -inf, error, -inf, n, "a trial of the candidate crashed")
    unit = error / sqrt(1.0 + 1.0 / m)
    gain_sds = gain / unit if unit else (inf if gain > 0 else -inf if gain < 0 else 0.0)
    said = f"{gain_sds:+.2f} sd against the mean of {m} reference trials"
    if gain_sds >= PROMISING_SDS:
        return GateResult("promising", gain, error, gain_sds, n, f"{said}: worth fresh trials")
    if gain_sds < -DROP_SDS:
        return GateResult(
            "dropped", gain, error, gain_sds, n, f"{said}: worse by more than the noise"
        )
    return GateResult("inconclusive", gain, error, gain_sds, n, f"{said}: within the noise")
