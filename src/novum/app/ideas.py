"""What a story is told of: ideas and what became of them, the best candidates, the brains."""

from __future__ import annotations

from dataclasses import dataclass, field

from novum.lab.records import Label, Proposal, Purpose, Verdict

STEPS = {
    Purpose.SMOKE: "smoke test",
    Purpose.SCREEN: "screen",
    Purpose.SEARCH: "first trial",
    Purpose.RACE: "race",
    Purpose.CONFIRM: "confirmation",
    Purpose.CERTIFY: "certification",
    Purpose.NOISE: "noise",
    Purpose.ABLATION: "ablation",
}
GOOD = (Label.PROMISING, Label.CONFIRMED)


@dataclass
class Idea:
    """One proposal and what became of it."""

    proposal: Proposal
    number: int
    tree: str = ""
    trials: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    dropped: str = ""
    """Why it ended without trials that could judge it."""
    ended_s: float = 0.0
    is_confirmed: bool = False
    """Whether its candidate passed a test of its own later."""

    @property
    def name(self) -> str:
        """`#3`, or `final test` for a confirmation."""
        return f"#{self.number}" if self.number else "final test"

    @property
    def is_open(self) -> bool:
        """Whether it is still worked on."""
        return self.verdict is None and not self.dropped

    @property
    def label(self) -> str:
        """Verdict, `dropped`, or empty while it is open."""
        if self.is_confirmed:
            return "confirmed"
        if self.verdict is not None:
            return str(self.verdict.label)
        return "dropped" if self.dropped else ""


@dataclass(frozen=True, slots=True)
class Best:
    """From when on a candidate was the best one known, and how well that is known."""

    at_s: float
    tree: str
    idea: str
    mean: float
    error: float
    """Half width of the 95 % interval of `mean`."""
    n_trials: int


@dataclass(slots=True)
class Usage:
    """What one brain was asked."""

    n_answers: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    unpriced_tokens: int = 0
    """Tokens whose price nobody stated; they are not in `cost_usd`."""
