"""Which candidates are best: those that won races, and those that are believed to be."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from math import sqrt

from novum.agents.search.effects import Effects
from novum.agents.search.node import UNFIT, Node
from novum.lab.records import Better, Label

MAX_FRONTIER = 64
"""Branches kept worth building on; what is weaker than these is never chosen anyway."""
MAX_TOP = 64
"""Candidates kept that are believed to be best, and as many of the youngest."""
ODDS = 1.645
"""Sds above zero from which a gain is believed at 19 to 1."""
GOOD = (Label.PROMISING, Label.CONFIRMED)


@dataclass(eq=False)
class Standing:
    """Candidates and their ranks. Scores are oriented: higher is better."""

    better: Better
    nodes: dict[str, Node] = field(default_factory=dict)
    start: str = ""
    effects: Effects = field(default_factory=Effects)
    _top: list[tuple[float, str]] = field(default_factory=list)
    _frontier: list[tuple[float, str]] = field(default_factory=list)

    @property
    def frontier(self) -> list[Node]:
        """Candidates worth building on, best first; the start is always among them."""
        return [self.nodes[tree] for _, tree in self._frontier]

    @property
    def head(self) -> Node:
        """The best candidate that won a race, or the start."""
        return self.nodes[self._frontier[0][1]] if self._frontier else self.nodes[self.start]

    @property
    def head_score(self) -> float | None:
        return -self._frontier[0][0] if self._frontier else None

    def finalists(self, n: int) -> list[Node]:
        """What to certify at the end, best first: by belief, and the best that won a race.

        Certification is a test of its own, so a candidate need not have won one before.
        """
        named = [node for node in self.top if node.label != "start" and self.beats_start(node)]
        raced = [node for node in self.frontier if node.label != "start"]
        ranked = [*named[: n - 1], *raced, *named[n - 1 :]]
        return list({node.tree: node for node in ranked}.values())[:n]

    def with_final(self, found: list[Node], final: Node, n: int) -> list[Node]:
        """Finalists with one that was put together: before those that it is believed to beat."""
        if final.label in ("start", *UNFIT) or not self.beats_start(final):
            return found
        worth = self.belief(final)
        at = sum(self.belief(node) > worth for node in found if node.tree != final.tree)
        rest = [node for node in found if node.tree != final.tree]
        return [*rest[:at], final, *rest[at:]][:n]

    @property
    def strong(self) -> list[Node]:
        """The candidates that were believed to be best when they were measured last."""
        return [self.nodes[tree] for _, tree in self._top]

    @property
    def top(self) -> list[Node]:
        """The same as they are believed now, best first."""
        return sorted(self.strong, key=lambda n: (-self.belief(n), n.tree))

    def belief(self, node: Node) -> float:
        """What a candidate is believed to gain over the start: the sum of its ideas' effects, and
        what its own trials say beyond them."""
        return self.effects.mean_of(node.ideas) + self._beyond(node)[0]

    def believed(self, node: Node) -> tuple[float, float]:
        """The same with its variance."""
        mean, var = self.effects.value(node.ideas)
        more, var_more = self._beyond(node)
        return mean + more, var + var_more

    def _beyond(self, node: Node) -> tuple[float, float]:
        if not node.n_all:
            return 0.0, 0.0
        beyond, noise = self.effects.misfit, self.effects.noise_sd**2 / node.n_all
        pull = beyond / (beyond + noise)
        return pull * node.surprise / node.n_all, pull * noise

    @property
    def sure_gain(self) -> float:
        """What the best candidate gains over the start, in the metric's unit: by its race, or by
        belief less one sd of it. 0 where nothing is better."""
        start = self.nodes[self.start].score
        raced = 0.0 if start is None or self.head_score is None else self.head_score - start
        best = next((n for n in self.top if n.label != "start"), None)
        mean, var = self.believed(best) if best is not None else (0.0, 0.0)
        return max(0.0, raced, mean - sqrt(var))

    def beats_start(self, node: Node) -> bool:
        """Whether a candidate is believed to be better than the start, at 19 to 1."""
        mean, var = self.believed(node)
        return mean > ODDS * sqrt(var)

    def gain(self, node: Node) -> float:
        """Estimated gain over the start, as a fraction; 0 where nothing is known."""
        base = self.nodes[self.start].score if self.start in self.nodes else None
        if not base:
            return 0.0
        if node.score is None:  # nothing but its ideas is known of it
            return self.belief(node) / abs(base)
        return (node.score - base) / abs(base)

    def _rank(self, node: Node) -> None:
        if node.label != "start" and node.label not in GOOD:
            self._frontier = [f for f in self._frontier if f[1] != node.tree]
            return
        if node.score is None:
            return
        rest = [f for f in self._frontier if f[1] != node.tree]
        insort(rest, (-node.score, node.tree))
        keep = rest[:MAX_FRONTIER]
        if all(tree != self.start for _, tree in keep):
            keep += [f for f in rest if f[1] == self.start]
        self._frontier = keep

    def _rank_belief(self, node: Node) -> None:
        self._top = [entry for entry in self._top if entry[1] != node.tree]
        if node.label not in UNFIT:
            insort(self._top, (-self.belief(node), node.tree))
            del self._top[MAX_TOP:]
