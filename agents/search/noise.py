"""How far one trial strays from what is expected: its noise, and what the model leaves out."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

FADE = 0.98
"""Weight of the past when the misfit of the model is estimated."""
FEW = 5.0
"""Trials without a misfit that are assumed before the first."""
WILD = 100.0
"""One wild trial says little: a squared surprise counts up to so many times what was expected."""


@dataclass
class Noise:
    """Pooled over repeats of the same candidate, whatever it is made of."""

    df: int = 0
    """Degrees of freedom."""
    misfit: float = 0.0
    """Variance of what the sum of effects does not explain, beyond the noise."""
    _squares: float = 0.0
    _repeats: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Sum and number of the scores of each candidate."""
    _off: tuple[float, float] = (0.0, 0.0)
    """Faded sums of squared surprises beyond what was expected, and of their weights."""

    @property
    def is_known(self) -> bool:
        """Whether enough was repeated to tell."""
        return self.df >= 2

    @property
    def sd(self) -> float:
        """Of one trial, once it is known."""
        return sqrt(self._squares / self.df)

    def note(self, tree: str, score: float) -> None:
        """A trial of a candidate ended."""
        total, n = self._repeats.get(tree, (0.0, 0))
        if n:
            gap = score - total / n
            self._squares += gap * gap * n / (n + 1)
            self.df += 1
        self._repeats[tree] = (total + score, n + 1)

    def mean(self, tree: str) -> tuple[float, int]:
        """Mean score of a candidate, and of how many trials."""
        total, n = self._repeats[tree]
        return total / n, n

    def note_surprise(self, excess: float, noise_var: float) -> None:
        """By how much a squared surprise exceeded what the model without misfit expects."""
        total, weight = self._off
        bounded = min(excess, WILD * (noise_var + self.misfit))
        total, weight = FADE * total + bounded, FADE * weight + 1.0
        self._off = (total, weight)
        self.misfit = max(0.0, total / (weight + FEW))
