"""Chroma: collections of documents with vectors of ours, in a folder or behind a server.

An embedded store has one owner, held by a lock: two writers would damage its vectors silently.
`close` frees it. A server (`chroma run --path P`) serves any number of processes.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from novum.errors import (
    MemoryCorrupt,
    MemoryMismatch,
    MemoryUnavailable,
    NovumError,
    RunBusy,
    UsageError,
)
from novum.memory.documents import Document
from novum.memory.embeddings import Embedder, Vectors

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

log = logging.getLogger(__name__)
FORMAT = 1
HNSW = {
    "space": "cosine",
    "ef_construction": 400,
    "ef_search": 800,
    "max_neighbors": 64,
    "sync_threshold": 250,
}
"""With the defaults the right one of 10,000 look-alike documents came first for 79 % of queries and
a new one was missed outright; with these for all (measured on random words, 512 dimensions). What
was written since the last full `sync_threshold` is put into the index again when a folder is
opened, 1 ms each: with Chroma's own 1,000 that is up to a second at every start."""
BATCH = 500
REMEDY = "Run `novum memory rebuild RUN` to make it anew from the ledger"


class Store:
    """Documents of several collections, all by one embedder."""

    def __init__(self, client: ClientAPI, where: str, embedder: Embedder) -> None:
        self._client = client
        self.where = where
        self.embedder = embedder
        self._lock: Any = None
        self._collections: dict[str, Collection] = {}

    @classmethod
    def open(cls, where: Path | str, embedder: Embedder) -> Store:
        """Open a folder (made if need be) or the server at an `http://` address.

        Raises:
            RunBusy: another process owns the folder.
            MemoryUnavailable: the server does not answer.
            MemoryCorrupt: the folder cannot be read.
            UsageError: the address makes no sense.
        """
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False, allow_reset=False)
        if is_address(where):
            address = urlsplit(str(where))
            if not address.hostname:
                raise UsageError(f"{where} is no address of a Chroma server: http://HOST:PORT")
            with translated(str(where)):
                client = chromadb.HttpClient(
                    host=address.hostname,
                    port=address.port or 8000,
                    ssl=address.scheme == "https",
                    settings=settings,
                )
            return cls(client, str(where), embedder)
        folder = Path(where)
        folder.mkdir(parents=True, exist_ok=True)
        lock = _own(folder)
        try:
            with translated(str(folder)):
                client = chromadb.PersistentClient(folder, settings)
        except BaseException:
            lock.close()
            raise
        store = cls(client, str(folder), embedder)
        store._lock = lock
        return store

    def close(self) -> None:
        """Let go of the folder or server, so that the next to open it sees it as it is."""
        self._collections.clear()
        if self._client is not None:
            # Clients are cached by path inside a process: without this a folder that was deleted
            # and made again would still look as before.
            sessions = _sessions(self._client)
            self._client.close()  # type: ignore[attr-defined]
            for session in sessions:
                session.close()
            self._client = None  # type: ignore[assignment]
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def upsert(self, collection: str, documents: Sequence[Document]) -> None:
        """Keep documents; one with the same id is replaced.

        Raises:
            MemoryMismatch: another embedder made the collection.
            MemoryUnavailable: the server does not answer; nothing or all of a batch is kept.
        """
        for i in range(0, len(documents), BATCH):
            part = documents[i : i + BATCH]
            vectors = self.embedder.embed([d.text for d in part])
            with translated(self.where):
                self._collection(collection).upsert(
                    ids=[d.id for d in part],
                    embeddings=vectors,
                    documents=[d.body for d in part],
                    metadatas=[dict(d.tags) for d in part],
                )

    def query(
        self, collection: str, text: str, limit: int, where: Mapping[str, str] | None = None
    ) -> list[tuple[str, str, float]]:
        """Nearest documents: (id, body, cosine similarity), nearest first.

        Raises:
            MemoryMismatch: another embedder made the collection.
            MemoryUnavailable: the server does not answer.
            MemoryCorrupt: the index cannot be read.
        """
        vectors: Vectors = self.embedder.embed([text])
        with translated(self.where):
            found = self._collection(collection).query(
                query_embeddings=vectors,
                n_results=limit,
                where=dict(where) if where else None,
                include=["documents", "distances"],
            )
        bodies, distances = found["documents"], found["distances"]
        assert bodies is not None and distances is not None
        rows = zip(found["ids"][0], bodies[0], distances[0], strict=True)
        return [(id, body, 1.0 - float(distance)) for id, body, distance in rows]

    def bodies(self, collection: str, ids: Sequence[str]) -> dict[str, str]:
        """Bodies of the documents of these ids, as far as they exist."""
        if not ids:
            return {}
        with translated(self.where):
            found = self._collection(collection).get(ids=list(ids), include=["documents"])
        return dict(zip(found["ids"], found["documents"] or [], strict=True))

    def pages(
        self, collection: str, where: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, str]]:
        """All documents (id to body) in pages, those of certain tags if asked."""
        offset = 0
        while True:
            with translated(self.where):
                found = self._collection(collection).get(
                    where=dict(where) if where else None,
                    limit=4 * BATCH,
                    offset=offset,
                    include=["documents"],
                )
            if not found["ids"]:
                return
            yield dict(zip(found["ids"], found["documents"] or [], strict=True))
            offset += len(found["ids"])

    def count(self, collection: str) -> int:
        """Number of documents."""
        with translated(self.where):
            return self._collection(collection).count()

    def drop(self, collection: str) -> None:
        """Delete a collection, whoever made it."""
        self._collections.pop(collection, None)
        with translated(self.where):
            if collection in [c.name for c in self._client.list_collections()]:
                self._client.delete_collection(collection)

    @staticmethod
    def is_owned(folder: Path) -> bool:
        """Whether some process has the store of a folder open."""
        try:
            _own(folder).close()
        except RunBusy:
            return True
        return False

    def check(self, collection: str) -> None:
        """Read every vector once.

        Raises:
            MemoryCorrupt: some are lost.
        """
        with translated(self.where):
            opened = self._collection(collection)
            for offset in range(0, opened.count(), BATCH):
                opened.get(limit=BATCH, offset=offset, include=["embeddings"])

    def _collection(self, name: str) -> Collection:
        if name not in self._collections:
            made_by = {"embedder": self.embedder.name, "format": FORMAT}
            collection = self._client.get_or_create_collection(
                name,
                embedding_function=None,
                metadata=made_by,
                configuration={"hnsw": HNSW},  # type: ignore[arg-type]
            )
            found = {k: (collection.metadata or {}).get(k) for k in made_by}
            if found != made_by:
                raise MemoryMismatch(
                    f"the memory at {self.where} was made by {found['embedder']}, format "
                    f"{found['format']}; asked for is {self.embedder.name}, format {FORMAT}.\n"
                    f"{REMEDY}, or choose the embedder that made it."
                )
            self._collections[name] = collection
        return self._collections[name]


def is_address(where: Path | str) -> bool:
    """Whether a place is a server, not a folder."""
    return isinstance(where, str) and where.startswith(("http://", "https://"))


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn Chroma's faults into ours: a server that is gone, or an index that is damaged."""
    try:
        yield
    except NovumError:
        raise
    except Exception as error:  # Chroma raises bare Exception, ValueError and its own
        if is_address(where):
            raise MemoryUnavailable(
                f"the Chroma server at {where} does not answer: {error}\n"
                "Start it with `chroma run --path FOLDER`, or use a folder."
            ) from error
        raise MemoryCorrupt(f"the memory at {where} cannot be read: {error}\n{REMEDY}.") from error


def _sessions(client: Any) -> list[Any]:
    """The HTTP sessions of a server's client, which its own `close` leaves open."""
    owners = (client, getattr(client, "_admin_client", None))
    found = (getattr(getattr(owner, "_server", None), "_session", None) for owner in owners)
    return [session for session in found if session is not None]


def _own(folder: Path) -> Any:
    handle = (folder / "owner.lock").open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise RunBusy(
            f"another process uses the memory at {folder}.\n"
            "Let it end, or serve the folder with `chroma run --path` and give its address to both."
        ) from error
    return handle
