"""What a part of a candidate is worth: how much worse the candidate is without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import expm1, inf, log, sqrt
from statistics import fmean, variance
from typing import Literal

from novum.evals.significance.distributions import f_sf, t_isf
from novum.evals.significance.noise import NoiseModel
from novum.evals.significance.scores import Better, Trials, measured, signed

LEVEL = 0.05
"""Chance that an interval misses the truth, on both sides together."""
ODD_LEVEL = 0.001
"""Below this chance, divided by the number of arms, an arm's spread is another than the others':
a start varies up to twenty times as much as what was made of it."""


@dataclass(frozen=True, slots=True)
class Worth:
    """As fractions of the mean with the part; positive is a part that helps."""

    gain: float
    low: float
    high: float
    """The interval; infinite on both sides where nothing was repeated."""

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out nought."""
        return self.low > 0 or self.high < 0


def worths(
    full: Trials,
    lacking: Mapping[str, Trials],
    better: Better,
    noise: Literal["absolute", "relative"] = "absolute",
) -> dict[str, Worth]:
    """How much worse a candidate is without each of its parts.

    The spread is that of all arms pooled, but for those of a far larger one (`ODD_LEVEL`), which
    are compared by Welch's test. The intervals hold together (Bonferroni): parts that do nothing,
    to the mean or the spread, look like something in one ablation of twenty at most. Failed trials
    are left out; a part without a trial that ended, or a candidate without one, has no worth.

    Args:
        full: scores of the candidate.
        lacking: scores of the versions without a part, by its name.
        noise: whether the spread is an amount or a share of the value, which has to be positive.
    """
    is_relative = noise == "relative"
    with_it = finite(full, is_relative)
    known = {name: finite(trials, is_relative) for name, trials in lacking.items()}
    noise_of, *noise_of_each = noises([with_it, *known.values()])
    sign = 1 if better == "lower" else -1
    found = {}
    for (name, without), theirs in zip(known.items(), noise_of_each, strict=True):
        if with_it and without:
            gain = sign * (fmean(without) - fmean(with_it))
            level = LEVEL / len(known)
            half = half_width(noise_of, len(with_it), theirs, len(without), level)
            scale = None if is_relative else abs(fmean(with_it)) or 1.0
            found[name] = Worth(*(share(x, sign, scale) for x in (gain, gain - half, gain + half)))
    return found


def finite(trials: Trials, is_relative: bool) -> list[float]:
    """Scores of the trials that delivered one; their logarithms where noise is a share."""
    values = [float(value) for value in measured(signed(trials, "higher"))]
    return [log(value) for value in values] if is_relative else values


def noises(arms: Sequence[Sequence[float]]) -> list[NoiseModel]:
    """The noise to take for each arm: that of all pooled, or its own where it is far larger.

    Source: Cochran 1941, the largest variance against the rest, again until none is too large.
    """
    usual, odd = {i: arm for i, arm in enumerate(arms) if arm[1:]}, {}
    while len(usual) > 1:
        largest = max(usual, key=lambda i: variance(usual[i]))
        mine = NoiseModel.from_arms([usual[largest]])
        rest = NoiseModel.from_arms([arm for i, arm in usual.items() if i != largest])
        if f_sf(ratio(mine.variance, rest.variance), mine.df, rest.df) >= ODD_LEVEL / len(arms):
            break
        odd[largest] = mine
        del usual[largest]
    pooled = NoiseModel.from_arms(list(usual.values()))
    return [odd.get(i, pooled) for i in range(len(arms))]


def ratio(one: float, other: float) -> float:
    """One variance over another; arms that repeat to the last digit have none."""
    if not other:
        return inf if one else 1.0
    return one / other


def half_width(one: NoiseModel, n: int, other: NoiseModel, m: int, level: float) -> float:
    """Half of the interval of a difference of means of `n` and `m` trials, each with its noise."""
    if one is other:
        return one.half_width(n, m, level)
    parts = (one.variance / n, one.df), (other.variance / m, other.df)
    square = sum(part for part, _ in parts)
    if not square > 0:
        return inf
    df = square**2 / sum(part**2 / df for part, df in parts)
    return t_isf(level / 2, df) * sqrt(square)


def share(difference: float, sign: int, scale: float | None) -> float:
    """A difference as a fraction of the value with the part; of logarithms, without a scale."""
    return sign * expm1(sign * difference) if scale is None else difference / scale
