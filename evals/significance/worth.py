"""What a part of a candidate is worth: how much worse the candidate is without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import expm1, inf, log, sqrt
from statistics import fmean, variance
from typing import Literal, NamedTuple

from novum.evals.significance.distributions import f_sf, t_isf
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


class Spread(NamedTuple):
    """A variance and the degrees of freedom that it was measured with; 0 if it was not."""

    variance: float
    df: float


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
    spread = spreads([with_it, *known.values()])
    sign = 1 if better == "lower" else -1
    found = {}
    for i, (name, without) in enumerate(known.items(), 1):
        if with_it and without:
            gain = sign * (fmean(without) - fmean(with_it))
            half = half_width(
                (spread[0], len(with_it)), (spread[i], len(without)), LEVEL / len(known)
            )
            scale = None if is_relative else abs(fmean(with_it)) or 1.0
            found[name] = Worth(*(share(x, sign, scale) for x in (gain, gain - half, gain + half)))
    return found


def finite(trials: Trials, is_relative: bool) -> list[float]:
    """Scores of the trials that delivered one; their logarithms where noise is a share."""
    values = [float(value) for value in measured(signed(trials, "higher"))]
    return [log(value) for value in values] if is_relative else values


def spreads(arms: Sequence[Sequence[float]]) -> list[Spread]:
    """The spread to take for each arm: that of all pooled, or its own where it is far larger.

    Source: Cochran 1941, the largest variance against the rest, again until none is too large.
    """
    repeated = {i: Spread(variance(arm), len(arm) - 1) for i, arm in enumerate(arms) if arm[1:]}
    odd: dict[int, Spread] = {}
    while len(repeated) > 1:
        largest = max(repeated, key=lambda i: repeated[i].variance)
        mine = repeated.pop(largest)
        rest = pooled(repeated.values())
        if f_sf(ratio(mine, rest), mine.df, rest.df) >= ODD_LEVEL / len(arms):
            repeated[largest] = mine
            break
        odd[largest] = mine
    usual = pooled(repeated.values())
    return [odd.get(i, usual) for i in range(len(arms))]


def pooled(spreads: Iterable[Spread]) -> Spread:
    """Variances as one, by their degrees of freedom."""
    known = list(spreads)
    df = sum(spread.df for spread in known)
    squares = sum(spread.variance * spread.df for spread in known)
    return Spread(squares / df if df else 0.0, df)


def ratio(one: Spread, other: Spread) -> float:
    """One variance over another; arms that repeat to the last digit have none."""
    if not other.variance:
        return inf if one.variance else 1.0
    return one.variance / other.variance


def half_width(with_it: tuple[Spread, int], without: tuple[Spread, int], level: float) -> float:
    """Half of the interval of a difference of two means, each with its spread and its number."""
    (one, n_one), (other, n_other) = with_it, without
    if not one.df or not other.df:
        return inf
    if one == other:  # both are the pooled one
        return t_isf(level / 2, one.df) * sqrt(one.variance * (1 / n_one + 1 / n_other))
    parts = (one.variance / n_one, one.df), (other.variance / n_other, other.df)
    square = sum(part for part, _ in parts)
    if not square:
        return 0.0
    df = square**2 / sum(part**2 / df for part, df in parts)
    return t_isf(level / 2, df) * sqrt(square)


def share(difference: float, sign: int, scale: float | None) -> float:
    """A difference as a fraction of the value with the part; of logarithms, without a scale."""
    return sign * expm1(sign * difference) if scale is None else difference / scale
