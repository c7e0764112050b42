"""What the planner knows when it proposes: bounded, recorded, the same for every brain.

A language model reads it rendered as Markdown (`prompts/planner.md`); the playbook brain reads the
same facts as JSON from `additional_kwargs["situation"]` of the message. Gains are relative to the
reference they were measured against: 0.03 is three percent, positive is better.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

Mode = Literal["draft", "improve", "combine", "retest"]


class Branch(BaseModel, frozen=True):
    """One candidate worth building on."""

    tree: str
    label: str
    """`start`, `promising` or `confirmed`; never more than was shown."""
    gain: float
    """Estimated against the start."""
    n_trials: int
    moves: tuple[str, ...] = ()
    """Techniques in its lineage."""
    summary: str = ""


class Technique(BaseModel, frozen=True):
    """A move of the playbook, and how it fared in this run."""

    name: str
    kind: str
    hypothesis: str
    prior: float = 0.0
    """Expected gain before anything was measured here."""
    applies: bool = True
    """Whether its edit fits the first suggested parent as it stands."""
    tried: int = 0
    won: int = 0
    broken: int = 0
    """Times it did not apply or did not run."""
    is_suspect: bool = False
    """Whether it failed together with other new changes, so that it has to be tried alone."""
    gain_sum: float = 0.0
    """Sum of measured gains, shared among the moves of one experiment."""
    weight: float = 0.0
    """How many whole experiments `gain_sum` amounts to."""
    earlier_gain_sum: float = 0.0
    """The same for earlier runs that share the memory; weaker evidence than this run's own."""
    earlier_weight: float = 0.0


class RecipeFact(BaseModel, frozen=True):
    """All moves of a candidate that won in an earlier run on this benchmark."""

    run: str
    moves: tuple[str, ...]
    gain: float
    """Estimated there against the start."""
    label: str
    """`promising` or `confirmed` there; here nothing is shown yet."""


class KindRecord(BaseModel, frozen=True):
    """How proposals of one kind paid so far."""

    kind: str
    tried: int = 0
    won: int = 0
    gain_sum: float = 0.0


class ConstantFact(BaseModel, frozen=True):
    """A named constant of the suggested parent."""

    name: str
    value: str
    tried: tuple[str, ...] = ()
    """Values tried on this parent, the latest."""
    better: str = ""
    """`up` or `down`: the direction that won before; empty when none did."""


class BudgetLeft(BaseModel, frozen=True):
    """What may still be spent on search; `None` where there is no such limit."""

    experiments: int | None = None
    wall_s: float | None = None
    trials: int | None = None
    """Full trials that fit in the time left, certification already set aside."""
    tokens: int | None = None
    cost_usd: float | None = None


class Situation(BaseModel, frozen=True):
    """Everything that a proposal may rest on."""

    benchmark: str
    metric: str
    better: str
    task: str
    thread: int
    iteration: int
    mode: Mode
    parents: tuple[Branch, ...]
    """What the search policy suggests to start from; two or more to combine."""
    kind_hint: str = ""
    also: tuple[str, ...] = ()
    """Kinds of further new changes that may go into the same proposal, by their names."""
    frontier: tuple[Branch, ...] = ()
    directives: tuple[str, ...] = ()
    budget: BudgetLeft = BudgetLeft()
    kinds: tuple[KindRecord, ...] = ()
    lessons: tuple[str, ...] = ()
    """Nearest lessons in words; empty for a brain that reads none (the playbook)."""
    failures: tuple[str, ...] = ()
    """What went wrong last: hacks, regressions and changes that did not run."""
    techniques: tuple[Technique, ...] = ()
    recipes: tuple[RecipeFact, ...] = ()
    """What earlier runs ended with, the best first."""
    constants: tuple[ConstantFact, ...] = ()
    attempted: tuple[str, ...] = ()
    """Keys (`move_key`) of the latest moves tried on the suggested parents."""
    any_base: bool = False
    """The search itself carries known ideas from candidate to candidate: a proposal brings one that
    was tried on none."""
    allow_repeat: bool = False
    n_proposals: int = 0
    random: int = 0
    """The recorded random state of this proposal."""

    @property
    def head(self) -> Branch:
        """The first suggested parent."""
        return self.parents[0]


def move_key(move: dict[str, Any]) -> str:
    """A canonical name of a move: the order of techniques does not matter."""
    parts = [*(f"+{name}" for name in sorted(move.get("apply", ())))]
    parts += [f"{name}={value}" for name, value in sorted(move.get("set", {}).items())]
    if move.get("merge"):
        parts.append("merge")
    return " ".join(parts)


def moves_of(move: dict[str, Any]) -> tuple[str, ...]:
    """Techniques and constants that a move names, as a lineage keeps them."""
    return (*move.get("apply", ()), *(f"{k}={v}" for k, v in move.get("set", {}).items()))
