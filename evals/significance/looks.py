"""The statistic of a race at each of its looks, for one race or for a million simulated ones.

At a look with n trials an arm, the gain is divided by a standard error from the *larger* of two
variances: the noise model's pooled with the arms' own, and the arms' own alone. The constants
(`bounds`) are derived for exactly this statistic, so equal variances cost no power (0.19, 0.48,
0.79, 0.95 at 0.5, 1, 1.5, 2 sd against 0.19, 0.49, 0.80, 0.95 for plain pooling, alpha .05,
20 degrees of freedom), while a candidate three times as noisy as the noise model is accepted by
luck 13 % of the time instead of 22 %; the noise model's variance alone would give 31 %. Of
`noise=None`, arms only, it is 7 %.
"""

from math import isinf
from typing import NamedTuple

import numpy as np

from novum.evals.significance.scores import FloatArray

LOOKS = (2, 4, 8)
"""Trials an arm at which a race may be looked at. The bounds hold for these looks only."""


class LookStatistics(NamedTuple):
    """Gain, standard error and t of each look; arrays of shape (..., looks), `df` one a look."""

    gain: FloatArray
    error: FloatArray
    t: FloatArray
    df: tuple[float, ...]


def unpaired_looks(
    reference: FloatArray,
    candidate: FloatArray,
    noise_variance: FloatArray | float = 0.0,
    noise_df: float = 0.0,
    looks: tuple[int, ...] = LOOKS,
) -> LookStatistics:
    """Compare two arms of signed scores, shape (..., trials), at each look that they reach."""
    gains, errors, degrees = [], [], []
    for n in reached(min(reference.shape[-1], candidate.shape[-1]), looks):
        x, y = candidate[..., :n], reference[..., :n]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = (x.var(axis=-1) + y.var(axis=-1)) * n
        own_df = 2 * n - 2
        own = squares / own_df
        if isinf(noise_df):
            pooled = np.broadcast_to(np.asarray(noise_variance, dtype=np.float64), own.shape)
        else:
            pooled = (noise_df * np.asarray(noise_variance) + squares) / (noise_df + own_df)
        gains.append(x.mean(axis=-1) - y.mean(axis=-1))
        errors.append(np.sqrt(np.maximum(pooled, own) * 2.0 / n))
        degrees.append(noise_df + own_df)
    return _statistics(gains, errors, degrees)


def paired_looks(
    reference: FloatArray, candidate: FloatArray, looks: tuple[int, ...] = LOOKS
) -> LookStatistics:
    """Compare two arms that share a seed trial by trial, from their differences alone.

    The noise model's variance is not used: how far a change keeps a seed's luck is known only
    for arms already measured. So this is exact under any correlation, none included.
    """
    gains, errors, degrees = [], [], []
    for n in reached(min(reference.shape[-1], candidate.shape[-1]), looks):
        difference = candidate[..., :n] - reference[..., :n]
        gains.append(difference.mean(axis=-1))
        errors.append(np.sqrt(difference.var(axis=-1, ddof=1) / n))
        degrees.append(float(n - 1))
    return _statistics(gains, errors, degrees)


def reached(n_trials: int, looks: tuple[int, ...] = LOOKS) -> tuple[int, ...]:
    """Return the looks for which `n_trials` an arm are enough."""
    return tuple(n for n in looks if n <= n_trials)


def _statistics(
    gains: list[FloatArray], errors: list[FloatArray], degrees: list[float]
) -> LookStatistics:
    gain, error = np.stack(gains, axis=-1), np.stack(errors, axis=-1)
    with np.errstate(all="ignore"):
        t = gain / error
    t = np.where(np.isnan(t), -np.inf, t)  # scores so large that they overflow win nothing
    # Trials that always repeat one value have no noise: any gain is certain, no gain is none.
    t = np.where(error > 0, t, np.where(gain == 0, 0.0, np.copysign(np.inf, gain)))
    return LookStatistics(gain, error, t, tuple(degrees))
