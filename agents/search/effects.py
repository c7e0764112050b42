"""What each idea adds, learned from all trials at once: a linear model over sets of ideas.

A score is a level that wanders slowly, plus the effects of the ideas in the candidate, plus noise.
Every trial of every candidate therefore says something of each idea in it, and what is believed of
an idea does not rest on the one trial that selected it. The belief is kept by recursive least
squares (`joint`), a few ideas' priors brought up to date after each trial (`mixture`, `kinds`).

The model holds `MAX_IDEAS` ideas, however long the run: of those beyond, what surely helps is
*settled* (carried from then on, and part of the level), what hardly helps is given up. So a trial
costs the same after ten ideas and after ten thousand, and no good idea is lost for a new one.

Source: Hill et al. 2017, An efficient bandit algorithm for realtime multivariate optimization
(Thompson sampling over combinations with a linear model); Minka 2001, Expectation propagation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field

import numpy as np

from novum.agents.search.joint import FIRST, LEVEL, SETTLED, Joint
from novum.agents.search.kinds import Kinds
from novum.agents.search.mixture import GRID, Array, moments, posterior
from novum.agents.search.noise import Noise
from novum.lab.records import Kind

DRIFT = 0.0025
"""Variance that the level gains from trial to trial, in squared sds."""
FIRST_SD = 0.01
"""Noise as a fraction of the start's score, while nothing was repeated."""
SURPRISE = 3.0
"""Sds of prediction beyond which a new idea is taken to be of another size than ideas are."""
MAX_IDEAS, KEEP = 256, 200
REFRESH = 8
"""Ideas whose priors are brought up to date after a trial, in turn, besides the new ones."""
WEAKEST = 1e-3
"""Least precision of an idea's prior, in one over squared sds."""
LEAST_VAR = 1e-12
"""Of a belief, in squared sds."""
WORTH = 0.1
"""Sds that an idea has to give to be worth carrying."""
HOPELESS = 0.03
"""Chance to be worth carrying below which an idea is the first to be given up."""
SETTLED_AT, SETTLED_TRIALS = 0.97, 10
"""Chance to be worth carrying, and trials with it, from which an idea may be settled."""


@dataclass(slots=True)
class Idea:
    """What stands beside an idea's column of the model."""

    kind: Kind
    tau: float
    nu: float
    """Precision and shift of its prior, as a normal one that does the same here."""
    n: int = 0
    """Trials of candidates that have it."""
    share: Array = field(default_factory=lambda: np.zeros_like(GRID))
    """What it adds to the counts of its kind, which are a prior for the others and not for it."""


@dataclass(frozen=True, slots=True)
class Gains:
    """Posterior of the ideas under their kinds' priors, in sds; rows are ideas."""

    ideas: tuple[str, ...]
    shares: Array
    """Probability of each part of the mixture, shape (ideas, parts)."""
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
    settled: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Mean and variance of what is carried for good, as it was when that was decided."""
    gone: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The same of what was given up."""
    _noise: Noise = field(default_factory=Noise)
    _waiting: dict[str, Kind] = field(default_factory=dict)
    """Ideas that did not run yet: one that never does takes no room in the model."""
    _joint: Joint = field(default_factory=Joint)
    _at: dict[str, int] = field(default_factory=dict)
    """Columns by idea."""
    _settled_total: tuple[float, float] = (0.0, 0.0)
    """Sums of the means and variances of what is settled."""
    _early: list[tuple[tuple[str, ...], float]] = field(default_factory=list)
    """Ideas and score of trials that ended before the start was measured."""
    _gains: Gains | None = None
    _turn: int = 0

    @property
    def level(self) -> float:
        """What the start would score now."""
        return float(self._joint.mean[LEVEL] - self._joint.mean[SETTLED])

    @property
    def misfit(self) -> float:
        """Variance of what the sum of effects does not explain, beyond the noise."""
        return self._noise.misfit

    @property
    def noise_sd(self) -> float:
        """Noise of one trial, pooled over all candidates with two trials or more."""
        level = abs(self.level)
        if self._noise.is_known:
            return max(self._noise.sd, 1e-6 * level, 1e-12)
        return max(FIRST_SD * level, 1e-12)

    def add(self, idea: str, kind: Kind) -> None:
        """An idea is tried for the first time, or again after it was given up."""
        if idea not in self.ideas and idea not in self.settled:
            self._waiting[idea] = kind

    def note(self, tree: str, ideas: Iterable[str], score: float) -> float:
        """A trial of a candidate ended; returns how much it lay above what was expected.

        What a candidate scored before the start was measured says nothing of its ideas: such trials
        wait until the start's level and the noise are known.
        """
        self._noise.note(tree, score)
        self._gains = None
        known = frozenset(ideas)
        if self._early and self._has_level and self._noise.is_known:
            early, self._early = self._early, []
            for before, its_score in early:
                self._learn(frozenset(before), its_score)
        if known and (self._early or not self._has_level):
            self._early.append((tuple(sorted(known)), score))
            return 0.0
        sd, joint = self.noise_sd, self._joint
        if not self._has_level:
            joint.start_at(score, sd**2)
            return 0.0
        if not self._noise.is_known and not known:
            # Only the start was measured, and nothing of the noise is known: its plain mean.
            mean, n = self._noise.mean(tree)
            joint.start_at(mean, self.noise_sd**2 / n)
            return 0.0
        return self._learn(known, score)

    @property
    def _has_level(self) -> bool:
        return bool(np.isfinite(self._joint.cov[LEVEL, LEVEL]))

    def _learn(self, known: frozenset[str], score: float) -> float:
        """Take in a trial; returns its surprise."""
        sd, joint = self.noise_sd, self._joint
        for idea in sorted(known & self._waiting.keys()):
            self._enter(idea, self._waiting.pop(idea))
        row, offset, extra = self._row(known)
        joint.cov[LEVEL, LEVEL] += DRIFT * sd**2
        mean, var = joint.predict(row)
        surprise = score - mean - offset
        expected = var + sd**2 + self.misfit + extra
        fresh = [i for i in sorted(known) if i in self.ideas and not self.ideas[i].n]
        if fresh and surprise**2 > SURPRISE**2 * expected:
            self._widen(fresh, surprise**2 - expected)
            expected = surprise**2
        elif not fresh:
            self._noise.note_surprise(surprise**2 - expected + self.misfit, sd**2)
        joint.observe(row, surprise, expected)
        for idea in known & self.ideas.keys():
            self.ideas[idea].n += 1
        self._learn_priors(fresh)
        return surprise

    def value(self, ideas: Collection[str]) -> tuple[float, float]:
        """Mean and variance of what these ideas add to the start together; nothing before the start
        was measured."""
        if not self._has_level:
            return 0.0, 0.0
        row, offset, extra = self._gain_row(ideas)
        mean, var = self._joint.predict(row)
        return mean + offset, max(var + extra, 0.0)

    def mean_of(self, ideas: Collection[str]) -> float:
        """What these ideas add to the start together: `value` without its variance, and cheap."""
        row, offset, _ = self._gain_row(ideas)
        return float(row @ self._joint.mean) + offset

    def gains(self) -> Gains:
        """What is believed of each idea that is not settled: the trials' word, with its kind's
        prior in place of the normal one that stands for it in the model."""
        if self._gains is None:
            self._gains = self._make_gains()
        return self._gains

    def _make_gains(self) -> Gains:
        sd, names = self.noise_sd, tuple(self.ideas)
        if not names:
            none = np.zeros(0)
            return Gains((), np.zeros((0, len(GRID))), none, none, none)
        mean = self._joint.mean[FIRST:] / sd
        # While the noise is unknown and taken for far too small, rounding may leave less than 0.
        var = np.maximum(np.diag(self._joint.cov)[FIRST:] / sd**2, LEAST_VAR)
        tau = np.array([i.tau for i in self.ideas.values()]) * sd**2
        nu = np.array([i.nu for i in self.ideas.values()]) * sd
        # The model's belief with its prior divided out is what the trials alone say.
        said = 1.0 / np.maximum(1.0 / var - tau, 1e-6)
        told = said * (mean / var - nu)
        counts = self.kinds.effects(sorted({i.kind for i in self.ideas.values()}))
        stacked = np.stack([counts[i.kind] - i.share for i in self.ideas.values()])
        found = posterior(told, said, stacked)
        worth = found.shares[:, GRID > WORTH].sum(axis=1)
        is_off = np.abs(told) > GRID[-1]  # larger than the mixture knows: the model speaks
        return Gains(
            names,
            found.shares,
            np.where(is_off, mean, found.mean),
            np.sqrt(np.where(is_off, var, found.var)),
            np.where(is_off, np.where(mean > 0, 1.0, 0.0), worth),
        )

    def _enter(self, idea: str, kind: Kind) -> None:
        if len(self.ideas) >= MAX_IDEAS:
            self._make_room()
        sd = self.noise_sd
        mean, var = moments(self.kinds.effects([kind])[kind])
        mean, var = self.gone.pop(idea, (mean * sd, var * sd**2))
        self.ideas[idea] = Idea(kind, 1.0 / var, mean / var)
        self._at[idea] = len(self._joint.mean)
        self._joint.add(mean, var)

    def _row(self, known: frozenset[str]) -> tuple[Array, float, float]:
        """Columns that a candidate's score sums, and mean and variance of what has none.

        A candidate with few of the settled ideas is told from the start, others from home."""
        row = np.zeros(len(self._joint.mean))
        row[LEVEL] = 1.0
        row[[self._at[i] for i in known if i in self._at]] = 1.0
        offset, extra = _total(self.gone, known)
        if not self.settled:
            return row, offset, extra
        has, has_var = _total(self.settled, known)
        if has_var < self._settled_total[1] - has_var:
            row[SETTLED] = -1.0
            return row, offset + has, extra + has_var
        lacks, lacks_var = (a - b for a, b in zip(self._settled_total, (has, has_var), strict=True))
        return row, offset - lacks, extra + max(lacks_var, 0.0)

    def _gain_row(self, ideas: Collection[str]) -> tuple[Array, float, float]:
        row, offset, extra = self._row(frozenset(ideas))
        row[LEVEL] -= 1.0
        row[SETTLED] += 1.0
        return row, offset, extra

    def _widen(self, fresh: list[str], excess: float) -> None:
        """Let new ideas be as large as they look."""
        for name in fresh:
            idea, column = self.ideas[name], self._at[name]
            self._joint.cov[column, column] += excess / len(fresh)
            mean, var = idea.nu / idea.tau, 1.0 / idea.tau + excess / len(fresh)
            idea.tau, idea.nu = 1.0 / var, mean / var

    def _learn_priors(self, fresh: list[str]) -> None:
        """Count what is believed of all ideas, and bring some of their priors up to date."""
        if not self._noise.is_known or not self.ideas:
            return
        gains = self.gains()
        for share, idea in zip(gains.shares, self.ideas.values(), strict=True):
            idea.share = share
        self._count_live()
        counts = self.kinds.effects(sorted(self.kinds.live))
        n = min(REFRESH, len(gains.ideas))
        due = [self._at[name] - FIRST for name in fresh]
        due += [(self._turn + i) % len(gains.ideas) for i in range(n)]
        self._turn = (self._turn + n) % len(gains.ideas)
        for i in due:
            idea = self.ideas[gains.ideas[i]]
            self._renew(FIRST + i, idea, counts[idea.kind] - idea.share)
        self._gains = None

    def _renew(self, column: int, idea: Idea, counts: Array) -> None:
        """The normal prior that, with what the trials say now, does what the mixture does."""
        sd = self.noise_sd
        alone = self._joint.alone(column, idea.tau, idea.nu)
        if alone is None or abs(alone[0]) > GRID[-1] * sd:
            return
        told, said = alone
        found = posterior(np.array([told / sd]), np.array([said / sd**2]), counts)
        mean, var = float(found.mean[0]) * sd, float(found.var[0]) * sd**2
        tau = max(1.0 / var - 1.0 / said, WEAKEST / sd**2)
        nu = (tau + 1.0 / said) * mean - told / said
        if self._joint.change(column, tau - idea.tau, nu - idea.nu):
            idea.tau, idea.nu = tau, nu

    def _make_room(self) -> None:
        """Give up what has no hope, settle what is sure, then give up what is least likely."""
        gains, need = self.gains(), len(self.ideas) - KEEP
        order = sorted(range(len(gains.ideas)), key=lambda i: (gains.worth[i], gains.mean[i]))
        leave = [i for i in order if gains.worth[i] < HOPELESS]
        sure = [i for i in reversed(order) if self._is_sure(gains, i)]
        settle = sure[: max(0, need - len(leave))]
        rest = [i for i in order if i not in {*leave, *settle}]
        leave += rest[: max(0, need - len(leave) - len(settle))]
        for i in (*settle, *leave):
            name, column = gains.ideas[i], FIRST + i
            there = self.settled if i in settle else self.gone
            there[name] = (float(self._joint.mean[column]), float(self._joint.cov[column, column]))
            self.kinds.add(self.ideas[name].kind, gains.shares[i])
        for i in settle:
            self._joint.fold(FIRST + i)
        out = {*settle, *leave}
        stay = [i for i in range(len(gains.ideas)) if i not in out]
        self._joint.keep([FIRST + i for i in stay])
        self.ideas = {gains.ideas[i]: self.ideas[gains.ideas[i]] for i in stay}
        self._at = {name: column for column, name in enumerate(self.ideas, FIRST)}
        self._settled_total = _total(self.settled, self.settled.keys())
        self._turn = 0
        self._count_live()

    def _count_live(self) -> None:
        live = dict[Kind, Array]()
        for idea in self.ideas.values():
            live[idea.kind] = live.get(idea.kind, 0.0) + idea.share
        self.kinds.live, self._gains = live, None

    def _is_sure(self, gains: Gains, i: int) -> bool:
        is_known = self.ideas[gains.ideas[i]].n >= SETTLED_TRIALS
        return bool(is_known and gains.worth[i] > SETTLED_AT)


def _total(known: Mapping[str, tuple[float, float]], some: Set[str]) -> tuple[float, float]:
    """Sums of the means and variances of some ideas, in an order that is always the same."""
    found = [known[i] for i in sorted(known.keys() & some)]
    return sum(m for m, _ in found), sum(v for _, v in found)
