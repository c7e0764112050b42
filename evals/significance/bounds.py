"""How strong the evidence at one look has to be, so that all looks together err at rate alpha.

The table holds nominal levels at which a race with a given noise model crosses by luck with
probability alpha. Between entries the lower (stricter) level is taken, so a bound is never too
lax; beyond the table alpha is divided by the number of looks (Bonferroni).
"""

from bisect import bisect_right
from functools import lru_cache

from novum.evals.significance.bounds_table import ALPHAS, PAIRED, UNPAIRED
from novum.evals.significance.distributions import t_isf
from novum.evals.significance.looks import LOOKS

_KNOWN_DF = tuple(UNPAIRED)


def nominal_level(alpha: float, noise_df: float, paired: bool = False) -> float:
    """Return the one-sided level for each look that keeps the whole race at `alpha`.

    `noise_df` is the noise model's degrees of freedom, 0 without one, infinite if it is known.

    Raises:
        ValueError: `alpha` is not in (0, 0.5) or `noise_df` is negative.
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}; choose it above 0 and below 0.5")
    known = bisect_right(ALPHAS, alpha)
    if known == 0:
        return alpha / len(LOOKS)
    # The share level / alpha grows with alpha: the entry below is the stricter one.
    return alpha * _row(noise_df, paired)[known - 1] / ALPHAS[known - 1]


@lru_cache(maxsize=1024)
def bound(alpha: float, noise_df: float, df: float, paired: bool = False) -> float:
    """Return the t that a look with `df` degrees of freedom must reach."""
    return t_isf(nominal_level(alpha, noise_df, paired), df)


def adjusted_p(nominal_p: float, noise_df: float, paired: bool = False) -> float:
    """Return the smallest alpha whose bounds a look with tail probability `nominal_p` reaches.

    This is the repeated p-value of Jennison and Turnbull 2000, section 9.5: valid whenever and
    why ever the race stopped, at the price of being conservative.
    """
    row = _row(noise_df, paired)
    below_table = nominal_p * len(LOOKS)
    if below_table < ALPHAS[0]:
        return below_table
    for i, alpha in enumerate(ALPHAS):
        candidate = max(alpha, nominal_p * alpha / row[i])
        if i + 1 == len(ALPHAS) or candidate < ALPHAS[i + 1]:
            return min(1.0, candidate)
    raise AssertionError("the table has no alpha")


def _row(noise_df: float, paired: bool) -> tuple[float, ...]:
    if not noise_df >= 0:
        raise ValueError(f"degrees of freedom are {noise_df}; they cannot be below 0")
    if paired:
        return PAIRED
    return UNPAIRED[_KNOWN_DF[bisect_right(_KNOWN_DF, noise_df) - 1]]
