"""Simulated benchmarks whose truth is known: what each idea is worth, and how noisy a trial is.

All effects are in sds of one trial's noise; the start is worth 0 and higher is better. Ideas are
endless and each proposal brings a new one, as a model's would. By itself the proposer asks for
constants half of the time: loops of this kind are known to sink into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from math import pi, sin, sqrt
from random import Random
from typing import Protocol

from novum.lab.records import Kind

Ideas = frozenset[str]
KINDS = (
    Kind.ARCHITECTURE,
    Kind.OPTIMISER,
    Kind.DATA,
    Kind.SCHEDULE,
    Kind.SYSTEMS,
    Kind.CONSTANTS,
)
N_PARTS = 12
CRASH_COST = 0.2
"""Of a full trial: a candidate that does not run fails its smoke test early."""
HABIT = {kind: 0.5 if kind is Kind.CONSTANTS else 0.1 for kind in KINDS}
"""How often the proposer brings each kind when nobody asks for one."""


@dataclass(frozen=True)
class Mix:
    """What ideas of one kind are like."""

    helpful: float
    """Share that helps; their effects are exponential with mean `gain`."""
    gain: float
    harmful: float
    """Share that harms; their effects are exponential with mean `loss`. The rest does nothing."""
    loss: float
    crash: float = 0.05


class Truth(Protocol):
    """What a campaign needs of a benchmark."""

    @property
    def name(self) -> str:
        """Its name in the table."""

    @property
    def seed(self) -> int:
        """Which of the benchmarks of this name."""

    def value(self, ideas: Ideas) -> float:
        """The true value of a candidate; the start is worth 0 and higher is better."""

    def measure(self, ideas: Ideas, clock: float, rng: Random) -> float | None:
        """One trial at full fidelity; `None` when it crashes."""

    def clash(self, one: str, other: str) -> bool:
        """Whether two ideas that were written apart change the same lines."""

    def draw(self, kind: Kind | None, present: Ideas, rng: Random) -> str | None:
        """A new idea, of the kind asked for or of the proposer's own choice; `None` when all are
        present."""


@dataclass(frozen=True)
class Landscape:
    """One simulated benchmark. `value` is the truth, `measure` a trial."""

    name: str
    mixes: Mapping[Kind, Mix]
    interaction: float = 0.0
    """Sd of the effect that two ideas for the same part (of `N_PARTS`) have beyond their sum."""
    fade: float = 0.0
    """Gains of constants fade: each is divided by 1 + fade * (constants already in)."""
    partners: float = 0.0
    """Share of architecture ideas that harm alone and help once another of them is in."""
    drift: float = 0.0
    """Amplitude, in sds of the noise, of a slow wave that shifts all trials alike."""
    period: float = 150.0
    conflict: float = 0.25
    """Chance that two ideas for the same part, written apart, cannot be merged."""
    seed: int = 0
    _cache: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    def effect(self, idea: str) -> float:
        """What an idea is worth on the start."""
        if idea not in self._cache:
            rng = Random(f"{self.seed}/{idea}")
            mix = self.mixes[kind_of(idea)]
            luck = rng.random()
            size = rng.expovariate(1.0)
            gain = mix.gain * size if luck < mix.helpful else 0.0
            harm = mix.loss * size if luck > 1.0 - mix.harmful else 0.0
            self._cache[idea] = gain - harm
        return self._cache[idea]

    def crashes(self, idea: str) -> bool:
        """Whether a candidate with this idea does not run."""
        return Random(f"{self.seed}/{idea}/crash").random() < self.mixes[kind_of(idea)].crash

    def value(self, ideas: Ideas) -> float:
        """The true value of a candidate."""
        ordered = sorted(ideas)
        effects = {idea: self.effect(idea) for idea in ordered}
        constants = [e for i, e in effects.items() if kind_of(i) is Kind.CONSTANTS and e > 0]
        faded = sum(sorted(constants, reverse=True)) - sum(
            e * (1.0 - 1.0 / (1.0 + self.fade * n))
            for n, e in enumerate(sorted(constants, reverse=True))
        )
        total = sum(effects.values()) - sum(constants) + faded
        if self.interaction:
            parts: dict[int, list[str]] = {}
            for idea in ordered:
                parts.setdefault(part_of(idea), []).append(idea)
            for same in parts.values():
                for pair in combinations(same, 2):
                    key = f"{self.seed}/{pair}"
                    if key not in self._cache:
                        self._cache[key] = Random(key).gauss(0.0, self.interaction)
                    total += self._cache[key] / (len(same) - 1)
        if self.partners:
            shy = [i for i in ordered if self.is_shy(i)]
            # Alone it costs one sd; from the second on each brings two.
            total += 2.0 * (len(shy) - 1) - 1.0 if shy else 0.0
        return total

    def is_shy(self, idea: str) -> bool:
        """Whether an idea needs a partner."""
        rng = Random(f"{self.seed}/{idea}/shy")
        return kind_of(idea) is Kind.ARCHITECTURE and rng.random() < self.partners

    def clash(self, one: str, other: str) -> bool:
        """Whether two ideas that were written apart change the same lines."""
        if part_of(one) != part_of(other):
            return False
        pair = "/".join(sorted((one, other)))
        return Random(f"{self.seed}/{pair}/clash").random() < self.conflict

    def draw(self, kind: Kind | None, present: Ideas, rng: Random) -> str | None:
        """A new idea, of the kind asked for or of the proposer's own choice."""
        return draw_idea(kind, rng)

    def cheap_value(self, ideas: Ideas, correlation: float) -> float:
        """What a candidate is worth at a cheaper fidelity: `correlation` is that of an idea's
        effects there and in full; the rest of it is another draw of the same kind of effects."""
        apart = sqrt(1.0 - correlation**2)
        other = sum(self.effect(f"{idea[: idea.index(':') + 1]}c{idea}") for idea in sorted(ideas))
        return correlation * self.value(ideas) + apart * other

    def measure(self, ideas: Ideas, clock: float, rng: Random) -> float | None:
        """One trial at full fidelity; `None` when it crashes."""
        if any(self.crashes(i) for i in ideas):
            return None
        return self.value(ideas) + self.drift_at(clock) + rng.gauss(0.0, 1.0)

    def drift_at(self, clock: float) -> float:
        """How much all trials are shifted at a time (in trials)."""
        return self.drift * sin(2.0 * pi * clock / self.period) if self.drift else 0.0


def kind_of(idea: str) -> Kind:
    """The kind that an idea's name begins with."""
    return Kind(idea.split(":", 1)[0])


def part_of(idea: str) -> int:
    """Which part of the program an idea changes."""
    return int(idea.rpartition(":")[2], 16) % N_PARTS


def draw_idea(kind: Kind | None, rng: Random) -> str:
    """A new idea, of the kind asked for or of the proposer's own choice."""
    chosen = kind or rng.choices(list(HABIT), weights=list(HABIT.values()))[0]
    return f"{chosen.value}:{rng.getrandbits(48):x}"


def _mixes(helpful: float, gain: float, harmful: float, loss: float) -> dict[Kind, Mix]:
    """Kinds that differ: architecture is bold, constants are tame, systems is hit or miss."""
    bold = Mix(helpful * 1.2, gain * 1.5, harmful * 1.2, loss * 1.5, 0.10)
    plain = Mix(helpful, gain, harmful, loss)
    tame = Mix(helpful * 0.8, gain * 0.4, harmful, loss * 0.5, 0.01)
    rare = Mix(helpful * 0.5, gain * 2.0, harmful, loss, 0.15)
    return {
        Kind.ARCHITECTURE: bold,
        Kind.OPTIMISER: plain,
        Kind.DATA: plain,
        Kind.SCHEDULE: plain,
        Kind.SYSTEMS: rare,
        Kind.CONSTANTS: tame,
    }


def landscapes(seed: int) -> list[Landscape]:
    """The benchmarks of the table. `HELD_OUT` were not looked at while the policy was shaped."""
    usual = _mixes(0.15, 1.0, 0.45, 1.5)
    return [
        Landscape("additive", usual, seed=seed),
        Landscape("interactions", usual, interaction=0.7, conflict=0.5, seed=seed),
        Landscape("deceptive", usual, fade=0.5, partners=0.25, seed=seed),
        Landscape("drifting", usual, drift=1.5, seed=seed),
        Landscape("null", _mixes(0.0, 0.0, 0.5, 1.5), seed=seed),
        Landscape("sparse", _mixes(0.04, 2.5, 0.6, 2.0), seed=seed),
        Landscape("many-small", _mixes(0.35, 0.4, 0.3, 0.7), interaction=0.2, seed=seed),
        Landscape("mild-drift", usual, drift=0.5, seed=seed),
        Landscape("giants", _mixes(0.03, 5.0, 0.5, 1.0), conflict=0.5, seed=seed),
        Landscape("rugged", usual, interaction=1.5, partners=0.1, conflict=0.5, seed=seed),
        Landscape("fading", usual, fade=1.0, drift=1.0, period=400.0, seed=seed),
    ]


HELD_OUT = ("giants", "rugged", "fading")
