"""The measured benchmark as a landscape for policies: nanochat's CPU profile, on trials of record.

Ideas are the techniques of the playbook, each once; gains are percents of the metric (differences
of logarithms, times 100), and the noise of a trial is what repeats had, which is smaller beside the
strongest technique. A technique that applies to nothing but another one is left out.
"""

from __future__ import annotations

from functools import cache
from random import Random

from novum.evals.suites.simulated.landscapes import Ideas, kind_of
from novum.evals.suites.surrogate.model import Fit, fit, read_table
from novum.lab.records import Kind

NAME = "nanochat-cpu"
PERCENT = 100.0
DEPENDENT = ("normuon",)


@cache
def fitted() -> Fit:
    """The model of the table that ships."""
    rows, kinds, _ = read_table()
    return fit(rows, kinds)


class Surrogate:
    """Values are predicted by the model; the start is worth 0."""

    name = NAME

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._fit = fitted()
        self.pool = [
            f"{self._fit.kinds[name]}:{name}" for name in self._fit.names if name not in DEPENDENT
        ]
        self._start = self._fit.log_metric(frozenset())
        self._cache: dict[Ideas, float] = {}

    def value(self, ideas: Ideas) -> float:
        """By how many percent the metric is expected to fall."""
        if ideas not in self._cache:
            names = frozenset(idea.split(":", 1)[1] for idea in ideas)
            self._cache[ideas] = PERCENT * (self._start - self._fit.log_metric(names))
        return self._cache[ideas]

    def measure(self, ideas: Ideas, clock: float, rng: Random) -> float | None:
        """One trial at full fidelity."""
        has_strongest = any(idea.endswith(f":{self._fit.strongest}") for idea in ideas)
        return self.value(ideas) + rng.gauss(0.0, PERCENT * self._fit.noise[has_strongest])

    def clash(self, one: str, other: str) -> bool:
        """Techniques are applied by their passages, so they do not."""
        return False

    def draw(self, kind: Kind | None, present: Ideas, rng: Random) -> str | None:
        """A technique that is not there yet, of the kind asked for while there is one."""
        left = [idea for idea in self.pool if idea not in present]
        like = [idea for idea in left if kind is None or kind_of(idea) is kind]
        return rng.choice(like or left) if left else None
