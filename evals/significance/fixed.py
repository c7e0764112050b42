"""Tests of a fixed, declared number of trials: below a target, or equal for practical purposes."""

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from novum.evals.significance.distributions import t_isf, t_sf
from novum.evals.significance.noise import NoiseModel
from novum.evals.significance.scores import Better, FloatArray, Trials, signed

MIN_TARGET_TRIALS = 3


@dataclass(frozen=True)
class TargetResult:
    """Whether the mean of declared trials beats a target beyond luck."""

    passes: bool
    n: int
    mean: float
    """Mean score, as the metric counts."""
    margin: float
    """Distance of the mean beyond the target, positive is better."""
    needed: float
    """Margin that these trials' spread asks for; infinite below three trials."""
    p_value: float | None
    reason: str


def beats_target(
    trials: Trials, target: float, *, n_declared: int, better: Better, alpha: float = 0.01
) -> TargetResult:
    """Test declared trials against a target, by the one-sided one-sample t of the speedrun.

    `n_declared` was fixed before the first trial: fewer or more trials fail, as does a crash and
    as do fewer than three.
    """
    scores = signed(trials, better)
    goal = float(signed([target], better)[0])
    n = len(scores)
    sign = 1.0 if better == "higher" else -1.0
    crashed = not np.isfinite(scores).all()
    if n == 0 or crashed or not np.isfinite(goal):
        reason = "a trial crashed" if crashed else "there is nothing to compare"
        return TargetResult(False, n, float("nan"), -inf, inf, 1.0 if n > 1 else None, reason)
    margin, mean = float(scores.mean() - goal), sign * float(scores.mean())
    if n < 2:
        return TargetResult(False, n, mean, margin, inf, None, "one trial proves nothing")
    error = float(scores.std(ddof=1)) / sqrt(n)
    p_value = t_sf(_ratio(margin, error), n - 1)
    needed = t_isf(alpha, n - 1) * error if n >= MIN_TARGET_TRIALS else inf
    if n < MIN_TARGET_TRIALS:
        reason = f"{n} trials are fewer than {MIN_TARGET_TRIALS}"
    elif n != n_declared:
        reason = f"{n} trials ran, {n_declared} were declared"
    else:
        reason = f"p = {p_value:.2g} against {alpha:g}"
    passes = n >= MIN_TARGET_TRIALS and n == n_declared and p_value < alpha
    return TargetResult(passes, n, mean, margin, needed, p_value, reason)


@dataclass(frozen=True)
class EquivalenceResult:
    """Whether two arms differ by less than a margin either way."""

    is_equivalent: bool
    difference: float
    """Candidate's gain, positive is better."""
    low: float
    high: float
    """Interval of level 1 - 2 alpha; equivalent when it lies inside the margin."""
    p_value: float | None
    """The larger of the two one-sided p-values; `None` with one trial in an arm."""


def equivalence(
    reference: Trials,
    candidate: Trials,
    margin: float,
    *,
    better: Better,
    noise: NoiseModel | None = None,
    alpha: float = 0.05,
) -> EquivalenceResult:
    """Test by two one-sided t tests that the arms differ by less than `margin` (metric's unit).

    For claims of "no change in quality". The absence of a difference in a race is no such proof.
    A crash in either arm is a difference.

    Source: Schuirmann 1987.

    Raises:
        ValueError: `margin` is not positive.
    """
    if not margin > 0:
        raise ValueError(f"a margin of equivalence must be positive, not {margin}")
    base, scores = signed(reference, better), signed(candidate, better)
    if min(len(base), len(scores)) < 2:
        return EquivalenceResult(False, float("nan"), -inf, inf, None)
    if not (np.isfinite(base).all() and np.isfinite(scores).all()):
        return EquivalenceResult(False, -inf, -inf, inf, 1.0)
    difference = float(scores.mean() - base.mean())
    error, df = _pooled_error(base, scores, noise)
    above = t_sf(_ratio(margin + difference, error), df)
    below = t_sf(_ratio(margin - difference, error), df)
    half, p_value = t_isf(alpha, df) * error, max(above, below)
    return EquivalenceResult(
        p_value < alpha, difference, difference - half, difference + half, p_value
    )


def _pooled_error(
    base: FloatArray, scores: FloatArray, noise: NoiseModel | None
) -> tuple[float, float]:
    df: float = len(base) + len(scores) - 2
    squares = float(((base - base.mean()) ** 2).sum() + ((scores - scores.mean()) ** 2).sum())
    variance = squares / df
    if noise is not None:
        variance, df = noise.pool(squares, df)
    return sqrt(variance * (1.0 / len(base) + 1.0 / len(scores))), df


def _ratio(gain: float, error: float) -> float:
    if error > 0:
        return gain / error
    return 0.0 if gain == 0 else inf if gain > 0 else -inf
