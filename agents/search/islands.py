"""Islands, each with a map of elites, and migrants between neighbours: after OpenEvolve.

A cell of a map is a kind of change and a depth of lineage; it keeps the candidate with the best
score. Everything follows from the findings: an island is where a candidate's first parent lives.

Source: Mouret and Clune 2015, MAP-Elites (arXiv:1504.04909); openevolve, database.py (shares of
0.2 exploration, 0.7 exploitation, ring migration).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from weakref import WeakKeyDictionary

from novum.agents.search.findings import Findings
from novum.agents.search.node import Node
from novum.agents.search.protocol import Choice
from novum.lab.records import Label

N_ISLANDS = 5
EXPLORE, EXPLOIT = 0.2, 0.7
MIGRATE_EVERY = 50
DEPTHS = 10
UNFIT = (Label.INVALID, Label.HACK, Label.QUARANTINED, Label.MISSED)


@dataclass
class Maps:
    """Where the candidates that were seen so far live."""

    home: dict[str, int] = field(default_factory=dict)
    islands: list[list[Node]] = field(default_factory=lambda: [[] for _ in range(N_ISLANDS)])


class Islands:
    """Thread after thread visits island after island."""

    name = "islands"
    race_at = 0.0

    def __init__(self) -> None:
        # Derived from the findings alone: kept so that a choice need not read all of them again.
        self._maps: WeakKeyDictionary[Findings, Maps] = WeakKeyDictionary()

    def final_set(self, findings: Findings) -> tuple[str, ...] | None:
        """What was measured as it is."""
        return None

    def choose(self, findings: Findings, thread: int, rng: Random) -> Choice:
        """A parent from the next island's map, by exploitation, exploration or fitness."""
        maps = self._maps.setdefault(findings, Maps())
        settle(maps, findings)
        island = findings.n_proposals % N_ISLANDS
        if findings.n_proposals % MIGRATE_EVERY < N_ISLANDS:
            island = (island - 1) % N_ISLANDS  # the neighbour's elite settles where its child lives
        elites = elites_of(maps.islands[island], findings)
        if not elites:
            return Choice("improve", (findings.start,))
        luck = rng.random()
        if luck < EXPLORE:
            return Choice("improve", (rng.choice(elites).tree,))
        if luck < EXPLORE + EXPLOIT:
            return Choice("improve", (max(elites, key=score).tree,))
        ranked = sorted(elites, key=score)
        weights = [rank + 1.0 for rank in range(len(ranked))]
        return Choice("improve", (rng.choices(ranked, weights)[0].tree,))


def settle(maps: Maps, findings: Findings) -> None:
    """Take in the candidates that came since the last call."""
    fresh: list[Node] = []
    for tree in reversed(findings.nodes):
        if tree in maps.home:
            break
        fresh.append(findings.nodes[tree])
    for node in reversed(fresh):
        parent = node.parents[0] if node.parents else ""
        born = len(maps.home) % N_ISLANDS
        is_migrant = len(maps.home) % MIGRATE_EVERY < N_ISLANDS
        lives = born if is_migrant or parent == findings.start else maps.home.get(parent, born)
        maps.home[node.tree] = lives
        if node.label != "start":
            maps.islands[lives].append(node)


def elites_of(nodes: list[Node], findings: Findings) -> list[Node]:
    """The best candidate of each cell, as the scores stand now."""
    elites: dict[tuple[str, int], Node] = {}
    for node in nodes:
        if node.score is None or not node.label or node.label in UNFIT:
            continue
        cell = (findings.kind_of(node), min(len(node.moves), DEPTHS - 1))
        if cell not in elites or score(node) > score(elites[cell]):
            elites[cell] = node
    return list(elites.values())


def score(node: Node) -> float:
    """What loops without statistics go by."""
    return float("-inf") if node.score is None else node.score
