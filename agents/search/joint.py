"""The joint normal belief about the level, what is settled, and each idea: a Kalman filter.

Column 0 is the level of *home*, the start with all settled ideas in; column 1 is what these give
together; then come ideas, one column each. The start is home less column 1. An idea that is settled
is folded into both: it needs no column any more, and yet every trial goes on measuring the whole.
Arrays are updated in place: a trial costs n^2 for n columns, 0.1 ms for 256.

Source: Kalman 1960; Minka 2001, Expectation propagation (replacing the factor of one idea).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from novum.agents.search.mixture import Array

LEVEL, SETTLED, FIRST = 0, 1, 2


def _unknown_level() -> Array:
    cov = np.zeros((FIRST, FIRST))
    cov[LEVEL, LEVEL] = np.inf
    return cov


@dataclass
class Joint:
    """Mean, shape (columns,), and covariance, (columns, columns), in the metric's unit."""

    mean: Array = field(default_factory=lambda: np.zeros(FIRST))
    cov: Array = field(default_factory=_unknown_level)

    def start_at(self, level: float, var: float) -> None:
        """Set the level, while there is nothing else."""
        self.mean[LEVEL], self.cov[LEVEL, LEVEL] = level, var

    def add(self, mean: float, var: float) -> None:
        """A new column at the end, of which nothing but its prior is known."""
        n = len(self.mean)
        cov = np.zeros((n + 1, n + 1))
        cov[:n, :n], cov[n, n] = self.cov, var
        self.mean, self.cov = np.append(self.mean, mean), cov

    def predict(self, row: Array) -> tuple[float, float]:
        """Mean and variance of a sum of columns."""
        return float(row @ self.mean), float(row @ self.cov @ row)

    def observe(self, row: Array, surprise: float, expected: float) -> None:
        """The sum of columns was measured, `surprise` above its mean; `expected` is the variance
        that this was foreseen with, the noise among it."""
        v = self.cov @ row
        self.mean += v * (surprise / expected)
        self.cov -= np.outer(v, v / expected)

    def alone(self, column: int, tau: float, nu: float) -> tuple[float, float] | None:
        """Mean and variance of a column without a factor of precision `tau` and shift `nu`; `None`
        where nothing else is known of it."""
        var = float(self.cov[column, column])
        left = 1.0 / var - tau
        if left <= 1e-9 * tau:
            return None
        return (float(self.mean[column]) / var - nu) / left, 1.0 / left

    def change(self, column: int, d_tau: float, d_nu: float) -> bool:
        """Change a column's factor by so much precision and shift; whether that was possible."""
        along = self.cov[:, column].copy()
        scale = 1.0 + d_tau * float(along[column])
        if scale <= 1e-6:
            return False
        self.mean += along * ((d_nu - d_tau * float(self.mean[column])) / scale)
        self.cov -= np.outer(along, along * (d_tau / scale))
        return True

    def fold(self, column: int) -> None:
        """An idea is in home from now on."""
        for total in (LEVEL, SETTLED):
            self.mean[total] += self.mean[column]
            self.cov[total] += self.cov[column]
            self.cov[:, total] += self.cov[:, column]

    def keep(self, columns: Sequence[int]) -> None:
        """Marginalise out all other ideas' columns."""
        stay = [LEVEL, SETTLED, *columns]
        self.mean, self.cov = self.mean[stay], self.cov[np.ix_(stay, stay)]
