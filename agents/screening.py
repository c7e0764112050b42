"""What cheap trials say of the full ones: a regression over pairs, and a test of its worth.

The first pairs, and every fifth candidate behind, go on to the full trial whatever the screen says,
so that its worth stays measured: those let on by the fixed share count for all that were behind.

Source: Jamieson and Talwalkar 2016, Non-stochastic best arm identification (successive halving);
Horvitz and Thompson 1952 (weights of what was let on by the fixed share).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from novum.evals.significance.distributions import t_sf

FIRST_PAIRS = 6
"""Pairs of a screened and a full gain before any full trial is saved."""
JUDGED_PAIRS = 8
MIN_CORRELATION = 0.5
"""A screen that correlates less with the full trials, over `JUDGED_PAIRS` or more, is useless."""
MIN_CHANCE = 0.05
"""Chance that the full trial lies above the reference, below which it is saved."""
SHARE = 5
"""Of the candidates behind, every so many-th goes on to the full trial all the same."""
MAX_PAIRS = 200
PRIOR = ((0.0, 1.0), (1.0, 0.5))
"""Mean and sd of intercept and slope, in sds of the residual: a screen is believed at first."""
PRIOR_TRIALS, PRIOR_VAR = 4.0, 2.0
"""Weight and size of the residual variance, in squared sds of one trial's noise."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a candidate gained over its reference, as fractions of the reference's score."""

    screened: float
    full: float
    weight: float
    """Candidates for which it stands: 1, or `SHARE` for one that was let on by the fixed share."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Student's t distribution of the gain of a full trial, in sds of one trial's noise."""

    mean: float
    scale: float
    df: float

    @property
    def chance(self) -> float:
        """Probability that it is above zero."""
        return t_sf(-self.mean / self.scale, self.df)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a screened candidate goes on to its full trial."""

    forecast: Forecast
    is_behind: bool
    """Whether the full trial could be saved."""
    goes_on: bool
    weight: float
    """Candidates that its pair stands for."""


@dataclass(slots=True)
class Screening:
    """Pairs of a screened and a full gain, as fractions of the reference's score."""

    n_behind: int = 0
    """Candidates whose full trial could be saved."""
    pairs: deque[Pair] = field(default_factory=lambda: deque(maxlen=MAX_PAIRS))

    def add(self, screened: float, full: float, weight: float) -> None:
        """A candidate that went on has its full trial."""
        self.pairs.append(Pair(screened, full, weight))

    def judge(self, gain: float, noise: float) -> Decision:
        """What a screened gain decides; it and the noise of one trial as fractions. Add what
        `is_behind` to `n_behind` afterwards."""
        forecast = self.forecast(gain, noise)
        is_behind = len(self.pairs) >= FIRST_PAIRS and forecast.chance < MIN_CHANCE
        is_let_on = is_behind and (self.n_behind + 1) % SHARE == 0
        weight = float(SHARE) if is_let_on else 1.0
        return Decision(forecast, is_behind, not is_behind or is_let_on, weight)

    def forecast(self, gain: float, noise: float) -> Forecast:
        """What a screened gain promises of the full one; both it and the noise as fractions."""
        x = np.array([[1.0, p.screened / noise] for p in self.pairs]).reshape(-1, 2)
        y = np.array([p.full / noise for p in self.pairs])
        mean = np.array([m for m, _ in PRIOR])
        precision = np.diag([1.0 / s**2 for _, s in PRIOR])
        total = precision + x.T @ x
        fitted = np.linalg.solve(total, precision @ mean + x.T @ y)
        squares = PRIOR_TRIALS * PRIOR_VAR + float(
            np.sum((y - x @ fitted) ** 2) + (fitted - mean) @ precision @ (fitted - mean)
        )
        df = PRIOR_TRIALS + len(self.pairs)
        at = np.array([1.0, gain / noise])
        var = squares / df * (1.0 + float(at @ np.linalg.solve(total, at)))
        return Forecast(float(at @ fitted), sqrt(var), df)

    def correlation(self) -> float | None:
        """Of screened and full gains over all candidates that were screened, those that went no
        further among them; `None` while nothing varies."""
        if len(self.pairs) < 2:
            return None
        x, y, w = np.array([(p.screened, p.full, p.weight) for p in self.pairs]).T
        x, y = x - np.average(x, weights=w), y - np.average(y, weights=w)
        spread = float(np.sqrt(np.sum(w * x * x) * np.sum(w * y * y)))
        return float(np.sum(w * x * y)) / spread if spread > 0 else None

    @property
    def is_useless(self) -> bool:
        """Whether it was seen often enough not to predict."""
        if len(self.pairs) < JUDGED_PAIRS:
            return False
        found = self.correlation()
        return found is None or found < MIN_CORRELATION
