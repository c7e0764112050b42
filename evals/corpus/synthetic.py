"""Text for a language model that trains in milliseconds: a Markov source whose entropy is known.

32 tokens of one byte each; the next one depends on the two before. Nothing below the source's
entropy can be reached honestly, so a physics floor exists.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

VOCABULARY = 32
SOURCE_SEED = 20_240_711
CONCENTRATION = 0.08  # the source has 3.60 bits a token; pairs reach 4.64

Tokens = NDArray[np.int64]


@cache
def transitions() -> NDArray[np.float64]:
    """Probability of the next token given the two before, `(V, V, V)`."""
    rng = np.random.default_rng(SOURCE_SEED)
    alpha = np.full(VOCABULARY, CONCENTRATION)
    table = rng.dirichlet(alpha, (VOCABULARY, VOCABULARY))
    first_order = rng.dirichlet(alpha * 4, VOCABULARY)[None, :, :]
    return np.asarray(0.6 * table + 0.38 * first_order + 0.02 / VOCABULARY)


def documents(n: int, length: int, seed: int) -> Tokens:
    """Independent texts, `(n, length)`."""
    rng = np.random.default_rng([seed, n, length])
    cumulative = transitions().cumsum(axis=-1)
    texts = np.empty((n, length), np.int64)
    texts[:, :2] = rng.integers(VOCABULARY, size=(n, 2))
    for t in range(2, length):
        rows = cumulative[texts[:, t - 2], texts[:, t - 1]]
        draws = rng.random((n, 1)) * rows[:, -1:]
        texts[:, t] = (rows < draws).sum(axis=1)
    return np.minimum(texts, VOCABULARY - 1)


def entropy_bits() -> float:
    """Mean bits a token of the source, estimated on a long text; no model can be better."""
    text = documents(256, 256, seed=1)
    p = transitions()[text[:, :-2], text[:, 1:-1], text[:, 2:]]
    return float(-np.log2(p).mean())
