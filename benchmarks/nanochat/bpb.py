"""Bits per byte of held-out text, computed by the grader from raw logits.

The candidate's process sees input tokens and nothing else. Normalisation, targets, byte counts and
sums happen here, in numpy, or in torch for logits on the grader's own GPU: exponentials are taken
in float32, of differences to the largest logit, and everything after that is float64.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY_LOGITS = 1 << 26  # below, starting threads costs more than it saves

Tokens = NDArray[np.int64]
Logits = Any
"""`(B, T, V)`: a numpy array of float32, or a torch tensor on the grader's own GPU."""
Model = Callable[[Tokens], Logits]
"""Tokens `(B, T)` to logits `(B, T, V)`."""


class BadLogits(Exception):
    """The model answered with something that is not finite logits of the right shape."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out text, cut into rows that a model reads independently.

    `inputs` and `targets` are `(N, T)`. A target that stands for no bytes (the boundary of a
    document, padding) has weight 0 and is not counted; all others spell the raw text exactly.
    """

    inputs: Tokens
    targets: Tokens
    weights: NDArray[np.float64]
    n_bytes: int


def cut_rows(
    stream: NDArray[np.uint16], lengths: NDArray[np.int64], context: int, n_bytes: int
) -> HeldOut:
    """Cut a token stream into rows of `context`, each target standing in exactly one row.

    `lengths` are the bytes of each token, `n_bytes` those of the raw text before it was tokenised.

    Raises:
        ValueError: the tokens do not spell `n_bytes` bytes: not the data of this tokenizer.
    """
    spelled = int(lengths[stream].sum())
    if spelled != n_bytes:
        raise ValueError(f"the tokens spell {spelled} bytes, the text has {n_bytes}")
    n_rows = math.ceil((len(stream) - 1) / context)
    padded = np.zeros(n_rows * context + 1, np.int64)
    padded[: len(stream)] = stream
    targets = padded[1:].reshape(n_rows, context)
    weights = (lengths[targets] > 0).astype(np.float64)
    weights.reshape(-1)[len(stream) - 1 :] = 0.0
    return HeldOut(padded[:-1].reshape(n_rows, context), targets, weights, n_bytes)


def bits_per_byte(model: Model, text: HeldOut, vocab_size: int, batch_size: int) -> float:
    """Bits that the model needs for the text, divided by the bytes of the text.

    Raises:
        BadLogits: wrong shape, or a value that is NaN or infinite.
    """
    nats = sum(
        row_nats(model, text, slice(first, first + batch_size), vocab_size)
        for first in range(0, len(text.inputs), batch_size)
    )
    return nats / math.log(2) / text.n_bytes


def row_nats(model: Model, text: HeldOut, rows: slice, vocab_size: int) -> float:
    """Nats of the counted targets of some rows."""
    inputs = text.inputs[rows]
    logits = checked(model(inputs), (*inputs.shape, vocab_size))
    return float((target_nats(logits, text.targets[rows]) * text.weights[rows]).sum())


def target_nats(logits: Logits, targets: Tokens) -> NDArray[np.float64]:
    """`-log softmax(logits)[target]` in nats, `(B, T)`.

    The exponentials are taken in float32 (errors of 1e-7 that do not add up) and summed in float64.
    Rows are dealt to threads where there are many numbers: numpy lets the lock go.
    """
    if not isinstance(logits, np.ndarray):
        return nats_of_tensor(logits, targets)
    if logits.size < MANY_LOGITS or len(logits) == 1:
        return nats_of_rows(logits, targets)
    with ThreadPoolExecutor(min(len(logits), len(os.sched_getaffinity(0)))) as pool:
        parts = pool.map(
            nats_of_rows, np.split(logits, len(logits)), np.split(targets, len(logits))
        )
        return np.concatenate(list(parts))


def nats_of_rows(logits: Logits, targets: Tokens) -> NDArray[np.float64]:
    """`target_nats` in this thread."""
    top = logits.max(axis=-1, keepdims=True)
    total = np.exp(logits - top).sum(axis=-1, dtype=np.float64)
    chosen = np.take_along_axis(logits, targets[..., None], axis=-1)
    nats: NDArray[np.float64] = np.log(total) - (chosen.astype(np.float64) - top)[..., 0]
    return nats


def nats_of_tensor(logits: Logits, targets: Tokens) -> NDArray[np.float64]:
    """`target_nats` on the device of the logits, one row at a time to spare its memory."""
    import torch

    places = torch.from_numpy(targets).to(logits.device)
    nats = torch.empty(places.shape, dtype=torch.float64, device=logits.device)
    for i, row in enumerate(logits):
        x = row.float()
        chosen = x.gather(-1, places[i, :, None])[:, 0]
        top = x.amax(-1, keepdim=True)
        # not `logsumexp`: beside large logits it is rounded to their precision, in whose favour a
        # model can arrange
        total = (x - top).exp_().sum(-1, dtype=torch.float64)
        nats[i] = total.log() - (chosen.double() - top[:, 0].double())
    return np.asarray(nats.cpu().numpy(), np.float64)


def checked(logits: Logits, shape: tuple[int, ...]) -> Logits:
    """The logits, if they are finite floats of this shape: float32 where they are an array.

    Raises:
        BadLogits: they are not; the message says how.
    """
    if not isinstance(logits, np.ndarray):
        if tuple(logits.shape) != shape or not logits.is_floating_point():
            raise BadLogits(f"logits are {logits.dtype} {tuple(logits.shape)}, expected {shape}")
        if n_bad := int((~logits.isfinite()).sum()):
            raise BadLogits(f"{n_bad} logits are NaN or infinite")
        return logits
    if logits.shape != shape or logits.dtype != np.float32:
        raise BadLogits(f"logits are {logits.dtype} {logits.shape}, expected float32 {shape}")
    if not np.isfinite(logits).all():
        raise BadLogits(f"{np.count_nonzero(~np.isfinite(logits))} logits are NaN or infinite")
    return logits
