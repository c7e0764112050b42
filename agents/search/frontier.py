"""Build on the best, merge what won side by side, and now and then give a runner-up a chance."""

from __future__ import annotations

from random import Random

from novum.agents.search.findings import Findings, Node
from novum.agents.search.protocol import Choice
from novum.lab.records import Kind

COMBINE_AMONG = 6
"""Branches below the head that are looked at for a merge."""
EXPLORE = 0.15
"""How often a proposal starts from a branch that is not the head."""
HINT = 0.2
"""How often the kind that was tried least is asked for."""
HINTED = (Kind.ARCHITECTURE, Kind.OPTIMISER, Kind.SCHEDULE, Kind.DATA, Kind.SYSTEMS)


class Frontier:
    """Threads that worked side by side find different things; those are merged first."""

    name = "frontier"

    def choose(self, findings: Findings, thread: int, rng: Random) -> Choice:
        """Combine when a branch holds something that the head lacks, improve otherwise."""
        frontier = findings.frontier or [findings.head]
        head = frontier[0]
        for other in frontier[1 : 1 + COMBINE_AMONG]:
            if can_combine(findings, head, other):
                return Choice("combine", (head.tree, other.tree))
        hint = None
        if rng.random() < HINT:
            hint = min(HINTED, key=lambda k: (k in findings.kinds and findings.kinds[k].tried, k))
        parent = head
        others = [n for n in frontier[1:COMBINE_AMONG] if n.label != "start"]
        if others and rng.random() < EXPLORE:
            # The chance of a branch halves with each place in the ranking.
            parent = rng.choices(others, weights=[0.5**i for i in range(len(others))])[0]
        return Choice("improve", (parent.tree,), hint)


def can_combine(findings: Findings, head: Node, other: Node) -> bool:
    """Whether merging would add to the head something that won, and was not tried."""
    return (
        other.label != "start"
        and not set(other.moves) <= set(head.moves)
        and not any(
            m.split("=")[0] == h.split("=")[0]
            for m in other.moves
            for h in head.moves
            if m != h and "=" in m
        )
        and not findings.tried_on((head.tree, other.tree))
        and not findings.is_ancestor(other.tree, head.tree)
        and not findings.is_ancestor(head.tree, other.tree)
    )
