"""Kernel timings, declared targets, equivalence and guardrails."""

from math import exp, inf, nan

import numpy as np
import pytest
from scipy import stats

from novum.evals.significance import (
    NoiseModel,
    beats_target,
    compare_kernels,
    equivalence,
    guardrail,
)


def timings(
    rng: np.random.Generator, n: int, ms: float, between: float = 0.02, iterations: int = 30
) -> list[list[float]]:
    """Draw log-normal times: processes differ by `between`, iterations inside by 5 %."""
    centres = np.log(ms) + between * rng.standard_normal(n)
    return [np.exp(c + 0.05 * rng.standard_normal(iterations)).tolist() for c in centres]


def test_a_faster_kernel_has_its_speedup_inside_the_interval() -> None:
    rng = np.random.default_rng(40)
    result = compare_kernels(timings(rng, 6, 1.2), timings(rng, 6, 1.0), seed=1)
    assert result.low < result.speedup < result.high and result.low > 1.0
    assert result.speedup == pytest.approx(1.2, rel=0.04)
    assert result.p_value == pytest.approx(1 / 924) and result.has_enough_processes


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(41)
    base, ours = timings(rng, 5, 1.0), timings(rng, 5, 1.0)
    assert compare_kernels(base, ours, seed=3) == compare_kernels(base, ours, seed=3)
    assert compare_kernels(base, ours, seed=3).low != compare_kernels(base, ours, seed=4).low


@pytest.mark.parametrize(("n", "between"), [(5, 0.02), (5, 0.2)])
def test_the_interval_covers_at_least_as_it_says_even_with_five_processes(
    n: int, between: float
) -> None:
    """Above 95 % where iterations vary as much as processes: they are counted twice."""
    rng = np.random.default_rng(42)
    covered = 0
    for i in range(400):
        base, ours = (timings(rng, n, ms, between, iterations=10) for ms in (1.1, 1.0))
        result = compare_kernels(base, ours, seed=i, n_bootstrap=300)
        covered += result.low <= 1.1 <= result.high
    assert covered / 400 >= 0.935
    if between == 0.2:
        assert covered / 400 <= 0.985


def test_thousands_of_iterations_do_not_replace_processes() -> None:
    """The spread between processes stays in the interval however long each of them ran."""
    rng = np.random.default_rng(43)
    long = compare_kernels(
        timings(rng, 5, 1.0, iterations=3000),
        timings(rng, 5, 1.0, iterations=3000),
        seed=1,
        n_bootstrap=500,
    )
    assert long.high / long.low > 1.02
    alone = compare_kernels(timings(rng, 1, 1.0), timings(rng, 1, 0.5), seed=1)
    assert alone.p_value is None and np.isnan(alone.low) and not alone.has_enough_processes


def test_the_permutation_test_errs_at_its_level_and_agrees_with_scipy() -> None:
    rng = np.random.default_rng(44)
    p_values = [
        compare_kernels(timings(rng, 5, 1.0), timings(rng, 5, 1.0), seed=i, n_bootstrap=2).p_value
        for i in range(600)
    ]
    assert np.mean([p is not None and p <= 0.05 for p in p_values]) == pytest.approx(
        0.048, abs=0.02
    )
    slow, fast = timings(rng, 4, 1.05), timings(rng, 5, 1.0)
    got = compare_kernels(slow, fast, seed=0).p_value
    want = stats.permutation_test(
        ([np.median(np.log(p)) for p in fast], [np.median(np.log(p)) for p in slow]),
        lambda x, y: np.mean(x) - np.mean(y),
        alternative="less",
    ).pvalue
    assert got == pytest.approx(want)


def test_many_processes_are_permuted_by_sampling() -> None:
    rng = np.random.default_rng(45)
    result = compare_kernels(timings(rng, 12, 1.3), timings(rng, 12, 1.0), seed=0)
    assert result.p_value == pytest.approx(1 / 20_001)


@pytest.mark.parametrize("crash", [[], [nan], [1.0, inf], [0.0], [-1.0]])
def test_a_crashed_process_is_the_slowest_and_a_crashed_reference_is_left_out(
    crash: list[float],
) -> None:
    rng = np.random.default_rng(46)
    base, ours = timings(rng, 5, 1.0), timings(rng, 5, 0.5)
    whole = compare_kernels(base, ours, seed=1)
    limping = compare_kernels(base, [*ours[:4], crash], seed=1)
    assert limping.n_crashed == 1 and limping.speedup < whole.speedup and limping.low < whole.low
    assert whole.p_value is not None and limping.p_value is not None
    assert limping.p_value > whole.p_value
    gone = compare_kernels(base, [crash] * 5, seed=1)
    assert gone.speedup == 0.0 and gone.p_value == 1.0
    assert compare_kernels([*base, crash], ours, seed=1).n_reference == 5
    with pytest.raises(ValueError, match="needs a measured process"):
        compare_kernels([crash], ours, seed=1)


# One-sample t, p < .01 one-sided: margin below the target in sample sds, by number of trials.
MARGINS = {3: 4.0, 4: 2.27, 5: 1.68, 7: 1.19, 10: 0.89, 15: 0.68, 20: 0.57}


@pytest.mark.parametrize("n", MARGINS)
def test_the_margin_that_a_target_asks_for_is_the_published_one(n: int) -> None:
    scores = np.random.default_rng(n).normal(3.27, 0.0013, n)
    result = beats_target(scores.tolist(), 3.28, n_declared=n, better="lower")
    assert result.needed / scores.std(ddof=1) == pytest.approx(MARGINS[n], rel=0.02)
    want = stats.ttest_1samp(scores, 3.28, alternative="less").pvalue
    assert result.p_value == pytest.approx(want) and result.mean == pytest.approx(scores.mean())
    assert result.passes == (result.margin > result.needed)


def test_fewer_than_three_trials_never_pass() -> None:
    for n in (0, 1, 2):
        result = beats_target([1.0] * n, 3.28, n_declared=n, better="lower")
        assert not result.passes
        assert (result.p_value is None) == (n < 2)


def test_undeclared_or_crashed_trials_do_not_pass() -> None:
    sure = [3.20, 3.21, 3.20, 3.21]
    assert beats_target(sure, 3.28, n_declared=4, better="lower").passes
    assert not beats_target(sure, 3.28, n_declared=5, better="lower").passes
    assert not beats_target(sure, 3.28, n_declared=3, better="lower").passes
    for crash in (nan, -inf, None):
        assert not beats_target([*sure, crash], 3.28, n_declared=5, better="lower").passes
    assert not beats_target(sure, nan, n_declared=4, better="lower").passes


def test_equivalence_is_two_one_sided_tests() -> None:
    rng = np.random.default_rng(47)
    base, ours = rng.normal(0, 1, 20), rng.normal(0.1, 1, 22)
    result = equivalence(base.tolist(), ours.tolist(), 1.0, better="lower")
    above = stats.ttest_ind(ours, base - 1.0, alternative="greater").pvalue
    below = stats.ttest_ind(ours, base + 1.0, alternative="less").pvalue
    assert result.p_value == pytest.approx(max(above, below))
    assert result.is_equivalent == (-1 < result.low and result.high < 1)
    assert result.difference == pytest.approx(base.mean() - ours.mean())


def test_equivalence_errs_at_most_at_alpha_where_the_difference_is_the_margin() -> None:
    rng = np.random.default_rng(48)
    noise = NoiseModel.known(1.0)
    made = [
        equivalence(
            rng.normal(0, 1, 30).tolist(),
            rng.normal(1, 1, 30).tolist(),
            1.0,
            better="lower",
            noise=noise,
        ).is_equivalent
        for _ in range(2000)
    ]
    assert 0.03 < np.mean(made) < 0.07


def test_little_evidence_or_a_crash_is_no_equivalence() -> None:
    assert equivalence([1.0], [1.0], 5.0, better="lower").p_value is None
    assert not equivalence([1.0, 1.0], [1.0, nan], 5.0, better="lower").is_equivalent
    assert equivalence([1.0, 1.0], [1.0, 1.0], 5.0, better="lower").is_equivalent
    with pytest.raises(ValueError, match="positive"):
        equivalence([1.0], [1.0], 0.0, better="lower")


def test_a_guardrail_allows_its_margin_and_no_more() -> None:
    params = [1000.0]
    assert guardrail(params, [1050.0], 0.05, better="lower").status == "kept"
    assert guardrail(params, [1051.0], 0.05, better="lower").status == "violated"
    assert guardrail(params, [1051.0], 60.0, better="lower", is_relative=False).status == "kept"
    assert guardrail(params, [949.0], 0.05, better="higher").status == "violated"
    assert guardrail(params, [10.0], 0.0, better="lower").harm == -990.0


def test_one_odd_trial_neither_convicts_nor_clears() -> None:
    calm = [10.0, 10.1, 9.9, 10.0]
    assert guardrail(calm, [10.0, 10.1, 9.9, 99.0], 0.05, better="lower").status == "kept"
    assert guardrail(calm, [12.0, 12.1, 11.9, 1.0], 0.05, better="lower").status != "kept"
    assert guardrail(calm, [12.0, 12.1, 11.9, 12.0], 0.05, better="lower").status == "violated"


def test_harm_within_the_spread_is_unsure_and_a_crash_is_harm() -> None:
    base = [10.0, 12.0, 8.0, 11.0, 9.0, 10.5]
    assert (
        guardrail(base, [10.8, 12.8, 8.9, 11.7, 9.7, 11.3], 0.05, better="lower").status == "unsure"
    )
    assert guardrail([10.0], [nan], 0.05, better="lower").status == "violated"
    assert guardrail([10.0] * 4, [None] * 4, 0.05, better="lower").harm == inf
    with pytest.raises(ValueError, match="needs a trial"):
        guardrail([nan], [1.0], 0.05, better="lower")


def test_speedups_are_ratios() -> None:
    result = compare_kernels([[2.0], [2.0]], [[1.0], [1.0]], seed=0)
    assert result.speedup == pytest.approx(2.0) and result.low == pytest.approx(exp(np.log(2.0)))
