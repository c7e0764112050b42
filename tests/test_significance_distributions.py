"""Tails and quantiles agree with scipy's, far into the tails."""

from math import inf

import pytest
from scipy import stats

from novum.evals.significance.distributions import (
    chi2_isf,
    chi2_sf,
    f_sf,
    normal_isf,
    normal_sf,
    t_isf,
    t_sf,
)

DEGREES = [1, 2, 3, 7, 20, 61.5, 400, 100_000]


@pytest.mark.parametrize("df", DEGREES)
def test_students_t_agrees_with_scipy(df: float) -> None:
    for t in (-40.0, -2.5, -1e-3, 0.0, 1e-6, 0.3, 1.0, 2.3, 6.0, 50.0):
        assert t_sf(t, df) == pytest.approx(stats.t.sf(t, df), rel=1e-8, abs=1e-250)
    for p in (1e-9, 0.0003, 0.02, 0.4, 0.5, 0.8, 0.999):
        assert t_isf(p, df) == pytest.approx(stats.t.isf(p, df), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("df", DEGREES[:-1])
def test_chi_squared_agrees_with_scipy(df: float) -> None:
    for x in (1e-3, 0.5, 1.0, df, 2 * df):
        assert chi2_sf(x, df) == pytest.approx(stats.chi2.sf(x, df), rel=1e-8, abs=1e-12)
    for p in (0.001, 0.2, 0.8, 0.999):
        assert chi2_isf(p, df) == pytest.approx(stats.chi2.isf(p, df), rel=1e-7)


@pytest.mark.parametrize("df", DEGREES[:-1])
def test_ratios_of_variances_agree_with_scipy(df: float) -> None:
    for f in (1e-3, 0.5, 1.0, 17.0, 4e3):
        for below in (1, 4, 30):
            assert f_sf(f, df, below) == pytest.approx(stats.f.sf(f, df, below), rel=1e-7)
    assert f_sf(inf, df, 3) == 0.0


def test_the_normal_is_the_t_of_infinite_degrees() -> None:
    for z in (-3.0, 0.0, 1.7, 9.0):
        assert t_sf(z, inf) == normal_sf(z) == pytest.approx(stats.norm.sf(z), rel=1e-12)
    assert t_isf(0.01, inf) == normal_isf(0.01) == pytest.approx(2.3263478740)


def test_infinite_statistics_have_certain_tails_and_impossible_quantiles_are_refused() -> None:
    assert (t_sf(inf, 3), t_sf(-inf, 3)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_isf(0.0, 3)
