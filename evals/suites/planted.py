"""Lessons of earlier runs in a real memory, so that a suite measures against a full one.

They are alike, as long campaigns on constants leave them: the hardest case for an index. A tenth is
on the suite's own benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

from novum.evals.suites.memory import others
from novum.lab.records import Lesson
from novum.memory.chroma import LESSONS, ChromaMemory
from novum.memory.embeddings import NgramEmbedder
from novum.memory.store import Store

PER_RUN = 1_000
EVERY = 5_000
"""Lessons between two signs of life."""
PATIENCE_S = 3_600.0


def lessons(n: int, benchmark: str) -> Iterator[Lesson]:
    """Always the same n lessons, a run of a thousand after another."""
    rng = Random(5)
    for i, lesson in enumerate(others(n, Random(1))):
        of, place = divmod(i, PER_RUN)
        name = f"lesson-p0-{place}"
        yield replace(
            lesson,
            id=name,
            proposal=f"p0-{place}",
            run=f"earlier-{of}",
            benchmark=benchmark if of % 10 == 0 else f"other-{of % 10}",
            gain=rng.gauss(0.0, 0.01),
            created_s=1e9 + i,
            moves=(lesson.diff_summary.replace(" ", ""),),
        )


def plant(
    folder: Path, n: int, benchmark: str, say: Callable[[str], None] = lambda line: None
) -> None:
    """Make a folder's memory hold n lessons; those of an earlier call are not written twice.

    Raises:
        TimeoutError: they could not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_there = count(folder)
    memory = ChromaMemory.open(folder)
    try:
        made = islice(lessons(n, benchmark), n_there, None)
        while page := list(islice(made, EVERY)):
            for lesson in page:
                memory.add(lesson)
            if not memory.flush(PATIENCE_S):
                raise TimeoutError(f"the lessons were not written: {memory.trouble}")
            n_there += len(page)
            say(f"{n_there} lessons planted")
    finally:
        memory.close()


def count(folder: Path) -> int:
    """Lessons that a folder's memory holds."""
    store = Store.open(folder, NgramEmbedder())
    try:
        return store.count(LESSONS)
    finally:
        store.close()
