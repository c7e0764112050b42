"""Text for training and grading: where it comes from and which split each document belongs to.

A corpus is named by a string: `python`, `linux`, `climbmix:FOLDER`, or `text:PATH` for a file or
folder of one's own. Another source is one function in `SOURCES`. Whatever the source, documents are
normalised, deduplicated by content and put in the order of their digests, which is a shuffle that
every machine agrees on; the digest also decides the split, so a document never stands on both
sides.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from novum.benchmarks.nanochat.archives import archive_digest, linux_sources, parquet_texts
from novum.errors import DataMissing

MIN_DOCUMENT_BYTES = 200  # shorter files are licence stubs and empty `__init__.py`
PIECE_BYTES = 2048
TEXT_SUFFIXES = (".txt", ".md", ".rst", ".py", ".c", ".h")


@dataclass(frozen=True)
class Document:
    """One text and the digest of its UTF-8 bytes."""

    text: str
    digest: str

    @property
    def n_bytes(self) -> int:
        """Length in UTF-8."""
        return len(self.text.encode())


@dataclass(frozen=True)
class Splits:
    """Documents by use: candidates see `train`, `validation` steers, `sealed` backs claims."""

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    sealed: tuple[Document, ...]


def read_corpus(name: str) -> list[Document]:
    """All documents of a corpus, deduplicated, in the order of their digests.

    Raises:
        DataMissing: no such corpus, or it is not on this machine; the message says what to do.
    """
    kind, _, argument = require_known(name).partition(":")
    unique = {d.digest: d for d in map(as_document, SOURCES[kind](argument)) if d is not None}
    return [unique[digest] for digest in sorted(unique)]


def require_known(name: str) -> str:
    """The name, if there is such a kind of corpus.

    Raises:
        DataMissing: there is none; the message says which there are.
    """
    if name.partition(":")[0] not in SOURCES:
        raise DataMissing(
            f"unknown corpus {name!r}. There is `python`, `linux` or `linux:ARCHIVE`, "
            "`climbmix:FOLDER` of parquet shards, and `text:PATH` for your own file or folder."
        )
    return name


def lasting_corpus(name: str) -> str:
    """The name of a corpus with the path in it whole, so that it means the same in any folder.

    Raises:
        DataMissing: there is no such kind of corpus.
    """
    kind, colon, argument = require_known(name).partition(":")
    if not argument or kind == "python":
        return name
    return f"{kind}{colon}{Path(argument).expanduser().resolve()}"


def corpus_digest(name: str) -> str | None:
    """Digest of a corpus that is an archive, without reading its documents; else `None`."""
    kind, _, argument = name.partition(":")
    return archive_digest(kind, argument)


def as_document(raw: bytes) -> Document | None:
    """Decode and normalise one file; `None` when it is not UTF-8 text or too short to matter."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip() + "\n"
    encoded = text.encode()
    if len(encoded) < MIN_DOCUMENT_BYTES or "\0" in text:
        return None
    return Document(text, hashlib.sha256(encoded).hexdigest())


def split(
    documents: Iterable[Document],
    *,
    held_out_fraction: float,
    held_out_bytes: int,
    max_document_bytes: int,
    max_train_bytes: int,
) -> Splits:
    """Deal documents into splits by digest, then cut each split to size.

    Each held-out split gets `held_out_fraction` of all documents, of which it keeps excerpts of at
    most `max_document_bytes`, so that no single file dominates a grade, until it has
    `held_out_bytes`. The rest of the held-out documents is not used at all.
    """
    dealt: dict[str, list[Document]] = {"train": [], "validation": [], "sealed": []}
    for document in documents:
        if not is_held_out(document, held_out_fraction):
            dealt["train"].append(document)
        elif _draw(document) < held_out_fraction:
            dealt["validation"].append(document)
        else:
            dealt["sealed"].append(document)
    return Splits(
        train=take(dealt["train"], max_train_bytes),
        validation=take(
            (excerpt(d, max_document_bytes) for d in dealt["validation"]), held_out_bytes
        ),
        sealed=take((excerpt(d, max_document_bytes) for d in dealt["sealed"]), held_out_bytes),
    )


def is_held_out(document: Document, held_out_fraction: float) -> bool:
    """Whether a document is dealt to one of the held-out splits, each of which gets this share."""
    return _draw(document) < 2 * held_out_fraction


def _draw(document: Document) -> float:
    return int(document.digest[-8:], 16) / 2**32  # the tail: the head already decides the order


def take(documents: Iterable[Document], max_bytes: int) -> tuple[Document, ...]:
    """The first documents that together hold at least `max_bytes`, or all of them."""
    taken: list[Document] = []
    n_bytes = 0
    for document in documents:
        if n_bytes >= max_bytes:
            break
        taken.append(document)
        n_bytes += document.n_bytes
    return tuple(taken)


def excerpt(document: Document, max_bytes: int) -> Document:
    """`max_bytes` from a line that the digest chooses; a short document stays whole."""
    if document.n_bytes <= max_bytes:
        return document
    lines = document.text.splitlines(keepends=True)
    first = int(document.digest[:8], 16) % len(lines)
    rotated = "".join(lines[first:] + lines[:first]).encode()
    kept = rotated[:max_bytes].decode(errors="ignore")  # drops at most half a character
    return Document(kept, hashlib.sha256(kept.encode()).hexdigest())


def python_sources(argument: str) -> Iterator[bytes]:
    """Python files of the standard library and of the torch package, which is not imported."""
    if argument:
        raise DataMissing(
            "the corpus `python` takes no argument; use `text:PATH` for your own files"
        )
    for _, path in python_files():
        yield path.read_bytes()


def python_files() -> Iterator[tuple[Path, Path]]:
    """The files of the corpus `python`, each after the folder that it was found under.

    Raises:
        DataMissing: torch is not installed.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise DataMissing(
            "the corpus `python` reads the sources of the torch package, and none is installed.\n"
            "Install it (`pip install 'novum[train]'`) or name another corpus with `text:PATH`."
        )
    for root in (sysconfig.get_paths()["stdlib"], *spec.submodule_search_locations):
        yield from ((Path(root), path) for path in find_files(Path(root), (".py",)))


def text_files(argument: str) -> Iterator[bytes]:
    """One text file, its documents divided by form feeds, or all text files of a folder.

    A file without form feeds is cut at empty lines, so that there is something to hold out.
    """
    path = Path(argument).expanduser()
    if argument and path.is_file():
        content = path.read_bytes()
        yield from content.split(b"\f") if b"\f" in content else pieces(content)
    elif argument and path.is_dir():
        yield from (file.read_bytes() for file in find_files(path, TEXT_SUFFIXES))
    else:
        raise DataMissing(
            f"the corpus `text:PATH` needs an existing file or folder, and {argument!r} is neither"
        )


def pieces(content: bytes) -> Iterator[bytes]:
    """Runs of paragraphs, each of `PIECE_BYTES` or more but for the last one."""
    kept: list[bytes] = []
    n_bytes = 0
    for paragraph in re.split(rb"(?<=\n)\s*\n", content):
        kept.append(paragraph)
        n_bytes += len(paragraph)
        if n_bytes >= PIECE_BYTES:
            yield b"\n".join(kept)
            kept, n_bytes = [], 0
    if kept:
        yield b"\n".join(kept)


def find_files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """A folder's files with these suffixes, in order, installed packages left out."""
    for path in sorted(folder.rglob("*")):
        foreign = {"site-packages", "dist-packages", "__pycache__"} & set(
            path.relative_to(folder).parts
        )
        if path.suffix in suffixes and not foreign and path.is_file():
            yield path


SOURCES: dict[str, Callable[[str], Iterator[bytes]]] = {
    "python": python_sources,
    "linux": linux_sources,
    "climbmix": parquet_texts,
    "text": text_files,
}
