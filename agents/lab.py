"""The lab: what the nodes of the graph depend on, and the records they make.

Every record goes to the ledger first and then into the indexes that this process keeps (findings,
trial window, memory), so that an index loaded from the ledger equals one that followed the run.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.agents.brains.ensemble import Brain, Casting, Ensemble
from novum.agents.budget import Budget, BudgetLimits
from novum.agents.control import Control
from novum.agents.design import certification_trials, reserve_s
from novum.agents.directives import Directives
from novum.agents.moves import PlaybookMoves
from novum.agents.observe import Surfaces
from novum.agents.screens import Screens
from novum.agents.search.findings import Findings
from novum.agents.search.protocol import SearchPolicy
from novum.agents.situation import moves_of
from novum.agents.trials import NOBODYS_SCORE
from novum.agents.window import TrialWindow
from novum.benchmarks.pack import Pack, Profile
from novum.evals.audit import precheck
from novum.evals.facts import Facts, Terms, outline
from novum.evals.review import STEP as REVIEW
from novum.lab.archive import Archive
from novum.lab.codec import decode
from novum.lab.counted import counted
from novum.lab.ledger import Ledger
from novum.lab.records import (
    Candidate,
    Evidence,
    Json,
    Label,
    Lesson,
    Proposal,
    Purpose,
    Trial,
    Verdict,
)
from novum.lab.run import RunFolder
from novum.memory.experience import Experience
from novum.memory.protocol import Memory
from novum.sandboxes.protocol import Sandbox
from novum.settings import ApprovalSettings
from novum.tools.pack import coder_tools

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

    from novum.agents.coder import Session
    from novum.agents.trials import TrialRunner

MOVES = "moves"
DROPPED = "dropped"
RECENT = 12
"""Latest lessons among which a planner is shown those that went wrong."""


async def at_once(id: str) -> None:
    """Go on without waiting."""


def never(stage: str, id: str) -> bool:
    """Ask nobody."""
    return False


@dataclass
class Lab:
    """Everything a node may use. One a process; threads of research share it."""

    run: RunFolder
    ledger: Ledger
    archive: Archive
    memory: Memory
    pack: Pack
    profile: Profile
    harness: str
    """Digest of harness, grader and data."""
    hardware: str
    start: str
    """Name of the start."""
    start_files: dict[str, bytes]
    runner: TrialRunner
    sandbox: Sandbox
    policy: SearchPolicy
    brains: Mapping[str, Brain]
    brain_names: Mapping[str, str]
    budget: Budget
    findings: Findings
    scratch: Path
    session: int = 0
    """How many processes have worked on this run before this one."""
    coder_turns: int = 24
    ablate: float = 0.0
    """Trials, as a share of those so far, that may go into what each change is worth."""
    confirm_trials: int | None = None
    """Trials an arm of a confirmation, where the user declares them; else the pack's."""
    measures_first: bool = True
    """Whether the start is measured before anything is tried; else when a search needs it."""
    clock: Callable[[], float] = time.time
    is_replay: bool = False
    turn: Callable[[str], Awaitable[None]] = at_once
    """Awaited with the id of a proposal before something of it is recorded; replay makes it wait
    for the recorded order."""
    must_ask: Callable[[str, str], bool] = never
    """Whether a stage (`plan`, `run`) waits for a person; replay asks where the recording did."""
    approval: ApprovalSettings = field(default_factory=ApprovalSettings)
    control: Control = field(default_factory=Control)
    directives: Directives = field(default_factory=Directives)
    window: TrialWindow = field(default_factory=TrialWindow)
    screens: Screens = field(default_factory=Screens)
    surfaces: Surfaces = field(default_factory=Surfaces)
    casting: Casting = field(default_factory=Casting)
    experience: Experience = field(default_factory=Experience)
    """What earlier runs found, as far as this run may use it."""
    sessions: dict[str, Session] = field(default_factory=dict)
    iterations: dict[int, int] = field(default_factory=dict)
    """Closed iterations by thread."""
    candidates: dict[str, Candidate] = field(default_factory=dict)
    """Candidates under test, by tree."""
    recent: deque[Lesson] = field(default_factory=lambda: deque(maxlen=RECENT))
    """The latest lessons, oldest first."""
    n_kept: int = 0
    """Closed ideas when the beliefs were kept last."""
    static: dict[str, tuple[Evidence, ...]] = field(default_factory=dict)
    """Evidence of the precheck, by proposal under way."""

    noise_turns: dict[str, asyncio.Lock] = field(default_factory=dict)
    """By reference, whose turn it is to measure its noise."""

    def __post_init__(self) -> None:
        self.moves = PlaybookMoves(self.pack)
        self.findings.move_kinds = {n: t.kind for n, t in self.moves.techniques.items()}
        self.coder_tools = coder_tools(self.pack)
        self.terms = Terms.of(self.pack.manifest, self.profile)
        if self.confirm_trials is not None:
            win = self.terms.win.model_copy(update={"confirm_trials": self.confirm_trials})
            self.terms = replace(self.terms, win=win)
        self.given_limits = self.budget.limits
        self.begin()

    # --- when to stop ---

    def begin(self, limits: BudgetLimits | None = None) -> None:
        """Be ready to search (again), under other limits if they are given."""
        self.control = Control(kill=self.runner.kill)
        self.given_limits = limits or self.given_limits
        self.read_directives()

    def read_directives(self) -> None:
        """Take in what the user wishes now."""
        self.directives.read(self.ledger.directives(standing=True))
        self.budget.limits = self.directives.limits(self.given_limits)

    def is_banned(self, tree: str) -> bool:
        """Whether a candidate is, or descends from, one that the user wants no more of."""
        dead = self.directives.dead_branches
        return any(self.findings.is_ancestor(old, tree) for old in dead)

    def pause(self) -> str:
        """Id of a standing directive that asks to pause; empty when none does."""
        self.read_directives()
        return self.directives.pause

    def stop_reason(self) -> str:
        """Why no new iteration should begin; empty while the search may go on."""
        if self.control.reason:
            return self.control.reason
        self.read_directives()
        if id := self.directives.stop:
            self.control.stop(f"directive {id} asked to stop")
        elif reason := self.budget.spent(self.findings.n_proposals) or self._satisfied():
            self.control.stop(reason)
        return self.control.reason

    def is_over(self) -> str:
        """Why what is under way should not be waited for; empty while it should.

        That all experiments were begun is no reason: those that wait are among them.
        """
        self.read_directives()
        if id := self.directives.stop:
            return f"directive {id} asked to stop"
        left_s = self.budget.search_s()
        return "its time is over" if left_s is not None and left_s <= 0 else ""

    def _satisfied(self) -> str:
        limits, findings = self.budget.limits, self.findings
        if limits.plateau is not None and findings.since_progress >= limits.plateau:
            return f"{counted(findings.since_progress, 'experiment')} in a row brought no progress"
        score = findings.head_score
        if limits.target is not None and score is not None and findings.head.label != "start":
            if score >= findings.oriented(limits.target):
                return f"the target {limits.target:g} is reached"
        return ""

    def update_reserve(self) -> None:
        """Set aside the time that certifying what was found would take."""
        gain = self.findings.sure_gain
        win = self.terms.win
        n = win.confirm_trials or certification_trials(
            gain, self.window.noise(), win.alpha_headline, win.looks
        )
        n = max([n, *(r.trials for r in self.terms.requirements.values())])
        limit_s = self.budget.limits.wall_s
        self.budget.ablation_s = self.ablate * limit_s if limit_s and gain > 0 else 0.0
        self.budget.reserve_s = reserve_s(n, self.budget.n_slots, self.budget.trial_s)

    def has_time_for(self, n_trials: int) -> bool:
        """Whether so many trials of an idea still fit.

        While nothing was gained, an idea that looks good may take of what is set aside for the
        final test, down to the shortest one: without the idea there would be nothing to test.
        """
        budget, spare_s = self.budget, 0.0
        if not self.findings.sure_gain:
            shortest_s = reserve_s(self.terms.win.looks[0], budget.n_slots, budget.trial_s)
            spare_s = max(0.0, budget.reserve_s - shortest_s)
        return budget.has_time_for(n_trials, spare_s)

    def next_iteration(self, thread: int) -> int:
        """Number of the first iteration of a thread that is not closed."""
        return self.iterations.get(thread, 0)

    # --- the trace ---

    def note(self, kind: str, key: str, payload: Json) -> None:
        """Record an event that is no fact of the tables; twice is once."""
        self.ledger.append(kind, payload, f"{kind}:{key}")

    def recorded(self, kind: str, key: str) -> Json | None:
        """The payload of such an event, if there is one."""
        event = self.ledger.event(f"{kind}:{key}")
        return None if event is None else event.payload

    def seed(self, *words: str) -> int:
        """A random state that is fixed by the run and the words."""
        text = "/".join((self.run.nonce, *words))
        return int.from_bytes(sha256(text.encode()).digest()[:6])

    # --- who plays ---

    @property
    def has_ensembles(self) -> bool:
        """Whether several models share a role."""
        return any(isinstance(brain, Ensemble) for brain in self.brains.values())

    def player(self, role: str, proposal: str) -> tuple[str, BaseChatModel]:
        """Spec and model that play a role in a proposal; of an ensemble the one that was cast."""
        brain = self.brains[role]
        if not isinstance(brain, Ensemble):
            return self.brain_names[role], brain
        cast = self.casting.casts.get(proposal, {})
        spec = cast.get(role) or next(iter(brain.models))
        return spec, brain.models[spec]

    # --- records ---

    def add_proposal(self, proposal: Proposal) -> None:
        """Record a proposal."""
        self.findings.note_proposal(self.ledger.add_proposal(proposal))

    def freeze(
        self,
        proposal: Proposal,
        files: Mapping[str, bytes],
        summary: str,
        applied: tuple[str, ...],
    ) -> str:
        """Make files a candidate; returns its tree hash. Only now may seeds be drawn for it."""
        parents = [self.findings.nodes[tree].commit for tree in proposal.parents]
        trailers = {"Proposal": proposal.id, "Brain": proposal.brain}
        tree, commit = self.archive.put(files, parents, summary, trailers, proposal.created_s)
        candidate = Candidate(
            tree=tree,
            commit=commit,
            parents=proposal.parents,
            proposal=proposal.id,
            summary=summary,
            changed_lines=self.archive.stat(proposal.parents[0], tree).changed_lines,
            created_s=self.clock(),
        )
        with self.ledger.batch():
            if applied != moves_of(proposal.move):
                made = {"tree": tree, "made": list(applied)}
                self.note(MOVES, f"{proposal.id}/{tree}", made)
            kept = self.ledger.add_candidate(candidate)
        self.candidates[tree] = kept
        self.findings.note_candidate(kept, applied)
        return tree

    def precheck(self, proposal: Proposal, tree: str) -> tuple[Evidence, ...]:
        """What the static steps of the audit say of a candidate; recorded once."""
        key = f"{proposal.id}/{tree}"
        if key not in self.static:
            found = precheck(
                self.pack,
                self.archive.files(tree),
                self.archive.files(proposal.parents[0]),
                self.start_files,
                proposal=proposal.id,
                tree=tree,
            )
            with self.ledger.batch():
                kept = tuple(self.ledger.add_evidence(e) for e in found)
            # A review that was made before the run was cut off counts as it did.
            self.static[key] = kept + self.reviews(proposal.id, tree)
        return self.static[key]

    def reviews(self, proposal: str, tree: str) -> tuple[Evidence, ...]:
        """What a model that plays the auditor has said of a candidate."""
        if "auditor" not in self.brains:
            return ()
        known = self.ledger.evidence(proposal=proposal)
        return tuple(e for e in known if e.step == REVIEW and e.tree == tree)

    def add_review(self, opinion: Evidence) -> None:
        """Count a model's opinion among the static evidence of its candidate."""
        self.ledger.add_evidence(opinion)
        key = f"{opinion.proposal}/{opinion.tree}"
        self.static[key] = (*self.static[key], opinion)

    def facts(self, proposal: Proposal, tree: str, reference: str, **changes: Any) -> Facts:
        """The recorded facts that a verdict on a proposal may rest on."""
        return Facts(
            proposal=proposal,
            candidate=self.candidates.get(tree) or self.ledger.candidate(tree),
            reference=reference,
            terms=changes.pop("terms", self.terms),
            trials=self.window.for_proposal(proposal.id, reference),
            static=self.precheck(proposal, tree),
            history=self.window.history,
            n_ideas=self.findings.n_proposals,
            race_at=self.policy.race_at,
            at_s=self.clock(),
            **changes,
        )

    def note_trial(self, trial: Trial) -> None:
        """A trial ended and is in the ledger."""
        self.findings.note_trial(trial)
        self.window.add(trial)
        self.screens.note_trial(self, trial)
        seconds = trial.ended_s - trial.launched_s
        # One that was cut off says nothing of how long a whole one takes.
        is_whole = trial.status not in NOBODYS_SCORE
        is_full = trial.fidelity == "full" and trial.purpose is not Purpose.SMOKE
        self.budget.spend_trial(seconds, is_full=is_full and is_whole)

    def add_verdict(self, verdict: Verdict, evidence: Sequence[Evidence], facts: Facts) -> None:
        """Record a verdict with the evidence it rests on and the facts it was computed from."""
        before = {e.id for e in self.static.get(f"{verdict.proposal}/{verdict.tree}", ())}
        with self.ledger.batch():
            for record in evidence:
                if record.id not in before:
                    self.ledger.add_evidence(record)
            kept = self.ledger.add_verdict(verdict)
            self.note("facts", verdict.id, outline(facts))
        self.findings.note_verdict(kept)
        self.casting.note_outcome(kept.proposal, kept.label, self.relative(kept))
        self.window.note_verdict(kept, evidence)

    def drop(self, proposal: Proposal, tree: str, reason: str, *, is_broken: bool) -> None:
        """A proposal ends without trials that could judge it."""
        self.note(DROPPED, proposal.id, {"tree": tree, "reason": reason, "broken": is_broken})
        self.findings.note_dropped(proposal.id, is_broken=is_broken)
        self.casting.note_outcome(proposal.id, None, None)
        label = Label.INVALID if is_broken else Label.INCONCLUSIVE
        self._add_lesson(proposal, tree, label, None, None, reason)

    def scale(self, verdict: Verdict) -> float | None:
        """What gains over a verdict's reference are relative to; `None` where it has no score."""
        node = self.findings.nodes.get(verdict.reference)
        return abs(node.score) if node is not None and node.score else None

    def relative(self, verdict: Verdict) -> float | None:
        """The gain of a verdict as a fraction of its reference's score."""
        scale = self.scale(verdict)
        return verdict.gain / scale if verdict.gain is not None and scale else None

    def learn(self, proposal: Proposal, verdict_id: str) -> None:
        """Keep what a judged proposal taught."""
        verdict = self.ledger.verdict(verdict_id)
        scale, gain, interval = self.scale(verdict), self.relative(verdict), None
        if verdict.interval is not None and scale:
            interval = (verdict.interval[0] / scale, verdict.interval[1] / scale)
        summary = self.findings.nodes[verdict.tree].summary
        self._add_lesson(proposal, verdict.tree, verdict.label, gain, interval, summary)

    def _add_lesson(
        self,
        proposal: Proposal,
        tree: str,
        label: Label,
        gain: float | None,
        interval: tuple[float, float] | None,
        summary: str,
    ) -> None:
        id = f"lesson-{proposal.id}"
        if known := self.ledger.event(f"lesson:{id}"):
            # Cut off between the lesson and the end of its iteration. What it cost was counted
            # then; by now trials may be marked lost.
            self.memory.add(decode(Lesson, known.payload))
            return
        node = self.findings.nodes.get(tree)
        lesson = Lesson(
            id=id,
            benchmark=self.pack.id,
            hypothesis=proposal.hypothesis,
            kind=proposal.kind,
            diff_summary=summary[:500],
            label=label,
            gain=gain,
            interval=interval,
            cost_s=self.window.cost_s(proposal.id),
            proposal=proposal.id,
            tree=tree,
            parents=proposal.parents,
            run=self.run.name,
            created_s=self.clock(),
            profile=self.profile.name,
            start=self.start,
            # A merge tests no technique anew.
            moves=() if proposal.move.get("merge") else moves_of(proposal.move),
            lineage=node.moves if node else (),
            total_gain=self.findings.gain(node) if node and gain is not None else None,
        )
        kept = self.ledger.add_lesson(lesson)
        self.recent.append(kept)
        self.memory.add(kept)

    def close_session(self, proposal_id: str) -> None:
        """An iteration is over: let go of its workspace and of what was kept for it."""
        session = self.sessions.pop(proposal_id, None)
        if session is not None:
            session.close()
        self.window.forget(proposal_id)
        self.screens.close(proposal_id)
        for key in [k for k in self.static if k.startswith(f"{proposal_id}/")]:
            del self.static[key]
            self.candidates.pop(key.partition("/")[2], None)

    def headline(self) -> Verdict | None:
        """The latest certification of a candidate against the start."""
        champion = self.ledger.champion()
        if champion is not None:
            return self.ledger.verdict(champion[1])
        sealed = [v for v in self.ledger.verdicts(last=50) if v.proposal.startswith("certify-")]
        return sealed[-1] if sealed else None
