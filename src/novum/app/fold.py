"""A run's events folded into the facts that every view shows.

A view that follows a run reads only what is new.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, stdev

from novum.app.ideas import GOOD, Best, Idea, Usage
from novum.app.numbers import MetricName
from novum.lab.codec import decode, encode
from novum.lab.queries import Queries
from novum.lab.records import (
    Candidate,
    Directive,
    Event,
    Evidence,
    Json,
    Label,
    Proposal,
    Purpose,
    Trial,
    Verdict,
)

PAGE = 5_000


@dataclass
class Fold:
    """What the events of a run say up to now, kept up to date by `update`."""

    metric: MetricName
    info: Json = field(default_factory=dict)
    seq: int = 0
    began_s: float = 0.0
    last_s: float = 0.0
    ideas: dict[str, Idea] = field(default_factory=dict)
    tests: dict[str, Idea] = field(default_factory=dict)
    """Confirmations and certifications: proposals that are no ideas."""
    candidates: dict[str, Candidate] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    running: dict[str, Trial] = field(default_factory=dict)
    by_tree: dict[str, list[str]] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    directives: dict[str, Directive] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    """Proposals that wait for a person to approve them, by the id of the question."""
    best: list[Best] = field(default_factory=list)
    champion: tuple[str, str] | None = None
    parts: list[Json] = field(default_factory=list)
    """What each change of the champion is worth."""
    threads: dict[int, str] = field(default_factory=dict)
    """Idea that each thread is at."""
    sessions: list[tuple[float, float]] = field(default_factory=list)
    """Begin and latest sign of life of each process that worked on the run."""
    ended: bool = False
    """Whether the last process came to an end of its own; an interrupted run can be resumed."""
    reason: str = ""
    """Why the search ended."""
    spent: dict[str, float] = field(default_factory=dict)
    asked: dict[str, Usage] = field(default_factory=dict)
    """By brain."""
    _is_worked_on: bool = False
    """Whether the last process has not said that it ended."""

    def follow(self, ledger: Queries) -> list[Event]:
        """Take in what is new in a ledger; returns it."""
        new: list[Event] = []
        while page := ledger.events(self.seq, limit=PAGE):
            self.update(page)
            new += page
        return new

    def update(self, events: Iterable[Event]) -> None:
        """Take in events, in order."""
        for event in events:
            self.seq = event.seq
            self.began_s = self.began_s or event.at_s
            self.last_s = event.at_s
            begins = event.kind == "session" and not event.key.endswith("/end")
            if self.sessions and self._is_worked_on and not begins:
                self.sessions[-1] = (self.sessions[-1][0], event.at_s)
            for name, amount in event.payload.get("spent", {}).items():
                self.spent[name] = self.spent.get(name, 0.0) + amount
            handler = getattr(self, "_on_" + event.kind.replace(".", "_"), None)
            if handler is not None:
                handler(event)

    def _on_session(self, event: Event) -> None:
        self.reason = event.payload.get("reason", "")
        self.ended = bool(self.reason) and not event.payload.get("is_interrupted", False)
        self._is_worked_on = not event.key.endswith("/end")
        if self._is_worked_on:
            self.sessions.append((event.at_s, event.at_s))
            self.threads.clear()

    def _on_fork(self, event: Event) -> None:
        self.ended, self.reason = False, ""

    def _on_proposal(self, event: Event) -> None:
        proposal = decode(Proposal, event.payload)
        if proposal.thread < 0:
            self.tests[proposal.id] = Idea(proposal, 0)
            return
        self.ideas[proposal.id] = Idea(proposal, len(self.ideas) + 1)
        self.threads[proposal.thread] = proposal.id

    def _on_candidate(self, event: Event) -> None:
        candidate = decode(Candidate, event.payload)
        self.candidates[candidate.tree] = candidate
        if candidate.proposal in self.ideas:
            self.ideas[candidate.proposal].tree = candidate.tree

    def _on_trial_launched(self, event: Event) -> None:
        trial = decode(Trial, event.payload)
        self.trials[trial.id] = self.running[trial.id] = trial
        self.by_tree.setdefault(trial.tree, []).append(trial.id)
        if (idea := self.idea(trial.proposal)) is not None:
            idea.trials.append(trial.id)

    def _on_trial_ended(self, event: Event) -> None:
        known = self.running.pop(event.payload["id"], None)
        if known is None:
            return
        ended = {k: v for k, v in event.payload.items() if k != "spent"}
        self.trials[known.id] = decode(Trial, encode(known) | ended)

    def _on_evidence(self, event: Event) -> None:
        record = decode(Evidence, event.payload)
        self.evidence[record.id] = record

    def _on_verdict(self, event: Event) -> None:
        verdict = decode(Verdict, event.payload)
        self.verdicts.append(verdict)
        idea = self.idea(verdict.proposal)
        if idea is None:
            return
        idea.verdict, idea.ended_s = verdict, event.at_s
        idea.tree = idea.tree or verdict.tree
        if idea.proposal.thread >= 0 and verdict.label in GOOD:
            self._note_best(verdict, event.at_s)
        if idea.proposal.thread < 0 and verdict.label is Label.CONFIRMED:
            candidate = self.candidates.get(verdict.tree)
            owner = self.ideas.get(candidate.proposal) if candidate is not None else None
            if owner is not None:
                owner.is_confirmed = True

    def _on_answer(self, event: Event) -> None:
        usage = self.asked.setdefault(event.payload["brain"], Usage())
        spent = event.payload.get("spent", {})
        usage.n_answers += 1
        usage.tokens += spent.get("tokens", 0)
        usage.cost_usd += spent.get("cost_usd", 0.0)
        usage.unpriced_tokens += spent.get("unpriced_tokens", 0)

    def _on_dropped(self, event: Event) -> None:
        idea = self.idea(event.key.partition(":")[2])
        if idea is not None:
            idea.dropped = event.payload.get("reason", "") or "dropped"
            idea.ended_s = event.at_s

    def _on_champion(self, event: Event) -> None:
        self.champion = (event.payload["tree"], event.payload["verdict"])

    def _on_ablation(self, event: Event) -> None:
        self.parts.clear()  # of another champion

    def _on_ablated(self, event: Event) -> None:
        self.parts.append(event.payload)

    def _on_directive(self, event: Event) -> None:
        directive = decode(Directive, event.payload)
        self.directives[directive.id] = directive

    def _on_directive_closed(self, event: Event) -> None:
        self.directives.pop(event.payload["id"], None)

    def _on_approval(self, event: Event) -> None:
        self.waiting[event.payload["id"]] = event.payload["proposal"]

    def _on_approval_answer(self, event: Event) -> None:
        self.waiting.pop(event.payload["id"], None)

    def _note_best(self, verdict: Verdict, at_s: float) -> None:
        values = self.measured(verdict.tree)
        if not values:
            return
        mean = fmean(values)
        if self.best and not self.metric.is_better(mean, self.best[-1].mean):
            return
        error = self.error_of(len(values))
        self.best.append(Best(at_s, verdict.tree, verdict.proposal, mean, error, len(values)))

    # --- what folding itself asks ---------------------------------------------------------------

    def idea(self, id: str) -> Idea | None:
        """An idea or a test by its proposal's id."""
        return self.ideas.get(id) or self.tests.get(id)

    def trials_of(self, tree: str) -> list[Trial]:
        """All trials of a candidate."""
        return [self.trials[id] for id in self.by_tree.get(tree, ())]

    def measured(self, tree: str, split: str = "search") -> list[float]:
        """Full-budget values of a candidate; the trial that selected it counts only if alone."""
        found = [
            t
            for t in self.trials_of(tree)
            if t.metric is not None and t.split == split and t.fidelity == "full"
            if t.purpose is not Purpose.SMOKE
        ]
        fresh = [t for t in found if t.purpose is not Purpose.SEARCH] or found
        return [t.metric for t in fresh if t.metric is not None]

    @property
    def baseline(self) -> list[float]:
        """The noise trials of the start."""
        return [
            t.metric
            for t in self.trials.values()
            if t.purpose is Purpose.NOISE and t.metric is not None
        ]

    @property
    def noise_sd(self) -> float | None:
        """Standard deviation over seeds of the start."""
        values = self.baseline
        return stdev(values) if len(values) > 1 else None

    def error_of(self, n: int) -> float:
        """Half width of the 95 % interval of a mean of `n` trials, from the run's noise."""
        sd = self.noise_sd
        if sd is None or n < 1:
            return math.nan
        from novum.evals.significance.distributions import t_isf

        return t_isf(0.025, len(self.baseline) - 1) * sd / math.sqrt(n)
