"""Outputs beside the reference: a digit's rounding passes, a wrong element does not."""

from __future__ import annotations

import pytest

from novum.benchmarks.kernels.compare import compare, sketch_bound
from novum.benchmarks.kernels.workload import Tolerance

torch = pytest.importorskip("torch")
TOLERANCE = Tolerance(max_atol=0.002, max_rtol=0.01, required_matched_ratio=0.99, max_error_cap=0.4)


def test_the_last_digit_of_a_large_output_passes_where_inputs_are_larger() -> None:
    want = torch.full((1000,), 1.0)
    want[0] = 300.0
    got = want.clone()
    got[0] = 302.0
    assert not compare(got, want, TOLERANCE).ok
    assert compare(got, want, TOLERANCE, scale=2.0).ok


def test_one_element_that_is_wrong_by_much_fails_at_any_scale() -> None:
    want = torch.full((1000,), 1.0)
    want[0] = 300.0
    got = want.clone()
    got[0] = 320.0
    for scale in (1.0, 2.0, 8.0):
        assert not compare(got, want, TOLERANCE, scale=scale).ok


def test_a_sketch_allows_for_codes_a_step_away_and_not_for_other_codes() -> None:
    from novum.benchmarks.kernels.tensors import sketch, sketch_vector

    steps = Tolerance(max_atol=1e-6, max_rtol=1e-4, required_matched_ratio=0.995, max_error_cap=1.0)
    want = torch.randint(-127, 127, (200_000,), dtype=torch.int8)
    near, other = want.clone(), want.roll(1)
    near[::400] += 1
    vector = sketch_vector(7, "cpu")
    bound = sketch_bound(want, steps)
    assert abs(sketch(near, vector) - sketch(want, vector)) <= bound
    assert abs(sketch(other, vector) - sketch(want, vector)) > bound
