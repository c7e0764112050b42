"""What the reported gains are worth, given all ideas that were tried: empirical Bayes.

The best of many noisy gains over-states itself. Here each gain is drawn towards what the whole
run says about ideas: a share that changes nothing (a spike at zero), and gains and losses whose
sizes are fitted apart, because most ideas of a search are harmful and few help.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from novum.evals.significance.distributions import normal_sf
from novum.evals.significance.scores import FloatArray

MIN_IDEAS = 15
"""Fewer ideas say too little about ideas: the weak prior is used as it stands."""
WEAK_NULL = 0.5
"""Share of ideas that change nothing under the weak prior; the rest helps or harms alike."""
NULL_IDEAS = 1.0
"""Null ideas that a fit starts from. Of 0, 1, 3 and 10 it leaves the least bias in the
best twentieth of 400 ideas (0.00 sd); the best of 400 nulls is a gain with probability .25."""
GRID_STEP = sqrt(2.0)
EM_STEPS = 300


@dataclass(frozen=True)
class ShrunkGain:
    """One idea's gain before and after; positive is better, in the metric's unit."""

    raw: float
    shrunk: float
    """Posterior mean; -inf for an idea that crashed."""
    sd: float
    p_gain: float
    """Posterior probability that the true gain is above zero, not merely not below."""


@dataclass(frozen=True)
class Shrinkage:
    """All ideas of a run, in the order handed in, and the prior that they were drawn towards."""

    ideas: tuple[ShrunkGain, ...]
    n_ideas: int
    prior: str
    """`weak` or `fitted`."""
    null_share: float
    """Prior share of ideas that change nothing."""


def shrink(gains: Sequence[float], errors: Sequence[float]) -> Shrinkage:
    """Shrink the gains of *all* ideas tried, each with the standard error of its gain.

    Leaving out the ideas that failed would make the rest look good: hand in everything. Where a
    trial crashed, gain or error is not finite: the idea counts as tried and has no posterior.

    Source: Stephens 2017, False discovery rates: a new deal (ash), with half-uniform components.

    Raises:
        ValueError: the lists differ in length, or an error is negative.
    """
    if len(gains) != len(errors):
        raise ValueError(f"{len(gains)} gains need as many errors, not {len(errors)}")
    x, s = np.array(gains, dtype=np.float64), np.array(errors, dtype=np.float64)
    if (s < 0).any():
        raise ValueError("standard errors cannot be negative")
    ok = np.isfinite(x) & np.isfinite(s)
    if not ok.any():
        return Shrinkage(tuple(_crashed(g) for g in gains), len(gains), "weak", WEAK_NULL)
    xs, ss = x[ok], _positive(s[ok], x[ok])
    is_fitted = len(xs) >= MIN_IDEAS
    reaches = _grid(xs, ss)
    gains_like, gain_mean, gain_square = _side(xs, ss, reaches)
    loss_like, loss_mean, loss_square = _side(-xs, ss, reaches)
    spike = _density(xs / ss)[:, None] / ss[:, None]
    likelihood = np.concatenate([spike, gains_like, loss_like], axis=1)
    side = (1.0 - WEAK_NULL) / (2 * len(reaches))
    weights = np.array([WEAK_NULL, *[side] * (2 * len(reaches))])
    if is_fitted:
        weights = _fit(likelihood, weights)
    share = _shares(likelihood, weights)
    zero = np.zeros_like(spike)
    mean = (share * np.concatenate([zero, gain_mean, -loss_mean], axis=1)).sum(axis=1)
    square = (share * np.concatenate([zero, gain_square, loss_square], axis=1)).sum(axis=1)
    sd = np.sqrt(np.maximum(0.0, square - mean**2))
    p_gain = share[:, 1 : 1 + len(reaches)].sum(axis=1)
    ideas = [_crashed(g) for g in gains]
    for i, m, d, p in zip(np.flatnonzero(ok), mean, sd, p_gain, strict=True):
        ideas[i] = ShrunkGain(float(x[i]), float(m), float(d), float(p))
    prior = "fitted" if is_fitted else "weak"
    return Shrinkage(tuple(ideas), len(gains), prior, float(weights[0]))


def _crashed(gain: float) -> ShrunkGain:
    return ShrunkGain(float(gain), float("-inf"), float("nan"), 0.0)


def _positive(errors: FloatArray, gains: FloatArray) -> FloatArray:
    """Lift errors of zero (a metric without noise) to where the arithmetic still works."""
    unit = max(float(errors.max()), float(np.abs(gains).max()), 1e-100)
    return np.maximum(errors, 1e-6 * unit)


def _grid(x: FloatArray, s: FloatArray) -> FloatArray:
    """Return reaches from a quarter of the smallest error to twice the largest effect."""
    low = float(s.min()) / 4.0
    high = 2.0 * sqrt(max(float((x**2 - s**2).max()), float(s.min()) ** 2))
    steps = int(np.ceil(np.log(high / low) / np.log(GRID_STEP)))
    return np.asarray(high / GRID_STEP ** np.arange(steps, -1, -1), dtype=np.float64)


def _side(
    x: FloatArray, s: FloatArray, reaches: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return likelihood, posterior mean and mean square of effects uniform between 0 and a reach.

    Each of shape (ideas, reaches). The posterior is a normal cut off at both ends.
    """
    low, high = np.broadcast_arrays(-x[:, None] / s[:, None], (reaches - x[:, None]) / s[:, None])
    # Of two differences of tails, the one in the right tail keeps its digits.
    is_flipped = low + high < 0
    a, b = np.where(is_flipped, -high, low), np.where(is_flipped, -low, high)
    mass = np.maximum(_tail(a) - _tail(b), 1e-300)
    offset = (_density(a) - _density(b)) / mass
    mean = np.clip(x[:, None] + s[:, None] * np.where(is_flipped, -offset, offset), 0.0, reaches)
    spread = 1.0 + (a * _density(a) - b * _density(b)) / mass - offset**2
    square = mean**2 + s[:, None] ** 2 * np.clip(spread, 0.0, 1.0)
    return mass / reaches, mean, square


def _fit(likelihood: FloatArray, start: FloatArray) -> FloatArray:
    """Fit the weights by EM, from `start` and as many nulls as `NULL_IDEAS`."""
    weights = start
    for _ in range(EM_STEPS):
        counts = _shares(likelihood, weights).sum(axis=0)
        counts[0] += NULL_IDEAS
        weights = counts / counts.sum()
    return weights


def _shares(likelihood: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the posterior probability of each component for each idea; rows sum to one."""
    joint = likelihood * weights
    return np.asarray(joint / joint.sum(axis=1, keepdims=True), dtype=np.float64)


def _density(z: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * z * z) / sqrt(2.0 * np.pi), dtype=np.float64)


def _tail(z: FloatArray) -> FloatArray:
    return np.asarray(np.vectorize(normal_sf, otypes=[float])(z), dtype=np.float64)
