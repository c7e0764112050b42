"""What each candidate is believed to be worth, and what ideas of each kind are expected to give.

A candidate's value is its parent's plus the effect of its idea. The distribution of effects is
learned from all ideas tried so far, kind by kind (empirical Bayes on a grid: most ideas do nothing
or harm, few help), so that one lucky trial moves a belief as little as it should. Beliefs steer the
search only; what may be claimed is decided by races and confirmations.

Every update costs the same after ten ideas and after ten thousand.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from math import sqrt
from random import Random

import numpy as np
from numpy.typing import NDArray

from novum.lab.records import Kind

Array = NDArray[np.float64]
GRID: Array = np.linspace(-6.0, 6.0, 49)
"""Effects in sds of the noise. For what is learned of kinds, what lies beyond counts as the
outermost; for the belief in one candidate, see `_is_off_the_grid`."""
GAINS: Array = np.maximum(GRID, 0.0)
KIND_WEIGHT = 8.0
"""Ideas that what is known of all kinds counts for within one kind."""
MAX_TOP = 64
ODDS = 1.645
FIRST_SD = 0.01
"""Noise as a fraction of the start's score, while nothing was repeated."""


def weak_prior() -> Array:
    """Before anything was tried: ten ideas' worth, half of them null, harm likelier than help."""
    tails = np.where(GRID > 0, 2.0 * np.exp(-GRID), 3.0 * np.exp(GRID / 2.0))
    tails[GRID == 0] = 0.0
    tails *= 5.0 / tails.sum()
    tails[GRID == 0] = 5.0
    return np.asarray(tails, dtype=np.float64)


@dataclass(slots=True)
class Belief:
    """Value of one candidate, oriented so that higher is better."""

    mean: float
    var: float
    prior: float
    """Mean and variance that the parents alone would suggest, the idea left out."""
    prior_var: float
    kind: Kind | None = None
    total: float = 0.0
    n: int = 0
    """Trials at full fidelity; the selecting ones count, since the prior knows of the others."""
    is_counted: bool = False
    n_children: int = 0


@dataclass
class Beliefs:
    """Beliefs of a run. Fed by `Findings`, in the order of the ledger."""

    known: dict[str, Belief] = field(default_factory=dict)
    everywhere: Array = field(default_factory=weak_prior)
    kinds: dict[Kind, Array] = field(default_factory=dict)
    _top: list[tuple[float, str]] = field(default_factory=list)
    _banned: set[str] = field(default_factory=set)
    _squares: float = 0.0
    _df: int = 0

    @property
    def sd(self) -> float:
        """Noise of one trial, pooled over all candidates with two trials or more."""
        if self._df >= 2:
            return max(sqrt(self._squares / self._df), 1e-12)
        first = next(iter(self.known.values()), None)
        return max(FIRST_SD * abs(first.mean), 1e-12) if first is not None and first.n else 1.0

    @property
    def top(self) -> list[str]:
        """The most promising candidates by posterior mean, best first."""
        return [tree for _, tree in self._top]

    def add_start(self, tree: str) -> None:
        """The start: nothing is believed of it until it was measured."""
        self.known.setdefault(tree, Belief(0.0, float("inf"), 0.0, float("inf")))

    def add(self, tree: str, parents: tuple[str, ...], base: str, kind: Kind | None) -> None:
        """A candidate was made from parents; `base` is what two parents have in common."""
        found = [self.known[p] for p in parents if p in self.known]
        if tree in self.known or not found:
            return
        mean, var = found[0].mean, found[0].var
        if len(found) > 1 and base in self.known:
            shared = self.known[base]
            mean = sum(b.mean for b in found) - (len(found) - 1) * shared.mean
            # What is not known of the common part is not known once, not twice.
            var = shared.var + sum(max(b.var - shared.var, 0.0) for b in found)
        for parent in found:
            parent.n_children += 1
        self.known[tree] = Belief(mean, var, mean, var, kind)
        self._settle(tree)

    def note(self, tree: str, score: float) -> None:
        """A trial of a candidate at full fidelity ended."""
        belief = self.known.get(tree)
        if belief is None:
            return
        if belief.n:
            gap = score - belief.total / belief.n
            grown = gap * gap * belief.n / (belief.n + 1)
            self._squares += grown
            self._df += 1
        belief.total += score
        belief.n += 1
        self._settle(tree)

    def close(self, tree: str) -> None:
        """The idea of a candidate was judged: it joins what is known of its kind, once."""
        belief = self.known.get(tree)
        if belief is None or belief.is_counted or belief.kind is None or not belief.n:
            return
        belief.is_counted = True
        share = self._shares(belief)
        self.everywhere += share
        counts = self.kinds.setdefault(belief.kind, np.zeros_like(GRID))
        counts += share

    def ban(self, tree: str) -> None:
        """Nothing is to be built on a candidate: it cheats, or does not run."""
        self._banned.add(tree)
        self._top = [entry for entry in self._top if entry[1] != tree]

    def effects(self, kind: Kind | None) -> Array:
        """Counts of effects that are expected of a kind, shape (grid,)."""
        shared = self.everywhere / self.everywhere.sum() * KIND_WEIGHT
        return np.asarray(
            shared + self.kinds[kind] if kind in self.kinds else shared, dtype=np.float64
        )

    def expected_gain(self, kind: Kind | None) -> float:
        """What an idea of a kind adds if the harmful ones are not kept, in the metric's unit."""
        counts = self.effects(kind)
        return float(counts @ GAINS / counts.sum()) * self.sd

    def draw_gain(self, kind: Kind, rng: Random) -> float:
        """One sample of `expected_gain` from what is not yet known of a kind (Thompson)."""
        counts = self.effects(kind)
        drawn = np.array([rng.gammavariate(c, 1.0) if c > 1e-9 else 0.0 for c in counts])
        return float(drawn @ GAINS / max(drawn.sum(), 1e-12)) * self.sd

    def draw(self, tree: str, rng: Random, temper: float = 1.0) -> float:
        """One sample of a candidate's value, its sd scaled by `temper`."""
        belief = self.known[tree]
        return rng.gauss(belief.mean, temper * sqrt(belief.var))

    def beats(self, tree: str, other: str) -> bool:
        """Whether a candidate is believed to be better than another, at 19 to 1."""
        one, two = self.known[tree], self.known[other]
        return one.mean - two.mean > ODDS * sqrt(one.var + two.var)

    def _shares(self, belief: Belief) -> Array:
        """Posterior probability of each effect of the grid."""
        effects = self.effects(belief.kind)
        sd = self.sd
        if not belief.n:
            return np.asarray(effects / effects.sum(), dtype=np.float64)
        spread = belief.prior_var / sd**2 + 1.0 / belief.n
        gap = (belief.total / belief.n - belief.prior) / sd
        logs = np.log(effects) - 0.5 * (np.clip(gap, -12.0, 12.0) - GRID) ** 2 / spread
        share = np.exp(logs - logs.max())
        return np.asarray(share / share.sum(), dtype=np.float64)

    def _settle(self, tree: str) -> None:
        belief, sd = self.known[tree], self.sd
        if belief.prior_var == float("inf") or self._is_off_the_grid(belief):
            if belief.n:
                belief.mean, belief.var = belief.total / belief.n, sd**2 / belief.n
        else:
            share = self._shares(belief)
            values = belief.prior + GRID * sd
            within = belief.prior_var
            if belief.n:
                error = sd**2 / belief.n
                pull = belief.prior_var / (belief.prior_var + error)
                values = values + pull * (belief.total / belief.n - values)
                within = pull * error
            belief.mean = float(share @ values)
            belief.var = within + float(share @ (values - belief.mean) ** 2)
        self._rank(tree, belief.mean)

    def _is_off_the_grid(self, belief: Belief) -> bool:
        """Whether an effect is larger than any that the grid knows; then the trials speak alone.

        Where a first technique gains 40 sds, or the gains of two branches overlap by as much, the
        outermost effect of the grid would hold the belief near what the parents suggested.
        """
        if not belief.n:
            return False
        return abs(belief.total / belief.n - belief.prior) > float(GRID[-1]) * self.sd

    def _rank(self, tree: str, mean: float) -> None:
        self._top = [entry for entry in self._top if entry[1] != tree]
        if tree not in self._banned and self.known[tree].n:
            insort(self._top, (-mean, tree))
            del self._top[MAX_TOP:]
