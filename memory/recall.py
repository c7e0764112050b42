"""A memory of this run alone: word overlap over the ledger's lessons, in the process's own memory.

Rare words weigh more (inverse document frequency). Posting lists and the number of lessons are
bounded, so that recall costs the same after ten thousand experiments.
"""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from math import log

from novum.lab.records import Label, Lesson

MAX_LESSONS = 3_000
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
            self._lessons.popitem(last=False)

    def recall(self, text: str, limit: int) -> Sequence[Lesson]:
        """The lessons that share the rarest words with the text, best first."""
        scores: defaultdict[Key, float] = defaultdict(float)
        n = len(self._lessons)
        for word in set(WORD.findall(text.lower())):
            if word in self._postings:
                weight = log(1 + n / self._counts[word])
                for key in set(self._postings[word]):
                    scores[key] += weight
        found = [self._lessons[key] for key in scores if key in self._lessons]

        def rank(lesson: Lesson) -> tuple[float, str]:
            won = lesson.label in (Label.CONFIRMED, Label.PROMISING)
            return (-scores[lesson.run, lesson.id] * (GOOD_BONUS if won else 1.0), lesson.id)

        return sorted(found, key=rank)[:limit]

    def close(self) -> None:
        """Nothing is held."""


def words(lesson: Lesson) -> set[str]:
    """The words by which a lesson is found."""
    text = f"{lesson.hypothesis} {lesson.kind} {lesson.diff_summary}"
    return set(WORD.findall(text.lower()))
