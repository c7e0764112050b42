"""The memory that a run's settings ask for."""

from __future__ import annotations

import logging
from pathlib import Path

from novum.errors import MemoryCorrupt, UsageError
from novum.memory.chroma import ChromaMemory
from novum.memory.embeddings import make_embedder
from novum.memory.protocol import Memory
from novum.memory.recall import RunMemory
from novum.memory.store import is_address

log = logging.getLogger(__name__)


def open_memory(folder: Path, where: str | None, embedder: str, benchmark: str) -> Memory:
    """The run's own memory in `folder`, or the shared one at `where`.

    A damaged memory of the run's own stops nothing: it is an index of what the ledger holds, so the
    run goes on with a plain one and says how to repair it. Neither does a missing chromadb, as on
    a bare node.

    Raises:
        MemoryMismatch: another embedder made it.
        MemoryUnavailable: the server does not answer.
        MemoryCorrupt: a shared memory is damaged.
        RunBusy: another process owns the folder.
        UsageError: the embedder, or a shared memory, needs a package that is missing.
    """
    made = make_embedder(embedder)
    place = folder if where is None else where if is_address(where) else Path(where).expanduser()
    try:
        return ChromaMemory.open(place, benchmark=benchmark, embedder=made)
    except MemoryCorrupt as error:
        if where is not None:
            raise
        log.warning("%s\nThe run goes on with the lessons of its ledger alone.", error)
        return RunMemory()
    except ModuleNotFoundError as error:
        if error.name != "chromadb":
            raise
        if where is not None:
            raise UsageError(
                f"the memory at {where} needs chromadb, which is not installed: "
                "`pip install chromadb`."
            ) from error
        log.warning(
            "chromadb is not installed: the run goes on with the lessons of its ledger alone."
        )
        return RunMemory()
