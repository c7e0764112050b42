"""What an idea may be worth: a mixture of narrow normals, whose weights are learned in the run.

Half of all ideas do nothing, so one part is a point at zero; effects far beyond the usual are rare
and not impossible, so the parts go on, ever wider, where a normal prior would call a great find a
freak of the noise.

Source: Stephens 2017, False discovery rates: a new deal (a grid of normals as an empirical prior).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_NEAR: Array = np.linspace(-6.0, 6.0, 49)
_FAR: Array = np.geomspace(7.0, 100.0, 9)
GRID: Array = np.concatenate([-_FAR[::-1], _NEAR, _FAR])
"""Middles of the parts, in sds of one trial's noise, shape (67,)."""
_STEP: Array = np.gradient(GRID)
WIDTH: Array = np.where(GRID == 0.0, 0.0, 0.5 * _STEP)
"""Sds of the parts; nothing is exactly nothing."""
RARE, RARE_SIZE = 0.05, 8.0
"""Share of effects of another size, and that size in sds of the noise."""


PRIOR_IDEAS = 40.0
"""Ideas that what is believed beforehand counts for. Of 10 and 40 (with `KIND_WEIGHT` 8 and 30) the
latter found more of what 100 trials of the additive landscape offered: 0.73 and 0.81 of it."""


def weak_prior() -> Array:
    """Before anything was tried: half of all ideas are null, and harm is likelier than help."""
    size = np.abs(GRID)
    usual = np.where(GRID > 0, 2.0 * np.exp(-size), 3.0 * np.exp(-size / 2.0))
    total = np.where(GRID > 0, 2.0, 6.0)
    tails = (usual + RARE * total / RARE_SIZE * np.exp(-size / RARE_SIZE)) * _STEP
    tails[GRID == 0] = 0.0
    tails *= PRIOR_IDEAS / 2.0 / tails.sum()
    tails[GRID == 0] = PRIOR_IDEAS / 2.0
    return np.asarray(tails, dtype=np.float64)


def moments(counts: Array) -> tuple[float, float]:
    """Mean and variance of an effect of which only its kind is known."""
    weights = counts / counts.sum()
    mean = float(weights @ GRID)
    return mean, float(weights @ (GRID**2 + WIDTH**2)) - mean**2


@dataclass(frozen=True, slots=True)
class Posterior:
    """Of several ideas, in sds of the noise."""

    shares: Array
    """Probability of each part, shape (ideas, parts)."""
    mean: Array
    var: Array


def posterior(told: Array, said: Array, counts: Array) -> Posterior:
    """What to believe of ideas of which trials alone say `told`, with variance `said`, each
    (ideas,); `counts` are the weights of the parts, (ideas, parts) or (parts,)."""
    var, width = said[:, None], WIDTH**2
    both = var + width
    logs = np.log(counts) - 0.5 * (np.log(both) + (told[:, None] - GRID) ** 2 / both)
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    at = (GRID * var + told[:, None] * width) / both
    mean = (shares * at).sum(axis=1)
    spread = (shares * (var * width / both + at**2)).sum(axis=1) - mean**2
    return Posterior(shares, mean, np.maximum(spread, 1e-9))
