"""Several models for one role: a bandit gives each iteration to one of them.

What a model is paid by is verified gain: the measured gain of its proposals that won their race or
were confirmed, nothing for the rest. What it costs is a share of a trial plus its tokens or money
relative to the others'. One draw a model from what is not yet known of its gain (Thompson), and
the best gain per cost gets the iteration; the choice is recorded, so replay makes it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from random import Random
from typing import TYPE_CHECKING, Any

from novum.lab.records import Label

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

SEPARATOR = ","
WON = (Label.PROMISING, Label.CONFIRMED)
PRIOR_GAIN, PRIOR_SD = 0.01, 0.02
"""Relative gain of one proposal before a model has made any."""
GAIN_SD = 0.03
"""Spread of the gains of one model's proposals."""
MAX_GAIN = 0.5
TRIAL_SHARE = 0.5
"""Part of an iteration's cost that the trials are taken for, whoever thought of it."""


def members(spec: str) -> tuple[str, ...]:
    """The specs of an ensemble, `openai:A,anthropic:B`; one where no ensemble is named."""
    return tuple(part.strip() for part in spec.split(SEPARATOR) if part.strip())


@dataclass(frozen=True)
class Ensemble:
    """The models that share a role, by spec."""

    models: Mapping[str, BaseChatModel]

    @property
    def reads_text(self) -> bool:
        """Whether any of them reads words."""
        return any(getattr(model, "reads_text", True) for model in self.models.values())


Brain = Any
"""A chat model, or an `Ensemble` of them."""


def seat(spec: str, models: Mapping[str, BaseChatModel]) -> Brain:
    """Who plays a role of this spec: the model, or the ensemble."""
    named = members(spec)
    if len(named) < 2:
        return models[spec]
    return Ensemble({name: models[name] for name in named})


@dataclass(slots=True)
class Record:
    """How one model did so far."""

    n: int = 0
    gain_sum: float = 0.0
    tokens: int = 0
    cost_usd: float = 0.0
    is_priced: bool = True


@dataclass
class Casting:
    """Who played in which proposal, and how that paid. Fed in the order of the ledger."""

    records: dict[str, Record] = field(default_factory=dict)
    casts: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Spec by role, for proposals under way."""

    def note_cast(self, proposal: str, cast: Mapping[str, str]) -> None:
        """A proposal's roles were given to these models."""
        if cast:
            self.casts[proposal] = cast

    def note_cost(self, spec: str, tokens: int, cost_usd: float | None) -> None:
        """A model answered."""
        record = self.records.setdefault(spec, Record())
        record.tokens += tokens
        record.cost_usd += cost_usd or 0.0
        record.is_priced = record.is_priced and cost_usd is not None

    def note_outcome(self, proposal: str, label: Label | None, gain: float | None) -> None:
        """A proposal ended: with a verdict and its relative gain, or dropped."""
        won = label in WON and gain is not None
        paid = max(0.0, min(MAX_GAIN, gain or 0.0)) if won else 0.0
        for spec in set(self.casts.pop(proposal, {}).values()):
            record = self.records.setdefault(spec, Record())
            record.n += 1
            record.gain_sum += paid

    def choose(self, brains: Mapping[str, Brain], rng: Random) -> dict[str, str]:
        """A model for each role that an ensemble plays; roles of one ensemble get the same one."""
        picked: dict[tuple[str, ...], str] = {}
        found = {}
        for role in sorted(brains):
            if isinstance(brains[role], Ensemble):
                named = tuple(brains[role].models)
                if named not in picked:
                    picked[named] = self._pick(named, rng)
                found[role] = picked[named]
        return found

    def _pick(self, named: Sequence[str], rng: Random) -> str:
        costs = self.costs(named)
        worth = {spec: max(self._draw(spec, rng), 1e-6) / costs[spec] for spec in named}
        return max(named, key=lambda spec: worth[spec])

    def _draw(self, spec: str, rng: Random) -> float:
        record = self.records.get(spec, Record())
        precision = 1 / PRIOR_SD**2 + record.n / GAIN_SD**2
        mean = (PRIOR_GAIN / PRIOR_SD**2 + record.gain_sum / GAIN_SD**2) / precision
        return rng.gauss(mean, 1 / sqrt(precision))

    def costs(self, named: Iterable[str]) -> dict[str, float]:
        """Cost of an iteration of each model, 1 where it costs what they cost on average.

        In money where all prices are known, else in tokens. A model that was not tried costs 1.
        """
        names = tuple(named)
        records = {spec: self.records.get(spec, Record()) for spec in names}
        tried = {spec: record for spec, record in records.items() if record.n}
        priced = all(record.is_priced for record in tried.values())
        each = {s: (r.cost_usd if priced else r.tokens) / r.n for s, r in tried.items()}
        mean = sum(each.values()) / len(each) if each else 0.0
        share = {s: value / mean if mean > 0 else 1.0 for s, value in each.items()}
        return {s: TRIAL_SHARE + (1 - TRIAL_SHARE) * share.get(s, 1.0) for s in names}
