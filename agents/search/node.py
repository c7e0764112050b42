"""What is known of one candidate, one technique, and one idea."""

from __future__ import annotations

from dataclasses import dataclass

from novum.lab.records import Kind, Label

COMPOSED = "composed"
"""Label of a candidate that was put together from known ideas and not yet judged."""
UNFIT = (Label.INVALID, Label.HACK, Label.QUARANTINED, Label.MISSED)
"""Nothing is built on these, whatever their scores."""


@dataclass(slots=True)
class Node:
    """One candidate and what is known of it. Scores are oriented: higher is better."""

    tree: str
    commit: str
    proposal: str
    parents: tuple[str, ...]
    moves: tuple[str, ...]
    summary: str
    ideas: tuple[str, ...] = ()
    """What it is made of: techniques, constants, and the proposals of changes without a name."""
    made: tuple[str, ...] = ()
    """Those that its parents lack."""
    label: str = ""
    surprise: float = 0.0
    n_all: int = 0
    """Trials of every purpose, and by how much they lay above what its ideas promise, summed."""
    total: float = 0.0
    n: int = 0
    """Trials that were not looked at before it was decided to keep them."""
    first: float | None = None
    """The trial that selected it: biased upwards, used only while there is nothing better."""

    @property
    def score(self) -> float | None:
        """Mean of the unselected trials, else the selecting one."""
        return self.total / self.n if self.n else self.first


@dataclass(slots=True)
class MoveRecord:
    """How one technique or constant fared."""

    tried: int = 0
    won: int = 0
    broken: int = 0
    gain_sum: float = 0.0
    weight: float = 0.0


@dataclass(slots=True)
class Source:
    """Where an idea can be had from."""

    kind: Kind
    hypothesis: str
    commits: tuple[tuple[str, str], ...] = ()
    """Candidates without and with it, the youngest pair first: what a merge takes it from. Empty
    while it was only made together with others."""
    is_named: bool = True
    """Whether it is a technique or constant that can be applied by its name."""
    n_run: int = 0
    """Candidates with it that ran."""
    n_broken: int = 0
    """Candidates with it that did not, while nothing else in them explains that."""
    n_clashed: int = 0
    """Times in a row that it could not be merged with the others."""
    is_suspect: bool = False
    """Whether a candidate that it was new in together with others cheated or did not run, and none
    with it new has run since: one of them is to blame, and each is tried alone."""
