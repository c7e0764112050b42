"""Texts as vectors. The default needs no model, no key and no download.

A collection records the name of the embedder that made it: vectors of two embedders cannot be
compared, and mixing them would go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from novum.errors import UnknownName, UsageError

Vectors = NDArray[np.float32]
N_DIMENSIONS = 512
GRAMS = (3, 4, 5)
MAX_CHARS = 4_000
"""What is embedded of a text; more says little of what it is about."""


class Embedder(Protocol):
    """Turns texts into vectors of length one."""

    name: str
    """Changes whenever the same text would get another vector."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (texts, dimensions)."""


class NgramEmbedder:
    """Signed hashing of character 3-, 4- and 5-grams: texts that are spelled alike lie close.

    Lexical: it knows nothing of meaning, but it survives inflection, typos and identifiers.
    Source: Weinberger et al. 2009, Feature hashing (arXiv:0902.2206).
    """

    name = f"ngrams-{N_DIMENSIONS}-v1"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (texts, 512)."""
        found = np.zeros((len(texts), N_DIMENSIONS), dtype=np.float32)
        for row, text in zip(found, texts, strict=True):
            row += _counts(text)
        return normalised(found)


def normalised(vectors: Vectors) -> Vectors:
    """Give each vector the length one; a zero vector becomes the first axis."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where(lengths > 0, vectors / np.maximum(lengths, 1e-12), 0.0)
    vectors[lengths[:, 0] == 0, 0] = 1.0
    return np.asarray(vectors, dtype=np.float32)


def _counts(text: str) -> Vectors:
    """Damped, signed counts of the hashed grams of one text, shape (512,)."""
    words = " ".join(text[:MAX_CHARS].lower().split())
    letters = np.frombuffer(f" {words} ".encode(), dtype=np.uint8).astype(np.uint32)
    total = np.zeros(N_DIMENSIONS, dtype=np.float64)
    for n in GRAMS:
        if len(letters) < n:
            continue
        hashed = np.full(len(letters) - n + 1, 0x9E3779B9 * n & 0xFFFFFFFF, dtype=np.uint32)
        for i in range(n):
            hashed = (hashed ^ letters[i : len(letters) - n + 1 + i]) * np.uint32(0x01000193)
        hashed ^= hashed >> np.uint32(15)  # the low bits of FNV alone mix poorly
        hashed *= np.uint32(0x2C1B3C6D)
        hashed ^= hashed >> np.uint32(12)
        sign = np.where(hashed >> np.uint32(31), 1.0, -1.0)
        total += np.bincount(hashed % N_DIMENSIONS, weights=sign, minlength=N_DIMENSIONS)
    damped = np.sign(total) * np.sqrt(np.abs(total))  # a repeated word is not twice the meaning
    return np.asarray(damped, dtype=np.float32)


def make_embedder(spec: str) -> Embedder:
    """The embedder of a spec: `ngrams`, `minilm`, or `openai:MODEL` and the like.

    Raises:
        UnknownName: there is no such embedder.
        UsageError: it needs a package that is not installed; the message names the extra.
    """
    if spec == "ngrams":
        return NgramEmbedder()
    if spec == "minilm":
        from novum.memory.minilm import MiniLm

        return MiniLm.load()
    if ":" in spec:
        from novum.memory.provider import ProviderEmbedder

        return ProviderEmbedder.of(spec)
    raise UnknownName(f"no embedder {spec!r}; there are: ngrams, minilm, openai:MODEL.")


def require_package(load: Callable[[], object], extra: str, what: str) -> None:
    """Import something optional, or say how to get it.

    Raises:
        UsageError: it is not installed.
    """
    try:
        load()
    except ImportError as error:
        raise UsageError(
            f"{what} needs a package: pip install 'novum[{extra}]' ({error})"
        ) from error
