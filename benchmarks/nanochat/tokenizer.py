"""Byte-level BPE: training, encoding, and the bytes that each token stands for.

`tokenizers` is imported where it is used: neither grading nor reading a pack needs it.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BOUNDARY = "<|document|>"  # stands before each document and for no bytes
Words = Literal["gpt2", "code"]
"""How text is cut before merging: as GPT-2 did, or so that `snake_case` and indentation merge."""
# A letter run takes one sign before it (`_name`, `.name`), numbers go by two digits, and a line
# break takes the white space before it: 40 % more bytes a token on C than GPT-2's.
CODE_WORDS = (
    r"[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
PARALLEL_DOCUMENTS = 20_000
BATCH_DOCUMENTS = 512  # one call of `encode_batch` uses all cores; larger batches only cost memory


def train_bpe(texts: Sequence[str], vocab_size: int, words: Words = "gpt2") -> Tokenizer:
    """A byte-level BPE of `vocab_size` tokens, the boundary included as token 0.

    No merge crosses the borders between `words`. Source: Sennrich et al. 2016 (arXiv:1508.07909),
    on bytes as in GPT-2.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    if words == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(CODE_WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        special_tokens=[BOUNDARY],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.uint16]:
    """All texts as one stream of tokens, each text preceded by the boundary.

    Large corpora are dealt to processes: the lists of numbers that the library returns are built
    under the interpreter's lock, and were 80 % of the time in one process.
    """
    if len(texts) < PARALLEL_DOCUMENTS or (n_processes := len(os.sched_getaffinity(0))) == 1:
        return encode_here(tokenizer, texts)
    step = math.ceil(len(texts) / (4 * n_processes))
    parts = [texts[first : first + step] for first in range(0, len(texts), step)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, spawn, start_encoder, (tokenizer.to_str(),)) as pool:
        return np.concatenate(list(pool.map(encode_part, parts)))


def start_encoder(tokenizer: str) -> None:
    """Make the tokenizer of a worker process, one thread each."""
    global encoder
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_str(tokenizer)


encoder: Tokenizer | None = None  # of a worker process


def encode_part(texts: Sequence[str]) -> NDArray[np.uint16]:
    """`encode_here` with the tokenizer of this worker process."""
    assert encoder is not None
    return encode_here(encoder, texts)


def encode_here(tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.uint16]:
    """`encode` in this process."""
    boundary = tokenizer.token_to_id(BOUNDARY)
    # A text that quotes the boundary must not become one, or bytes would go uncounted.
    tokenizer.encode_special_tokens = True
    pieces: list[NDArray[np.uint16]] = []
    for first in range(0, len(texts), BATCH_DOCUMENTS):
        batch = texts[first : first + BATCH_DOCUMENTS]
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            pieces.append(np.array([boundary, *encoding.ids], dtype=np.uint16))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint16)


def token_bytes(tokenizer: Tokenizer) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of each token and their number: `(V, max_len)` padded with 0, and `(V,)`.

    The boundary stands for no bytes. Facts of the tokenizer, public to candidates.
    """
    alphabet = byte_of_character()
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    spelled: dict[int, bytes] = {
        i: b"" if token == BOUNDARY else bytes(alphabet[c] for c in token)
        for token, i in vocabulary.items()
    }
    lengths = np.array([len(spelled[i]) for i in range(len(spelled))], dtype=np.int64)
    table = np.zeros((len(spelled), int(lengths.max())), np.uint8)
    for i, spelling in spelled.items():
        table[i, : len(spelling)] = list(spelling)
    return table, lengths


def byte_of_character() -> dict[str, int]:
    """The byte behind each character of a byte-level vocabulary (GPT-2's printable alphabet)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}
