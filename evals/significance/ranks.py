"""Comparison by ranks, for arms in which a trial crashed: a crash is simply the worst rank.

A mean has no place for a crash, and any number put in its stead could be worse for a candidate
to report than to fall over. Ranks do: they are exact whatever the distribution, and a crash never
helps. They are dear: with eight trials an arm and one crash, a race at .05 is still won if nearly
all other trials beat the reference, a headline at .01 is not.
"""

from functools import lru_cache
from itertools import combinations
from math import inf, sqrt
from typing import NamedTuple

import numpy as np

from novum.evals.significance.scores import FloatArray


class RankComparison(NamedTuple):
    """Standardised rank sum, the bound it must reach, one-sided p, median shift and its limits."""

    z: float
    bound: float
    p_value: float
    shift: float
    low: float
    high: float


def compare_ranks(reference: FloatArray, candidate: FloatArray, level: float) -> RankComparison:
    """Compare signed scores (crashes are -inf) at one-sided `level` by the exact rank-sum test.

    `shift` is the Hodges-Lehmann estimate; `low` and `high` each miss it with probability
    `level` at most. Ties share their mean rank and the test stays exact.

    Source: Mann and Whitney 1947; Hodges and Lehmann 1963; limits by Moses 1965.
    """
    m, n = len(reference), len(candidate)
    wins = _wins(reference, candidate)
    null = _null_wins(tuple(_midranks(np.concatenate([candidate, reference]))), n)
    spread = sqrt(m * n * (m + n + 1) / 12.0)
    tails = [(u, float((null >= u - 1e-9).mean())) for u in np.unique(null)]
    reachable = [u for u, tail in tails if tail <= level]
    bound = (reachable[0] - m * n / 2.0) / spread if reachable else inf
    p_value = float((null >= wins - 1e-9).mean())
    shifts = np.sort((candidate[:, None] - reference[None, :]).ravel())
    low, high = _limits(shifts, m, n, level)
    return RankComparison(
        (wins - m * n / 2.0) / spread, float(bound), p_value, _median(shifts), low, high
    )


def _wins(reference: FloatArray, candidate: FloatArray) -> float:
    above = candidate[:, None] > reference[None, :]
    level = candidate[:, None] == reference[None, :]
    return float(above.sum() + 0.5 * level.sum())


def _midranks(values: FloatArray) -> list[float]:
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return [float(r) for r in below + (equal + 1) / 2.0]


@lru_cache(maxsize=64)
def _null_wins(ranks: tuple[float, ...], n: int) -> FloatArray:
    chosen = np.array(list(combinations(ranks, n)), dtype=np.float64)  # 12,870 rows for 8 and 8
    return np.asarray(chosen.sum(axis=1) - n * (n + 1) / 2.0, dtype=np.float64)


def _limits(shifts: FloatArray, m: int, n: int, level: float) -> tuple[float, float]:
    null = _null_wins(tuple(float(r) for r in range(1, m + n + 1)), n)
    cut = sum(1 for u in range(m * n + 1) if (null <= u).mean() <= level)
    if cut == 0:
        return -inf, inf
    return float(shifts[cut - 1]), float(shifts[-cut])


def _median(ordered: FloatArray) -> float:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[middle])
    return float(0.5 * (ordered[middle - 1] + ordered[middle]))
