"""Which sets of techniques to measure, and in which order.

The order is part of the design: whatever is measured when the time is up is balanced. Arms of all
kinds are interleaved, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from novum.benchmarks.moves import Technique, apply_move
from novum.errors import DoesNotApply

LARGEST = 8
N_STRONG = 2
"""Techniques whose pairs with every other one are measured: a strong one changes what all others
are worth, and a random sample would see each of its pairs too seldom."""
SETS_A_BLOCK = 60
CHEAP_A_BLOCK = 12


@dataclass(frozen=True)
class Arm:
    """One set of techniques on the start, at one fidelity."""

    names: tuple[str, ...]
    """In the order in which they are applied."""
    fidelity: str


class Sets:
    """Draws sets of techniques that apply one after another, each technique as often as others."""

    def __init__(
        self, techniques: Mapping[str, Technique], start: Mapping[str, bytes], rng: Random
    ) -> None:
        self._techniques = techniques
        self._start = start
        self._rng = rng
        self._uses = dict.fromkeys(techniques, 0)
        by_prior = sorted(techniques, key=lambda name: -techniques[name].prior)
        self.strong = tuple(by_prior[:N_STRONG])

    def applies(self, *names: str) -> bool:
        """Whether these techniques apply to the start in this order."""
        return build(self._techniques, self._start, names) is not None

    def draw(self, *, is_strong: bool) -> tuple[str, ...]:
        """A set of 2 to `LARGEST` techniques, with or without the strongest of them."""
        size = self._rng.randint(2, LARGEST)
        files = dict(self._start)
        chosen: list[str] = []
        spare = [name for name in self._uses if name != self.strong[0]]
        spare.sort(key=lambda name: (self._uses[name] + 3 * self._rng.random(), name))
        for name in [self.strong[0], *spare] if is_strong else spare:
            if len(chosen) == size:
                break
            if (changed := build(self._techniques, files, (name,))) is not None:
                files = changed
                chosen.append(name)
                self._uses[name] += 1
        return tuple(chosen)


def build(
    techniques: Mapping[str, Technique], start: Mapping[str, bytes], names: Sequence[str]
) -> dict[str, bytes] | None:
    """The start with techniques applied; `None` when one of them does not apply."""
    files = dict(start)
    try:
        for name in names:
            files = apply_move(techniques[name], files)
    except DoesNotApply:
        return None
    return files


def arms(
    techniques: Mapping[str, Technique],
    start: Mapping[str, bytes],
    seed: str,
    cheap: str | None,
) -> Iterator[Arm]:
    """All arms without end, the same for the same arguments; `cheap` names a lower fidelity."""
    rng = Random(seed)
    sets = Sets(techniques, start, rng)
    singles: list[tuple[str, ...]] = [(name,) for name in techniques if sets.applies(name)]
    alone = {name for name, *_ in singles}
    # What applies to nothing but another technique is measured together with that one.
    paired = [
        (other, name)
        for name in techniques
        if name not in alone
        for other in techniques
        if other in alone and sets.applies(other, name)
    ]
    strong = [
        (one, name)
        for i, one in enumerate(sets.strong)
        for name in techniques
        if name not in sets.strong[: i + 1] and sets.applies(one, name)
    ]

    def drawn() -> list[tuple[str, ...]]:
        return [sets.draw(is_strong=i % 2 == 0) for i in range(SETS_A_BLOCK)]

    names: list[tuple[str, ...]]
    for block in count():
        if block == 0:
            names = [*[()] * 6, *singles, *paired]
        elif block == 1:
            names = [(), (), *strong, *drawn()]
        elif block == 2:
            names = [*[()] * 4, *singles, *drawn()]
        else:
            some = rng.sample(singles, min(len(singles), CHEAP_A_BLOCK))
            names = [(), (), *drawn(), *some]
        todo = [Arm(n, "full") for n in names]
        if cheap is not None:
            again = names if block == 0 else rng.sample(names, min(len(names), 2 * CHEAP_A_BLOCK))
            todo += [Arm(n, cheap) for n in again]
        rng.shuffle(todo)
        yield from todo
