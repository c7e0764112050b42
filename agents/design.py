"""How much to spend on what: pure functions of recorded numbers.

What a single experiment runs next is the audit's business (`evals.audit.judge`); here is what the
run as a whole sets aside and when it stops to confirm.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

from novum.agents.situation import BudgetLeft
from novum.evals.significance import NoiseModel
from novum.evals.significance.bounds import bound
from novum.evals.significance.distributions import t_isf

LONG_RUN_TRIALS = 200
"""With more trials than this ahead, every new head is confirmed when it appears; with fewer, the
trials go into search, and only the final champion is."""
LONG_RUN_EXPERIMENTS = 60
POWER = 0.95
"""Chance with which the reserve suffices if the head is as good as it looks."""
MARGIN = 1.15
"""Trials on the sealed split may take longer than the mean of the search."""


def is_long(left: BudgetLeft) -> bool:
    """Whether so much is left that confirming every head costs little of it."""
    if left.trials is not None:
        return left.trials > LONG_RUN_TRIALS
    return left.experiments is None or left.experiments > LONG_RUN_EXPERIMENTS


def certification_trials(gain: float, noise: NoiseModel, alpha: float, looks: Sequence[int]) -> int:
    """Trials an arm that certify a gain (metric's unit) with `POWER`: one of the looks.

    The test knows the noise from its two arms alone. Before anything was gained it is the middle
    look: what a modest success would need.
    """
    if gain <= 0 or not noise.df:
        return looks[len(looks) // 2]
    for n in looks:
        df = 2 * n - 2
        reached = bound(alpha, 0, df) + t_isf(1.0 - POWER, df)
        # Not divided: a metric without noise has a sd of 0, and any gain is certain.
        if gain >= reached * noise.sd_high * sqrt(2.0 / n):
            return n
    return looks[-1]


def reserve_s(n_per_arm: int, n_slots: int, trial_s: float) -> float:
    """Wall seconds that both arms of a certification take on the slots."""
    return ceil(2 * n_per_arm / max(n_slots, 1)) * trial_s * MARGIN
