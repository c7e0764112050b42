"""Draft a few starts, improve the best, debug what broke: the tree search of AIDE.

Source: Jiang et al. 2025, AIDE: AI-driven exploration in the space of code (arXiv:2502.13138).
"""

from __future__ import annotations

from itertools import islice
from random import Random

from novum.agents.search.findings import Findings
from novum.agents.search.node import Node
from novum.agents.search.protocol import Choice
from novum.lab.records import Label

N_DRAFTS = 5
"""As AIDE's default."""
DEBUG = 0.5
"""Chance to mend the latest broken candidate instead of improving the best."""
MAX_DEBUG_DEPTH = 3
RECENT = 20


class Tree:
    """Single scores steer: the best score is improved, whether or not it was proven."""

    name = "tree"
    race_at = 0.0

    def final_set(self, findings: Findings) -> tuple[str, ...] | None:
        """What was measured as it is."""
        return None

    def choose(self, findings: Findings, thread: int, rng: Random) -> Choice:
        """Draft while there are few drafts, else debug or improve."""
        if findings.n_proposals < N_DRAFTS:
            return Choice("draft", (findings.start,))
        if rng.random() < DEBUG and (broken := latest_broken(findings)):
            return Choice("improve", (broken.parents[0],))
        best = findings.best_score
        return Choice("improve", (best.tree if best else findings.head.tree,))


def latest_broken(findings: Findings) -> Node | None:
    """The youngest of the last candidates that did not run, unless its parents broke too often.

    Mending starts from its parent: a change that does not run is made again, otherwise.
    """
    for tree in islice(reversed(findings.nodes), RECENT):
        node = findings.nodes[tree]
        if node.label == Label.INVALID and node.parents:
            return node if depth_of_broken(findings, node) <= MAX_DEBUG_DEPTH else None
    return None


def depth_of_broken(findings: Findings, node: Node) -> int:
    """How many broken candidates in a row lead to this one."""
    depth = 1
    while node.parents and (parent := findings.nodes.get(node.parents[0])):
        if parent.label != Label.INVALID:
            break
        depth, node = depth + 1, parent
    return depth
