"""What a run may spend, what it has spent, and which limit ends it.

Wall time counts while the run works, over all its processes. The certification of the champion is
paid from the same wall budget, so its cost is set aside before the search may use the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from novum.agents.situation import BudgetLeft
from novum.errors import BudgetExhausted
from novum.lab.counted import counted


@dataclass(frozen=True)
class BudgetLimits:
    """Limits of a run; `None` means none."""

    experiments: int | None = None
    wall_s: float | None = None
    gpu_hours: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    target: float | None = None
    """Stop when the head's estimate reaches this value of the metric."""
    plateau: int | None = None
    """Stop after so many verdicts in a row that did not improve the head."""


@dataclass
class Budget:
    """The account of one run. `clock` gives seconds; `used_wall_s` is of earlier processes."""

    limits: BudgetLimits
    clock: Callable[[], float]
    used_wall_s: float = 0.0
    gpus_per_trial: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    gpu_s: float = 0.0
    trial_s: float = 0.0
    """Learned wall seconds of one full trial (mean of those seen); 0 before the first."""
    n_slots: int = 1
    reserve_s: float = 0.0
    """Wall seconds set aside for certification."""
    ablation_s: float = 0.0
    """Wall seconds set aside for taking the champion's changes out, once there may be one."""
    started_s: float = field(default=0.0)
    _n_timed: int = 0

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    @property
    def wall_s(self) -> float:
        """Wall seconds spent so far."""
        return self.used_wall_s + self.clock() - self.started_s

    def spend(self, *, tokens: int = 0, cost_usd: float = 0.0) -> None:
        """A brain was asked."""
        self.tokens += tokens
        self.cost_usd += cost_usd

    def spend_trial(self, wall_s: float, *, is_full: bool) -> None:
        """A trial took `wall_s` on a slot."""
        self.gpu_s += wall_s * self.gpus_per_trial
        if is_full and wall_s > 0:
            self._n_timed += 1
            self.trial_s += (wall_s - self.trial_s) / min(self._n_timed, 20)

    def search_s(self) -> float | None:
        """Wall seconds left for search, the reserve taken off; `None` without a limit."""
        if self.limits.wall_s is None:
            return None
        return self.limits.wall_s - self.wall_s - self.reserve_s - self.ablation_s

    def left_s(self) -> float | None:
        """Wall seconds left for everything; `None` without a limit."""
        return None if self.limits.wall_s is None else max(0.0, self.limits.wall_s - self.wall_s)

    def has_time_for(self, n_trials: int, spare_s: float = 0.0) -> bool:
        """Whether so many trials end before the search has to, or `spare_s` seconds later."""
        left = self.search_s()
        if left is None:
            return True
        rounds = -(-n_trials // max(self.n_slots, 1))
        return rounds * self.trial_s <= left + spare_s

    def has_time_to_certify(self) -> bool:
        """Whether the reserve still lies ahead (after a certification that did not pass)."""
        if self.limits.wall_s is None:
            return True
        return self.limits.wall_s - self.wall_s >= self.reserve_s

    def has_all_experiments(self, n_experiments: int) -> bool:
        """Whether no experiment may be begun besides so many."""
        limit = self.limits.experiments
        return limit is not None and n_experiments >= limit

    def spent(self, n_experiments: int) -> str:
        """Which limit is reached, in words; empty while none is.

        `n_experiments` counts those under way, so that threads together never begin too many.
        """
        limits = self.limits
        if self.has_all_experiments(n_experiments):
            were = "was" if n_experiments == 1 else "were"
            return f"{counted(n_experiments, 'experiment')} {were} done"
        if (left := self.search_s()) is not None and left <= self.trial_s:
            kept_s = min(self.reserve_s + self.ablation_s, self.left_s() or 0.0)
            kept = f", {kept_s:.0f} s are kept for the final test" if kept_s >= 1 else ""
            return f"the time for search is over after {self.wall_s:.0f} s{kept}"
        if limits.gpu_hours is not None and self.gpu_s >= limits.gpu_hours * 3600:
            return f"{self.gpu_s / 3600:.2f} GPU hours are spent"
        return self.model_spent()

    def model_spent(self) -> str:
        """Which limit on models is reached; empty while none is."""
        limits = self.limits
        if limits.tokens is not None and self.tokens >= limits.tokens:
            return f"{self.tokens} model tokens are spent"
        if limits.cost_usd is not None and self.cost_usd >= limits.cost_usd:
            return f"{self.cost_usd:.2f} USD are spent on models"
        return ""

    def require_model(self) -> None:
        """Raise `BudgetExhausted` when nothing is left to ask a model with."""
        if reason := self.model_spent():
            raise BudgetExhausted(f"{reason}; no model is asked any more")

    def left(self, n_experiments: int) -> BudgetLeft:
        """What may still be spent on search, where so many experiments were begun."""
        limits, seconds = self.limits, self.search_s()
        trials = None
        if seconds is not None and self.trial_s > 0:
            trials = max(0, int(seconds / self.trial_s * self.n_slots))
        return BudgetLeft(
            experiments=_minus(limits.experiments, n_experiments),
            wall_s=None if seconds is None else max(0.0, round(seconds, 1)),
            trials=trials,
            tokens=_minus(limits.tokens, self.tokens),
            cost_usd=None if limits.cost_usd is None else limits.cost_usd - self.cost_usd,
        )


def _minus(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)
