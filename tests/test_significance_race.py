"""A race: when it goes on, when it stops, what a crash does to it, and what it says of the gain."""

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from novum.evals.significance import LOOKS, Design, NoiseModel, RaceResult, confirm, race
from novum.evals.significance.bounds import adjusted_p, bound, nominal_level
from novum.evals.significance.bounds_table import ALPHAS, UNPAIRED
from novum.evals.significance.ranks import compare_ranks

NOISE = NoiseModel(variance=1.0, df=20, means=(), counts=())
ORDER = {"futile": 0, "continue": 1, "inconclusive": 1, "accept": 2}
CRASHES = [nan, inf, -inf, None]
SCORES = st.lists(st.floats(-5, 5), min_size=8, max_size=8)


def draw(seed: int, gain: float = 0.0, n: int = 8) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, n).tolist(), rng.normal(gain, 1, n).tolist()


@pytest.mark.parametrize("n", [0, 1])
def test_before_two_trials_an_arm_there_is_no_p_value_and_no_decision(n: int) -> None:
    result = race([0.0] * n, [1e9] * n, NOISE, better="higher")
    assert result.outcome == "continue" and result.p_value is None and result.n == 0
    assert (result.low, result.high) == (-inf, inf)
    assert (result.more_reference, result.more_candidate) == (2 - n, 2 - n)


def test_trials_between_two_looks_are_not_looked_at() -> None:
    base, ours = [0.0, 0.1], [0.5, 0.6]
    two = race(base, ours, NOISE, better="higher")
    three = race([*base, -50.0], [*ours, 50.0], NOISE, better="higher")
    assert two.outcome == three.outcome == "continue" and two.z == three.z and two.n == three.n == 2
    assert (two.more_reference, three.more_candidate) == (2, 1)


def test_a_decided_race_stays_decided_whatever_ran_afterwards() -> None:
    base, ours = [0.0, 0.1], [9.0, 9.1]
    won = race(base, ours, NOISE, better="higher")
    later = race(base + [99.0] * 6, ours + [-99.0] * 6, NOISE, better="higher")
    assert won.outcome == "accept" and won == later


def test_a_race_without_a_gain_stops_early_and_a_confirmation_does_not() -> None:
    base, ours = [0.0, 0.0], [-0.1, 0.05]
    stopped = race(base, ours, NOISE, better="higher")
    assert stopped.outcome == "futile" and stopped.more_candidate == 0
    assert confirm(base, ours, NOISE, better="higher").outcome == "continue"
    weak = race([0.0] * 4, [0.3] * 4, NOISE, better="higher")
    assert weak.outcome == "futile" and weak.n == 4


def test_declared_trials_are_looked_at_once_with_the_whole_error_rate() -> None:
    design = Design(alpha=0.01, futility=(), declared=5)
    base, ours = draw(3, 9.0)
    early = race(base[:4], ours[:4], None, design, better="higher")
    assert early.outcome == "continue" and early.p_value is None and early.more_candidate == 1
    done = race(base, ours, None, design, better="higher")
    expected = stats.ttest_ind(ours[:5], base[:5], alternative="greater")
    assert done.outcome == "accept" and done.n == 5
    assert done.z == pytest.approx(expected.statistic)
    assert done.p_value == pytest.approx(expected.pvalue)
    assert done.bound == pytest.approx(stats.t.isf(0.01, 8))
    crashed = race(base, [*ours[:4], None], None, design, better="higher")
    assert crashed.method == "rank" and crashed.outcome == "inconclusive"
    with pytest.raises(ValueError, match="two trials"):
        Design(declared=1)


def test_declared_trials_err_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(7)
    design = Design(alpha=0.05, futility=(), declared=5)
    n = 4000
    won = sum(
        race(a, b, None, design, better="higher").outcome == "accept"
        for a, b in rng.normal(size=(n, 2, 5)).tolist()
    )
    assert abs(won / n - 0.05) < 4 * (0.05 * 0.95 / n) ** 0.5


def test_the_last_look_without_a_bound_reached_is_inconclusive() -> None:
    base, ours = draw(1, 0.0)
    result = confirm(base, ours, NOISE, better="higher")
    assert result.outcome == "inconclusive" and result.n == 8
    short = race([0.0] * 2, [0.4] * 2, NOISE, Design(n_looks=1), better="higher")
    assert short.outcome == "inconclusive" and short.n == 2


def test_a_headline_asks_for_more_than_a_list_entry() -> None:
    headline = confirm([0.0] * 2, [1.0] * 2, NOISE, better="higher")
    entry = confirm([0.0] * 2, [1.0] * 2, NOISE, better="higher", claim="list")
    assert (headline.alpha, entry.alpha) == (0.01, 0.05)
    assert headline.bound > entry.bound


def test_the_statistic_is_the_pooled_t_unless_the_arms_are_noisier_than_the_model() -> None:
    base, ours = draw(2, 2.0, 4)
    alone = race(base, ours, None, Design(futility=()), better="higher")
    pooled = stats.ttest_ind(ours, base)
    looks = [race(base[:2], ours[:2], None, Design(futility=()), better="higher"), alone]
    assert looks[0].z == pytest.approx(stats.ttest_ind(ours[:2], base[:2]).statistic)
    assert alone.outcome == "accept" or alone.z == pytest.approx(pooled.statistic)
    quiet = NoiseModel(variance=1e-6, df=20, means=(), counts=())
    assert race(base[:2], ours[:2], quiet, better="higher").z == pytest.approx(looks[0].z)


def test_interval_p_value_and_decision_agree() -> None:
    for seed in range(300):
        base, ours = draw(seed, 1.0)
        result = race(base, ours, NOISE, Design(futility=()), better="higher")
        assert result.p_value is not None
        assert (result.outcome == "accept") == (result.low >= 0) == (result.p_value <= 0.0501)
        assert result.low < result.estimate < result.high


def test_a_clear_harm_is_a_regression() -> None:
    result = race([0.0, 0.1], [-9.0, -9.1], NOISE, better="higher")
    assert result.outcome == "futile" and result.is_regression
    assert not race([], [], NOISE, better="higher").is_regression


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_crashes_never_win(crash: float | None, better: str) -> None:
    base = [0.0, 0.1, -0.1, 0.05, 0.0, 0.1, -0.1, 0.05]
    everything = race(base, [crash] * 8, NOISE, better=better)  # type: ignore[arg-type]
    assert everything.outcome == "futile" and everything.method == "rank"
    sure = confirm(base, [crash] * 8, NOISE, better=better)  # type: ignore[arg-type]
    assert sure.outcome == "inconclusive" and sure.n_crashed == 8 and sure.p_value == 1.0


def test_one_crash_in_eight_may_enter_the_list_but_never_the_headline() -> None:
    base, ours = [float(i) for i in range(8)], [float(i + 9) for i in range(8)]
    crashed: list[float | None] = [None, *ours[1:]]
    entry = confirm(base, crashed, NOISE, better="higher", claim="list")
    assert entry.outcome == "accept" and entry.n == 8 and entry.n_crashed == 1
    assert confirm(base, crashed, NOISE, better="higher").outcome == "inconclusive"
    two: list[float | None] = [None, None, *ours[2:]]
    assert confirm(base, two, NOISE, better="higher", claim="list").outcome == "inconclusive"
    assert crashed[1:] == ours[1:] and entry.low > 0


@given(base=SCORES, ours=SCORES, at=st.integers(0, 7), crash=st.sampled_from(CRASHES))
@settings(max_examples=60, deadline=None)
def test_a_crash_among_ranks_is_never_better_than_any_value(
    base: list[float], ours: list[float], at: int, crash: float | None
) -> None:
    first: list[float | None] = [None, *ours[1:]]
    second = list(first)
    second[at] = crash
    reported = race(base, first, NOISE, Design(futility=()), better="higher")
    crashed = race(base, second, NOISE, Design(futility=()), better="higher")
    assert ORDER[crashed.outcome] <= ORDER[reported.outcome]


def test_a_crashed_reference_is_asked_for_again_and_helps_nobody() -> None:
    result = race([0.0, None], [5.0, 5.0], NOISE, better="higher")
    assert (
        result.outcome == "continue" and result.more_reference == 1 and result.more_candidate == 0
    )
    healed = race([0.0, None, 0.1], [5.0, 5.0], NOISE, better="higher")
    assert healed == race([0.0, 0.1], [5.0, 5.0], NOISE, better="higher")
    hopeless = race([None] * 9, [5.0] * 8, NOISE, better="higher")
    assert hopeless.outcome == "inconclusive" and hopeless.p_value is None


def test_scores_without_noise_are_certain_and_equal_ones_are_no_gain() -> None:
    silent = NoiseModel.from_arms([[3.0] * 5])
    assert race([3.0] * 2, [4.0] * 2, silent, better="higher").outcome == "accept"
    assert race([3.0] * 8, [3.0] * 8, silent, better="higher").outcome == "futile"
    assert confirm([3.0] * 8, [3.0] * 8, silent, better="higher").outcome == "inconclusive"


def test_scores_that_overflow_win_nothing() -> None:
    assert confirm([0.0] * 8, [1e300, -1e300] * 4, NOISE, better="higher").outcome != "accept"


def test_pairs_are_compared_only_where_the_noise_model_bears_it() -> None:
    base = [0.0, 5.0, -5.0, 3.0]
    ours = [0.3, 5.4, -4.7, 3.41]
    bearing = NoiseModel(20.0, 8, (), (), correlation=0.95, correlation_low=0.9)
    paired = race(base, ours, bearing, Design(futility=()), better="higher", paired=True)
    assert paired.method == "paired t" and paired.outcome == "accept"
    assert paired.z == pytest.approx(stats.ttest_rel(ours, base).statistic)
    for noise in (NOISE, None):
        assert race(base, ours, noise, better="higher", paired=True).method == "t"
    broken = race([*base[:3], None, 3.0], ours, bearing, better="higher", paired=True)
    assert (broken.n, broken.method) == (4, "t")
    later = race(
        [*base, None], [*ours, 0.0], bearing, Design(futility=()), better="higher", paired=True
    )
    assert later == paired


@given(base=SCORES, ours=SCORES, by=st.floats(0, 10), n=st.sampled_from([2, 3, 4, 8]))
@settings(max_examples=100, deadline=None)
def test_a_candidate_better_throughout_never_gets_a_worse_decision(
    base: list[float], ours: list[float], by: float, n: int
) -> None:
    worse = race(base[:n], ours[:n], NOISE, better="higher")
    best = race(base[:n], [v + by for v in ours[:n]], NOISE, better="higher")
    assert ORDER[best.outcome] >= ORDER[worse.outcome]


def _facts(result: RaceResult) -> tuple[object, ...]:
    return result.outcome, result.n, result.estimate, result.low, result.high, result.p_value


@given(base=SCORES, ours=SCORES, crash=st.integers(0, 11))
@settings(max_examples=50, deadline=None)
def test_direction_is_a_matter_of_sign_only(
    base: list[float], ours: list[float], crash: int
) -> None:
    mine: list[float | None] = [None if i == crash else v for i, v in enumerate(ours)]
    flipped = [None if v is None else -v for v in mine]
    higher = race(base, mine, NOISE, Design(futility=()), better="higher")
    lower = race([-v for v in base], flipped, NOISE, Design(futility=()), better="lower")
    np.testing.assert_equal(_facts(higher), _facts(lower))


def test_an_unknown_direction_or_an_impossible_design_is_refused() -> None:
    with pytest.raises(ValueError, match="`lower` or `higher`"):
        race([0.0], [0.0], NOISE, better="up")  # type: ignore[arg-type]
    for design in ({"alpha": 0.0}, {"n_looks": 4}, {"n_looks": 0}):
        with pytest.raises(ValueError, match="a race has"):
            Design(**design)


def test_bounds_grow_as_the_noise_is_less_known_and_as_alpha_falls() -> None:
    for look, own_df in zip(LOOKS, (2, 6, 14), strict=True):
        row = [bound(0.05, df, df + own_df) for df in UNPAIRED]
        assert row == sorted(row, reverse=True), look
    levels = [nominal_level(a, 7) for a in (1e-5, 3e-4, 0.001, 0.004, 0.01, 0.03, 0.05, 0.3)]
    assert levels == sorted(levels)
    assert nominal_level(0.05, 7.9) == nominal_level(0.05, 6)  # the stricter neighbour
    with pytest.raises(ValueError, match="alpha"):
        nominal_level(0.0, 8)
    with pytest.raises(ValueError, match="below 0"):
        nominal_level(0.05, nan)


@pytest.mark.parametrize("df", [0, 4, 7, 20, inf])
def test_the_adjusted_p_value_is_the_alpha_whose_bound_is_reached(df: float) -> None:
    for alpha in (2e-5, 6e-4, 0.003, 0.01, 0.04, 0.05, 0.15):
        assert adjusted_p(nominal_level(alpha, df), df) == pytest.approx(alpha, rel=1e-6)
    grid = [adjusted_p(p, df) for p in np.geomspace(1e-7, 1.0, 400)]
    assert grid == sorted(grid) and grid[-1] == 1.0
    assert adjusted_p(0.0, df) == 0.0
    assert len(ALPHAS) == len(UNPAIRED[0.0])


def test_the_rank_comparison_is_the_mann_whitney_test_with_crashes_last() -> None:
    rng = np.random.default_rng(9)
    for _ in range(20):
        base, ours = rng.normal(0, 1, 5), rng.normal(1, 1, 6)
        got = compare_ranks(base, ours, 0.05)
        want = stats.mannwhitneyu(ours, base, alternative="greater", method="exact").pvalue
        assert got.p_value == pytest.approx(want)
        assert (got.z >= got.bound) == (got.p_value <= 0.05) == (got.low > 0)
        assert got.shift == pytest.approx(np.median(ours[:, None] - base[None, :]))
        with_crash = compare_ranks(base, np.append(ours[1:], -inf), 0.05)
        with_worst = compare_ranks(base, np.append(ours[1:], -99.0), 0.05)
        assert with_crash.p_value == with_worst.p_value
