"""The noise model: variance, what it resolves, common seeds, repeats and outliers."""

from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from scipy import optimize, stats

from novum.evals.significance import NoiseModel
from novum.evals.significance.bounds import bound
from novum.evals.significance.looks import paired_looks, unpaired_looks
from novum.evals.significance.noise import PAIRING_PAYS_ABOVE


def test_variances_of_arms_are_pooled_by_their_degrees_of_freedom_and_means_do_not_matter() -> None:
    noise = NoiseModel.from_arms([[1.0, 2.0, 3.0], [10.0, 14.0], [7.0]])
    assert noise.df == 3 and noise.counts == (3, 2, 1)
    assert noise.variance == pytest.approx((2 * 1.0 + 1 * 8.0) / 3)
    assert noise.means == (2.0, 12.0, 7.0)
    shifted = NoiseModel.from_arms({"a": [101.0, 102.0, 103.0], "b": [0.0, 4.0]})
    assert shifted.variance == pytest.approx(noise.variance)


def test_crashes_are_counted_and_left_out_of_the_variance() -> None:
    noise = NoiseModel.from_arms([[1.0, nan, 3.0, None, inf]])
    assert (noise.n_crashed, noise.df, noise.variance) == (3, 1, 2.0)


def test_one_trial_measures_no_noise() -> None:
    noise = NoiseModel.from_arms([[1.0], []])
    assert noise.df == 0 and isnan(noise.variance) and isnan(noise.sd_high)
    assert noise.detectable_effect(8) == inf
    assert noise.trials_needed(0.1) is None


def test_the_cautious_sd_covers_the_true_one_four_times_in_five() -> None:
    rng = np.random.default_rng(1)
    covered = [
        NoiseModel.from_arms([rng.normal(0, 3, 5).tolist()]).sd_high >= 3.0 for _ in range(2000)
    ]
    assert np.mean(covered) == pytest.approx(0.8, abs=0.03)
    assert NoiseModel.known(3.0).sd_high == 3.0


@pytest.mark.parametrize(("df", "n"), [(4, 2), (4, 8), (8, 4), (20, 8), (20, 18)])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_detectable_effect_has_the_power_it_promises(df: int, n: int, alpha: float) -> None:
    noise = NoiseModel(variance=4.0, df=df, means=(), counts=())
    degrees = df + 2 * n - 2

    def power(effect: float) -> float:
        shift = effect / (2.0 * sqrt(2.0 / n))
        return float(stats.nct.sf(stats.t.isf(alpha, degrees), degrees, shift))

    exact = optimize.brentq(lambda e: power(e) - 0.8, 0.1, 40.0)
    assert noise.detectable_effect(n, alpha=alpha) == pytest.approx(exact, rel=0.04)


def test_trials_needed_is_the_smallest_number_that_resolves_the_effect() -> None:
    noise = NoiseModel(variance=1.0, df=20, means=(), counts=())
    for effect in (0.3, 0.5, 1.0, 2.0, 5.0):
        n = noise.trials_needed(effect)
        assert n is not None and noise.detectable_effect(n) <= effect
        assert n == 1 or noise.detectable_effect(n - 1) > effect
    # n = 12.4 (sd / effect)^2 with a known sd: the planning rule of thumb
    assert NoiseModel.known(1.0).trials_needed(0.5) == 50
    assert noise.trials_needed(1e-4) is None
    with pytest.raises(ValueError, match="positive"):
        noise.trials_needed(0.0)


def test_trials_that_repeat_a_seed_count_once_and_measure_the_machine() -> None:
    noise = NoiseModel.from_arms([[1.0, 1.2, 3.0, 5.0]], seeds=[[7, 7, 8, 9]])
    assert noise.counts == (3,) and noise.df == 2
    assert noise.repeat_sd == pytest.approx(sqrt(0.02))
    assert NoiseModel.from_arms([[1.0, 3.0]], seeds=[[1, 2]]).repeat_sd is None
    with pytest.raises(ValueError, match="one seed for each trial"):
        NoiseModel.from_arms([[1.0, 3.0]], seeds=[[1]])


def _arms(rho: float, n_arms: int, n_seeds: int, rng: np.random.Generator) -> list[list[float]]:
    luck = rng.standard_normal(n_seeds) * sqrt(rho)
    own = rng.standard_normal((n_arms, n_seeds)) * sqrt(1 - rho)
    return [[float(v) for v in arm] for arm in luck + own]


def test_common_seeds_are_relied_on_only_where_the_correlation_bears_it() -> None:
    rng = np.random.default_rng(2)
    seeds = [list(range(8))] * 3
    none = [NoiseModel.from_arms(_arms(0.0, 3, 8, rng), seeds=seeds) for _ in range(500)]
    strong = [NoiseModel.from_arms(_arms(0.95, 3, 8, rng), seeds=seeds) for _ in range(200)]
    assert np.mean([m.pairing_pays for m in none]) < 0.01
    assert np.mean([m.pairing_pays for m in strong]) > 0.9
    assert np.mean([m.correlation or 0.0 for m in none]) == pytest.approx(0.0, abs=0.03)
    assert not NoiseModel.from_arms(_arms(0.95, 3, 8, rng)).pairing_pays  # seeds unknown


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_lower_limit_of_the_correlation_holds(rho: float) -> None:
    rng = np.random.default_rng(3)
    for n_arms in (2, 4):
        seeds = [list(range(8))] * n_arms
        models = [NoiseModel.from_arms(_arms(rho, n_arms, 8, rng), seeds=seeds) for _ in range(300)]
        missed = np.mean([(m.correlation_low or 0.0) > rho for m in models])
        assert missed < 0.08


@pytest.mark.parametrize("df", [8, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("gain", [0.8, 1.8])
def test_pairing_pays_from_the_stated_correlation(df: int, alpha: float, gain: float) -> None:
    """`gain` is in sds of half a difference, so that it is as hard to find at any correlation."""

    def power(rho: float, paired: bool) -> float:
        rng = np.random.default_rng(4)
        luck = rng.standard_normal((40_000, 8)) * sqrt(rho)
        base, ours = luck + rng.standard_normal((2, 40_000, 8)) * sqrt(1 - rho)
        ours = ours + gain * sqrt(1 - rho)
        if paired:
            looks = paired_looks(base, ours)
        else:
            looks = unpaired_looks(base, ours, rng.chisquare(df, 40_000) / df, df)
        bounds = [bound(alpha, 0 if paired else df, d, paired) for d in looks.df]
        return float((looks.t >= bounds).any(axis=-1).mean())

    assert power(PAIRING_PAYS_ABOVE, True) > power(PAIRING_PAYS_ABOVE, False)
    assert power(0.1, True) < power(0.1, False)


def test_an_outlier_is_named_and_kept() -> None:
    calm = [1.00, 1.02, 0.98, 1.01, 0.99]
    noise = NoiseModel.from_arms([calm, [1.0, 1.01, 0.99, 1.0, 1.4]])
    assert [(o.arm, o.trial) for o in noise.outliers] == [(1, 4)]
    assert noise.outliers[0].deviation > 3.5
    assert noise.sd > 3 * noise.robust_sd
    assert NoiseModel.from_arms([calm]).outliers == ()


def test_the_robust_sd_estimates_the_sd_of_normal_noise() -> None:
    rng = np.random.default_rng(5)
    sds = [NoiseModel.from_arms(rng.normal(0, 2, (3, 8)).tolist()).robust_sd for _ in range(500)]
    assert np.median(sds) == pytest.approx(2.0, rel=0.08)
