"""What the run has found so far, as an index that grows by one record at a time.

Search policies and the planner read it; the ledger is the truth, and an index loaded from the
ledger equals one that followed the run. Every update is O(log n) or less, so that an iteration
costs the same after ten candidates and after ten thousand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite

from novum.agents.search.naming import attempt_key, ideas_of, lineage_key, merge_moves
from novum.agents.search.node import COMPOSED, UNFIT, MoveRecord, Node, Source
from novum.agents.search.standing import GOOD, MAX_TOP, Standing
from novum.agents.situation import KindRecord, moves_of
from novum.lab.records import (
    Candidate,
    Kind,
    Label,
    Proposal,
    Purpose,
    Trial,
    TrialStatus,
    Verdict,
)

MAX_SOURCES = 4
CARRY = "carry"
"""In a move: the known idea that is to be made fit a base with which it clashed."""
UNSELECTED = (Purpose.NOISE, Purpose.RACE)
BROKEN = (Label.INVALID,)
FIRST_TRIED = 10
"""Ideas of which one does not run, before anything is known."""


@dataclass(eq=False)
class Findings(Standing):
    """The index. Feed it every record once, in the order of the ledger."""

    proposals: dict[str, Proposal] = field(default_factory=dict)
    """Proposals under way; finished ones are dropped, so that memory stays small."""
    n_proposals: int = 0
    n_closed: int = 0
    """Proposals that were judged or dropped."""
    n_tried: int = 0
    """New ideas of the proposals that were judged, or dropped because they did not run."""
    n_unfit: int = 0
    """Of these proposals, those that did not run."""
    moves: dict[str, MoveRecord] = field(default_factory=dict)
    kinds: dict[Kind, KindRecord] = field(default_factory=dict)
    attempts: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    """Proposal id by parents and move key."""
    directions: dict[str, str] = field(default_factory=dict)
    """Constant -> `up` or `down`, the direction that won last."""
    since_progress: int = 0
    """Verdicts since the head last changed for the better."""
    move_kinds: Mapping[str, Kind] = field(default_factory=dict)
    """Kinds of the techniques of the pack."""
    sources: dict[str, Source] = field(default_factory=dict)
    """Known ideas."""
    by_ideas: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Candidates by what they are made of."""
    anywhere: dict[str, str] = field(default_factory=dict)
    """The first proposal of each attempt, whatever its parents."""
    values: dict[str, list[str]] = field(default_factory=dict)
    """Values that were tried of each constant."""
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_TOP))
    """The youngest candidates that may be built on."""
    best_score: Node | None = None
    """The highest score so far, single trials included: what loops without statistics follow."""

    @property
    def broken_share(self) -> float:
        """How likely a new idea is not to run: one of each candidate that did not."""
        return min(1.0, (1.0 + self.n_unfit) / (FIRST_TRIED + self.n_tried))

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
        key = attempt_key(proposal.move, proposal.hypothesis)
        tried[key] = proposal.id
        self.anywhere.setdefault(key, proposal.id)
        if source := self.sources.get(proposal.move.get(CARRY, "")):
            source.n_clashed = 0  # somebody sees to it

    def note_candidate(
        self,
        candidate: Candidate,
        moves: tuple[str, ...] | None = None,
        carried: tuple[str, ...] | None = None,
    ) -> None:
        """A candidate was frozen. `moves` are those that were really made, where that is known;
        `carried` are the ideas of one that was put together from what is known."""
        if candidate.tree in self.nodes:
            return
        proposal = self.proposals.get(candidate.proposal)
        made = moves if moves is not None else moves_of(proposal.move) if proposal else ()
        parents = [self.nodes[p] for p in candidate.parents if p in self.nodes]
        if made:  # techniques applied to the first parent, in place of a merge that clashed
            parents = parents[:1]
        new = made
        if proposal is not None and len(candidate.parents) == 1 and not made:
            # A known idea in a form that fits what it clashed with, or a change without a name.
            new = (proposal.move.get(CARRY, proposal.id),)
        node = Node(
            tree=candidate.tree,
            commit=candidate.commit,
            proposal=candidate.proposal,
            parents=candidate.parents,
            moves=merge_moves((*(m for p in parents for m in p.moves), *made)),
            summary=candidate.summary[:200],
            ideas=ideas_of((*(i for p in parents for i in p.ideas), *new)),
            made=new,
        )
        if carried is not None:
            node.ideas = ideas_of(carried)
            node.moves = tuple(i for i in carried if self.sources[i].is_named)
            node.label = COMPOSED
        self.nodes[candidate.tree] = node
        self.by_ideas.setdefault(node.ideas, node.tree)
        self.recent.append(node.tree)
        if candidate.proposal.startswith("start:"):
            node.label = "start"
            self.start = self.start or candidate.tree
        if proposal is not None:
            self._note_sources(proposal, node, new)

    def note_same(self, ideas: tuple[str, ...], tree: str) -> None:
        """Put together, these ideas come to a candidate that is known under others."""
        self.by_ideas[ideas] = tree

    def _note_sources(self, proposal: Proposal, node: Node, new: tuple[str, ...]) -> None:
        for idea in new:
            source = self.sources.get(idea)
            if source is None:
                named = idea != proposal.id
                kind = self.kind_of_idea(idea, proposal) if named else proposal.kind
                source = self.sources[idea] = Source(kind, proposal.hypothesis, is_named=named)
                if "=" in idea:
                    name, _, value = idea.partition("=")
                    self.values.setdefault(name, []).append(value)
            if len(new) == 1 and len(node.parents) == 1:
                pair = (node.parents[0], node.tree)
                source.commits = (pair, *source.commits)[:MAX_SOURCES]
                source.n_clashed = 0
            self.effects.add(idea, source.kind)

    def kind_of_idea(self, idea: str, proposal: Proposal) -> Kind:
        """The kind of one technique or constant of a proposal."""
        if "=" in idea:
            return Kind.CONSTANTS
        return self.move_kinds.get(idea, proposal.kind)

    def note_clashes(self, ideas: Iterable[str]) -> None:
        """These could not be put together with the others that were to be carried."""
        for idea in ideas:
            if source := self.sources.get(idea):
                source.n_clashed += 1

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
            or trial.purpose is Purpose.SMOKE
        ):
            return
        if trial.purpose in (*UNSELECTED, Purpose.SEARCH, Purpose.ABLATION):
            if not node.n_all:
                self._note_runs(node)
            node.surprise += self.effects.note(node.tree, node.ideas, self.oriented(trial.metric))
            node.n_all += 1
            self._rank_belief(node)
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
        if verdict.label in UNFIT:
            if node is not None:
                self._note_broken(node, is_certain=verdict.label is not Label.INVALID)
            if node is self.best_score:
                self.best_score = self.head
        if node is not None:
            if verdict.label not in UNFIT:
                self._clear(node)
            self.n_tried += len(node.made)
            self.n_unfit += bool(node.made) and verdict.label in BROKEN
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
        """A proposal ended without a candidate. The step that says so may run again."""
        proposal = self.proposals.pop(proposal_id, None)
        if proposal is None:
            return
        self.n_closed += 1
        self.since_progress += 1
        if is_broken:
            names = moves_of(proposal.move)
            self.n_tried += max(1, len(names))
            self.n_unfit += 1
            for name in names:
                self.moves.setdefault(name, MoveRecord()).broken += 1

    def note_screened_out(self, proposal_id: str) -> None:
        """A cheap trial said that the moves of a proposal are not worth a full one."""
        proposal = self.proposals.get(proposal_id)
        for name in moves_of(proposal.move) if proposal is not None else ():
            self.moves.setdefault(name, MoveRecord()).tried += 1

    def kind_of(self, node: Node) -> str:
        """The kind of change that made a candidate: that of its youngest idea."""
        source = self.sources.get(node.made[-1]) if node.made else None
        return str(source.kind) if source else ""

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

    def _note_runs(self, node: Node) -> None:
        for idea in node.ideas:
            if source := self.sources.get(idea):
                source.n_run += 1

    def _note_broken(self, node: Node, *, is_certain: bool) -> None:
        """A candidate cheats or does not run: its new idea bears the blame, unless it is the first
        time that the ones it carries met. Of several new ones each is suspected, and none blamed.
        """
        self._top = [entry for entry in self._top if entry[1] != node.tree]
        if node.tree in self.recent:
            self.recent.remove(node.tree)
        self.by_ideas.pop(node.ideas, None)
        carried = set(node.ideas) - set(node.made)
        ran = (n.ideas for t in self.recent if (n := self.nodes[t]).n_all)
        is_new_alone = is_certain or any(carried <= set(ideas) for ideas in ran)
        for idea in node.made:
            if source := self.sources.get(idea):
                if len(node.made) > 1:
                    source.is_suspect = True
                else:
                    source.n_broken += 2 if is_new_alone else 1

    def _clear(self, node: Node) -> None:
        """A candidate ran and is no cheat: none of its new ideas was to blame for another."""
        for idea in node.made:
            if source := self.sources.get(idea):
                source.is_suspect = False

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
        kinds = {proposal.kind: 1.0}
        if len(names) > 1 and not proposal.move.get("merge"):  # each kind has its share
            of_names = [self.kind_of_idea(name, proposal) for name in names]
            kinds = {k: of_names.count(k) / len(names) for k in dict.fromkeys(of_names)}
        for kind, share in kinds.items():
            old = self.kinds.get(kind, KindRecord(kind=kind))
            self.kinds[kind] = KindRecord(
                kind=kind,
                tried=old.tried + 1,
                won=old.won + won,
                gain_sum=old.gain_sum + share * gain,
            )
        for name, direction in proposal.move.get("direction", {}).items():
            if len(names) > 1 and not won:
                continue  # which of them went the wrong way is not known
            opposite = {"up": "down", "down": "up"}[direction]
            self.directions[name] = direction if won else opposite
