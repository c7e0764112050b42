"""`novum memory rebuild`: make the index of lessons anew from the ledgers, which are the truth."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from novum.errors import RunBusy
from novum.lab.ledger import Ledger
from novum.lab.records import Lesson
from novum.memory.chroma import KEYWORDS, LESSONS
from novum.memory.documents import of_lesson
from novum.memory.embeddings import make_embedder
from novum.memory.keywords import KeywordIndex
from novum.memory.store import Store, is_address


def rebuild(runs: Sequence[Path], where: str | None = None, embedder: str = "ngrams") -> int:
    """Make a memory anew from the lessons of runs; returns how many it holds.

    Args:
        runs: folders of runs. Without `where`, each gets its own memory anew.
        where: folder or server address of a shared memory that takes the lessons of all.
        embedder: spec of what makes the vectors from now on.

    The old folder is replaced only once the new one is whole.

    Raises:
        RunBusy: a process uses the memory.
        RecordError: a run has no ledger, or it is damaged.
        MemoryUnavailable: the server does not answer.
    """
    if where is None:
        return sum(_replace(run / "memory", _lessons(run), embedder) for run in runs)
    lessons = [lesson for run in runs for lesson in _lessons(run)]
    if is_address(where):
        return _refill(where, lessons, embedder)
    return _replace(Path(where).expanduser(), lessons, embedder)


def _lessons(run: Path) -> list[Lesson]:
    with Ledger.open(run / "ledger.db", read_only=True) as ledger:
        return list(ledger.lessons())


def _replace(folder: Path, lessons: Sequence[Lesson], embedder: str) -> int:
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    documents = [of_lesson(lesson) for lesson in lessons]
    store = Store.open(fresh, make_embedder(embedder))
    keywords = KeywordIndex(fresh / KEYWORDS)
    try:
        store.upsert(LESSONS, documents)
        keywords.upsert((d.id, d.text) for d in documents)
        n = store.count(LESSONS)
    finally:
        keywords.close()
        store.close()
    if folder.exists():
        if Store.is_owned(folder):
            shutil.rmtree(fresh)
            raise RunBusy(f"a process uses the memory at {folder}; let it end and rebuild again")
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return n


def _refill(address: str, lessons: Sequence[Lesson], embedder: str) -> int:
    store = Store.open(address, make_embedder(embedder))
    try:
        store.drop(LESSONS)
        store.upsert(LESSONS, [of_lesson(lesson) for lesson in lessons])
        return store.count(LESSONS)
    finally:
        store.close()
