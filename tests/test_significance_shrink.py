"""Shrinkage, and what a whole campaign reports with and without these rules."""

from math import inf, nan, sqrt

import numpy as np
import pytest
from scipy import integrate, stats

from novum.evals.significance import NoiseModel, confirm, race, search_gate, shrink
from novum.evals.significance.scores import FloatArray
from novum.evals.significance.shrinkage import _grid


def ideas(n: int, rng: np.random.Generator) -> FloatArray:
    """Draw true gains in sd: 60 % harmful, 25 % nothing, 12 % small, 3 % large."""
    kind = rng.random(n)
    harm = -np.abs(rng.standard_normal(n))
    return np.select([kind < 0.6, kind < 0.85, kind < 0.97], [harm, 0.0, 0.7], 2.0)


@pytest.mark.parametrize("gain", [-4.0, -0.5, 0.0, 1.0, 3.0])
def test_the_weak_prior_gives_the_posterior_of_direct_integration(gain: float) -> None:
    [idea] = shrink([gain], [0.5]).ideas
    reaches = _grid(np.array([gain]), np.array([0.5]))

    def moment(power: int, reach: float) -> float:
        low, high = sorted((0.0, reach))
        value, _ = integrate.quad(
            lambda e: e**power * stats.norm.pdf(gain, e, 0.5) / (high - low), low, high
        )
        return float(0.25 * value / len(reaches))

    both = [*reaches, *-reaches]
    total = 0.5 * stats.norm.pdf(gain, 0, 0.5) + sum(moment(0, r) for r in both)
    mean = sum(moment(1, r) for r in both) / total
    square = sum(moment(2, r) for r in both) / total
    assert idea.shrunk == pytest.approx(mean, abs=1e-6)
    assert idea.p_gain == pytest.approx(sum(moment(0, r) for r in reaches) / total, abs=1e-6)
    assert idea.sd == pytest.approx(sqrt(square - mean**2), abs=1e-6)


def test_one_idea_far_above_its_error_is_believed_and_one_within_it_is_not() -> None:
    sure, lucky = (shrink([g], [1.0]).ideas[0] for g in (12.0, 1.0))
    assert sure.shrunk == pytest.approx(12.0, abs=0.5) and sure.p_gain > 0.999
    assert 0 < lucky.shrunk < 0.5 and lucky.p_gain < 0.5


def test_few_ideas_use_the_weak_prior_and_many_a_fitted_one() -> None:
    rng = np.random.default_rng(30)
    few = shrink(rng.normal(0, 1, 14).tolist(), [1.0] * 14)
    many = shrink(rng.normal(0, 1, 15).tolist(), [1.0] * 15)
    assert (few.prior, few.null_share, many.prior) == ("weak", 0.5, "fitted")


def test_a_run_of_nothing_but_nulls_believes_in_none_of_them() -> None:
    rng = np.random.default_rng(31)
    result = shrink(rng.normal(0, 1, 200).tolist(), [1.0] * 200)
    best = max(result.ideas, key=lambda i: i.raw)
    assert best.raw > 2 and best.shrunk < 0.6 and best.p_gain < 0.5
    assert result.null_share > 0.5


def test_a_large_gain_among_nulls_is_hardly_shrunk() -> None:
    rng = np.random.default_rng(32)
    gains = [*rng.normal(0, 0.1, 60).tolist(), 2.0, 2.2, 1.8]
    result = shrink(gains, [0.1] * 63)
    assert result.ideas[60].shrunk == pytest.approx(2.0, abs=0.05)
    assert result.ideas[60].p_gain > 0.999


def test_probabilities_of_a_gain_are_calibrated() -> None:
    rng = np.random.default_rng(33)
    said, true = [], []
    for _ in range(30):
        effects = ideas(300, rng)
        observed = effects + rng.normal(0, 0.8, 300)
        said += [i.p_gain for i in shrink(observed.tolist(), [0.8] * 300).ideas]
        true += (effects > 0).tolist()
    said_array, truth = np.array(said), np.array(true)
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.0)):
        inside = (said_array >= low) & (said_array < high)
        assert inside.sum() > 20
        assert truth[inside].mean() == pytest.approx(said_array[inside].mean(), abs=0.12)


def test_the_shrunk_gains_of_the_best_ideas_are_unbiased_and_the_raw_ones_are_not() -> None:
    """Of the very best idea alone some bias is left: a fitted prior has seen that idea, too."""
    rng = np.random.default_rng(34)
    raw, shrunk, top = [], [], []
    for _ in range(60):
        effects = ideas(400, rng)
        observed = effects + rng.standard_normal(400) * sqrt(1.2)
        best = int(observed.argmax())
        result = shrink(observed.tolist(), [sqrt(1.2)] * 400)
        raw.append(observed[best] - effects[best])
        shrunk.append(result.ideas[best].shrunk - effects[best])
        top += [result.ideas[i].shrunk - effects[i] for i in observed.argsort()[-20:]]
    assert np.mean(raw) > 2.0
    assert abs(np.mean(top)) < 0.15
    assert abs(np.mean(shrunk)) < 0.6


def test_order_is_kept_and_a_larger_gain_of_equal_error_is_never_shrunk_below() -> None:
    rng = np.random.default_rng(35)
    gains = np.sort(rng.normal(0, 2, 50))
    shrunk = [i.shrunk for i in shrink(gains.tolist(), [1.0] * 50).ideas]
    assert [i.raw for i in shrink(gains.tolist(), [1.0] * 50).ideas] == gains.tolist()
    assert np.all(np.diff(shrunk) >= -1e-9)


def test_crashed_ideas_count_and_have_no_gain() -> None:
    result = shrink([1.0, nan, -inf], [0.1, nan, 0.1])
    assert result.n_ideas == 3
    assert [i.shrunk for i in result.ideas[1:]] == [-inf, -inf]
    assert [i.p_gain for i in result.ideas[1:]] == [0.0, 0.0]
    assert shrink([nan], [1.0]).ideas[0].p_gain == 0.0
    assert shrink([], []).n_ideas == 0


def test_gains_without_noise_or_of_any_size_stay_finite() -> None:
    for gains, errors in (([1.0, -1.0, 0.0], [0.0] * 3), ([1e6, -1e6], [1e-6, 1e-6])):
        for idea, gain in zip(shrink(gains, errors).ideas, gains, strict=True):
            assert np.isfinite([idea.shrunk, idea.sd, idea.p_gain]).all()
            assert abs(idea.shrunk - gain) <= 1e-3 * abs(gain) + 1e-6
    scaled = shrink([2e-9, -1e-9] * 10, [1e-9] * 20).ideas[0].shrunk
    assert scaled == pytest.approx(1e-9 * shrink([2.0, -1.0] * 10, [1.0] * 20).ideas[0].shrunk)


def test_unmatched_or_impossible_errors_are_refused() -> None:
    with pytest.raises(ValueError, match="as many errors"):
        shrink([1.0], [])
    with pytest.raises(ValueError, match="cannot be negative"):
        shrink([1.0], [-1.0])


def test_what_gate_and_race_return_can_be_shrunk_as_it_is() -> None:
    noise = NoiseModel.known(1.0)
    base = [0.1, -0.1, 0.2, -0.2]
    trials: list[float | None] = [0.5, None, 2.0]
    gates = [search_gate(base, t, noise, better="higher") for t in trials]
    assert gates[0].error == pytest.approx(sqrt(1 + 1 / 4))
    races = [race(base, [t, 2.0, 1.0, 1.5], noise, better="higher") for t in trials]
    assert races[2].error == pytest.approx((races[2].high - races[2].low) / 2 / races[2].bound)
    for results in ([(g.gain, g.error) for g in gates], [(r.estimate, r.error) for r in races]):
        ideas = shrink([g for g, _ in results], [e for _, e in results]).ideas
        assert ideas[1].shrunk == -inf and 0 < ideas[0].shrunk < ideas[2].shrunk


def keep_if_better(effects: FloatArray, rng: np.random.Generator) -> tuple[float, float]:
    """Search as most do: one trial an idea, keep it if better. Return claimed and true gain."""
    best = first = rng.standard_normal()
    level = 0.0
    for effect in effects:
        score = level + effect + rng.standard_normal()
        if score > best:
            best, level = score, level + effect
    return best - first, level


def by_the_rules(effects: FloatArray, rng: np.random.Generator) -> tuple[float, float, int]:
    """Gate, race, confirm. Return reported gain, true gain and the number of false keeps."""

    def trials(at: float, n: int) -> list[float]:
        return [float(v) for v in rng.normal(at, 1.0, n)]

    noise = NoiseModel.from_arms([trials(0.0, 8)])
    level, false_keeps, reference = 0.0, 0, trials(0.0, 5)
    for effect in effects:
        new = level + effect
        gate = search_gate(reference, trials(new, 1), noise, better="higher")
        if gate.outcome != "promising":
            continue
        if race(trials(level, 8), trials(new, 8), noise, better="higher").outcome == "accept":
            level, false_keeps = new, false_keeps + (effect <= 0)
            reference = trials(level, 5)
    final = confirm(trials(0.0, 8), trials(level, 8), noise, better="higher")
    return final.estimate, level, false_keeps


def test_a_campaign_by_the_rules_reports_what_is_true_where_keep_if_better_over_claims() -> None:
    rng = np.random.default_rng(36)
    naive, ruled, false_keeps, gains = [], [], 0, []
    for _ in range(60):
        effects = ideas(400, rng)
        claimed, true = keep_if_better(effects, rng)
        naive.append(claimed - true)
        reported, true, false = by_the_rules(effects, rng)
        ruled.append(reported - true)
        gains.append(true)
        false_keeps += false
    assert np.mean(naive) > 2.0
    assert abs(np.mean(ruled)) < 0.3
    assert false_keeps / 60 < 1.5 and np.mean(gains) > 8
