"""How much a score varies when nothing but the seed does, and what that lets a budget resolve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atanh, ceil, inf, isfinite, isinf, sqrt, tanh
from statistics import median

import numpy as np

from novum.evals.significance.distributions import chi2_isf, normal_isf, t_isf
from novum.evals.significance.scores import FloatArray, Trials, measured, signed

MAX_TRIALS = 10_000
PAIRING_PAYS_ABOVE = 0.4
"""Correlation from which paired differences resolve more than two arms with a noise model, for 8
and 20 degrees of freedom, alpha .01 and .05, gains of 0.8 to 1.8 sd of a difference; below .2
they resolve less. Simulated in `test_pairing_pays_from_the_stated_correlation`."""

OUTLIER_SDS = 3.5  # Iglewicz and Hoaglin 1993, modified z score
MAD_FACTORS = {3: 1.486, 4: 1.349, 5: 1.219, 6: 1.193, 7: 1.137, 8: 1.123, 9: 1.098}
"""By trials an arm, what makes 1.4826 MAD unbiased (20,000 normal samples each); n / (n - 0.8)
above. Source of the form: Croux and Rousseeuw 1992."""


@dataclass(frozen=True)
class Outlier:
    """One trial far from its arm: `deviation` in robust sds of the arms, as the metric counts."""

    arm: int
    trial: int
    deviation: float


@dataclass(frozen=True)
class NoiseModel:
    """Pooled variance of trials that differ only by seed.

    Exact for normal noise of one size in all arms. Where a candidate is noisier than the arms
    measured here, a race looks at its own spread as well (see `looks`).
    """

    variance: float
    """Pooled within-arm variance s^2; NaN while no arm has two trials."""
    df: float
    """Degrees of freedom of `variance`: trials minus arms; infinite for `known` noise."""
    means: tuple[float, ...]
    """Mean of each arm's measured trials; NaN for an arm that only crashed."""
    counts: tuple[int, ...]
    """Measured trials of each arm with different seeds."""
    n_crashed: int = 0
    robust_sd: float = float("nan")
    """Sd from the median absolute deviation: far below `sd` when a few trials are outliers."""
    outliers: tuple[Outlier, ...] = ()
    """Trials to look at. They stay in `variance`: an outlier of the noise is noise."""
    repeat_sd: float | None = None
    """Sd between trials that repeat one seed: what the machine alone adds; `None` if unmeasured."""
    correlation: float | None = None
    """Correlation between arms of trials with a common seed; `None` if unmeasured."""
    correlation_low: float | None = None
    """One-sided 95 % lower limit of `correlation`."""

    @classmethod
    def from_arms(
        cls,
        arms: Sequence[Trials] | Mapping[str, Trials],
        *,
        seeds: Sequence[Sequence[int]] | None = None,
    ) -> "NoiseModel":
        """Measure the noise from arms; the trials of an arm have one specification and other seeds.

        With `seeds`, one list an arm beside its trials, trials that repeat a seed count as one
        (their mean), and the correlation between arms under common seeds is estimated.

        Raises:
            ValueError: `seeds` does not match `arms` in shape.
        """
        trials = [
            signed(a, "higher") for a in (arms.values() if isinstance(arms, Mapping) else arms)
        ]
        if seeds is not None and [len(s) for s in seeds] != [len(a) for a in trials]:
            raise ValueError("`seeds` must give one seed for each trial of each arm")
        repeats = None if seeds is None else _repeat_sd(trials, seeds)
        by_seed = (
            None if seeds is None else [_by_seed(a, s) for a, s in zip(trials, seeds, strict=True)]
        )
        distinct = (
            [np.array(list(a.values())) for a in by_seed]
            if by_seed
            else [measured(a) for a in trials]
        )
        df = sum(max(0, len(a) - 1) for a in distinct)
        squares = sum(float(((a - a.mean()) ** 2).sum()) for a in distinct if len(a) > 1)
        robust_sd, outliers = _robust(trials)
        correlation, low = _correlation(by_seed) if by_seed else (None, None)
        return cls(
            variance=squares / df if df else float("nan"),
            df=df,
            means=tuple(float(a.mean()) if len(a) else float("nan") for a in distinct),
            counts=tuple(len(a) for a in distinct),
            n_crashed=int(sum((~np.isfinite(a)).sum() for a in trials)),
            robust_sd=robust_sd,
            outliers=outliers,
            repeat_sd=repeats,
            correlation=correlation,
            correlation_low=low,
        )

    @classmethod
    def known(cls, sd: float) -> "NoiseModel":
        """Take the sd as known, from a record of some hundred trials or more."""
        return cls(variance=sd**2, df=inf, means=(), counts=(), robust_sd=sd)

    @property
    def sd(self) -> float:
        """Pooled standard deviation, in the metric's unit."""
        return sqrt(self.variance)

    @property
    def sd_high(self) -> float:
        """Upper 80 % limit of the true sd: what to plan with while `df` is small."""
        if isinf(self.df):
            return self.sd
        return self.sd * sqrt(self.df / chi2_isf(0.8, self.df)) if self.df else float("nan")

    @property
    def pairing_pays(self) -> bool:
        """Whether common seeds are known, not hoped, to help: see `PAIRING_PAYS_ABOVE`."""
        return self.correlation_low is not None and self.correlation_low > PAIRING_PAYS_ABOVE

    def half_width(self, n: int, m: int, level: float = 0.05) -> float:
        """Half of the two-sided interval of a difference of means of `n` and `m` trials, in the
        metric's unit; infinite where nothing was repeated. It misses with chance `level`."""
        return t_isf(level / 2, self.df) * (self.sd * sqrt(1 / n + 1 / m)) if self.df else inf

    def pool(self, squares: float, df: float) -> tuple[float, float]:
        """Pool a sum of squares of `df` degrees of freedom in; return variance and degrees."""
        if isinf(self.df) or not self.df:
            return (self.variance, self.df) if self.df else (squares / df, df)
        return (self.df * self.variance + squares) / (self.df + df), self.df + df

    def detectable_effect(self, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
        """Return the smallest gain that a test of `n` trials an arm finds with probability `power`.

        In the metric's unit; infinite where nothing can be tested. One-sided, for one planned
        look; a race needs slightly more at its last look and less on average. Approximates the
        noncentral t by a shifted central one: within 4 % for 4 degrees of freedom or more.
        """
        df = self.df + 2 * n - 2
        if n < 1 or df < 1 or not self.df:
            return inf
        return (t_isf(alpha, df) + t_isf(1.0 - power, df)) * self.sd * sqrt(2.0 / n)

    def trials_needed(
        self, effect: float, *, alpha: float = 0.05, power: float = 0.8
    ) -> int | None:
        """Return how many trials an arm resolve `effect` (> 0, metric's unit); `None` above 10,000.

        Raises:
            ValueError: `effect` is not positive.
        """
        if not effect > 0:
            raise ValueError(f"an effect to look for must be positive, not {effect}")
        if not self.df:
            return None
        # No quantile of t lies below the normal one, so that fewer than `low` never suffice, and
        # a few more always do: the bracket is found in two or three evaluations.
        z = normal_isf(alpha) + normal_isf(1.0 - power)
        low = max(1, min(MAX_TRIALS + 1, ceil(2.0 * (z * self.sd / effect) ** 2)))
        step = 1
        while (
            low + step <= MAX_TRIALS
            and self.detectable_effect(low + step, alpha=alpha, power=power) > effect
        ):
            low, step = low + step + 1, 2 * step
        high = min(low + step, MAX_TRIALS + 1)
        while low < high:  # the detectable effect falls with n
            middle = (low + high) // 2
            if self.detectable_effect(middle, alpha=alpha, power=power) <= effect:
                high = middle
            else:
                low = middle + 1
        return low if low <= MAX_TRIALS else None


def _by_seed(trials: FloatArray, seeds: Sequence[int]) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for value, seed in zip(trials, seeds, strict=True):
        if isfinite(value):
            values.setdefault(seed, []).append(float(value))
    return {seed: v[0] if len(v) == 1 else float(np.mean(v)) for seed, v in values.items()}


def _repeat_sd(arms: Sequence[FloatArray], seeds: Sequence[Sequence[int]]) -> float | None:
    squares, df = 0.0, 0
    for trials, own in zip(arms, seeds, strict=True):
        if len(set(own)) == len(own):
            continue
        for seed in set(own):
            same = measured(trials[np.array(own) == seed])
            if len(same) > 1:
                squares += float(((same - same.mean()) ** 2).sum())
                df += len(same) - 1
    return sqrt(squares / df) if df else None


def _robust(arms: Sequence[FloatArray]) -> tuple[float, tuple[Outlier, ...]]:
    """Return the sd from absolute deviations about arm medians, and the trials far outside it."""
    # Plain lists: on arms of a few trials numpy's own overhead is most of the time.
    measures = [[v for v in a.tolist() if isfinite(v)] for a in arms]
    middles = {i: median(values) for i, values in enumerate(measures) if len(values) > 2}
    far = [
        abs(value - middle) * _mad_factor(len(measures[i]))
        for i, middle in middles.items()
        for value in measures[i]
    ]
    if not far:
        return float("nan"), ()
    sd = 1.4826 * median(far)
    if sd == 0:
        return sd, ()
    found = [
        Outlier(i, j, (value - middle) / sd)
        for i, middle in middles.items()
        for j, value in enumerate(arms[i].tolist())
        if isfinite(value) and abs(value - middle) > OUTLIER_SDS * sd
    ]
    return sd, tuple(found)


def _mad_factor(n: int) -> float:
    return MAD_FACTORS.get(n, n / (n - 0.8))


def _correlation(arms: Sequence[Mapping[int, float]]) -> tuple[float | None, float | None]:
    """Average the correlation of all pairs of arms with four common seeds or more (Fisher's z).

    The pairs share arms, so only as much weight is counted as half the arms would carry alone.
    """
    total, weight, used = 0.0, 0.0, set()
    for i, first in enumerate(arms):
        for j, second in enumerate(arms[:i]):
            common = sorted(first.keys() & second.keys())
            x, y = (np.array([a[s] for s in common]) for a in (first, second))
            if len(common) < 4 or x.std() == 0 or y.std() == 0:
                continue
            r = float(np.corrcoef(x, y)[0, 1])
            total += (len(common) - 3) * atanh(max(-0.999999, min(0.999999, r)))
            weight += len(common) - 3
            used |= {i, j}
    if not weight:
        return None, None
    mean, error = total / weight, sqrt((len(used) - 1) / weight)
    return tanh(mean), tanh(mean - 1.645 * error)
