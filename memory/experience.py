"""What earlier runs on the same benchmark found, as a new run may use it from its first proposal.

Pure. Gains that were measured in another run, on other bases, are weaker evidence than what a run
measures itself: whoever reads them weighs them so, and every claim is still won anew with fresh
seeds. Only lessons of the same benchmark, profile and start count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from novum.lab.records import Label, Lesson

WON = (Label.PROMISING, Label.CONFIRMED)
JUDGED = (*WON, Label.INCONCLUSIVE, Label.NOISE, Label.REGRESSION)
MAX_MOVES = 300
MAX_RECIPES = 3
"""Best lineages kept, one a run at most."""
GAIN_LIMITS = (-0.1, 0.5)
"""A broken experiment or a wild one counts for no more."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """How one technique or constant fared in earlier runs."""

    tried: int = 0
    won: int = 0
    broken: int = 0
    gain_sum: float = 0.0
    """Sum of measured relative gains, shared among the moves of one experiment."""
    weight: float = 0.0
    """How many whole experiments `gain_sum` amounts to."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All moves of a candidate that won in an earlier run."""

    run: str
    moves: tuple[str, ...]
    gain: float
    """Estimated against the start, relative."""
    label: str


@dataclass(frozen=True, slots=True)
class Experience:
    """Everything that a run starts out with."""

    runs: tuple[str, ...] = ()
    n_lessons: int = 0
    moves: Mapping[str, Earlier] = field(default_factory=dict)
    recipes: tuple[Recipe, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values, for the ledger."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Experience:
        """Back from plain values."""
        return cls(
            runs=tuple(value["runs"]),
            n_lessons=value["n_lessons"],
            moves={name: Earlier(**record) for name, record in value["moves"].items()},
            recipes=tuple(Recipe(**r | {"moves": tuple(r["moves"])}) for r in value["recipes"]),
        )


def summarise(
    lessons: Iterable[Lesson], *, benchmark: str, profile: str, start: str, own: str
) -> Experience:
    """What the lessons of other runs say; those of the run `own` are left out."""
    moves: dict[str, Earlier] = {}
    best: dict[str, Recipe] = {}
    runs: set[str] = set()
    n = 0
    for lesson in sorted(lessons, key=lambda x: (x.created_s, x.run, x.id)):
        if lesson.run == own or not lesson.run:
            continue
        if (lesson.benchmark, lesson.profile, lesson.start) != (benchmark, profile, start):
            continue
        n += 1
        runs.add(lesson.run)
        for name in lesson.moves:
            moves[name] = _credit(moves.get(name, Earlier()), lesson)
        recipe = _recipe(lesson)
        if recipe and (lesson.run not in best or recipe.gain > best[lesson.run].gain):
            best[lesson.run] = recipe
    strongest = sorted(moves.items(), key=lambda item: (-item[1].tried, item[0]))[:MAX_MOVES]
    recipes = sorted(best.values(), key=lambda r: (-r.gain, r.run))[:MAX_RECIPES]
    return Experience(tuple(sorted(runs)), n, dict(sorted(strongest)), tuple(recipes))


def _credit(old: Earlier, lesson: Lesson) -> Earlier:
    judged = lesson.label in JUDGED and lesson.gain is not None
    share = 1 / len(lesson.moves)
    low, high = GAIN_LIMITS
    return Earlier(
        tried=old.tried + 1,
        won=old.won + (lesson.label in WON),
        broken=old.broken + (lesson.label is Label.INVALID),
        gain_sum=old.gain_sum + (max(low, min(high, lesson.gain or 0.0)) * share if judged else 0),
        weight=old.weight + (share if judged else 0.0),
    )


def _recipe(lesson: Lesson) -> Recipe | None:
    if lesson.label not in WON or not lesson.lineage or lesson.total_gain is None:
        return None
    if lesson.total_gain <= 0:
        return None
    return Recipe(lesson.run, lesson.lineage, lesson.total_gain, str(lesson.label))
