"""Questions to a language model, put so that it cannot tell them from the text it is scored on.

A model is asked in two processes that share nothing. The first one is scored. The second one sees
the same rows with other ends, in other batches and another order, and never sees the text itself:
whatever a model remembers, counts or suspects in one process does not help it to answer as it did
in the other. All requests have one shape. A new end follows the old beginning as naturally as the
text does: it is taken from a place where the same two tokens went on differently.

Logits of the same prefix must agree. They do not where a model looks ahead, at other rows of the
batch, at the clock, at what was asked before, or draws at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from novum.benchmarks.harness.devices import is_finite
from novum.lab.records import Outcome, Probe

Tokens = NDArray[Any]
Logits = Any
"""`(B, T, V)`: a numpy array of float32, or a torch tensor on the grader's own GPU."""
Model = Callable[[Tokens], Logits]
"""Tokens `(B, T)` to logits `(B, T, V)`."""

# In nats, what a hidden dependence could be worth at most
EXACT = 0.003  # same shape, same kernels: an honest model repeats itself to the last bit
REORDERED = 0.15  # another batch size takes other kernels; bfloat16 differs by up to 0.1
AT_THE_END = 0.02  # mean over dozens of places of what bfloat16 moves by 0.03 either way
NEVER = -20.0  # log-probability of what nobody expects: whatever lies below costs as much


@dataclass(frozen=True)
class Reading:
    """What the scored process said of the text: logits of every row, and the loss."""

    logits: Logits
    """`(rows, T, V)`."""
    nats: NDArray[np.float64]
    """Loss of every position, `(rows, T)`, normalised by the grader."""
    off_repeat: float
    """Difference of the first batch asked again at the end."""


def read_text(
    model: Model, rows: Tokens, targets: Tokens, batch: int, rng: np.random.Generator
) -> Reading:
    """Score a text in batches of random rows, and ask the first batch again at the end."""
    logits: Logits | None = None
    order = _batches(len(rows), batch, rng)
    first: Logits | None = None
    for chosen in order:
        answer = model(rows[chosen]).copy()
        if logits is None:
            logits = np.empty((*rows.shape, answer.shape[-1]), np.float32)
            first = answer
        logits[chosen] = answer
    assert logits is not None and first is not None
    again = model(rows[order[0]])
    return Reading(logits, nats_of(logits, targets), difference(first, again))


def probe_repeat(reading: Reading) -> Probe:
    """The same batch before and after the text: no learning, counting or drawing while scored."""
    failure = "a second reading differs: the model adapts, counts or draws"
    return compared("repeat", reading.off_repeat, EXACT, failure)


def probe_suffix(
    reading: Reading,
    fresh: Model,
    rows: Tokens,
    batch: int,
    rng: np.random.Generator,
    rounds: int = 3,
    tolerance: float = EXACT,
) -> Probe:
    """In a fresh process, other ends must leave the logits of the beginning as they were.

    Where kernels may differ, roundings are allowed to, but not to favour the tokens that came:
    neither over all of a beginning nor at its last place, whose next token is the one that changed.
    """
    off, worst = 0.0, (0, 0)
    gains: list[NDArray[np.float64]] = []
    for _ in range(rounds):
        cuts = rng.integers(1, rows.shape[1], len(rows))
        altered = np.stack([other_end(rows, i, int(c), rng) for i, c in enumerate(cuts)])
        for chosen in _batches(len(rows), batch, rng):
            answer = fresh(altered[chosen])
            for k, row in enumerate(chosen):
                cut = int(cuts[row])
                change = changes(reading.logits[row, :cut], answer[k, :cut])
                if (this := largest(change)) > off:
                    off, worst = this, (int(row), cut)
                gains += gained(change, rows[row, 1 : cut + 1])
    failure = f"tokens from position {worst[1]} on move earlier logits: the model peeks"
    probe = compared("suffix", off, tolerance, failure)
    return unfavoured(probe, gains, "the model peeks", [gain[-1] for gain in gains])


def probe_process(
    reading: Reading,
    fresh: Model,
    rows: Tokens,
    batch: int,
    rng: np.random.Generator,
    tolerance: float = EXACT,
) -> Probe:
    """In a fresh process, other neighbours and another order must not matter."""
    off = 0.0
    gains: list[NDArray[np.float64]] = []
    for chosen in _batches(len(rows), batch, rng)[:2]:
        for row, answer in zip(chosen, fresh(rows[chosen]), strict=True):
            change = changes(reading.logits[row], answer)
            off = max(off, largest(change))
            gains += gained(change, rows[row, 1:])
    failure = "a fresh process answers otherwise: the model depends on neighbours, order or chance"
    return unfavoured(compared("process", off, tolerance, failure), gains, "the model adapts")


def probe_alone(reading: Reading, fresh: Model, rows: Tokens, rng: np.random.Generator) -> Probe:
    """A row alone, and cut short, gives the logits it gives in a batch."""
    row = int(rng.integers(len(rows)))
    cut = int(rng.integers(max(1, rows.shape[1] // 2), rows.shape[1]))
    off = max(
        difference(reading.logits[row], fresh(rows[row : row + 1])[0]),
        difference(reading.logits[row, :cut], fresh(rows[row : row + 1, :cut])[0]),
    )
    return compared("alone", off, REORDERED, "a row by itself, or cut short, gives other logits")


def probe_alignment(reading: Reading, targets: Tokens, rng: np.random.Generator) -> Probe:
    """Logits fit their own targets better than shuffled ones: flat or displaced answers do not."""
    shuffled = rng.permutation(targets.reshape(-1)).reshape(targets.shape)
    own, other = float(reading.nats.mean()), float(nats_of(reading.logits, shuffled).mean())
    outcome = Outcome.PASS if own < other else Outcome.FAIL
    summary = f"{own:.3f} nats on the targets, {other:.3f} on shuffled ones"
    return Probe("alignment", outcome, summary, {"own": own, "other": other, "means": "invalid"})


def probe_membership(held_out_nats: float, training_nats: float, spread: float) -> Probe:
    """Held-out text that is read far better than training text was seen before."""
    margin = max(0.02 * training_nats, 4 * spread)
    outcome = Outcome.CONFIRM if held_out_nats < training_nats - margin else Outcome.PASS
    summary = f"{held_out_nats:.3f} nats on held-out text, {training_nats:.3f} on training text"
    return Probe("membership", outcome, summary, {"margin": margin})


def nats_of(logits: Logits, targets: Tokens) -> NDArray[np.float64]:
    """Loss of every position, normalised here: `(rows, T, V)` and `(rows, T)` to `(rows, T)`."""
    places = targets[..., None].astype(np.int64)
    nats: NDArray[np.float64] = -np.take_along_axis(log_softmax(logits), places, axis=-1)[..., 0]
    return nats


def other_end(rows: Tokens, row: int, cut: int, rng: np.random.Generator) -> Tokens:
    """A row whose tokens from `cut` on are another natural continuation of the two before."""
    own: Tokens = rows[row].copy()
    length = len(own) - cut
    for context in (2, 1, 0):
        if context > cut:
            continue
        found = _continuations(rows, own[cut - context : cut], own[cut], length)
        if len(found):
            r, c = found[int(rng.integers(len(found)))]
            own[cut:] = rows[r, c : c + length]
            return own
    vocabulary = int(rows.max()) + 1
    own[cut:] = (own[cut:] + rng.integers(1, max(2, vocabulary), length)) % vocabulary
    return own


def difference(a: Logits, b: Logits) -> float:
    """Largest change of a token's log-probability, in nats, between two answers `(..., T, V)`.

    No scale is taken from the answers: one logit of -1e30 for a token that never comes would make
    every other difference look small.
    """
    if a.ndim > 2 and a.shape == b.shape:  # one row at a time, to spare memory
        return max((difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    return largest(changes(a, b))


def changes(a: Logits, b: Logits) -> Logits | None:
    """By how many nats each token is likelier by the first of two answers `(T, V)`; `None` where
    they do not compare."""
    return expected(a) - expected(b) if a.shape == b.shape and is_finite(b) else None


def largest(change: Logits | None) -> float:
    """The largest of some changes, either way."""
    if change is None:
        return float("inf")
    return float(abs(change).max()) if math.prod(change.shape) else 0.0


def gained(change: Logits | None, tokens: Tokens) -> list[NDArray[np.float64]]:
    """Of changes `(T, V)`, those of tokens that came, from the first on; none where there are no
    changes."""
    if change is None:
        return []
    gain = change[np.arange(len(tokens)), tokens.astype(np.int64)]
    return [np.asarray(gain if isinstance(gain, np.ndarray) else gain.cpu().numpy(), np.float64)]


def expected(logits: Logits) -> Logits:
    """Log-probabilities of logits `(..., V)`, from `NEVER` to 0."""
    if not isinstance(logits, np.ndarray):
        return logits.float().log_softmax(-1).clamp_(min=NEVER)
    return log_softmax(logits).clip(min=NEVER)


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """Log-probabilities of an array of logits `(..., V)`."""
    x: NDArray[np.float64] = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return x


def unfavoured(
    probe: Probe,
    gains: Sequence[NDArray[np.float64]],
    failure: str,
    at_the_end: Sequence[float] = (),
) -> Probe:
    """The probe, or a failure where differences that pass as roundings favour what came.

    Roundings fall either way. `gains` are those of the scored answer on its own tokens, and
    `at_the_end` those at the places whose next token is what was changed.
    """
    if probe.outcome is not Outcome.PASS or not gains or not probe.detail["difference"]:
        return probe
    overall = float(np.concatenate(gains).mean())
    last = float(np.mean(at_the_end)) if at_the_end else 0.0
    detail = {**probe.detail, "gain": overall, "gain_at_the_end": last}
    if overall <= EXACT and last <= AT_THE_END:
        return replace(probe, detail=detail)
    said = f"what came is likelier by {overall:.2g} nats, by {last:.2g} where the end changes"
    return Probe(probe.name, Outcome.FAIL, f"{failure}: {said}", detail)


def copied(logits: Logits) -> Logits:
    """A copy of an answer: the buffer may be filled again by the next one."""
    return logits.copy() if isinstance(logits, np.ndarray) else logits.clone()


def compared(name: str, off: float, tolerance: float, failure: str) -> Probe:
    """The outcome of a comparison."""
    detail = {"difference": off if off < float("inf") else None, "tolerance": tolerance}
    if off <= tolerance:
        return Probe(name, Outcome.PASS, f"differs by {off:.2g} nats", detail)
    return Probe(name, Outcome.FAIL, f"{failure} ({off:.2g} nats)", detail)


def _continuations(
    rows: Tokens, context: Tokens, not_this: int, length: int
) -> Sequence[tuple[int, int]]:
    """Places where `context` is followed by another token and enough of a row is left."""
    n = len(context)
    last = rows.shape[1] - length
    if last < n:
        return []
    ok = rows[:, n : last + 1] != not_this  # starts n..last
    for k in range(n):
        ok &= rows[:, k : k + last - n + 1] == context[k]
    return [(int(r), int(c) + n) for r, c in np.argwhere(ok)]


def _batches(n: int, batch: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Random batches of one size that cover all rows; the last one borrows from the others."""
    order = rng.permutation(n)
    short = -n % batch
    padded = np.concatenate([order, order[:short]])
    return [padded[i : i + batch] for i in range(0, len(padded), batch)]
