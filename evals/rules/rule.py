"""What a rule is: one mechanism, its tier, what it means, and why an honest program might do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from novum.lab.records import Outcome

if TYPE_CHECKING:
    from novum.evals.rules.clex import Token
    from novum.evals.rules.program import Module, Program

BLOCK, CONFIRM, NOTE = Outcome.FAIL, Outcome.CONFIRM, Outcome.NOTE
"""`block` rejects at once, `confirm` costs the sealed confirmation, `note` is for the reader."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Where a rule applies; `key` is the same for the same thing on another line."""

    rule: str
    tier: Outcome
    path: str
    line: int
    what: str

    @property
    def key(self) -> tuple[str, str]:
        return self.rule, self.what


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule's function yields: a place, what is there, and another tier than the rule's."""

    line: int
    what: str
    tier: Outcome | None = None


@dataclass(frozen=True, eq=False)
class Rule:
    """One rule. `python` looks at a module's syntax tree, `native` at the tokens of C or CUDA."""

    id: str
    tier: Outcome
    meaning: str
    honest: str
    """Why an honest program might do this: what a reader should weigh before believing the rule."""
    python: Callable[[Module, Program], Iterable[Found]] | None = None
    native: Callable[[Sequence[Token]], Iterable[Found]] | None = None

    def scan(self, program: Program) -> list[Hit]:
        """Every hit of this rule in a candidate."""
        hits = []
        if self.python is not None:
            for module in program.modules:
                hits += [self._hit(module.path, f) for f in self.python(module, program)]
        if self.native is not None:
            for path, tokens in program.native.items():
                hits += [self._hit(path, f) for f in self.native(tokens)]
        return hits

    def _hit(self, path: str, found: Found) -> Hit:
        return Hit(self.id, found.tier or self.tier, path, found.line, found.what[:160])


@dataclass(frozen=True, eq=False)
class Mention:
    """A rule's function that looks for mentions of dotted names, however they are spelt.

    A name ending in a dot stands for everything below it. Mentioning is enough: a function that
    is put into a dictionary and called from there was mentioned.
    """

    names: tuple[str, ...]
    but: tuple[str, ...] = ()
    """Names below `names` that are harmless."""
    tiers: dict[str, Outcome] = field(default_factory=dict)

    def __call__(self, module: Module, program: Program) -> Iterable[Found]:
        exact, below = self._quick
        for line, name in module.mentions:
            bare = name.replace("()", "")
            if bare not in exact and not f"{bare}.".startswith(below):
                continue
            hit = next((n for n in self.names if matches(name, n)), None)
            if hit is not None and not any(matches(name, b) for b in self.but):
                yield Found(line, name, self.tiers.get(hit))

    @cached_property
    def _quick(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """The names that stand for themselves, and those that stand for all below them."""
        below = tuple(n for n in self.names if n.endswith("."))
        return frozenset(self.names) - set(below), below


def matches(name: str, pattern: str) -> bool:
    """Whether a dotted name is `pattern`, or lies below it when that ends in a dot."""
    bare = name.replace("()", "")
    if pattern.endswith("."):
        return bare == pattern[:-1] or bare.startswith(pattern)
    return bare == pattern
