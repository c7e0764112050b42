"""Tails and quantiles of Student's t, chi-squared and the normal, without scipy.

A bare GPU node has numpy only. The tests compare every function with scipy.
"""

from collections.abc import Callable
from functools import lru_cache
from math import erfc, exp, inf, isinf, lgamma, log, log1p, pi, sqrt
from statistics import NormalDist

NORMAL = NormalDist()
_TINY = 1e-300
_PRECISION = 1e-15


def normal_sf(z: float) -> float:
    """Upper tail of the standard normal, accurate far out."""
    return 0.5 * erfc(z / sqrt(2.0))


def normal_isf(p: float) -> float:
    """Return z whose upper tail is `p`."""
    return -NORMAL.inv_cdf(p)


def t_sf(t: float, df: float) -> float:
    """Upper tail of Student's t with `df` degrees of freedom; `df` may be infinite.

    Source: Abramowitz and Stegun 1964, 26.7.1 in terms of the incomplete beta function.
    """
    if isinf(t):
        return 0.0 if t > 0 else 1.0
    if isinf(df):
        return normal_sf(t)
    square = t * t
    if square < 1.0:  # near the centre the ratio below rounds to one
        tail = 0.5 - 0.5 * beta_cdf(square / (df + square), 0.5, df / 2.0)
    else:
        tail = 0.5 * beta_cdf(df / (df + square), df / 2.0, 0.5)
    return tail if t >= 0 else 1.0 - tail


@lru_cache(maxsize=4096)
def t_isf(p: float, df: float) -> float:
    """Return t whose upper tail is `p`, 0 < p < 1."""
    if isinf(df):
        return normal_isf(p)
    if p > 0.5:
        return -t_isf(1.0 - p, df)
    if not 0.0 < p:
        raise ValueError(f"a quantile needs a probability between 0 and 1, not {p}")
    # The tail is convex and above the normal one: Newton's steps from the normal quantile rise to
    # the solution and never pass it.
    t = normal_isf(p)
    log_front = lgamma((df + 1.0) / 2.0) - lgamma(df / 2.0) - 0.5 * log(df * pi)
    for _ in range(1000):
        density = exp(log_front - (df + 1.0) / 2.0 * log1p(t * t / df))
        step = (t_sf(t, df) - p) / density if density else inf
        if not step > _PRECISION * t or isinf(step):
            break
        t += step
    return t


def chi2_sf(x: float, df: float) -> float:
    """Upper tail of chi-squared with `df` degrees of freedom."""
    return 1.0 - gamma_cdf(x / 2.0, df / 2.0)


def chi2_isf(p: float, df: float) -> float:
    """Return x whose upper tail is `p`, 0 < p < 1."""
    return _fall_to(lambda x: chi2_sf(x, df), p)


def f_sf(f: float, df_above: float, df_below: float) -> float:
    """Upper tail of Fisher's F, a ratio of two variances with these degrees of freedom."""
    return beta_cdf(df_below / (df_below + df_above * f), df_below / 2.0, df_above / 2.0)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b).

    Source: the continued fraction 26.5.8 of Abramowitz and Stegun 1964, by Lentz's method.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast only below the mean
        return 1.0 - beta_cdf(1.0 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if d > _TINY or d < -_TINY else _TINY)
            c = 1.0 + term / c
            if -_TINY <= c <= _TINY:
                c = _TINY
            fraction *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            break
    return front * fraction


def gamma_cdf(x: float, a: float) -> float:
    """Regularised lower incomplete gamma function P(a, x), by its power series.

    Source: Abramowitz and Stegun 1964, 6.5.29.
    """
    if x <= 0.0:
        return 0.0
    term = total = 1.0 / a
    n = a
    while term > total * _PRECISION:
        n += 1.0
        term *= x / n
        total += term
    return min(1.0, total * exp(a * log(x) - x - lgamma(a)))


def _away_from_zero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


def _fall_to(tail: Callable[[float], float], p: float) -> float:
    """Solve tail(x) = p for a falling tail over x >= 0 by bisection."""
    if not 0.0 < p < 1.0:
        raise ValueError(f"a quantile needs a probability between 0 and 1, not {p}")
    low, high = 0.0, 1.0
    while tail(high) > p:
        low, high = high, 2.0 * high
        if isinf(high):
            return inf
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if tail(middle) > p else (low, middle)
    return high
