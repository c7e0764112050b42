"""One simulated campaign: the real policy, the real findings, the real gates, computed trials.

It follows the loop: one SEARCH trial, the gate, perhaps a second look, a RACE on fresh trials of
both arms; at the end the best candidates are certified against the start. Threads work side by
side: all of a round choose before any of them has a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from novum.agents.design import certification_trials
from novum.agents.search.findings import CARRY, Findings
from novum.agents.search.frontier import nearest
from novum.agents.search.protocol import Choice, SearchPolicy
from novum.evals.audit import retry_at
from novum.evals.significance import Design, NoiseModel, race, search_gate
from novum.evals.significance.gate import PROMISING_SDS
from novum.evals.significance.looks import LOOKS
from novum.evals.suites.simulated.landscapes import CRASH_COST, Ideas, Truth, kind_of
from novum.lab.records import (
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

N_THREADS = 4
N_NOISE = 5
SPARE = 4
"""Trials set aside for a second certification that stops early."""
MAX_NOISE_ARMS = 24
MAX_FALLBACKS = 3
HEADLINE = 0.01
PLAIN = "keep-if-better"


@dataclass(frozen=True)
class Outcome:
    """What a campaign reported, and what is true of it; gains in sds of the noise."""

    policy: str
    landscape: str
    budget: int
    seed: int
    true_gain: float
    """Of what was reported; 0 when nothing was."""
    claimed: float | None
    """`None` when nothing was claimed."""
    n_kept: int
    n_false_kept: int
    """Kept although no better than what it was measured against."""
    cost: float
    n_ideas: int
    head_gain: float
    """True gain of what would have been reported, certified or not."""
    n_saved: int = 0
    """Full trials that a screen saved."""
    off_at: float | None = None
    """Trials spent when the screen switched itself off; `None` when it did not."""
    own_ms: float = field(default=0.0, compare=False)
    """Wall time for each idea that went into the search and not into trials."""
    own_cpu_ms: float = field(default=0.0, compare=False)
    """CPU time for each idea, likewise."""

    @property
    def is_false_champion(self) -> bool:
        """Whether a claim was made of something that is no better than the start."""
        return self.claimed is not None and self.true_gain <= 0.0


class Campaign:
    """A simulated run of one policy on one landscape."""

    def __init__(self, landscape: Truth, policy: SearchPolicy, budget: int, seed: int) -> None:
        self.landscape = landscape
        self.policy = policy
        self.budget = budget
        self.seed = seed
        self.rng = Random(f"{landscape.name}/{landscape.seed}/{seed}/{budget}")
        self.kinds: dict[str, Kind] = {}
        """Of all ideas that were proposed, as runs know those of their playbook."""
        self.findings = Findings("higher", move_kinds=self.kinds)
        self.ideas: dict[str, Ideas] = {}
        self.made_on: dict[str, Ideas] = {}
        """What was there when an idea was written."""
        self.arms: dict[str, list[float | None]] = {}
        """Unselected trials by tree, the youngest last: the noise model's arms."""
        self.cost = 0.0
        self.n_trials = 0
        self.n_proposals = 0
        self.n_kept = 0
        self.n_false_kept = 0

    def run(self) -> Outcome:
        """Search until the budget is spent but for the reserve, then certify."""
        self._start()
        while self.cost < self.budget - (set_aside := self._reserve()):
            chosen = []
            for thread in range(N_THREADS):
                reference = self.findings.head.tree
                rng = Random(self.rng.getrandbits(48))
                choice = self.policy.choose(self.findings, thread, rng)
                chosen.append(self._propose(choice, thread, rng, reference))
            for proposal, ideas, reference in chosen:
                if self.cost < self.budget - set_aside:
                    self._experiment(proposal, ideas, reference)
        return self._certify()

    def _start(self) -> None:
        self.ideas["start"] = frozenset()
        self.findings.note_candidate(Candidate("start", "start", (), "start:s", ""))
        for _ in range(N_NOISE):
            self._trial("start", "start:s", Purpose.NOISE)

    def _propose(
        self, choice: Choice, thread: int, rng: Random, reference: str
    ) -> tuple[Proposal, Ideas, str]:
        self.n_proposals += 1
        parents = choice.parents
        if choice.carry is not None:
            parents = (self._put_together(choice.parents[0], choice.carry, rng),)
        ideas = frozenset[str]().union(*(self.ideas[t] for t in parents))
        kind: Kind = Kind.COMBINATION
        move: Json = {} if choice.mode == "retest" else {"merge": True}
        if choice.resolve:  # a coder makes it fit
            ideas, kind = ideas | {choice.resolve}, kind_of(choice.resolve)
            move = {CARRY: choice.resolve}
        elif choice.mode not in ("combine", "retest"):
            known = frozenset(self.made_on) if choice.carry is not None else ideas
            new = self.landscape.draw(choice.kind_hint, known, rng)
            if new is None:  # nothing is left to add: the parent is measured
                move = {}
            else:
                fresh = [new]
                for hint in choice.also:
                    more = self.landscape.draw(hint, known | set(fresh), rng)
                    if more is not None:
                        fresh.append(more)
                ideas, move = ideas | set(fresh), {"apply": fresh}
                self.kinds |= (kinds := {idea: kind_of(idea) for idea in fresh})
                kind = kind_of(new) if len(set(kinds.values())) == 1 else kind
        proposal = Proposal(
            id=f"p{self.n_proposals}",
            thread=thread,
            iteration=self.n_proposals,
            hypothesis="",
            kind=kind,
            parents=parents,
            brain="",
            move=move,
        )
        self.findings.note_proposal(proposal)
        return proposal, ideas, reference

    def _put_together(self, base: str, carry: tuple[str, ...], rng: Random) -> str:
        """A candidate with these ideas: the base, and the others merged into it one by one."""
        ideas, left = set(self.ideas[base]), []
        for idea in sorted(set(carry) - ideas):
            made_on = self.made_on[idea]
            others = ((other, self.made_on[other]) for other in ideas)
            if any(
                idea not in theirs and other not in made_on and self.landscape.clash(idea, other)
                for other, theirs in others
            ):
                left.append(idea)
            else:
                ideas.add(idea)
        self.findings.note_clashes(left)
        known = self.findings.by_ideas.get(tuple(sorted(ideas)))
        if known is None:
            known = f"c{len(self.ideas)}"
            self.ideas[known] = frozenset(ideas)
            made = Candidate(known, known, (base,), f"carry:{known}", "")
            self.findings.note_candidate(made, carried=tuple(sorted(ideas)))
        return known

    def _experiment(self, proposal: Proposal, ideas: Ideas, reference: str) -> None:
        is_merge = len(proposal.parents) > 1
        if is_merge and self._clashes(proposal.parents):
            self.findings.note_dropped(proposal.id, is_broken=False)
            return
        tree = f"t{proposal.id}" if proposal.move else proposal.parents[0]
        if proposal.move:
            self.ideas[tree] = ideas
            for new in (*proposal.move.get("apply", ()), *proposal.move.get(CARRY, "").split()):
                self.made_on[new] = ideas
            self.findings.note_candidate(Candidate(tree, tree, proposal.parents, proposal.id, ""))
        label, gain = self._judge(proposal, tree, reference)
        if label is Label.PROMISING:
            self.n_kept += 1
            worth = self.landscape.value(ideas) - self.landscape.value(self.ideas[reference])
            self.n_false_kept += worth <= 0
        self.findings.note_verdict(
            Verdict(f"v{proposal.id}", proposal.id, tree, reference, label, "", gain)
        )

    def _clashes(self, parents: Sequence[str]) -> bool:
        one, other = (self.ideas[t] for t in parents[:2])
        return any(self.landscape.clash(i, j) for i in one - other for j in other - one)

    def _judge(self, proposal: Proposal, tree: str, reference: str) -> tuple[Label, float | None]:
        first = [self._trial(tree, proposal.id, Purpose.SEARCH)]
        noise = self._noise()
        while True:
            gate = search_gate(self.arms[reference], first, noise, better="higher")
            if gate.gain_sds >= max(PROMISING_SDS, self.policy.race_at):
                break
            if gate.outcome == "dropped":
                label = Label.INVALID if first[-1] is None else Label.REGRESSION
                return label, None if first[-1] is None else gate.gain
            if len(first) > 1 or gate.gain_sds < retry_at(self.policy.race_at):
                return (Label.INCONCLUSIVE if gate.gain > 0 else Label.NOISE), gate.gain
            first.append(self._trial(tree, proposal.id, Purpose.SEARCH))
        arms: tuple[list[float | None], list[float | None]] = ([], [])
        while True:
            result = race(arms[0], arms[1], noise, Design(), better="higher")
            if result.outcome != "continue":
                break
            for i in range(max(result.more_reference, result.more_candidate)):
                if i < result.more_candidate:
                    arms[1].append(self._trial(tree, proposal.id, Purpose.RACE))
                if i < result.more_reference:
                    arms[0].append(self._trial(reference, proposal.id, Purpose.RACE))
        if result.outcome == "accept":
            return Label.PROMISING, result.estimate
        if result.is_regression:
            return Label.REGRESSION, result.estimate
        return (Label.INCONCLUSIVE if result.estimate > 0 else Label.NOISE), result.estimate

    def _trial(self, tree: str, proposal: str, purpose: Purpose) -> float | None:
        score = self.landscape.measure(self.ideas[tree], self.cost, self.rng)
        self.cost += CRASH_COST if score is None else 1.0
        self.n_trials += 1
        status = TrialStatus.CRASHED if score is None else TrialStatus.FINISHED
        if purpose in (Purpose.NOISE, Purpose.RACE):
            self.arms.setdefault(tree, []).append(score)
            self.arms[tree] = self.arms.pop(tree)
        self.findings.note_trial(
            Trial(
                id=f"t{self.n_trials}",
                key="",
                tree=tree,
                proposal=proposal,
                purpose=purpose,
                split="search",
                fidelity="full",
                seed=self.n_trials,
                seed_index=0,
                harness="",
                hardware="",
                slot=0,
                status=status,
                metric=score,
            )
        )
        return score

    def _noise(self) -> NoiseModel:
        while len(self.arms) > MAX_NOISE_ARMS:
            spare = (t for t in self.arms if t not in ("start", self.findings.head.tree))
            del self.arms[next(spare)]
        return NoiseModel.from_arms(self.arms)

    def _reserve(self) -> float:
        """Trials that certifying what was found would take, as runs reckon it."""
        n = certification_trials(
            self.findings.sure_gain, self._noise(), HEADLINE / MAX_FALLBACKS, LOOKS
        )
        return min(2 * n + SPARE, self.budget / 5)

    def _certify(self) -> Outcome:
        best = self._finalists()
        claimed, champion = None, None
        for rank, tree in enumerate(best):
            if rank and self.cost + 4 > self.budget:
                break
            claimed = self._confirm(tree, len(best))
            if claimed is not None:
                champion = tree
                break
        truth = self.landscape.value(self.ideas[champion]) if champion else 0.0
        return Outcome(
            policy=self.policy.name,
            landscape=self.landscape.name,
            budget=self.budget,
            seed=self.seed,
            true_gain=truth,
            claimed=claimed,
            n_kept=self.n_kept,
            n_false_kept=self.n_false_kept,
            cost=self.cost,
            n_ideas=self.n_proposals,
            head_gain=self.landscape.value(self.ideas[best[0]]) if best else 0.0,
        )

    def _finalists(self) -> list[str]:
        best = [node.tree for node in self.findings.finalists(MAX_FALLBACKS)]
        final = self.policy.final_set(self.findings)
        if final is None:
            return best
        base = nearest(self.findings, final).tree
        tree = self._put_together(base, final, self.rng)
        nodes = [self.findings.nodes[t] for t in best]
        final_node = self.findings.nodes[tree]
        return [n.tree for n in self.findings.with_final(nodes, final_node, MAX_FALLBACKS)]

    def _confirm(self, tree: str, n_tried: int) -> float | None:
        arms: tuple[list[float | None], list[float | None]] = ([], [])
        while True:
            result = race(
                arms[0],
                arms[1],
                None,
                Design(alpha=HEADLINE / n_tried, futility=()),
                better="higher",
            )
            if result.outcome != "continue":
                return result.estimate if result.outcome == "accept" else None
            for arm, name, n in (
                (arms[1], tree, result.more_candidate),
                (arms[0], "start", result.more_reference),
            ):
                for _ in range(n):
                    self.cost += 1.0
                    arm.append(self.landscape.measure(self.ideas[name], self.cost, self.rng))


def keep_if_better(landscape: Truth, budget: int, seed: int, n_new: int = 1) -> Outcome:
    """The plain loop: one trial an idea, or for so many at once, kept together when their score
    beats the last kept one."""
    rng = Random(f"{landscape.name}/{landscape.seed}/{seed}/{budget}/plain")
    kept: Ideas = frozenset()
    base = landscape.measure(kept, 0.0, rng) or 0.0
    best, n_kept, n_false = base, 0, 0
    cost = 1.0
    n_ideas = 0
    while cost < budget:
        n_ideas += 1
        tried = kept
        for _ in range(n_new):
            new = landscape.draw(None, tried, rng)
            tried = tried if new is None else tried | {new}
        score = landscape.measure(tried, cost, rng)
        cost += CRASH_COST if score is None else 1.0
        if score is not None and score > best:
            n_kept += 1
            n_false += landscape.value(tried) <= landscape.value(kept)
            kept, best = tried, score
    truth = landscape.value(kept)
    return Outcome(
        PLAIN if n_new == 1 else f"{PLAIN}, {n_new} at once",
        landscape.name,
        budget,
        seed,
        truth,
        best - base if kept else None,
        n_kept,
        n_false,
        cost,
        n_ideas,
        truth,
    )
