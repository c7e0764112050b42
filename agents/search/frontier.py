"""The default policy: draw once from each belief, try the best draw (tempered Thompson sampling).

Improving a branch, merging two and measuring one again compete in one currency: what the best
candidate may become. Branches that are believed to be better are built on before anything is
proven, so that small gains add up to what a race can see; kinds of ideas are chosen by what they
are believed to give. When nothing improved for long, the search starts from elsewhere and asks for
other kinds.

Source: Thompson 1933; Russo et al. 2018, A tutorial on Thompson sampling (arXiv:1707.02038).
"""

from __future__ import annotations

from math import sqrt
from random import Random

from novum.agents.search.findings import Findings, Node
from novum.agents.search.protocol import Choice
from novum.lab.records import Kind

WIDTH = 12
"""Candidates that are drawn from; a weaker one is never the best draw."""
COMBINE_AMONG = 5
TEMPER = 0.02
"""Sds of a belief that a draw may stray. The smaller of 0, 0.1, 0.2, 0.5 and 1, the more true
gain in 400 simulated trials: depth pays more than breadth while every idea is a new one."""
KINDS = (
    Kind.ARCHITECTURE,
    Kind.OPTIMISER,
    Kind.DATA,
    Kind.SCHEDULE,
    Kind.SYSTEMS,
    Kind.CONSTANTS,
)
DIVERSE = 0.1
"""Share of proposals whose kind is the least tried: what pays may change as the best changes."""
RETEST = 0.05
"""Share of proposals that measure the leader again while it rests on fewer than `SURE` trials."""
SURE = 3
PLATEAU = 30
"""Experiments without progress after which the search spreads out."""
SPREAD = 0.25
"""Sds that each child takes from a parent's draw on a plateau: start from elsewhere."""


class Frontier:
    """Threads share beliefs, not a branch: what one finds, the others build on at once."""

    name = "frontier"
    race_at = 4.0

    def choose(self, findings: Findings, thread: int, rng: Random) -> Choice:
        """Draw, and do what the best draw asks for."""
        beliefs = findings.beliefs
        top = [findings.nodes[t] for t in beliefs.top[:WIDTH] if t in findings.nodes]
        if not top:
            return Choice("improve", (findings.head.tree,), draw_kind(findings, rng))
        leader = beliefs.known[top[0].tree]
        if top[0].label != "start" and leader.n < SURE and rng.random() < RETEST:
            return Choice("retest", (top[0].tree,))
        is_stuck = findings.since_progress > PLATEAU
        draws = {}
        for node in top:
            belief = beliefs.known[node.tree]
            fee = SPREAD * beliefs.sd * sqrt(belief.n_children) if is_stuck else 0.0
            draws[node.tree] = beliefs.draw(node.tree, rng, TEMPER) - fee
        best = max(top, key=lambda n: draws[n.tree])
        kind = draw_kind(findings, rng)
        # A new idea brings what its kind is believed to give; a merge what the branches hold.
        aim = draws[best.tree] + beliefs.expected_gain(kind)
        if pair := best_pair(findings, top, draws, aim):
            return Choice("combine", pair)
        return Choice("improve", (best.tree,), kind)


def best_pair(
    findings: Findings, top: list[Node], draws: dict[str, float], aim: float
) -> tuple[str, str] | None:
    """Two branches whose gains, added, are drawn above `aim`; `None` when none are."""
    found: tuple[float, tuple[str, str]] | None = None
    among = sorted(top, key=lambda n: -draws[n.tree])[:COMBINE_AMONG]
    for i, first in enumerate(among):
        for second in among[i + 1 :]:
            if not can_combine(findings, first, second):
                continue
            base = findings.common((first.tree, second.tree))
            if base not in findings.beliefs.known:
                continue
            shared = findings.beliefs.known[base].mean
            total = draws[first.tree] + draws[second.tree] - shared
            if total > aim and (found is None or total > found[0]):
                found = (total, (first.tree, second.tree))
    return found[1] if found else None


def draw_kind(findings: Findings, rng: Random) -> Kind:
    """The kind that a draw says gives most, and now and then the one that was tried least."""
    if rng.random() < DIVERSE:
        return min(KINDS, key=lambda k: (findings.kinds[k].tried if k in findings.kinds else 0, k))
    return max(KINDS, key=lambda k: findings.beliefs.draw_gain(k, rng))


def can_combine(findings: Findings, head: Node, other: Node) -> bool:
    """Whether merging would add to the head something that it lacks, and was not tried."""
    return (
        "start" not in (head.label, other.label)
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
