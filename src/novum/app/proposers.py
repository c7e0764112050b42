"""Who had the ideas of a run, and how that paid: models, the playbook, people and agents outside.

What counts is verified gain: the measured gain of ideas that won their race or were confirmed.
Ideas that nobody had (to measure a candidate again, to put known ones together) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from novum.app.ideas import GOOD
from novum.app.numbers import percent
from novum.app.story import Story
from novum.lab.records import Json

ITSELF = "novum"
"""Stands as the author of what the search did by itself."""
HEAD = ("who", "ideas", "won", "verified gain", "answers", "tokens", "USD")


@dataclass(slots=True)
class Proposer:
    """One author of ideas. `gain` is a sum of fractions of the reference."""

    name: str
    n_ideas: int = 0
    n_won: int = 0
    gain: float = 0.0
    n_answers: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    unpriced_tokens: int = 0

    def json(self) -> Json:
        """One object for a program."""
        return {name: getattr(self, name) for name in self.__slots__}

    def cells(self) -> tuple[str, ...]:
        """A row under `HEAD`."""
        cost = f"{self.cost_usd:.2f}" if self.tokens > self.unpriced_tokens else ""
        if self.unpriced_tokens:
            cost = f"{cost} + unknown" if cost else "unknown"
        return (
            self.name,
            f"{self.n_ideas}",
            f"{self.n_won}",
            percent(self.gain) if self.n_won else "",
            f"{self.n_answers:,}" if self.tokens else "",
            f"{self.tokens:,}" if self.tokens else "",
            cost,
        )


def proposers(story: Story) -> list[Proposer]:
    """All authors, the one whose ideas gained most first."""
    found: dict[str, Proposer] = {}

    def of(name: str) -> Proposer:
        return found.setdefault(name, Proposer(name))

    for idea in story.ideas.values():
        if idea.proposal.brain == ITSELF:
            continue
        who = of(idea.proposal.brain)
        who.n_ideas += 1
        gain = None
        if idea.verdict is not None and idea.verdict.label in GOOD:
            gain, _ = story.relative(idea.verdict)
        if gain is not None:
            who.n_won += 1
            who.gain += max(0.0, gain)
    for name, usage in story.asked.items():
        who = of(name)
        who.n_answers, who.tokens = usage.n_answers, usage.tokens
        who.cost_usd, who.unpriced_tokens = usage.cost_usd, usage.unpriced_tokens
    return sorted(found.values(), key=lambda p: (-p.gain, -p.n_ideas, p.name))


def worth_telling(found: list[Proposer]) -> bool:
    """Whether a table says more than that the playbook did it all."""
    return len(found) > 1 or any(p.tokens for p in found)


def table(found: list[Proposer]) -> str:
    """The table as text, numbers to the right."""
    rows = [HEAD, *(p.cells() for p in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
