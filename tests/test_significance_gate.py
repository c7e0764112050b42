"""The SEARCH gate steers by one trial and claims nothing."""

from dataclasses import fields
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novum.evals.significance import GateResult, NoiseModel, search_gate

REFERENCE = [1.0, 1.1, 0.9, 1.05, 0.95]
NOISE = NoiseModel.known(0.1)
ORDER = {"dropped": 0, "inconclusive": 1, "promising": 2}
SCORES = st.floats(-100, 100, allow_nan=False)


def test_the_gate_opens_at_one_and_a_half_sd_and_closes_at_one() -> None:
    def outcome(score: float) -> str:
        return search_gate(REFERENCE, score, NOISE, better="lower").outcome

    assert [outcome(s) for s in (0.84, 0.86, 1.0, 1.09, 1.11)] == [
        "promising",
        "inconclusive",
        "inconclusive",
        "inconclusive",
        "dropped",
    ]


def test_one_trial_never_yields_a_p_value() -> None:
    assert not [f.name for f in fields(GateResult) if "p_" in f.name or f.name == "p"]


@pytest.mark.parametrize("crash", [nan, inf, -inf, None])
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_crash_is_dropped_in_either_direction(crash: float | None, better: str) -> None:
    result = search_gate(REFERENCE, crash, NOISE, better=better)  # type: ignore[arg-type]
    assert result.outcome == "dropped" and result.gain == -inf
    both = search_gate(REFERENCE, [0.1, crash], NOISE, better=better)  # type: ignore[arg-type]
    assert both.outcome == "dropped"


def test_a_retest_passes_by_luck_as_rarely_as_one_trial() -> None:
    rng = np.random.default_rng(0)
    passed = {n: 0 for n in (1, 2, 3)}
    for _ in range(4000):
        base = rng.normal(0, 1, 5).tolist()
        for n in passed:
            result = search_gate(
                base, rng.normal(0, 1, n).tolist(), NoiseModel.known(1.0), better="lower"
            )
            passed[n] += result.outcome == "promising"
    for n in passed:
        assert passed[n] / 4000 == pytest.approx(0.0855, abs=0.02)


def test_a_gate_without_noise_reference_or_candidate_is_refused() -> None:
    unmeasured = NoiseModel.from_arms([[1.0]])
    for base, ours, noise in (
        (REFERENCE, 1.0, unmeasured),
        ([nan], 1.0, NOISE),
        (REFERENCE, [], NOISE),
    ):
        with pytest.raises(ValueError, match="the gate needs"):
            search_gate(base, ours, noise, better="lower")


@given(score=SCORES, by=st.floats(0, 50), base=st.lists(SCORES, min_size=1, max_size=6))
def test_a_better_candidate_never_gets_a_worse_decision(
    score: float, by: float, base: list[float]
) -> None:
    worse = search_gate(base, score, NOISE, better="higher")
    best = search_gate(base, score + by, NOISE, better="higher")
    assert ORDER[best.outcome] >= ORDER[worse.outcome]


@given(score=SCORES, base=st.lists(SCORES, min_size=1, max_size=6))
def test_direction_is_a_matter_of_sign_only(score: float, base: list[float]) -> None:
    higher = search_gate(base, score, NOISE, better="higher")
    lower = search_gate([-b for b in base], -score, NOISE, better="lower")
    assert (higher.outcome, higher.gain) == (lower.outcome, lower.gain)
