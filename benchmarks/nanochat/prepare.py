"""Prepared data: token arrays on disk, made once for each content and shared by all runs.

A folder of prepared data is named by the digest of everything it was made from, written aside and
moved into place in one step: several processes may prepare at once, and a reader never sees half of
one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from novum.benchmarks.nanochat.corpus import (
    MIN_DOCUMENT_BYTES,
    Document,
    Splits,
    corpus_digest,
    read_corpus,
    split,
)
from novum.benchmarks.nanochat.tokenizer import Words, encode, token_bytes, train_bpe
from novum.errors import DataMissing

log = logging.getLogger(__name__)

ASIDE = ".preparing-"
FORMAT = 1  # raise when the meaning of the files changes
MAX_EPOCHS = (
    1.5  # above, n-gram tables memorise the corpus and the wrong idea wins (measured on 4 epochs)
)
SAMPLE_BYTES = 16 << 20  # text that the tokenizer is trained on; more changes no merge that matters


class DataPlan(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """What to prepare."""

    corpus: str = "python"
    """`python`, `text:PATH`, or another source of `corpus.SOURCES`."""
    vocab_size: int = Field(default=4096, ge=257, le=1 << 16)
    words: Words = "gpt2"
    max_train_bytes: int = Field(default=24 << 20, gt=0)
    """Training text to keep: enough for the budget, and no more, so that preparing stays quick."""
    held_out_fraction: float = Field(default=1 / 32, gt=0, lt=0.25)
    """Share of the documents that is dealt to each held-out split."""
    held_out_bytes: int = Field(default=192 << 10, gt=0)
    """Text that one grade reads."""
    max_document_bytes: int = Field(default=4 << 10, gt=0)
    """Longest excerpt of one held-out document."""


class SplitFacts(BaseModel, extra="forbid", frozen=True):
    """Size of one split; `n_bytes` counts the UTF-8 text, whatever the tokenizer made of it."""

    n_documents: int
    n_bytes: int
    n_tokens: int


class DataManifest(BaseModel, extra="forbid", frozen=True):
    """`manifest.json` of a folder of prepared data."""

    plan: DataPlan
    fingerprint: str
    splits: dict[str, SplitFacts]
    digests: dict[str, str]
    format: int = 1


@dataclass(frozen=True)
class PreparedData:
    """A folder of prepared data and what is in it."""

    folder: Path
    manifest: DataManifest

    @property
    def fingerprint(self) -> str:
        """Digest of the arrays: two results compare only when this is equal."""
        return self.manifest.fingerprint

    @property
    def train_path(self) -> Path:
        """`.npy`, uint16, `(n_tokens,)`."""
        return self.folder / "train.npy"

    def tokens(self, name: str) -> NDArray[np.uint16]:
        """The token stream of a split, read-only."""
        array: NDArray[np.uint16] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return array

    def n_bytes(self, name: str) -> int:
        """Bytes of raw text behind `tokens(name)`."""
        return self.manifest.splits[name].n_bytes

    def token_bytes(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Bytes of each token, `(V, max_len)`, and their number, `(V,)`."""
        return np.load(self.folder / "token_bytes.npy"), np.load(self.folder / "token_lengths.npy")


def prepare(plan: DataPlan, cache: Path) -> PreparedData:
    """Data as planned, from the cache when it is there and whole.

    The content of the corpus names the folder: an archive is digested each time, and a corpus of
    files is read (a second or two). Where the corpus is not on this machine, data that was prepared
    elsewhere by the same plan will do (`carried`).

    Raises:
        DataMissing: the corpus is not on this machine, or too small to be held out from.
    """
    try:
        named = corpus_digest(plan.corpus)
        documents = read_corpus(plan.corpus) if named is None else None
    except DataMissing:
        if (data := carried(plan, cache)) is not None:
            return data
        raise
    source = named or "".join(d.digest for d in documents or ())
    folder = cache / "nanochat" / source_digest(plan, source)[:24]
    if (data := open_prepared(folder)) is not None:
        return data
    log.info("reading the text of corpus %s", plan.corpus)
    documents = documents or read_corpus(plan.corpus)
    splits = split(
        documents,
        held_out_fraction=plan.held_out_fraction,
        held_out_bytes=plan.held_out_bytes,
        max_document_bytes=plan.max_document_bytes,
        max_train_bytes=plan.max_train_bytes,
    )
    require_all_splits(plan, splits)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    aside = Path(tempfile.mkdtemp(prefix=f"{ASIDE}{os.getpid()}-", dir=folder.parent))
    try:
        write_prepared(plan, splits, aside)
        move_into_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    data = open_prepared(folder)
    if data is None:
        raise DataMissing(f"{folder} was damaged while it was written; remove it and prepare again")
    return data


def carried(plan: DataPlan, cache: Path) -> PreparedData | None:
    """Whole data of this plan that lies in the cache, whatever text and tokenizer it was made from.

    The fingerprint tells the text then, as it does for results.

    Raises:
        DataMissing: there are data of several fingerprints, and nothing to choose by.
    """
    whole = [data for data in map(open_prepared, cache.glob("nanochat/*")) if data is not None]
    found = {
        data.fingerprint: data
        for data in whole
        if data.manifest.plan == plan and data.manifest.format == FORMAT
    }
    if len(found) > 1:
        names = ", ".join(data.folder.name for data in found.values())
        raise DataMissing(
            f"the corpus {plan.corpus!r} is not on this machine, and {cache / 'nanochat'} has "
            f"several data of its plan: {names}.\nRemove all but one of these folders."
        )
    for data in found.values():
        log.warning("corpus %s is not here: taking %s in its place", plan.corpus, data.folder)
        return data
    return None


def require_epochs(data: PreparedData, max_tokens: int, max_epochs: float = MAX_EPOCHS) -> None:
    """Refuse a corpus that a candidate of this budget would read more than `max_epochs` times.

    Raises:
        DataMissing: the training split is too small for the budget.
    """
    n_tokens = data.manifest.splits["train"].n_tokens
    if max_tokens > max_epochs * n_tokens:
        raise DataMissing(
            f"corpus {data.manifest.plan.corpus!r} has {n_tokens:,} training tokens and the budget "
            f"reads up to {max_tokens:,}: more than {max_epochs:g} epochs. N-gram tables would "
            "memorise it and the wrong idea would win. Take a larger corpus, raise "
            "`max_train_bytes`, or lower the budget."
        )


def require_all_splits(plan: DataPlan, splits: Splits) -> None:
    """Raise unless each held-out split got the text that a grade reads, and training got more."""
    sizes = {name: sum(d.n_bytes for d in getattr(splits, name)) for name in Splits.__annotations__}
    short = min(sizes["validation"], sizes["sealed"]) < plan.held_out_bytes
    if short or sizes["train"] < plan.held_out_bytes:
        dealt = ", ".join(
            f"{name} {sizes[name]:,} (documents: {len(getattr(splits, name)):,})" for name in sizes
        )
        enough_mib = 1.3 * plan.held_out_bytes / plan.held_out_fraction / 2**20
        raise DataMissing(
            f"corpus {plan.corpus!r} is too small. Bytes: {dealt}; each needs "
            f"{plan.held_out_bytes:,}.\n"
            f"Take more text: about {enough_mib:.1f} MiB are enough, in documents of up to "
            f"{plan.max_document_bytes:,} bytes (of a longer one an excerpt counts; under "
            f"{MIN_DOCUMENT_BYTES} bytes none does). Or lower `held_out_bytes`."
        )


def source_digest(plan: DataPlan, source: str) -> str:
    """Digest of everything that the arrays depend on; `source` names the corpus's content."""
    import tokenizers

    made_from = f"{FORMAT}:{tokenizers.__version__}:{plan.model_dump_json()}:{source}"
    return hashlib.sha256(made_from.encode()).hexdigest()


def write_prepared(plan: DataPlan, splits: Splits, folder: Path) -> None:
    """Train the tokenizer on the training split, encode all splits, write arrays and manifest."""
    log.info("training a tokenizer of %d words", plan.vocab_size)
    tokenizer = train_bpe([d.text for d in sample(splits.train)], plan.vocab_size, plan.words)
    facts: dict[str, SplitFacts] = {}
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in Splits.__annotations__:
        documents: tuple[Document, ...] = getattr(splits, name)
        n_mib = sum(d.n_bytes for d in documents) / 2**20
        log.info("encoding %s: %d documents, %.0f MiB", name, len(documents), n_mib)
        arrays[name] = tokens = encode(tokenizer, [d.text for d in documents])
        facts[name] = SplitFacts(
            n_documents=len(documents),
            n_bytes=sum(d.n_bytes for d in documents),
            n_tokens=len(tokens),
        )
    arrays["token_bytes"], arrays["token_lengths"] = token_bytes(tokenizer)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    tokenizer.save(str(folder / "tokenizer.json"))
    digests = digest_folder(folder)
    manifest = DataManifest(
        plan=plan,
        fingerprint=fingerprint_of(digests),
        splits=facts,
        digests=digests,
        format=FORMAT,
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1))


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """One digest of the digests of all files."""
    named = "".join(f"{name}={digest};" for name, digest in sorted(digests.items()))
    return hashlib.sha256(named.encode()).hexdigest()


def sample(documents: Sequence[Document]) -> list[Document]:
    """Documents for the tokenizer: the first ones, which are random ones, up to `SAMPLE_BYTES`."""
    chosen: list[Document] = []
    n_bytes = 0
    for document in documents:
        if n_bytes >= SAMPLE_BYTES:
            break
        chosen.append(document)
        n_bytes += document.n_bytes
    return chosen


def open_prepared(folder: Path) -> PreparedData | None:
    """Prepared data if the folder holds exactly what its manifest says, else `None`."""
    try:
        manifest = DataManifest.model_validate_json((folder / "manifest.json").read_bytes())
        digests = digest_folder(folder)
        whole = digests == manifest.digests and fingerprint_of(digests) == manifest.fingerprint
    except (OSError, ValidationError):
        return None
    return PreparedData(folder, manifest) if whole else None


def remove_leftovers(parent: Path) -> None:
    """Remove what a process that was killed while it prepared has left."""
    for aside in parent.glob(f"{ASIDE}*-*"):
        pid = aside.name.removeprefix(ASIDE).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(aside, ignore_errors=True)


def move_into_place(aside: Path, folder: Path) -> None:
    """Rename, unless another process was first; a damaged folder in the way is replaced."""
    if folder.exists() and open_prepared(folder) is None:
        shutil.rmtree(folder)
    try:
        os.rename(aside, folder)
    except OSError:
        if open_prepared(folder) is None:
            raise


def digest_folder(folder: Path) -> dict[str, str]:
    """SHA-256 of each file but the manifest."""
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.iterdir())
        if p.name != "manifest.json"
    }
