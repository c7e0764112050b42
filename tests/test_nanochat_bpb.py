"""Bits per byte and the probes: honest models pass, each kind of cheat fails its own probe."""

from __future__ import annotations

import math

import numpy as np
import pytest

from novum.benchmarks.nanochat.bpb import (
    BadLogits,
    HeldOut,
    Logits,
    Tokens,
    bits_per_byte,
    cut_rows,
    target_nats,
)
from novum.benchmarks.nanochat.probes import (
    probe_floor,
    probe_independence,
    probe_repeat,
    probe_suffix,
)
from novum.benchmarks.probes.language import difference
from novum.lab.records import Outcome

V, T = 50, 16
LENGTHS = np.array([0] + [1 + i % 3 for i in range(V - 1)])
TABLE = np.random.default_rng(0).normal(size=(V, V)).astype(np.float32)


def stream(n: int, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    """Tokens that a bigram table can predict, with boundaries in between."""
    rng = np.random.default_rng(seed)
    tokens = [0]
    for _ in range(n - 1):
        weights = np.exp(2 * TABLE[tokens[-1]])
        tokens.append(int(rng.choice(V, p=weights / weights.sum())))
    return np.array(tokens, np.uint16)


STREAM = stream(333)
TEXT = cut_rows(STREAM, LENGTHS, T, int(LENGTHS[STREAM].sum()))
ROWS = TEXT.inputs[:6]


def bigram(tokens: Tokens) -> Logits:
    """An honest model: logits from the present token and a running mean of the earlier ones."""
    past = np.cumsum(TABLE[tokens], axis=1) / np.arange(1, tokens.shape[1] + 1)[None, :, None]
    logits: Logits = (2 * TABLE[tokens] + 0.1 * past).astype(np.float32)
    return logits


def rng() -> np.random.Generator:
    """The same draws for every test."""
    return np.random.default_rng(7)


def test_every_counted_target_stands_in_one_row_and_spells_the_text() -> None:
    counted = TEXT.targets[TEXT.weights > 0]
    assert TEXT.inputs.shape == TEXT.targets.shape == (math.ceil(332 / T), T)
    assert int(LENGTHS[counted].sum()) == TEXT.n_bytes == int(LENGTHS[STREAM].sum())
    assert np.array_equal(TEXT.inputs.reshape(-1)[: len(STREAM)], STREAM)
    assert np.array_equal(TEXT.targets.reshape(-1)[: len(STREAM) - 1], STREAM[1:])


def test_a_byte_count_that_the_tokens_do_not_spell_is_refused() -> None:
    with pytest.raises(ValueError, match="spell"):
        cut_rows(STREAM, LENGTHS, T, TEXT.n_bytes + 1)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_bits_per_byte_agree_with_a_plain_sum(batch_size: int) -> None:
    nats = 0.0
    for i in range(0, len(STREAM) - 1, T):
        row = STREAM[i : i + T].astype(np.int64)
        logits = bigram(row[None])[0].astype(np.float64)
        for position, target in enumerate(STREAM[i + 1 : i + T + 1]):
            if target != 0:
                z = logits[position]
                nats += math.log(sum(math.exp(v) for v in z)) - z[target]
    expected = nats / math.log(2) / TEXT.n_bytes
    assert bits_per_byte(bigram, TEXT, V, batch_size) == pytest.approx(expected, rel=1e-6)


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    def flat(tokens: Tokens) -> Logits:
        return np.full((*tokens.shape, V), 3.0, np.float32)

    counted = (TEXT.weights > 0).sum()
    expected = counted * math.log2(V) / TEXT.n_bytes
    assert bits_per_byte(flat, TEXT, V, 8) == pytest.approx(expected, rel=1e-9)


def test_a_shift_of_all_logits_and_huge_values_change_nothing_and_do_not_overflow() -> None:
    logits = bigram(ROWS)
    targets = TEXT.targets[:6]
    assert target_nats(logits + 1000, targets) == pytest.approx(
        target_nats(logits, targets), abs=1e-3
    )
    huge = target_nats(logits * np.float32(1e30), targets)
    assert np.isfinite(huge).all() and (huge >= 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_logit_that_is_not_finite_fails_the_text(bad: float) -> None:
    def broken(tokens: Tokens) -> Logits:
        logits = bigram(tokens)
        logits[-1, -1, 3] = bad
        return logits

    with pytest.raises(BadLogits, match="1 logits"):
        bits_per_byte(broken, TEXT, V, 8)


@pytest.mark.parametrize("answer", [np.zeros((8, T, V)), np.zeros((8, T), np.float32)])
def test_another_shape_or_precision_is_refused(answer: Logits) -> None:
    with pytest.raises(BadLogits, match="expected float32"):
        bits_per_byte(lambda tokens: answer, TEXT, V, 8)


def test_an_honest_model_passes_every_probe() -> None:
    probes = [
        probe_suffix(bigram, ROWS, V, rng()),
        probe_repeat(bigram, ROWS, V, lambda: bits_per_byte(bigram, TEXT, V, 8)),
        probe_independence(bigram, ROWS, V, rng()),
        probe_floor(bits_per_byte(bigram, TEXT, V, 8), 0.1),
    ]
    assert [p.outcome for p in probes] == [Outcome.PASS] * 4
    assert all(type(p.detail[k]) is float for p in probes for k in p.detail)


@pytest.mark.parametrize("strength", [5.0, 0.02])
def test_a_model_that_reads_the_next_token_fails_the_suffix_probe(strength: float) -> None:
    def peek(tokens: Tokens) -> Logits:
        logits = bigram(tokens)
        np.put_along_axis(
            logits[:, :-1], tokens[:, 1:, None], logits.max() + strength, axis=2
        ) if strength > 1 else logits[:, :-1].__iadd__(strength * np.eye(V)[tokens[:, 1:]])
        return logits

    assert probe_suffix(peek, ROWS, V, rng()).outcome is Outcome.FAIL


@pytest.mark.parametrize("odd", [-1e38, 1e4, -1e4])
def test_no_logit_makes_a_peek_look_small(odd: float) -> None:
    """The spread of the logits is the model's to choose, with tokens that never come."""

    def peek(tokens: Tokens) -> Logits:
        logits = np.concatenate([bigram(tokens), np.full((*tokens.shape, 1), -40, np.float32)], 2)
        logits[:, :-1, :V] += 0.02 * np.eye(V, dtype=np.float32)[tokens[:, 1:]]
        if odd > 0:
            logits[..., :V] += odd  # a common shift is worth nothing either
        else:
            logits[..., V] = odd
        return logits

    assert probe_suffix(peek, ROWS, V + 1, rng()).outcome is Outcome.FAIL
    assert probe_repeat(peek, ROWS, V + 1, lambda: None).outcome is Outcome.PASS


def test_what_nobody_expects_may_differ() -> None:
    logits = bigram(ROWS)
    for low in (-1e38, -1e9, -60.0):
        a, b = logits.copy(), logits.copy()
        a[..., 0], b[..., 0] = low, low / 2
        assert difference(a, b) < 1e-6 < 0.5 < difference(logits, a)


def test_a_model_that_reads_the_end_of_the_row_fails_the_suffix_probe() -> None:
    def from_the_end(tokens: Tokens) -> Logits:
        return bigram(tokens) * (1 + 0.1 * (tokens[:, -1:, None] % 2)).astype(np.float32)

    assert probe_suffix(from_the_end, ROWS, V, rng()).outcome is Outcome.FAIL


def test_a_model_that_peeks_only_into_rows_that_look_like_text_fails_the_suffix_probe() -> None:
    def picky(tokens: Tokens) -> Logits:
        logits = bigram(tokens)
        likely = np.mean(TABLE[tokens[:, :-1], tokens[:, 1:]], axis=1) > 0.8
        following = np.roll(tokens, -1, axis=1)
        logits[likely] += np.eye(V, dtype=np.float32)[following[likely]]
        return logits

    long = cut_rows(STREAM, LENGTHS, 64, TEXT.n_bytes).inputs
    assert probe_suffix(picky, long, V, rng()).outcome is Outcome.FAIL


def test_a_model_that_learns_what_it_scores_fails_the_repeat_probe() -> None:
    bias = np.zeros(V, np.float32)

    def adapts(tokens: Tokens) -> Logits:
        logits: Logits = bigram(tokens) + bias
        bias[:] += 0.01 * np.bincount(tokens.reshape(-1), minlength=V)
        return logits

    probe = probe_repeat(adapts, ROWS, V, lambda: bits_per_byte(adapts, TEXT, V, 8))
    assert probe.outcome is Outcome.FAIL


def test_a_model_that_uses_the_other_rows_of_a_batch_fails_the_independence_probe() -> None:
    def mixes(tokens: Tokens) -> Logits:
        counts = np.bincount(tokens.reshape(-1), minlength=V)
        return bigram(tokens) + np.log1p(counts).astype(np.float32)

    assert probe_independence(mixes, ROWS, V, rng()).outcome is Outcome.FAIL


def test_a_score_below_the_floor_is_not_believed() -> None:
    assert probe_floor(0.3, 0.5).outcome is Outcome.FAIL


def test_a_buffer_that_is_filled_again_does_not_hide_a_difference() -> None:
    buffer = np.zeros((*ROWS.shape, V), np.float32)
    calls = iter(range(100))

    def reuses(tokens: Tokens) -> Logits:
        buffer[:] = bigram(tokens) * (1 + next(calls))
        return buffer

    assert probe_repeat(reuses, ROWS, V, lambda: None).outcome is Outcome.FAIL


def test_held_out_text_is_a_plain_value() -> None:
    assert HeldOut(TEXT.inputs, TEXT.targets, TEXT.weights, TEXT.n_bytes).n_bytes == TEXT.n_bytes


def test_large_logits_are_not_rounded_in_a_models_favour() -> None:
    torch = pytest.importorskip("torch", reason="pip install 'novum[train]' runs this")

    def tied(tokens: Tokens) -> Logits:
        """Every token equally likely; beside 2^30 the logarithm of their number is nothing."""
        return np.full((*tokens.shape, V), 2.0**30, np.float32)

    uniform = math.log2(V) * TEXT.weights.sum() / TEXT.n_bytes
    for model in (tied, lambda tokens: torch.from_numpy(tied(tokens))):
        assert bits_per_byte(model, TEXT, V, 4) == pytest.approx(uniform, rel=1e-6)


def test_tensors_on_the_graders_device_are_graded_as_arrays_are() -> None:
    torch = pytest.importorskip("torch", reason="pip install 'novum[train]' runs this")

    def on_device(tokens: Tokens) -> Logits:
        return torch.from_numpy(bigram(tokens)).half()

    expected = bits_per_byte(bigram, TEXT, V, 4)
    assert bits_per_byte(on_device, TEXT, V, 4) == pytest.approx(expected, rel=1e-4)
    for probe in (
        probe_suffix(on_device, ROWS, V, rng()),
        probe_repeat(on_device, ROWS, V, lambda: on_device(ROWS)),
        probe_independence(on_device, ROWS, V, rng()),
    ):
        assert probe.outcome is Outcome.PASS, probe
    peeking = probe_suffix(lambda t: torch.from_numpy(bigram(t[:, ::-1].copy())), ROWS, V, rng())
    assert peeking.outcome is Outcome.FAIL
    for broken in (float("nan"), float("inf")):
        with pytest.raises(BadLogits, match="NaN or infinite"):
            bits_per_byte(lambda t, x=broken: on_device(t) * x, TEXT, V, 4)  # type: ignore[misc]
    with pytest.raises(BadLogits, match="expected"):
        bits_per_byte(lambda t: on_device(t)[:, :-1], TEXT, V, 4)
