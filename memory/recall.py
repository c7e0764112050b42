"""A memory of this run alone: word overlap over the ledger's lessons, in the process's own memory.

Rare words weigh more (inverse document frequency). Posting lists and the number of lessons are
bounded, so that recall costs the same after ten thousand experiments.
"""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Sequence
from math import log
from typing import TypeVar

from novum.lab.records import Label, Lesson
from novum.memory.documents import Failure, Knowledge

T = TypeVar("T")

MAX_LESSONS = 3_000
MAX_FAILURES = 500
MAX_POSTINGS = 300
"""Lessons remembered for one word; the latest ones stay."""
GOOD_BONUS = 1.15
"""A lesson that won comes before one like it that did not; it is still shown with its standing."""
Key = tuple[str, str]
"""Run and id of a lesson: ids repeat from run to run."""
WORD = re.compile(r"[a-z0-9_]{3,}")


class RunMemory:
    """Lessons by the words of their hypothesis, kind and change."""

    def __init__(self) -> None:
        self._lessons: OrderedDict[Key, Lesson] = OrderedDict()
        self._postings: defaultdict[str, deque[Key]] = defaultdict(
            lambda: deque(maxlen=MAX_POSTINGS)
        )
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._failures: deque[Failure] = deque(maxlen=MAX_FAILURES)
        self._knowledge: dict[tuple[str, str], Knowledge] = {}

    def add(self, lesson: Lesson) -> None:
        """Keep a lesson; one with the same id replaces it."""
        key = (lesson.run, lesson.id)
        is_new = key not in self._lessons
        self._lessons[key] = lesson
        if not is_new:
            return
        for word in words(lesson):
            self._postings[word].append(key)
            self._counts[word] += 1
        if len(self._lessons) > MAX_LESSONS:
            self._forget(self._lessons.popitem(last=False)[1])

    def _forget(self, lesson: Lesson) -> None:
        """A word counts in the lessons that are left, as if there had been no others."""
        for word in words(lesson):
            self._counts[word] -= 1
            if self._counts[word] <= 0:
                del self._counts[word]
                self._postings.pop(word, None)

    def recall(self, text: str, limit: int) -> Sequence[Lesson]:
        """The lessons that share the rarest words with the text, best first."""
        scores: defaultdict[Key, float] = defaultdict(float)
        n = len(self._lessons)
        for word in sorted(set(WORD.findall(text.lower()))):  # sums come out the same each time
            if word in self._postings:
                weight = log(1 + n / self._counts[word])
                for key in set(self._postings[word]):
                    scores[key] += weight
        found = [self._lessons[key] for key in scores if key in self._lessons]

        def rank(lesson: Lesson) -> tuple[float, str]:
            won = lesson.label in (Label.CONFIRMED, Label.PROMISING)
            return (-scores[lesson.run, lesson.id] * (GOOD_BONUS if won else 1.0), lesson.id)

        return sorted(found, key=rank)[:limit]

    def lessons(self, benchmark: str) -> Iterable[Lesson]:
        """All lessons on a benchmark."""
        return [x for x in self._lessons.values() if x.benchmark == benchmark]

    def add_failure(self, failure: Failure) -> None:
        """Keep an error and what became of it."""
        if failure not in self._failures:
            self._failures.append(failure)

    def recall_failures(self, error: str, limit: int) -> Sequence[Failure]:
        """Earlier errors that share most words with this one, those with a fix first."""
        near = _nearest(error, [(f.error, f) for f in self._failures], 3 * limit)
        return sorted(near, key=lambda f: not f.fix)[:limit]

    def add_knowledge(self, entries: Iterable[Knowledge]) -> None:
        """Keep what a pack knows."""
        self._knowledge |= {(k.benchmark, k.name): k for k in entries}

    def recall_knowledge(self, text: str, limit: int) -> Sequence[Knowledge]:
        """Techniques that share most words with a text."""
        known = [(f"{k.title} {k.text}", k) for k in self._knowledge.values()]
        return _nearest(text, known, limit)

    def close(self) -> None:
        """Nothing is held."""


def words(lesson: Lesson) -> set[str]:
    """The words by which a lesson is found."""
    text = f"{lesson.hypothesis} {lesson.kind} {lesson.diff_summary}"
    return set(WORD.findall(text.lower()))


def _nearest(text: str, entries: Sequence[tuple[str, T]], limit: int) -> list[T]:
    """Entries that share words with a text, by the share of words in common (Jaccard)."""
    asked = set(WORD.findall(text.lower()))
    scored = []
    for i, (own, entry) in enumerate(entries):
        words_of = set(WORD.findall(own.lower()))
        if shared := len(asked & words_of):
            scored.append((-shared / len(asked | words_of), i, entry))
    return [entry for _, _, entry in sorted(scored, key=lambda s: s[:2])[:limit]]
