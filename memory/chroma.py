"""A memory that outlives the process: lessons, failures and knowledge in Chroma.

The ledger is the truth, this is an index. Nothing on the loop's path waits for it: `add` queues,
one thread writes in batches, and what is queued is found at once through the process's own index.
When the server goes away the run goes on, says so once, and the lessons are written when it is
back; those that a process could not write are queued again when the run is resumed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from novum.errors import MemoryCorrupt, MemoryUnavailable
from novum.lab.records import Lesson
from novum.memory.documents import (
    Document,
    Failure,
    Knowledge,
    of_failure,
    of_knowledge,
    of_lesson,
    to_failure,
    to_knowledge,
    to_lesson,
)
from novum.memory.embeddings import Embedder, NgramEmbedder, Vectors
from novum.memory.keywords import KeywordIndex
from novum.memory.ranking import Found, Recollection, rank
from novum.memory.recall import RunMemory
from novum.memory.store import Store, is_address

log = logging.getLogger(__name__)
LESSONS, FAILURES, KNOWLEDGE = "lessons", "failures", "knowledge"
KEYWORDS = "keywords.db"
CANDIDATES = 40
"""Lessons that each index hands to the ranking."""
BATCH = 64
GATHER_S = 5.0
"""How long the writer waits for more before it writes: one by one, a lesson costs ten times."""
RETRY_S = (0.5, 30.0)
"""First and longest wait before a server that is gone is tried again."""


@dataclass
class Waiting:
    """A record that is not yet in the store; what is made of it is made when somebody needs it."""

    collection: str
    record: Lesson | Failure | Knowledge

    @cached_property
    def document(self) -> Document:
        """As the store keeps it."""
        match self.record:
            case Lesson():
                return of_lesson(self.record)
            case Failure():
                return of_failure(self.record)
            case _:
                return of_knowledge(self.record)

    @cached_property
    def vector(self) -> Vectors:
        """By n-grams, of shape (512,), whatever embedder the store has."""
        (found,) = NgramEmbedder().embed([self.document.text])
        return np.asarray(found, dtype=np.float32)


class ChromaMemory:
    """Lessons by meaning, words, standing and age. Safe from several threads."""

    def __init__(
        self,
        store: Store,
        *,
        benchmark: str = "",
        keywords: KeywordIndex | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keywords = keywords
        self._benchmark = benchmark
        self._clock = clock
        self._own = RunMemory()
        self._known: set[int] = set()
        self._queue: list[Waiting] = []
        self._fresh: list[Waiting] = []
        """The lessons of the queue, in its order."""
        self._state = threading.Condition()
        self._is_closing = False
        self._n_flushing = 0
        self.trouble = ""
        """Why the last write or recall failed; empty while all is well."""
        self._writer = threading.Thread(target=self._write, name="memory", daemon=True)
        self._writer.start()

    @classmethod
    def open(
        cls, where: Path | str, *, benchmark: str = "", embedder: Embedder | None = None
    ) -> ChromaMemory:
        """Open the memory in a folder, or at the address of a server.

        Raises:
            MemoryMismatch: another embedder or format made it; the message names the remedy.
            MemoryUnavailable: the server does not answer.
            MemoryCorrupt: the folder cannot be read; it can be rebuilt.
            RunBusy: another process owns the folder.
        """
        store = Store.open(where, embedder or NgramEmbedder())
        keywords = None
        try:
            store.count(LESSONS)
            if not is_address(where):
                keywords = KeywordIndex(Path(where) / KEYWORDS)
                _align(store, keywords)
        except BaseException:
            if keywords is not None:
                keywords.close()
            store.close()
            raise
        return cls(store, benchmark=benchmark, keywords=keywords)

    def add(self, lesson: Lesson) -> None:
        """Keep a lesson. Returns at once; `flush` waits until it is written."""
        self._own.add(lesson)
        self._enqueue(Waiting(LESSONS, lesson))

    def add_failure(self, failure: Failure) -> None:
        """Keep an error and what became of it."""
        self._enqueue(Waiting(FAILURES, failure))

    def add_knowledge(self, entries: Iterable[Knowledge]) -> None:
        """Keep what a pack knows."""
        for entry in entries:
            self._enqueue(Waiting(KNOWLEDGE, entry))

    def recall(self, text: str, limit: int) -> Sequence[Lesson]:
        """The lessons nearest to a text, of this run and of earlier ones, best first."""
        return [r.lesson for r in self.search(text, limit)]

    def search(self, text: str, limit: int) -> list[Recollection]:
        """Like `recall`, with the scores.

        While the store does not answer, the lessons of this process alone are searched.
        """
        found: dict[tuple[str, str], Found] = {}
        # Before the store is asked: what is written while it answers would else be in neither.
        with self._state:
            fresh = self._fresh[-CANDIDATES:]
        try:
            for one in self._stored(text, max(limit, CANDIDATES)):
                found[one.lesson.run, one.lesson.id] = one
        except (MemoryUnavailable, MemoryCorrupt) as error:
            self._report(str(error))
            own = self._own.recall(text, max(limit, CANDIDATES))
            fresh += [Waiting(LESSONS, lesson) for lesson in own]
        if fresh:
            (asked,) = NgramEmbedder().embed([text])
            likeness = np.stack([f.vector for f in fresh]) @ asked
            for waiting, similarity in zip(fresh, likeness, strict=True):
                lesson = waiting.record
                assert isinstance(lesson, Lesson)
                found[lesson.run, lesson.id] = Found(lesson, float(similarity))
        ranked = rank(found.values(), benchmark=self._benchmark, now_s=self._clock())
        return ranked[:limit]

    def recall_failures(self, error: str, limit: int) -> list[Failure]:
        """Earlier errors like this one, those with a fix first."""
        try:
            rows = self._store.query(FAILURES, error, 3 * limit)
        except (MemoryUnavailable, MemoryCorrupt) as fault:
            self._report(str(fault))
            return []
        found = [to_failure(body) for _, body, _ in rows]
        return sorted(found, key=lambda f: not f.fix)[:limit]

    def recall_knowledge(self, text: str, limit: int) -> list[Knowledge]:
        """Techniques of this benchmark's pack that bear on a text. None of them is a finding."""
        where = {"benchmark": self._benchmark} if self._benchmark else None
        try:
            rows = self._store.query(KNOWLEDGE, text, limit, where)
        except (MemoryUnavailable, MemoryCorrupt) as fault:
            self._report(str(fault))
            return []
        return [to_knowledge(body) for _, body, _ in rows]

    def lessons(self, benchmark: str) -> Iterable[Lesson]:
        """All lessons on a benchmark, of whatever run; none while the store does not answer."""
        try:
            pages = list(self._store.pages(LESSONS, {"benchmark": benchmark}))
        except (MemoryUnavailable, MemoryCorrupt) as fault:
            self._report(str(fault))
            return []
        return [to_lesson(body) for page in pages for body in page.values()]

    @property
    def n_waiting(self) -> int:
        """Documents that are not yet written."""
        with self._state:
            return len(self._queue)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until everything is written; false when that did not happen in time."""
        with self._state:
            self._n_flushing += 1
            self._state.notify_all()
            try:
                return self._state.wait_for(lambda: not self._queue, timeout_s)
            finally:
                self._n_flushing -= 1

    def close(self) -> None:
        """Write what is waiting, as far as the store answers, and let go of it."""
        with self._state:
            if self._is_closing:
                return
            self._is_closing = True
            self._state.notify_all()
        self._writer.join()
        if self._queue:
            log.warning("%d lessons are not in the memory; resume writes them", len(self._queue))
        if self._keywords is not None:
            self._keywords.close()
        self._store.close()

    def _stored(self, text: str, limit: int) -> list[Found]:
        rows = {id: (body, like) for id, body, like in self._store.query(LESSONS, text, limit)}
        scores: dict[str, float] = {}
        if self._keywords is not None:
            scores = dict(self._keywords.query(text, limit))
            missing = self._store.bodies(LESSONS, [id for id in scores if id not in rows])
            # Not among the nearest by vector: at most as near as the last of those.
            floor = min((like for _, like in rows.values()), default=0.0)
            rows |= {id: (body, floor) for id, body in missing.items()}
        return [Found(to_lesson(b), like, scores.get(id, 0.0)) for id, (b, like) in rows.items()]

    def _enqueue(self, waiting: Waiting) -> None:
        key = hash((waiting.collection, waiting.record))
        with self._state:
            if key in self._known:
                return
            self._known.add(key)
            self._queue.append(waiting)
            if waiting.collection == LESSONS:
                self._fresh.append(waiting)
            self._state.notify_all()

    def _write(self) -> None:
        """The writer's thread: gather, write a batch, and wait longer each time it fails."""
        wait_s = RETRY_S[0]
        while True:
            with self._state:
                self._state.wait_for(lambda: self._queue or self._is_closing)
                if not self._queue:
                    return
                self._state.wait_for(self._is_due, GATHER_S)
                batch = self._queue[: 8 * BATCH]
            try:
                self._keep(batch)
            except Exception as error:  # whatever it is, research goes on without the index
                self._report(str(error))
                with self._state:
                    if self._is_closing:
                        self._state.notify_all()
                        return
                    self._state.wait_for(lambda: self._is_closing, wait_s)
                wait_s = min(2 * wait_s, RETRY_S[1])
                continue
            wait_s = RETRY_S[0]
            with self._state:
                if self.trouble:
                    log.warning("the memory answers again; %d lessons are written", len(batch))
                    self.trouble = ""
                del self._queue[: len(batch)]
                del self._fresh[: sum(w.collection == LESSONS for w in batch)]
                self._state.notify_all()

    def _is_due(self) -> bool:
        """Whether a batch is to be written at once; each new lesson wakes whoever asks."""
        return self._is_closing or self._n_flushing > 0 or len(self._queue) >= BATCH

    def _keep(self, batch: list[Waiting]) -> None:
        for collection in dict.fromkeys(w.collection for w in batch):
            these = [w.document for w in batch if w.collection == collection]
            latest = {document.id: document for document in these}
            # A resumed run queues the lessons of its ledger again; to write one costs a hundred
            # times what it costs to see that it is there.
            known = self._store.bodies(collection, list(latest))
            new = [d for d in latest.values() if known.get(d.id) != d.body]
            if not new:
                continue
            self._store.upsert(collection, new)
            if collection == LESSONS and self._keywords is not None:
                self._keywords.upsert((d.id, d.text) for d in new)

    def _report(self, trouble: str) -> None:
        """Say once what is wrong, not once for each lesson."""
        if not self.trouble:
            log.warning("%s\nThe run goes on; lessons are kept and written later.", trouble)
        self.trouble = trouble


def _align(store: Store, keywords: KeywordIndex) -> None:
    """Bring the keyword index in line with the store after a process was killed between the two."""
    if store.count(LESSONS) == len(keywords):
        return
    known = keywords.ids()
    for page in store.pages(LESSONS):
        missing = [(id, of_lesson(to_lesson(b)).text) for id, b in page.items() if id not in known]
        keywords.upsert(missing)
