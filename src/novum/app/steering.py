"""What a person tells a run: directives, written while it works or before it is resumed.

Of two that contradict one another the later one stands; the earlier is withdrawn, and the answer
says so. Threads read directives before every proposal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from novum.app.numbers import parse_duration
from novum.errors import UnknownName, UsageError
from novum.lab.ledger import Ledger
from novum.lab.records import Directive, Json, Kind

LIMITS: dict[str, Callable[[str], Any]] = {
    "experiments": int,
    "wall": parse_duration,
    "gpu_hours": float,
    "tokens": int,
    "cost_usd": float,
    "target": float,
    "plateau": int,
}
"""Budgets by the name that the command line gives them."""
NAMES_KEPT = {"wall": "wall_s"}
MAX_TEXT = 2_000


class Steering:
    """Writes directives into a run's ledger."""

    def __init__(self, ledger: Ledger, author: str = "user") -> None:
        self.ledger = ledger
        self.author = author

    def say(self, text: str, action: Json | None = None) -> str:
        """Add a directive; returns what to tell its author.

        Raises:
            UsageError: it is empty or too long.
        """
        text = text.strip()
        if not text or len(text) > MAX_TEXT:
            raise UsageError(f"a directive has 1 to {MAX_TEXT} characters.")
        action = action or {}
        with self.ledger.batch():
            gone = [d for d in self.ledger.directives(standing=True) if clash(d.action, action)]
            for directive in gone:
                self.ledger.withdraw_directive(directive.id)
            made = self.ledger.add_directive(
                Directive(
                    self.ledger.next_id("d"),
                    text,
                    action=action,
                    author=self.author,
                    created_s=time.time(),
                )
            )
        ended = f"; withdrawn: {', '.join(d.id for d in gone)}" if gone else ""
        return f"{made.id} stands: {made.text}{ended}"

    def withdraw(self, id: str) -> str:
        """End a directive.

        Raises:
            UnknownName: there is no such directive, or it has ended.
        """
        standing = {d.id for d in self.ledger.directives(standing=True)}
        if id not in standing:
            there = ", ".join(sorted(standing)) or "none"
            raise UnknownName(f"no directive {id!r} stands; there is {there}.")
        self.ledger.withdraw_directive(id)
        return f"{id} is withdrawn"

    def pause(self) -> str:
        """Begin no new experiment until `resume`."""
        return self.say("Pause: begin nothing new.", {"pause": True})

    def resume(self) -> str:
        """Withdraw whatever holds or stops the run."""
        held = [d for d in self.ledger.directives(standing=True) if _holds(d.action)]
        for directive in held:
            self.ledger.withdraw_directive(directive.id)
        if not held:
            return "nothing held the run"
        return f"withdrawn: {', '.join(d.id for d in held)}; the run goes on"

    def stop(self) -> str:
        """End the search, certify, finish."""
        return self.say("Stop: certify what there is and finish.", {"stop": True})

    def budget(self, words: list[str]) -> str:
        """Change limits: `experiments=50 wall=2h`.

        Raises:
            UsageError: a name or value is wrong.
        """
        limits: Json = {}
        for word in words:
            name, sign, value = word.partition("=")
            if name not in LIMITS:
                raise UsageError(f"no budget {name!r}; there is {', '.join(LIMITS)}.")
            if not sign:
                raise UsageError(f"{word!r} lacks its value: /budget {name}=VALUE")
            try:
                limits[NAMES_KEPT.get(name, name)] = LIMITS[name](value)
            except ValueError:
                raise UsageError(f"{word!r}: {value!r} is no value for {name}.") from None
        if not limits:
            raise UsageError("say which: /budget experiments=50 wall=2h")
        return self.say(f"Budget: {' '.join(words)}.", {"budget": limits})

    def pin(self, tree: str) -> str:
        """Start every proposal from one candidate.

        Raises:
            UnknownName: no candidate, or several, begin like that.
        """
        tree = self._tree(tree)
        return self.say(f"Start from {tree[:10]}.", {"pin": tree})

    def ban_branch(self, tree: str) -> str:
        """Never build on a candidate, or on what came from it.

        Raises:
            UnknownName: no candidate, or several, begin like that.
            UsageError: it is the start, of which everything came.
        """
        tree = self._tree(tree)
        if not self.ledger.candidate(tree).parents:
            raise UsageError("everything comes from the start; it cannot be banned.")
        text = f"Build nothing on {tree[:10]} or what came from it."
        return self.say(text, {"ban_branch": tree})

    def ban(self, name: str, known: tuple[str, ...] = ()) -> str:
        """Never use a technique or kind of change.

        Raises:
            UnknownName: it is none of `known` and no kind.
        """
        if known and name not in (*known, *Kind):
            raise UnknownName(f"no technique or kind is called {name!r}.")
        return self.say(f"Do not use {name}.", {"ban": name})

    def propose(self, words: str, known: tuple[str, ...] = ()) -> str:
        """Hand in an idea: `technique [technique ...]`, `NAME=VALUE ...`, or a sentence.

        The next thread that plans takes it in place of an idea of its own.
        """
        parts = words.split()
        move: Json = {}
        kind = Kind.ARCHITECTURE
        if parts and all(part in known for part in parts):
            move = {"apply": parts}
            kind = Kind.COMBINATION if len(parts) > 1 else kind
        elif parts and all(_is_setting(part) for part in parts):
            move = {"set": dict(part.split("=", 1) for part in parts)}
            kind = Kind.CONSTANTS
        idea = {"hypothesis": words.strip(), "kind": str(kind), "move": move}
        return self.say(f"Try: {words.strip()}", {"idea": idea})

    def _tree(self, prefix: str) -> str:
        if prefix == "champion" and (champion := self.ledger.champion()):
            return champion[0]
        found = self.ledger.trees(prefix)
        if len(found) != 1:
            what = "several candidates begin" if found else "no candidate begins"
            raise UnknownName(f"{what} with {prefix!r}; /leaderboard lists them.")
        return found[0]


def clash(old: Json, new: Json) -> bool:
    """Whether two actions cannot both stand."""
    if "pin" in new and "pin" in old:
        return True
    if _holds(new) and _holds(old):
        return True
    if any(name in new and new[name] == old.get(name) for name in ("ban", "ban_branch")):
        return True
    if _pins_what_is_dead(new, old) or _pins_what_is_dead(old, new):
        return True
    return bool(set(new.get("budget", {})) & set(old.get("budget", {})))


def _holds(action: Json) -> bool:
    return bool(action.get("pause") or action.get("stop"))


def _pins_what_is_dead(one: Json, other: Json) -> bool:
    return "pin" in one and one["pin"] == other.get("ban_branch")


def _is_setting(word: str) -> bool:
    name, sign, value = word.partition("=")
    return bool(sign and name.isidentifier() and value)
