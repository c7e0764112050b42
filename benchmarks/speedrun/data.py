"""Where the tokens of a speedrun come from: a prepared corpus, or shards in the public format.

A shard (`fineweb_train_000001.bin`, as the public speedrun and llm.c write them) is a header of 256
int32 (magic 20240520, version 1, number of tokens) followed by the tokens as uint16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from novum.benchmarks.nanochat.bpb import HeldOut
from novum.benchmarks.protocol import Array
from novum.errors import DataMissing

MAGIC, VERSION = 20240520, 1
HEADER_INTS = 256
HEADER_BYTES = 4 * HEADER_INTS
GPT2_VOCAB = 50257
GPT2_BOUNDARY = 50256
SAMPLE_BYTES = 1 << 20


class TokenArrays:
    """Arrays of tokens one after another, as one stream that begins again at its end."""

    def __init__(self, arrays: Sequence[NDArray[np.uint16]]) -> None:
        self.arrays = [a for a in arrays if len(a)]
        self.ends = np.cumsum([len(a) for a in self.arrays])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def read(self, first: int, n_tokens: int) -> Array:
        """`n_tokens` from `first` on, `(n_tokens,)` uint16."""
        first %= len(self)
        index = int(np.searchsorted(self.ends, first, side="right"))
        begin = first - (int(self.ends[index - 1]) if index else 0)
        piece = self.arrays[index][begin : begin + n_tokens]
        if len(piece) == n_tokens:
            return piece
        rest = self.read(first + len(piece), n_tokens - len(piece))
        return np.concatenate([piece, rest])


def read_shard(path: Path) -> NDArray[np.uint16]:
    """The tokens of a shard, mapped.

    Raises:
        DataMissing: it is not a whole shard of this format.
    """
    header = np.fromfile(path, "<i4", HEADER_INTS)
    if len(header) < HEADER_INTS or header[0] != MAGIC or header[1] != VERSION:
        raise DataMissing(
            f"{path} is not a shard: its header must begin with {MAGIC} and version {VERSION}"
        )
    n_tokens = int(header[2])
    if path.stat().st_size != HEADER_BYTES + 2 * n_tokens:
        raise DataMissing(f"{path} is not whole: its header promises {n_tokens:,} tokens")
    return np.memmap(path, "<u2", "r", HEADER_BYTES, (n_tokens,))


def write_shard(path: Path, tokens: NDArray[np.uint16]) -> None:
    """Write tokens as a shard."""
    header = np.zeros(HEADER_INTS, "<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    path.write_bytes(header.tobytes() + tokens.astype("<u2").tobytes())


def find_shards(folder: Path, split: str) -> list[Path]:
    """Shards of `train` or `val` in a folder, in order.

    Raises:
        DataMissing: there is none; the message says which files belong where.
    """
    found = sorted(folder.glob(f"*_{split}_*.bin"))
    if not found:
        raise DataMissing(
            f"no shard *_{split}_*.bin lies in {folder}.\n"
            "The public speedrun's cached FineWeb tokens (fineweb_train_000001.bin and on, "
            "fineweb_val_000000.bin) go there as they are, or name another folder as "
            "`options.shards` of the profile."
        )
    return found


def digest_of(paths: Sequence[Path]) -> str:
    """Digest of names, sizes, and the beginning and end of each shard: quick on 20 GB."""
    total = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        total.update(f"{path.name}:{size}:".encode())
        with open(path, "rb") as file:
            total.update(file.read(SAMPLE_BYTES))
            file.seek(max(0, size - SAMPLE_BYTES))
            total.update(file.read(SAMPLE_BYTES))
    return total.hexdigest()


def rows_of(tokens: NDArray[np.uint16], context: int, n_tokens: int) -> HeldOut:
    """The first `n_tokens` targets as rows; every token counts as one unit.

    Raises:
        DataMissing: there are fewer.
    """
    n_rows = n_tokens // context
    if len(tokens) < n_rows * context + 1:
        raise DataMissing(f"held-out text has {len(tokens):,} tokens, {n_tokens:,} are graded")
    piece = np.asarray(tokens[: n_rows * context + 1], np.int64)
    shape = (n_rows, context)
    return HeldOut(
        piece[:-1].reshape(shape), piece[1:].reshape(shape), np.ones(shape), n_rows * context
    )
