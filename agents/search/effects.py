"""What each idea adds, learned from all trials at once: a linear model over sets of ideas.

A score is a level that wanders slowly, plus the effects of the ideas in the candidate, plus noise.
Every trial of every candidate therefore says something of each idea in it, and what is believed of
an idea does not rest on the one trial that selected it. The posterior is kept by recursive least
squares (a Kalman filter with a random-walk level): a trial costs the same after ten ideas and after
ten thousand, and nothing of the past is forgotten. Ideas that are not worth carrying any more are
marginalised out, which leaves what they taught about the others.

Source: Kalman 1960; Hill et al. 2017, An efficient bandit algorithm for realtime multivariate
optimization (Thompson sampling over combinations with a linear model).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from novum.agents.search.kinds import GRID, Array, Kinds
from novum.lab.records import Kind

PRIOR_MEAN, PRIOR_SD = -0.4, 1.5
"""Of an idea's effect, in sds of the noise, before the grid of its kind is asked."""
DRIFT = 0.0025
"""Variance that the level gains from trial to trial, in squared sds."""
FIRST_SD = 0.01
"""Noise as a fraction of the start's score, while nothing was repeated."""
SURPRISE = 3.0
"""Sds of prediction beyond which a new idea is taken to be of another size than ideas are."""
FADE = 0.98
"""Weight of the past when the misfit of the model is estimated."""
MAX_IDEAS = 96
KEEP = 72
WORTH = 0.1
"""Sds that an idea has to give to be worth carrying."""


@dataclass(slots=True)
class Idea:
    """What stands beside an idea's column of the model."""

    kind: Kind
    mean: float
    sd: float
    """Its prior here, in the metric's unit."""
    n: int = 0
    """Trials of candidates that have it."""


@dataclass(frozen=True, slots=True)
class Gains:
    """Posterior of the ideas under their kinds' priors, in sds; rows are ideas."""

    ideas: tuple[str, ...]
    shares: Array
    """Probability of each point of the grid, shape (ideas, grid)."""
    mean: Array
    sd: Array
    worth: Array
    """Probability that an idea gives more than `WORTH`."""


@dataclass
class Effects:
    """The model. Fed in the order of the ledger; scores are oriented, higher is better."""

    kinds: Kinds = field(default_factory=Kinds)
    ideas: dict[str, Idea] = field(default_factory=dict)
    """Columns of the model, in their order."""
    gone: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Mean and variance of what was marginalised out."""
    misfit: float = 0.0
    """Variance of what the sum of effects does not explain, beyond the noise."""
    _mean: Array = field(default_factory=lambda: np.zeros(1))
    _cov: Array = field(default_factory=lambda: np.full((1, 1), np.inf))
    _repeats: dict[str, tuple[float, int]] = field(default_factory=dict)
    _squares: float = 0.0
    _df: int = 0
    _off: tuple[float, float] = (0.0, 0.0)
    """Faded sums of squared surprises beyond what was expected, and of their weights."""

    @property
    def noise_sd(self) -> float:
        """Noise of one trial, pooled over all candidates with two trials or more."""
        level = abs(float(self._mean[0]))
        if self._df >= 2:
            return max(sqrt(self._squares / self._df), 1e-6 * level, 1e-12)
        return max(FIRST_SD * level, 1e-12)

    def add(self, idea: str, kind: Kind) -> None:
        """An idea was tried for the first time, or again after it was given up."""
        if idea in self.ideas:
            return
        if len(self.ideas) >= MAX_IDEAS:
            self._give_up()
        sd = self.noise_sd
        mean, var = self.gone.pop(idea, (PRIOR_MEAN * sd, (PRIOR_SD * sd) ** 2))
        self.ideas[idea] = Idea(kind, mean, sqrt(var))
        n = len(self._mean)
        cov = np.zeros((n + 1, n + 1))
        cov[:n, :n] = self._cov
        cov[n, n] = var
        self._mean, self._cov = np.append(self._mean, mean), cov

    def note(self, tree: str, ideas: Iterable[str], score: float) -> float:
        """A trial of a candidate ended; returns how much it lay above what was expected."""
        self._note_repeat(tree, score)
        sd = self.noise_sd
        known = frozenset(ideas)
        if not np.isfinite(self._cov[0, 0]):  # the first trial of all sets the level
            self._mean[0], self._cov[0, 0] = score, sd**2
            return 0.0
        x, offset, extra = self._row(known)
        if self._df < 2 and not known:
            # Only the start was measured, and nothing of the noise is known: its plain mean.
            total, n = self._repeats[tree]
            self._mean[0], self._cov[0, 0] = total / n, self.noise_sd**2 / n
            return 0.0
        self._cov[0, 0] += DRIFT * sd**2
        rest = sd**2 + self.misfit + extra
        surprise = score - float(x @ self._mean) - offset
        expected = float(x @ self._cov @ x) + rest
        fresh = [i for i in known if i in self.ideas and not self.ideas[i].n]
        if fresh and surprise**2 > SURPRISE**2 * expected:
            expected += self._widen(fresh, surprise**2 - expected)
        elif not fresh:
            self._learn_misfit(surprise**2 - expected + self.misfit)
        v = self._cov @ x
        self._mean = self._mean + v * (surprise / expected)
        self._cov = self._cov - np.outer(v, v) / expected
        for idea in known & self.ideas.keys():
            self.ideas[idea].n += 1
        return surprise

    def value(self, ideas: Collection[str]) -> tuple[float, float]:
        """Mean and variance of what these ideas add to the start together."""
        x, offset, extra = self._row(frozenset(ideas))
        x[0] = 0.0
        return float(x @ self._mean) + offset, max(float(x @ self._cov @ x) + extra, 0.0)

    @property
    def level(self) -> float:
        """What the start would score now."""
        return float(self._mean[0])

    def gains(self) -> Gains:
        """What is believed of each idea: the trials' word, with its kind's prior in place of the
        normal one that the filter uses."""
        sd = self.noise_sd
        names = tuple(self.ideas)
        if not names:
            none = np.zeros(0)
            return Gains((), np.zeros((0, len(GRID))), none, none, none)
        mean, var = self._mean[1:] / sd, np.diag(self._cov)[1:] / sd**2
        prior = np.array([(i.mean / sd, (i.sd / sd) ** 2) for i in self.ideas.values()])
        # The filter's posterior with its prior divided out is what the trials alone say.
        said = 1.0 / np.maximum(1.0 / var - 1.0 / prior[:, 1], 1e-6)
        told = said * (mean / var - prior[:, 0] / prior[:, 1])
        effects = {kind: self.kinds.effects(kind) for kind in {i.kind for i in self.ideas.values()}}
        counts = np.stack([effects[i.kind] for i in self.ideas.values()])
        reach = np.clip(told, GRID[0], GRID[-1])[:, None]
        logs = np.log(counts) - 0.5 * (reach - GRID) ** 2 / said[:, None]
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        within = shares @ GRID
        spread = np.sqrt(np.maximum(shares @ GRID**2 - within**2, 0.0))
        worth = shares[:, GRID > WORTH].sum(axis=1)
        is_off = np.abs(mean) > GRID[-1]  # larger than the grid knows: the filter speaks
        return Gains(
            names,
            np.asarray(shares, dtype=np.float64),
            np.where(is_off, mean, within),
            np.where(is_off, np.sqrt(var), spread),
            worth,
        )

    def _row(self, known: frozenset[str]) -> tuple[Array, float, float]:
        x = np.array([1.0, *(float(idea in known) for idea in self.ideas)])
        left = [self.gone[idea] for idea in known if idea in self.gone]
        return x, sum(m for m, _ in left), sum(v for _, v in left)

    def _widen(self, fresh: list[str], excess: float) -> float:
        """Let new ideas be as large as they look; returns the variance that this adds."""
        columns = [1 + i for i, idea in enumerate(self.ideas) if idea in fresh]
        for column in columns:
            self._cov[column, column] += excess / len(columns)
        for idea in fresh:
            self.ideas[idea].sd = sqrt(self.ideas[idea].sd ** 2 + excess / len(columns))
        return excess

    def _learn_misfit(self, excess: float) -> None:
        total, weight = self._off
        # One wild trial says little: what is beyond ten times the noise counts as that.
        bounded = min(excess, 100.0 * (self.noise_sd**2 + self.misfit))
        total, weight = FADE * total + bounded, FADE * weight + 1.0
        self._off = (total, weight)
        self.misfit = max(0.0, total / (weight + 5.0))

    def _note_repeat(self, tree: str, score: float) -> None:
        total, n = self._repeats.get(tree, (0.0, 0))
        if n:
            gap = score - total / n
            self._squares += gap * gap * n / (n + 1)
            self._df += 1
        self._repeats[tree] = (total + score, n + 1)

    def _give_up(self) -> None:
        """Make room: marginalise out the ideas that are least likely to be worth carrying."""
        gains = self.gains()
        order = sorted(
            (i for i, idea in enumerate(gains.ideas) if self.ideas[idea].n),
            key=lambda i: (gains.worth[i], gains.mean[i]),
        )
        leave = set(order[: max(1, len(gains.ideas) - KEEP)])
        for i in leave:
            name = gains.ideas[i]
            self.gone[name] = (float(self._mean[1 + i]), float(self._cov[1 + i, 1 + i]))
            self.kinds.add(self.ideas[name].kind, gains.shares[i])
        stay = [0, *(1 + i for i in range(len(gains.ideas)) if i not in leave)]
        self._mean, self._cov = self._mean[stay], self._cov[np.ix_(stay, stay)]
        self.ideas = {n: self.ideas[n] for i, n in enumerate(gains.ideas) if i not in leave}
