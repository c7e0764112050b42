"""What ideas of each kind are expected to give: counts of effects, learned in the run.

Most ideas do nothing or harm, few help, and kinds differ (empirical Bayes). The counts are the
prior of every idea, so that one lucky trial moves a belief as little as it should.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from novum.lab.records import Kind

Array = NDArray[np.float64]
GRID: Array = np.linspace(-6.0, 6.0, 49)
"""Effects in sds of the noise; what lies beyond counts as the outermost."""
GAINS: Array = np.maximum(GRID, 0.0)
KIND_WEIGHT = 8.0
"""Ideas that what is known of all kinds counts for within one kind."""


def weak_prior() -> Array:
    """Before anything was tried: ten ideas' worth, half of them null, harm likelier than help."""
    tails = np.where(GRID > 0, 2.0 * np.exp(-GRID), 3.0 * np.exp(GRID / 2.0))
    tails[GRID == 0] = 0.0
    tails *= 5.0 / tails.sum()
    tails[GRID == 0] = 5.0
    return np.asarray(tails, dtype=np.float64)


@dataclass
class Kinds:
    """Counts of effects, shape (grid,), of all kinds and of each."""

    everywhere: Array = field(default_factory=weak_prior)
    of: dict[Kind, Array] = field(default_factory=dict)

    def add(self, kind: Kind, share: Array) -> None:
        """One idea's effect became known, as a probability of each point of the grid."""
        self.everywhere += share
        counts = self.of.setdefault(kind, np.zeros_like(GRID))
        counts += share

    def effects(self, kind: Kind) -> Array:
        """Counts of effects that are expected of a kind."""
        shared = self.everywhere / self.everywhere.sum() * KIND_WEIGHT
        return np.asarray(shared + self.of[kind] if kind in self.of else shared, dtype=np.float64)

    def draw(self, kinds: Sequence[Kind], more: dict[Kind, Array], rng: Random) -> Kind:
        """The kind of which one draw (Thompson) of what is not known promises the largest gain.

        `more` holds the counts of ideas that are still being looked at.
        """
        best, found = kinds[0], -1.0
        source = np.random.default_rng(rng.getrandbits(64))
        for kind in kinds:
            counts = self.effects(kind) + more.get(kind, 0.0)
            drawn = source.gamma(np.maximum(counts, 1e-9))
            gain = float(drawn @ GAINS / max(float(drawn.sum()), 1e-12))
            if gain > found:
                best, found = kind, gain
        return best
