"""Online false-discovery control: golden levels, causality, and the rate by simulation."""

from math import nan
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from novum.evals.significance import OnlineFdr

METHODS: list[Literal["saffron", "lord++"]] = ["saffron", "lord++"]
P_VALUES = st.lists(st.floats(0, 1), max_size=40)


def test_lord_levels_are_those_of_the_paper_worked_by_hand() -> None:
    fdr = OnlineFdr("lord++", q=0.05)
    gamma = [0.0722 * np.log(max(j, 2)) / (j * np.exp(np.sqrt(np.log(j)))) for j in range(1, 6)]
    levels = fdr.levels([0.5, 1e-6, 0.5, 1e-6, 0.5])
    assert levels[:2] == pytest.approx([0.025 * gamma[0], 0.025 * gamma[1]])
    assert levels[2] == pytest.approx(0.025 * gamma[2] + 0.025 * gamma[0])
    assert levels[4] == pytest.approx(0.025 * gamma[4] + 0.025 * gamma[2] + 0.05 * gamma[0])


def test_saffron_levels_are_those_of_the_paper_worked_by_hand() -> None:
    fdr = OnlineFdr("saffron", q=0.05)
    gamma = np.arange(1, 7) ** -1.6 / np.sum(np.arange(1, 4_000_000) ** -1.6)
    # Tests above lambda cost nothing; candidates below it do; a discovery pays back.
    levels = fdr.levels([0.9, 0.3, 1e-6, 0.9, 0.3, 0.9])
    want = [
        0.0125 * gamma[0],
        0.0125 * gamma[1],
        0.0125 * gamma[1],
        0.0125 * gamma[1] + 0.0125 * gamma[0],
        0.0125 * gamma[2] + 0.0125 * gamma[1],
        0.0125 * gamma[2] + 0.0125 * gamma[1],
    ]
    assert levels[0] == pytest.approx(want[0], rel=1e-3)
    assert levels[2] == pytest.approx(0.0125 * gamma[3 - 1 - 1], rel=1e-3)
    assert levels[3] == pytest.approx(0.0125 * gamma[4 - 2 - 1] + 0.0125 * gamma[0], rel=1e-3)
    assert levels[5] == pytest.approx(
        0.0125 * gamma[6 - 3 - 1] + 0.0125 * gamma[3 - 1 - 1], rel=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
@given(past=P_VALUES, future=P_VALUES)
def test_a_level_depends_on_earlier_tests_only(
    method: Literal["saffron", "lord++"], past: list[float], future: list[float]
) -> None:
    fdr = OnlineFdr(method)
    assert fdr.levels([*past, *future])[: len(past)] == fdr.levels(past)
    assert fdr.next_level(past) == fdr.levels([*past, 0.0])[-1]


@pytest.mark.parametrize("method", METHODS)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=30), at=st.integers(0, 29))
def test_stronger_evidence_never_loses_a_discovery(
    method: Literal["saffron", "lord++"], p_values: list[float], at: int
) -> None:
    stronger = list(p_values)
    stronger[at % len(p_values)] = 0.0
    before, after = (OnlineFdr(method).discoveries(p) for p in (p_values, stronger))
    assert all(now or not then for then, now in zip(before, after, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_an_undefined_p_value_is_no_discovery_and_the_first_test_has_a_level(
    method: Literal["saffron", "lord++"],
) -> None:
    fdr = OnlineFdr(method)
    assert fdr.discoveries([nan, 1e-9]) == [False, True]
    assert 0 < fdr.next_level([]) < fdr.q


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_the_false_discovery_rate_stays_below_q(
    method: Literal["saffron", "lord++"], share: float, shared: bool
) -> None:
    """`shared`: blocks of five tests compare with one reference arm, so they are dependent."""
    rng = np.random.default_rng(21)
    fdr, proportions, found = OnlineFdr(method, q=0.10), [], 0
    for _ in range(400):
        real = rng.random(60) < share
        z = rng.standard_normal(60)
        if shared:
            z = (z + np.repeat(rng.standard_normal(12), 5)) / np.sqrt(2)
        made = np.array(fdr.discoveries(stats.norm.sf(z + 3.5 * real).tolist()))
        proportions.append((made & ~real).sum() / max(1, made.sum()))
        found += int((made & real).sum())
    error = np.std(proportions) / 20
    assert np.mean(proportions) <= 0.10 + 3 * error
    if share == 0.4:
        assert found > 0.35 * 400 * 60 * share


def test_a_rate_or_method_that_does_not_exist_is_refused() -> None:
    for wrong in ({"q": 0.0}, {"q": 1.0}, {"method": "bh"}):
        with pytest.raises(ValueError, match="choose"):
            OnlineFdr(**wrong)
