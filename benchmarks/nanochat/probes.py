"""Questions to a trained language model that an honest one answers alike, whatever the order.

Each probe is a pure function of a model, `tokens (B, T) -> logits (B, T, V)`, and of held-out rows.
It asks more than once and compares; it never looks inside. Differences are those of
log-probabilities: what a hidden dependence could be worth, at most `EXACT` nats.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from novum.benchmarks.nanochat.bpb import Logits, Model, Tokens, checked
from novum.benchmarks.probes.language import EXACT, REORDERED, compared, copied, difference
from novum.lab.records import Outcome, Probe


def probe_suffix(model: Model, rows: Tokens, vocab_size: int, rng: np.random.Generator) -> Probe:
    """Later tokens must not change earlier logits.

    Every row is cut at a place of its own, first and last position among them. Half of the rows go
    on with the text of another row, so that a model cannot tell the probe from text, half with
    random tokens.
    """
    before = ask(model, rows, vocab_size)
    n_rows, context = rows.shape
    cuts = [1, context - 1, *rng.integers(1, context, (n_rows,)).tolist()][:n_rows]
    changed = rows.copy()
    for i, cut in enumerate(cuts):
        changed[i, cut:] = other_suffix(rows, i, cut, vocab_size, rng)
    after = ask(model, changed, vocab_size)
    off = max(difference(before[i, :cut], after[i, :cut]) for i, cut in enumerate(cuts))
    return compared("suffix", off, EXACT, "later tokens move earlier logits: the model peeks")


def other_suffix(
    rows: Tokens, row: int, cut: int, vocab_size: int, rng: np.random.Generator
) -> Tokens:
    """Another end for one row: of another row where that differs at once, else random tokens."""
    donor: Tokens = rows[(row + 1) % len(rows), cut:]
    if row % 2 == 0 and donor[0] != rows[row, cut]:
        return donor
    steps = rng.integers(1, vocab_size, rows.shape[1] - cut)
    random: Tokens = (rows[row, cut:] + steps) % vocab_size
    return random


def probe_repeat(
    model: Model, rows: Tokens, vocab_size: int, between: Callable[[], object]
) -> Probe:
    """One batch gives the same logits before and after `between`, where others are scored."""
    before = ask(model, rows, vocab_size)
    between()
    off = difference(before, ask(model, rows, vocab_size))
    return compared("repeat", off, EXACT, "a second reading differs: the model adapts or draws")


def probe_independence(
    model: Model, rows: Tokens, vocab_size: int, rng: np.random.Generator
) -> Probe:
    """A row gives the same logits alone, in a batch, and in a batch of another order."""
    together = ask(model, rows, vocab_size)
    order = rng.permutation(len(rows))
    shuffled = ask(model, rows[order], vocab_size)
    row = int(rng.integers(len(rows)))
    alone = ask(model, rows[row : row + 1], vocab_size)[0]
    off = max(difference(together[order], shuffled), difference(together[row], alone))
    return compared("independence", off, REORDERED, "other rows of a batch move a row's logits")


def probe_floor(bpb: float, floor: float) -> Probe:
    """Bits per byte below what the budget can reach are not believed."""
    outcome = Outcome.PASS if bpb >= floor else Outcome.FAIL
    return Probe("floor", outcome, f"{bpb:.4f} bits per byte, floor {floor:g}", {"floor": floor})


def probe_epochs(epochs: float, limit: float) -> Probe:
    """A corpus that was read too often, by the candidate's own count, makes tables look good."""
    outcome = Outcome.PASS if epochs <= limit else Outcome.CONFIRM
    return Probe(
        "epochs",
        outcome,
        f"{epochs:.2f} epochs by its own count, at most {limit:g}",
        {"epochs": epochs},
    )


def ask(model: Model, rows: Tokens, vocab_size: int) -> Logits:
    """A copy of the model's answer: the buffer may be filled again by the next one.

    Raises:
        BadLogits: the answer is not finite float32 of the right shape.
    """
    return copied(checked(model(rows), (*rows.shape, vocab_size)))
