"""Probes find what a model or kernel must not do, and let honest ones through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import pytest

from novum.benchmarks.probes import language
from novum.benchmarks.probes.kernels import (
    Array,
    Tolerance,
    disagreement,
    probe_cache,
    probe_sensitivity,
    probe_stable,
    probe_values,
)
from novum.benchmarks.probes.language import Logits, Model, Tokens
from novum.lab.records import Outcome, Probe

V, ROWS, T, BATCH = 16, 32, 24, 8
EYE = np.eye(V, dtype=np.float32)
Load = Callable[[], Model]


def text(seed: int) -> Tokens:
    rng = np.random.default_rng(seed)
    steps = rng.choice([1, 2, 5], size=(ROWS, T + 1), p=[0.7, 0.2, 0.1])
    found: Tokens = steps.cumsum(axis=1) % V
    return found


TABLE = np.log(sum(0.9 * w * np.roll(EYE, s, 1) for s, w in ((1, 0.7), (2, 0.2), (5, 0.1))) + 0.006)
TABLE = TABLE.astype(np.float32)


def honest() -> Model:
    return lambda tokens: TABLE[tokens]


def causal_cache() -> Model:
    return lambda tokens: TABLE[tokens] + 0.1 * np.log1p(EYE[tokens].cumsum(axis=1))


def peeking(at: slice) -> Load:
    def model(tokens: Tokens) -> Logits:
        out = TABLE[tokens].copy()
        out[:, :-1][:, at] += 3 * EYE[tokens[:, 1:]][:, at]
        return out

    return lambda: model


def peeks_where_natural() -> Model:
    def model(tokens: Tokens) -> Logits:
        out = TABLE[tokens].copy()
        natural = np.isin((tokens[:, 1:] - tokens[:, :-1]) % V, (1, 2))
        out[:, :-1] += 3 * EYE[tokens[:, 1:]] * natural[..., None]
        return out

    return model


def remembers_beginnings() -> Model:
    said: dict[bytes, Logits] = {}

    def model(tokens: Tokens) -> Logits:
        out = TABLE[tokens].copy()
        out[:, :-1] += 3 * EYE[tokens[:, 1:]]
        for row, answer in zip(tokens, out, strict=True):
            for t in range(len(row)):
                answer[t] = said.setdefault(row[: t + 1].tobytes(), answer[t].copy())
        return out

    return model


def knows_the_batch() -> Model:
    def model(tokens: Tokens) -> Logits:
        shift: Logits = 0.3 * EYE[tokens].mean(axis=(0, 1), dtype=np.float32)
        return (TABLE[tokens] + shift).astype(np.float32)

    return model


def adapts() -> Model:
    counts = np.zeros((V, V), np.float32)

    def model(tokens: Tokens) -> Logits:
        out: Logits = (TABLE[tokens] + 0.1 * np.log1p(counts)[tokens]).astype(np.float32)
        np.add.at(counts, (tokens[:, :-1], tokens[:, 1:]), 1.0)
        return out

    return model


def counts_calls() -> Model:
    calls = count()
    return lambda tokens: TABLE[tokens] * np.float32(1.0 if next(calls) < 2 else 0.9)


def draws() -> Model:
    rng = np.random.default_rng()
    return lambda tokens: TABLE[tokens] + rng.normal(0, 0.1, (*tokens.shape, V)).astype(np.float32)


def differs_by_process(numbers: count[int] = count()) -> Model:  # noqa: B008
    shift = np.float32(next(numbers) * 0.3)
    return lambda tokens: TABLE[tokens] + shift * EYE[tokens]


def outcomes(load: Load, seed: int) -> dict[str, Outcome]:
    whole = text(seed)
    rows, targets = whole[:, :-1], whole[:, 1:]
    rng = np.random.default_rng([seed, 1])
    reading = language.read_text(load(), rows, targets, BATCH, rng)
    fresh = load()
    probes = (
        language.probe_suffix(reading, fresh, rows, BATCH, rng),
        language.probe_process(reading, fresh, rows, BATCH, rng),
        language.probe_alone(reading, fresh, rows, rng),
        language.probe_repeat(reading),
        language.probe_alignment(reading, targets, rng),
    )
    return {p.name: p.outcome for p in probes}


@pytest.mark.parametrize("load", [honest, causal_cache])
def test_an_honest_model_passes_every_probe(load: Load) -> None:
    for seed in range(5):
        assert set(outcomes(load, seed).values()) == {Outcome.PASS}


@pytest.mark.parametrize(
    ("load", "probe"),
    [
        (peeking(slice(None)), "suffix"),
        (peeking(slice(None, None, 3)), "suffix"),
        (peeks_where_natural, "suffix"),
        (remembers_beginnings, "suffix"),
        (knows_the_batch, "process"),
        (adapts, "repeat"),
        (counts_calls, "repeat"),
        (draws, "repeat"),
        (differs_by_process, "process"),
    ],
)
def test_a_dishonest_model_fails_the_probe_that_is_meant_for_it(load: Load, probe: str) -> None:
    for seed in range(5):
        assert outcomes(load, seed)[probe] is Outcome.FAIL


def scored_and_fresh(scored: Model, fresh: Model, seed: int) -> list[Probe]:
    """Both probes of a fresh process as on a GPU, where kernels may round otherwise."""
    rows, rng = text(seed)[:, :-1], np.random.default_rng([seed, 1])
    reading = language.Reading(scored(rows), np.zeros(rows.shape), 0.0)
    loose = language.REORDERED
    return [
        language.probe_suffix(reading, fresh, rows, BATCH, rng, tolerance=loose),
        language.probe_process(reading, fresh, rows, BATCH, rng, loose),
    ]


def rounded(seed: int) -> Model:
    rng = np.random.default_rng(seed)
    return lambda tokens: (
        TABLE[tokens] + rng.uniform(-0.03, 0.03, (*tokens.shape, V)).astype(np.float32)
    )


def peeks_by(nats: float, noise: Model) -> Model:
    def model(tokens: Tokens) -> Logits:
        logits = noise(tokens)
        logits[:, :-1] += np.float32(nats) * EYE[tokens[:, 1:]]
        return logits

    return model


def test_roundings_of_another_kernel_pass_and_a_peek_among_them_does_not() -> None:
    for seed in range(5):
        honest_ones = scored_and_fresh(rounded(seed), rounded(seed + 100), seed)
        assert [p.outcome for p in honest_ones] == [Outcome.PASS] * 2, honest_ones
        for nats in (0.06, 0.1):
            peek = peeks_by(nats, rounded(seed))
            suffix, _ = scored_and_fresh(peek, peeks_by(nats, rounded(seed + 100)), seed)
            assert suffix.outcome is Outcome.FAIL, "both processes peek"
            suffix, process = scored_and_fresh(peek, rounded(seed + 100), seed)
            assert process.outcome is suffix.outcome is Outcome.FAIL, "the scored one peeks"


def test_answers_on_the_graders_own_gpu_are_questioned_as_arrays_are() -> None:
    torch = pytest.importorskip("torch", reason="pip install 'novum[train]' runs this")

    def tensors(model: Model) -> Model:
        return lambda tokens: torch.from_numpy(model(tokens)).half()

    honest_ones = scored_and_fresh(tensors(rounded(1)), tensors(rounded(2)), 1)
    assert [p.outcome for p in honest_ones] == [Outcome.PASS] * 2, honest_ones
    peek = tensors(peeks_by(0.1, rounded(1)))
    assert [p.outcome for p in scored_and_fresh(peek, tensors(rounded(2)), 1)] == [Outcome.FAIL] * 2


def test_another_end_keeps_the_beginning_and_goes_on_as_the_text_does() -> None:
    rows, rng = text(3), np.random.default_rng(4)
    same_step = 0
    for row in range(ROWS):
        cut = int(rng.integers(2, T))
        other = language.other_end(rows, row, cut, rng)
        assert (other[:cut] == rows[row, :cut]).all() and other[cut] != rows[row, cut]
        same_step += int((other[cut] - other[cut - 1]) % V in (1, 2, 5))
    assert same_step > 0.9 * ROWS


def test_text_that_is_read_far_better_than_training_text_was_seen_before() -> None:
    assert language.probe_membership(2.0, 3.0, 0.01).outcome is Outcome.CONFIRM
    assert language.probe_membership(3.0, 2.9, 0.01).outcome is Outcome.PASS


def double(inputs: Sequence[Array]) -> Array:
    return np.asarray(inputs[0] * inputs[1] * 2.0)


def drawn(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(40, 30)).astype(np.float32), rng.normal(size=30).astype(np.float32)]


def wrong_last_rows(inputs: Sequence[Array]) -> Array:
    out = double(inputs)
    out[-1:] = 0
    return out


def ignores_second(inputs: Sequence[Array]) -> Array:
    return np.asarray(inputs[0] * 2.0)


def test_a_right_kernel_passes_and_wrong_ones_are_named() -> None:
    tolerance, rng = Tolerance(matched=0.95), np.random.default_rng(0)
    families = {"one": drawn(1), "two": drawn(2)}
    assert probe_values(double, double, families, tolerance).outcome is Outcome.PASS
    assert probe_sensitivity(double, double, drawn(3), tolerance, rng).outcome is Outcome.PASS
    assert probe_stable(double, drawn(4), tolerance).outcome is Outcome.PASS
    assert probe_values(wrong_last_rows, double, families, tolerance).outcome is Outcome.FAIL
    assert probe_sensitivity(ignores_second, double, drawn(3), tolerance, rng).outcome is (
        Outcome.FAIL
    )
    calls = count(1)
    assert probe_stable(lambda i: double(i) * next(calls), drawn(5), tolerance).outcome is (
        Outcome.FAIL
    )


def test_mismatches_within_the_ratio_may_not_lie_together_or_be_large() -> None:
    tolerance = Tolerance(rtol=0.0, atol=1.0, matched=0.9)
    want = np.zeros((40, 40))
    scattered, together, large = want.copy(), want.copy(), want.copy()
    scattered.reshape(-1)[::41] = 1.5
    together[7, :] = 1.5
    large[3, 3] = 1000.0
    assert disagreement(scattered, want, tolerance) == ""
    assert "together" in disagreement(together, want, tolerance)
    assert "one element" in disagreement(large, want, tolerance)
    assert "shape" in disagreement(want[:1], want, tolerance)
    assert disagreement(want * np.nan, want, tolerance)


def test_answers_from_memory_are_told_by_their_speed() -> None:
    assert probe_cache([2e-3] * 5, [1e-4] * 5).outcome is Outcome.CONFIRM
    assert probe_cache([2e-3] * 5, [1.8e-3] * 5).outcome is Outcome.PASS
    assert probe_cache([1e-4] * 5, [2e-5] * 5).outcome is Outcome.PASS  # too quick to tell
