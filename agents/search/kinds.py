"""What ideas of each kind are expected to give: counts of effects, learned in the run.

Most ideas do nothing or harm, few help, and kinds differ (empirical Bayes). The counts are the
prior of every idea, so that one lucky trial moves a belief as little as it should. All ideas count,
those still looked at as well as those given up: the latter alone are a selection of the bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from novum.agents.search.mixture import GRID, Array, weak_prior
from novum.lab.records import Kind

GAINS: Array = np.maximum(GRID, 0.0)
KIND_WEIGHT = 30.0
"""Ideas that what is known of all kinds counts for within one kind."""


@dataclass
class Kinds:
    """Counts of effects, shape (parts,)."""

    first: Array = field(default_factory=weak_prior)
    """What was believed before anything was tried."""
    done: dict[Kind, Array] = field(default_factory=dict)
    """Of ideas that are out of the model."""
    live: dict[Kind, Array] = field(default_factory=dict)
    """Of those in it, as they are believed now."""

    def add(self, kind: Kind, share: Array) -> None:
        """An idea leaves the model, with a probability of each part."""
        self.done[kind] = self.done.get(kind, np.zeros_like(GRID)) + share

    def effects(self, kinds: Sequence[Kind]) -> dict[Kind, Array]:
        """Counts of effects that are expected of each kind."""
        everywhere = self.first + sum((*self.done.values(), *self.live.values()))
        shared = everywhere / everywhere.sum() * KIND_WEIGHT
        return {k: shared + self.done.get(k, 0.0) + self.live.get(k, 0.0) for k in kinds}

    def draw(self, kinds: Sequence[Kind], rng: Random) -> Kind:
        """The kind of which one draw (Thompson) of what is not known promises the largest gain."""
        best, found = kinds[0], -1.0
        source = np.random.default_rng(rng.getrandbits(64))
        for kind, counts in self.effects(kinds).items():
            drawn = source.gamma(np.maximum(counts, 1e-9))
            gain = float(drawn @ GAINS / max(float(drawn.sum()), 1e-12))
            if gain > found:
                best, found = kind, gain
        return best
