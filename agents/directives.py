"""What the user wishes, as the planner obeys it.

A directive has text, which every brain reads, and may have a machine-readable action:

    {"pause": true}         stop proposing until it is withdrawn
    {"stop": true}          end the search, certify, finish
    {"ban": "NAME"}         never use this technique or kind of change
    {"ban_branch": "TREE"}  never build on this candidate, or on what came from it
    {"pin": "TREE"}         start every proposal from this candidate (a prefix of its id)
    {"repeat": true}        experiments that were tried may be tried again
    {"idea": {...}}         try this next: hypothesis, kind, move; ends when a thread has taken it
    {"budget": {...}}       other limits: experiments, wall_s, tokens, cost_usd, ...
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

from novum.agents.budget import BudgetLimits
from novum.errors import ToolError
from novum.lab.records import Directive
from novum.tools.desk import Proposed

MAX_SHOWN = 12


class Directives:
    """The standing directives, read again before every proposal."""

    def __init__(self) -> None:
        self.standing: tuple[Directive, ...] = ()

    def read(self, directives: Iterable[Directive]) -> None:
        """Take in what stands now, oldest first."""
        self.standing = tuple(d for d in directives if d.status == "standing")

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of what stands now."""
        return tuple(d.id for d in self.standing)

    def texts(self) -> tuple[str, ...]:
        """What brains read; the latest where there are many."""
        return tuple(f"[{d.id}] {d.text}" for d in self.standing if d.text)[-MAX_SHOWN:]

    @property
    def pause(self) -> str:
        """Id of a directive that asks to pause; empty when none does."""
        return next((d.id for d in self.standing if d.action.get("pause")), "")

    @property
    def stop(self) -> str:
        """Id of a directive that asks to stop; empty when none does."""
        return next((d.id for d in self.standing if d.action.get("stop")), "")

    @property
    def ideas(self) -> tuple[Directive, ...]:
        """Ideas of the user that wait for a thread, oldest first."""
        return tuple(d for d in self.standing if d.action.get("idea"))

    @property
    def allow_repeat(self) -> bool:
        """Whether experiments may be repeated."""
        return any(d.action.get("repeat") for d in self.standing)

    @property
    def pin(self) -> str:
        """Prefix of the candidate that proposals must start from; empty when free."""
        pins = [str(d.action["pin"]) for d in self.standing if d.action.get("pin")]
        return pins[-1] if pins else ""

    def bans(self, name: str) -> bool:
        """Whether a technique or kind must not be used."""
        return any(str(d.action.get("ban", "")).lower() == name.lower() for d in self.standing)

    @property
    def dead_branches(self) -> tuple[str, ...]:
        """Candidates on which, and on whose descendants, nothing may be built."""
        return tuple(str(d.action["ban_branch"]) for d in self.standing if "ban_branch" in d.action)

    def require_allowed(self, proposed: Proposed) -> None:
        """Raise `ToolError` for a proposal that a directive forbids."""
        named = [*proposed.move.get("apply", ()), *proposed.move.get("set", {}), proposed.kind]
        for name in named:
            if self.bans(str(name)):
                raise ToolError(f"the user does not want {name}; propose something else")
        if self.pin and not any(tree.startswith(self.pin) for tree in proposed.parents):
            raise ToolError(f"the user wants proposals to start from {self.pin}")

    def limits(self, given: BudgetLimits) -> BudgetLimits:
        """The limits of the run after the user's changes; unknown words are left alone."""
        known = {f.name for f in fields(BudgetLimits)}
        for directive in self.standing:
            changes = directive.action.get("budget") or {}
            given = replace(given, **{k: v for k, v in changes.items() if k in known})
        return given
