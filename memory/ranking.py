"""Which of the found lessons come first: nearness by meaning and by words, standing, age, place.

Pure. The verdict's weight decides only the order; how far a lesson may be believed is said by its
label, wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp

from novum.lab.records import Label, Lesson

VECTOR, KEYWORD = 1.0, 0.15
"""Recall@5 on the 202 queries of `novum eval memory`, for KEYWORD 0, 0.15, 0.3, 0.6 and 1.2: by
n-grams .475, .569, .579, .589, .589; by MiniLM .683, .748, .708, .693, .663."""
RECENT = 0.03
HALF_LIFE_S = 14 * 86_400.0
SAME_BENCHMARK = 0.08
STANDING: Mapping[Label, float] = {
    Label.CONFIRMED: 0.08,
    Label.PROMISING: 0.04,
    Label.INCONCLUSIVE: 0.0,
    Label.NOISE: 0.0,
    Label.REGRESSION: 0.0,
    Label.MISSED: 0.0,
    Label.HACK: 0.02,  # a warning is worth reading
    Label.INVALID: -0.02,
    Label.QUARANTINED: -0.02,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A lesson as the indexes found it."""

    lesson: Lesson
    similarity: float = 0.0
    """Cosine of the vectors."""
    keywords: float = 0.0
    """BM25; any scale, larger is better, 0 is none."""


@dataclass(frozen=True, slots=True)
class Recollection:
    """A lesson with the score by which it was ranked."""

    lesson: Lesson
    score: float
    similarity: float


def rank(found: Iterable[Found], *, benchmark: str, now_s: float) -> list[Recollection]:
    """Order lessons, best first. BM25 is taken relative to the best of this query."""
    entries = list(found)
    best = max((f.keywords for f in entries), default=0.0)
    ranked = [
        Recollection(f.lesson, _score(f, best, benchmark, now_s), f.similarity) for f in entries
    ]
    return sorted(ranked, key=lambda r: (-r.score, r.lesson.run, r.lesson.id))


def _score(found: Found, best: float, benchmark: str, now_s: float) -> float:
    lesson = found.lesson
    age_s = max(0.0, now_s - lesson.created_s)
    return (
        VECTOR * found.similarity
        + KEYWORD * (found.keywords / best if best > 0 else 0.0)
        + RECENT * exp(-age_s / HALF_LIFE_S)
        + SAME_BENCHMARK * (bool(benchmark) and lesson.benchmark == benchmark)
        + STANDING[lesson.label]
    )
