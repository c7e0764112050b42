"""What the run has found so far, as an index that grows by one record at a time.

Search policies and the planner read it; the ledger is the truth, and an index loaded from the
ledger equals one that followed the run. Every update is O(log n) or less, so that an iteration
costs the same after ten candidates and after ten thousand.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf, isfinite

from novum.agents.search.beliefs import Beliefs
from novum.agents.situation import KindRecord, move_key, moves_of
from novum.lab.records import (
    Better,
    Candidate,
    Json,
    Kind,
    Label,
    Proposal,
    Purpose,
    Trial,
    TrialStatus,
    Verdict,
)

MAX_FRONTIER = 64
"""Branches kept worth building on; what is weaker than these is never chosen anyway."""
UNSELECTED = (Purpose.NOISE, Purpose.RACE)
GOOD = (Label.PROMISING, Label.CONFIRMED)
BROKEN = (Label.INVALID,)
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
    label: str = ""
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


@dataclass(eq=False)
class Findings:
    """The index. Feed it every record once, in the order of the ledger."""

    better: Better
    nodes: dict[str, Node] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    """Proposals under way; finished ones are dropped, so that memory stays small."""
    n_proposals: int = 0
    n_closed: int = 0
    """Proposals that were judged or dropped."""
    moves: dict[str, MoveRecord] = field(default_factory=dict)
    kinds: dict[Kind, KindRecord] = field(default_factory=dict)
    attempts: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    """Proposal id by parents and move key."""
    directions: dict[str, str] = field(default_factory=dict)
    """Constant -> `up` or `down`, the direction that won last."""
    start: str = ""
    since_progress: int = 0
    """Verdicts since the head last changed for the better."""
    beliefs: Beliefs = field(default_factory=Beliefs)
    best_score: Node | None = None
    """The highest score so far, single trials included: what loops without statistics follow."""
    _frontier: list[tuple[float, str]] = field(default_factory=list)

    def oriented(self, metric: float) -> float:
        """A value of the metric, turned so that higher is better."""
        return -metric if self.better == "lower" else metric

    def note_proposal(self, proposal: Proposal) -> None:
        """A proposal was made: nobody should make it again."""
        if proposal.id in self.proposals:
            return
        self.n_proposals += 1
        self.proposals[proposal.id] = proposal
        tried = self.attempts.setdefault(lineage_key(proposal.parents), {})
        tried[attempt_key(proposal.move, proposal.hypothesis)] = proposal.id

    def note_candidate(self, candidate: Candidate, moves: tuple[str, ...] | None = None) -> None:
        """A candidate was frozen. `moves` are those that were really made, where that is known."""
        if candidate.tree in self.nodes:
            return
        proposal = self.proposals.get(candidate.proposal)
        made = moves if moves is not None else moves_of(proposal.move) if proposal else ()
        inherited = [m for p in candidate.parents if p in self.nodes for m in self.nodes[p].moves]
        node = Node(
            tree=candidate.tree,
            commit=candidate.commit,
            proposal=candidate.proposal,
            parents=candidate.parents,
            moves=merge_moves((*inherited, *made)),
            summary=candidate.summary[:200],
        )
        self.nodes[candidate.tree] = node
        if candidate.proposal.startswith("start:"):
            node.label = "start"
            self.start = self.start or candidate.tree
            self.beliefs.add_start(candidate.tree)
        else:
            base = self.common(candidate.parents)
            kind = proposal.kind if proposal else None
            self.beliefs.add(candidate.tree, candidate.parents, base, kind)

    def note_trial(self, trial: Trial) -> None:
        """A trial ended."""
        node = self.nodes.get(trial.tree)
        if (
            node is None
            or trial.status is not TrialStatus.FINISHED
            or trial.metric is None
            or not isfinite(trial.metric)
            or trial.fidelity != "full"
            or trial.split != "search"
        ):
            return
        if trial.purpose in (*UNSELECTED, Purpose.SEARCH):
            self.beliefs.note(trial.tree, self.oriented(trial.metric))
        if trial.purpose in UNSELECTED:
            node.total += self.oriented(trial.metric)
            node.n += 1
            self._rank(node)
        elif trial.purpose is Purpose.SEARCH and node.first is None:
            node.first = self.oriented(trial.metric)
        score, best = node.score, self.best_score
        if score is not None and (best is None or score > (best.score or -inf)):
            self.best_score = node

    def note_verdict(self, verdict: Verdict) -> None:
        """A proposal was judged: credit its moves, and let the candidate join the frontier.

        A confirmation (sealed split) that could not decide takes nothing from a race that was won.
        """
        node = self.nodes.get(verdict.tree)
        if verdict.proposal not in self.proposals:
            if node is not None and verdict.label is not Label.INCONCLUSIVE:
                node.label = verdict.label
                self._rank(node)
            return
        proposal = self.proposals.pop(verdict.proposal)
        self.beliefs.close(verdict.tree)
        if verdict.label in UNFIT:
            self.beliefs.ban(verdict.tree)
            if node is self.best_score:
                self.best_score = self.head
        if node is not None:
            before = self.head_score
            node.label = verdict.label
            self._rank(node)
            improved = before is not None and (self.head_score or before) > before
            self.since_progress = 0 if improved else self.since_progress + 1
        else:
            self.since_progress += 1
        self.n_closed += 1
        self._credit(proposal, verdict)

    def note_dropped(self, proposal_id: str, *, is_broken: bool) -> None:
        """A proposal ended without a candidate."""
        proposal = self.proposals.pop(proposal_id, None)
        self.n_closed += 1
        self.since_progress += 1
        if proposal is not None and is_broken:
            for name in moves_of(proposal.move):
                self.moves.setdefault(name, MoveRecord()).broken += 1

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
        believed = [self.nodes[t] for t in self.beliefs.top if self.beliefs.beats(t, self.start)]
        named = [node for node in believed if node.label and node.label != "start"]
        raced = [node for node in self.frontier if node.label != "start"]
        ranked = [*named[: n - 1], *raced, *named[n - 1 :]]
        return list({node.tree: node for node in ranked}.values())[:n]

    def gain(self, node: Node) -> float:
        """Estimated gain over the start, as a fraction; 0 where nothing is known."""
        base = self.nodes[self.start].score if self.start in self.nodes else None
        if base is None or node.score is None or base == 0:
            return 0.0
        return (node.score - base) / abs(base)

    def kind_of(self, node: Node) -> str:
        """The kind of change that made a candidate."""
        belief = self.beliefs.known.get(node.tree)
        return str(belief.kind) if belief is not None and belief.kind else ""

    def tried_on(self, parents: tuple[str, ...]) -> dict[str, str]:
        """Move keys that were tried on these parents, with the proposals that did."""
        return self.attempts.get(lineage_key(parents), {})

    def is_ancestor(self, old: str, young: str, limit: int = 2_000) -> bool:
        """Whether `young` descends from `old` (or is it)."""
        todo, seen = [young], {young}
        while todo and len(seen) < limit:
            tree = todo.pop()
            if tree == old:
                return True
            if tree in self.nodes:
                new = [p for p in self.nodes[tree].parents if p not in seen]
                seen.update(new)
                todo += new
        return False

    def common(self, parents: tuple[str, ...], limit: int = 200) -> str:
        """The youngest candidate that all parents descend from by their first parents."""
        lines: list[list[str]] = []
        for tree in parents:
            line = [tree]
            while len(line) < limit and (node := self.nodes.get(line[-1])) and node.parents:
                line.append(node.parents[0])
            lines.append(line)
        shared = set(lines[0]).intersection(*lines[1:]) if lines else set()
        return next((tree for tree in lines[0] if tree in shared), self.start) if lines else ""

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

    def _credit(self, proposal: Proposal, verdict: Verdict) -> None:
        won = verdict.label in GOOD
        base = self.nodes.get(verdict.reference)
        gain = 0.0
        if verdict.gain is not None and isfinite(verdict.gain) and base is not None and base.score:
            gain = max(-0.1, min(0.5, verdict.gain / abs(base.score)))
        names = moves_of(proposal.move)
        for name in names:
            record = self.moves.setdefault(name, MoveRecord())
            record.tried += 1
            record.won += won
            record.broken += verdict.label in BROKEN
            record.gain_sum += gain / len(names)
            record.weight += 1 / len(names)
        old = self.kinds.get(proposal.kind, KindRecord(kind=proposal.kind))
        self.kinds[proposal.kind] = KindRecord(
            kind=proposal.kind,
            tried=old.tried + 1,
            won=old.won + won,
            gain_sum=old.gain_sum + gain,
        )
        for name, direction in proposal.move.get("direction", {}).items():
            opposite = {"up": "down", "down": "up"}[direction]
            self.directions[name] = direction if won else opposite


def attempt_key(move: Json, hypothesis: str) -> str:
    """What a proposal tries, whoever says it: its move, or else the words of its hypothesis."""
    if key := move_key(move):
        return key
    words = " ".join(re.findall(r"[a-z0-9.]+", hypothesis.lower()))
    return f"~{sha256(words.encode()).hexdigest()[:12]}"


def lineage_key(parents: tuple[str, ...]) -> tuple[str, ...]:
    """Parents without their order."""
    return tuple(sorted(parents))


def merge_moves(moves: Iterable[str]) -> tuple[str, ...]:
    """Each technique once; of a constant's values only the last."""
    found: dict[str, str] = {}
    for move in moves:
        name = move.split("=", 1)[0]
        found.pop(name, None)
        found[name] = move
    return tuple(found.values())
