"""The promises of a race, by simulation: error rate, power, coverage, and where they bend.

Every simulation runs the package's own statistic and bounds over a hundred thousand races at
once; `test_one_race_decides_as_the_simulated_ones` ties them to `race` itself.
"""

from functools import lru_cache
from math import inf, isinf, sqrt
from typing import NamedTuple

import numpy as np
import pytest

from novum.evals.significance import LOOKS, Design, NoiseModel, race
from novum.evals.significance.bounds import adjusted_p, bound
from novum.evals.significance.derive_constants import nominal_level, null_races
from novum.evals.significance.distributions import t_sf
from novum.evals.significance.looks import LookStatistics, paired_looks, unpaired_looks
from novum.evals.significance.racing import FUTILITY
from novum.evals.significance.scores import FloatArray

N = 200_000
DEGREES = [0, 4, 7, 8, 20, inf]


class Outcomes(NamedTuple):
    accepted: FloatArray  # bool, (races,)
    stopped_at: FloatArray  # index of the look that decided


def noise_variance(df: float, n: int, rng: np.random.Generator) -> FloatArray:
    return np.ones(n) if df == 0 or isinf(df) else rng.chisquare(df, n) / df


def decide(
    looks: LookStatistics, alpha: float, df: float, *, futility: bool, paired: bool = False
) -> Outcomes:
    bounds = np.array([bound(alpha, df, d, paired) for d in looks.df])
    over = looks.t >= bounds
    stop = over.copy()
    if futility:
        stop[:, : len(FUTILITY)] |= looks.t[:, : len(FUTILITY)] < FUTILITY
    stop[:, -1] = True
    at = stop.argmax(axis=1)
    return Outcomes(over[np.arange(len(at)), at], at)


@lru_cache(maxsize=3)  # several levels of alpha judge the same races
def races(
    df: float, gain: float = 0.0, *, scale: float = 1.0, n: int = N, seed: int = 11
) -> LookStatistics:
    rng = np.random.default_rng(seed)
    base, ours = rng.standard_normal((2, n, LOOKS[-1]))
    return unpaired_looks(base, ours * scale + gain, noise_variance(df, n, rng), df)


def margin(rate: float, n: int = N) -> float:
    return 4.0 * sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.003])
@pytest.mark.parametrize("df", DEGREES)
def test_the_error_rate_of_a_confirmation_is_alpha_with_every_look_peeked_at(
    df: float, alpha: float
) -> None:
    rate = decide(races(df), alpha, df, futility=False).accepted.mean()
    assert rate <= alpha + margin(alpha)
    if alpha in (0.05, 0.01) and df != 7:  # elsewhere the bounds err on the strict side
        assert rate >= alpha - margin(alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("df", DEGREES)
def test_a_futility_stop_only_lowers_the_error_rate(df: float, alpha: float) -> None:
    rate = decide(races(df, seed=12), alpha, df, futility=True).accepted.mean()
    assert 0.6 * alpha < rate <= alpha + margin(alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_the_error_rate_of_pairs_is_alpha_under_any_correlation(rho: float, alpha: float) -> None:
    rng = np.random.default_rng(13)
    luck = rng.standard_normal((N, 8)) * sqrt(rho)
    base, ours = luck + rng.standard_normal((2, N, 8)) * sqrt(1 - rho)
    outcome = decide(paired_looks(base, ours), alpha, 0, futility=False, paired=True)
    assert outcome.accepted.mean() == pytest.approx(alpha, abs=margin(alpha))


@pytest.mark.parametrize(
    ("gain", "published"), [(0.5, 0.18), (1.0, 0.47), (1.5, 0.78), (2.0, 0.94)]
)
def test_power_at_twenty_degrees_is_the_published_one_within_three_points(
    gain: float, published: float
) -> None:
    outcome = decide(races(20, gain, n=100_000), 0.05, 20, futility=True)
    assert outcome.accepted.mean() == pytest.approx(published, abs=0.03)
    assert 3.5 < np.array(LOOKS)[outcome.stopped_at.astype(int)].mean() < 5.2


def test_the_generator_reproduces_the_constants_of_the_plain_design() -> None:
    """With the noise model's variance alone: Pocock's for looks 2, 4, 8, and those of the t."""
    published = {(20.0, 0.05): 2.14, (8.0, 0.05): 2.34, (20.0, 0.01): 2.93, (8.0, 0.01): 3.43}
    rng = np.random.default_rng(14)
    base, ours = rng.standard_normal((2, 1_000_000, 8))
    gain = np.stack([(ours - base)[:, :n].mean(axis=1) * sqrt(n / 2) for n in LOOKS], axis=-1)
    for alpha, constant in ((0.05, 2.02), (0.01, 2.64)):
        assert np.quantile(gain.max(axis=1), 1 - alpha) == pytest.approx(constant, abs=0.02)
    for (df, alpha), constant in published.items():
        t = gain.max(axis=1) / np.sqrt(noise_variance(df, len(gain), rng))
        assert np.quantile(t, 1 - alpha) == pytest.approx(constant, abs=0.03)


def test_a_fresh_run_of_the_generator_agrees_with_the_table() -> None:
    fresh = null_races(8.0, paired=False, n_races=500_000, seed=15)
    for alpha in (0.05, 0.01):
        bounds = [bound(alpha, 8, d) for d in fresh.df]
        level = nominal_level(fresh, alpha)
        assert level == pytest.approx(t_sf(bounds[0], fresh.df[0]), rel=0.06)


@pytest.mark.parametrize("df", [0, 4, 20, inf])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_interval_holds_the_gain_whenever_the_race_stops(df: float, alpha: float) -> None:
    for gain in (0.0, 1.0, 2.0):
        looks = races(df, gain, seed=16)
        at = decide(looks, alpha, df, futility=True).stopped_at.astype(int)
        rows = np.arange(N)
        half = np.array([bound(alpha, df, d) for d in looks.df]) * looks.error
        low, high = (looks.gain - half)[rows, at], (looks.gain + half)[rows, at]
        assert (low > gain).mean() <= alpha + margin(alpha)
        assert (high < gain).mean() <= alpha + margin(alpha)


def test_the_adjusted_p_value_is_at_most_as_small_as_chance_allows() -> None:
    looks = races(8, n=20_000, seed=17)
    nominal = np.array(
        [[t_sf(t, d) for t, d in zip(row, looks.df, strict=True)] for row in looks.t[:20_000]]
    )
    adjusted = np.array([adjusted_p(p, 8) for p in nominal.min(axis=1)])
    for level in (0.005, 0.01, 0.03, 0.05, 0.1, 0.3):
        assert (adjusted <= level).mean() <= level + margin(level, 20_000)


def test_heavy_tails_make_a_race_more_careful() -> None:
    rng = np.random.default_rng(18)
    for df in (4, 8, 20):
        base, ours = rng.standard_t(3, (2, N, 8))
        model = rng.standard_t(3, (N, df + 1)).var(axis=1, ddof=1)
        for alpha in (0.05, 0.01):
            outcome = decide(unpaired_looks(base, ours, model, df), alpha, df, futility=False)
            assert outcome.accepted.mean() <= 1.15 * alpha + margin(alpha)


@pytest.mark.parametrize("drift", [0.3, 1.0])
def test_a_drift_hurts_only_arms_that_are_not_interleaved(drift: float) -> None:
    rng = np.random.default_rng(19)
    noise = rng.standard_normal((N, 16))
    variance = noise_variance(8, N, rng)
    abba = np.array([0, 1, 1, 0] * 4, dtype=bool)
    slope = drift * np.arange(16) / 4  # sd by which a score drifts over four trials
    run = noise + slope
    interleaved = unpaired_looks(run[:, ~abba], run[:, abba], variance, 8)
    blocks = unpaired_looks(run[:, :8], run[:, 8:], variance, 8)
    assert decide(interleaved, 0.05, 8, futility=False).accepted.mean() <= 0.05 + margin(0.05)
    assert decide(blocks, 0.05, 8, futility=False).accepted.mean() > 0.15


@pytest.mark.parametrize(("scale", "entry", "headline"), [(0.5, 0.05, 0.01), (2, 0.11, 0.042)])
def test_a_candidate_noisier_than_the_model_errs_within_the_stated_bounds(
    scale: float, entry: float, headline: float
) -> None:
    """Not alpha, and said so: two trials cannot show that an arm is noisier than the model."""
    modelled, alone = races(20, scale=scale), races(0, scale=scale)
    assert decide(modelled, 0.05, 20, futility=False).accepted.mean() <= entry
    assert decide(modelled, 0.01, 20, futility=False).accepted.mean() <= headline
    assert decide(alone, 0.05, 0, futility=False).accepted.mean() <= 0.065
    assert decide(alone, 0.01, 0, futility=False).accepted.mean() <= 0.015


def test_trials_that_hang_together_in_time_do_no_harm_to_interleaved_arms() -> None:
    """Autocorrelation of .6 between neighbours, as a machine that warms up and cools down makes."""
    rng = np.random.default_rng(22)
    run = rng.standard_normal((N, 16))
    for i in range(1, 16):
        run[:, i] = 0.6 * run[:, i - 1] + 0.8 * run[:, i]
    abba = np.array([0, 1, 1, 0] * 4, dtype=bool)
    looks = unpaired_looks(run[:, ~abba], run[:, abba], noise_variance(8, N, rng), 8)
    assert decide(looks, 0.05, 8, futility=False).accepted.mean() <= 0.05 + margin(0.05)


def test_an_ordinary_test_looked_at_repeatedly_errs_more_than_twice_as_often() -> None:
    """What the bounds are for: the same looks with the plain t quantile."""
    looks = races(8)
    plain = np.array([bound(0.05, 8, d) for d in looks.df])
    fixed = np.array([1.8125, 1.7613, 1.7171])  # t quantiles of .95 at 10, 14 and 22 degrees
    assert (plain > fixed).all()
    assert (looks.t >= fixed).any(axis=1).mean() > 0.09


def test_one_race_decides_as_the_simulated_ones() -> None:
    rng = np.random.default_rng(20)
    base, ours = rng.standard_normal((2, 400, 8))
    ours += 0.8
    variance = noise_variance(8, 400, rng)
    looks = unpaired_looks(base, ours, variance, 8)
    for alpha in (0.05, 0.01):
        outcome = decide(looks, alpha, 8, futility=True)
        for i in range(400):
            noise = NoiseModel(variance=float(variance[i]), df=8, means=(), counts=())
            one = race(base[i].tolist(), ours[i].tolist(), noise, Design(alpha), better="higher")
            assert (one.outcome == "accept") == outcome.accepted[i]
            assert one.n == LOOKS[int(outcome.stopped_at[i])]
            assert one.z == pytest.approx(looks.t[i, int(outcome.stopped_at[i])])
