"""What can be asked of a run, answered from its records with their ids.

Nothing here reads a whole run, so that the first answer is quick however long the run is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from statistics import fmean

from novum.agents.approvals import open_questions
from novum.app.numbers import MetricName, duration, percent, percent_range
from novum.app.questions import waiting
from novum.app.steps import line_of
from novum.errors import UnknownName, UsageError
from novum.lab.archive import Archive
from novum.lab.counted import counted
from novum.lab.ledger import Ledger
from novum.lab.records import (
    Evidence,
    Label,
    Lesson,
    Proposal,
    Purpose,
    Trial,
    TrialStatus,
    Verdict,
)
from novum.lab.run import RunFolder
from novum.memory.keywords import WORD
from novum.tools.recall import describe
from novum.tools.text import bounded

MAX_ROWS = 12
MAX_DIFF = 4_000
MAX_LOG = 6_000
MAX_LESSONS = 1_000
"""Latest lessons that are searched by their words."""
FINAL_TEST = -1
"""Thread of proposals that are no ideas: confirmations and certifications."""
GOOD = (Label.CONFIRMED, Label.PROMISING)


class Records:
    """A run to look at."""

    def __init__(self, run: RunFolder, ledger: Ledger, archive: Archive) -> None:
        self.run = run
        self.ledger = ledger
        self.archive = archive
        metric = MetricName.of(run.info)
        self.unit = metric.unit or metric.name
        """What a gain is counted in."""

    def status(self, _: str = "") -> str:
        """Where the run stands."""
        counts, spent = self.ledger.counts(), self.ledger.spent()
        holder = self.run.holder()
        n_ideas = counts.get("proposals", 0) - len(self.ledger.proposals(thread=FINAL_TEST))
        who = f"process {holder['pid']} works on it" if holder else "no process works on it"
        labels = ", ".join(
            f"{counts[f'verdicts.{label}']} {label}"
            for label in Label
            if counts.get(f"verdicts.{label}")
        )
        lines = [
            f"{self.run.name}: {self.run.info.get('benchmark')} {self.run.info.get('profile')}; "
            f"{who}",
            f"{counted(n_ideas, 'idea')}, {counted(counts.get('trials', 0), 'trial')}, "
            f"{duration(spent.get('trial_s', 0.0))} of them; verdicts: {labels or 'none yet'}",
            self._champion(),
        ]
        for proposal in self.ledger.proposals(last=3):
            lines.append(f"latest {proposal.id} [{proposal.kind}] {_line(proposal.hypothesis)}")
        lines += [f"waits for approval: {q.id} ({q.of})" for q in open_questions(self.ledger)]
        standing = self.ledger.directives(standing=True)
        lines += [f"directive {d.id}: {d.text}" for d in standing[-MAX_ROWS:]]
        return "\n".join(lines)

    def leaderboard(self, _: str = "") -> str:
        """The best candidates, confirmed ones first."""
        good = self.good()
        if not good:
            return "nothing has won a race yet"
        lines = [f"{'candidate':12} {'verdict':10} {'gain':>12} {'':>9}  from"]
        for verdict in good[:MAX_ROWS]:
            gain = "" if verdict.gain is None else f"{verdict.gain:+.5g}"
            part = percent(self._relative(verdict)[0])
            where = f"{self.ledger.candidate(verdict.tree).proposal} ({verdict.id})"
            lines.append(f"{verdict.tree[:12]:12} {verdict.label:10} {gain:>12} {part:>9}  {where}")
        words = f"gain: in {self.unit} and in per cent, against the reference of the verdict"
        lines.append(words)
        return "\n".join(lines)

    def good(self) -> list[Verdict]:
        """The best verdict of each candidate that won something, the best candidate first."""
        found = [v for label in GOOD for v in self.ledger.verdicts(label=label, last=200)]
        found.sort(key=lambda v: (GOOD.index(v.label), -(v.gain or 0.0)))
        seen: dict[str, Verdict] = {}
        for verdict in found:
            seen.setdefault(verdict.tree, verdict)
        return list(seen.values())

    def show(self, name: str) -> str:
        """One thing of the run."""
        return "\n".join(self._show(name))

    def why(self, name: str) -> str:
        """What the audit says of a proposal, and what it rests on."""
        proposal = self.ledger.proposal(self._proposal_of(name))
        lines = [f"{proposal.id} [{proposal.kind}] by {proposal.brain}: {proposal.hypothesis}"]
        verdicts = self.ledger.verdicts(proposal=proposal.id)
        lines += [self._verdict(v) for v in verdicts]
        if not verdicts:
            dropped = self.ledger.event(f"dropped:{proposal.id}")
            reason = f"dropped: {dropped.payload['reason']}" if dropped else "no verdict yet"
            lines.append(reason)
        lines += [_evidence(e) for e in self.ledger.evidence(proposal=proposal.id)]
        trials = self.ledger.trials(proposal=proposal.id)
        lines += [_trial(t) for t in trials[:MAX_ROWS]]
        if len(trials) > MAX_ROWS:
            lines.append(f"and {counted(len(trials) - MAX_ROWS, 'more trial')}")
        return "\n".join(lines)

    def directives(self, _: str = "") -> str:
        """All directives, the ended ones marked."""
        found = self.ledger.directives()
        lines = [f"{d.id} {d.status:9} {d.author}: {d.text}" for d in found[-3 * MAX_ROWS :]]
        return "\n".join(lines) or "there are no directives"

    def log(self, name: str) -> str:
        """What a trial printed, its end."""
        trial = self.ledger.trial(name)
        if not trial.log_blob:
            return f"{name} {trial.status} and left no log"
        return bounded(self.run.blobs.text(trial.log_blob), MAX_LOG)

    def events(self, words: str = "") -> str:
        """The latest lines of the trace."""
        n = int(words) if words.isdigit() else MAX_ROWS
        end = self.ledger.anchor().seq
        found = self.ledger.events(max(0, end - min(n, 100)))
        first = self.ledger.events(limit=1)
        return "\n".join(line_of(e, first[0].at_s) for e in found) or "nothing has happened yet"

    def recall(self, words: str) -> str:
        """Lessons of this run that share words with a question, the rarest words counting most."""
        asked = set(WORD.findall(words.lower()))
        if not asked:
            raise UsageError("say what to look for: /recall WORDS")
        lessons = self.ledger.lessons(last=MAX_LESSONS)
        texts = [set(WORD.findall(f"{x.hypothesis} {x.diff_summary}".lower())) for x in lessons]
        weight = {w: log((1 + len(texts)) / (1 + sum(w in t for t in texts))) for w in asked}
        scored = [
            (sum(weight[w] for w in asked & t), x) for x, t in zip(lessons, texts, strict=True)
        ]
        best = sorted((s for s in scored if s[0] > 0), key=lambda s: -s[0])[:MAX_ROWS]
        return "\n".join(_lesson(x) for _, x in best) or "no lesson has such words"

    def approvals(self, _: str = "") -> str:
        """What waits for a person."""
        return waiting(self.ledger, self.archive)

    def spent(self) -> str:
        """What was spent and what is allowed."""
        limits = dict(self.run.info.get("settings", {}).get("budget", {}))
        for directive in self.ledger.directives(standing=True):
            limits |= directive.action.get("budget", {})
        spent = self.ledger.spent()
        unpriced = spent.get("unpriced_tokens", 0.0)
        said = [f"limits: {', '.join(f'{k} {v:g}' for k, v in limits.items()) or 'none'}"]
        said.append(
            f"spent: {duration(spent.get('trial_s', 0.0))} of trials, "
            f"{spent.get('tokens', 0.0):,.0f} tokens, {spent.get('cost_usd', 0.0):.2f} USD"
            + (f" and {unpriced:,.0f} tokens of unknown price" if unpriced else "")
        )
        return "\n".join(said)

    def _champion(self) -> str:
        champion = self.ledger.champion()
        if champion is None:
            return "no confirmed champion yet"
        verdict = self.ledger.verdict(champion[1])
        return f"champion {champion[0][:12]}: {self._verdict(verdict)}"

    def _verdict(self, verdict: Verdict) -> str:
        """A verdict in a line, its gain also as a part of the reference: so nobody has to guess."""
        said = f"{verdict.id} {verdict.label}"
        if verdict.gain is not None:
            said += f", gain {verdict.gain:+.5g} {self.unit}"
            if verdict.interval is not None:
                said += f" ({verdict.interval[0]:+.5g} to {verdict.interval[1]:+.5g})"
            part, interval = self._relative(verdict)
            if part is not None:
                said += f", {percent(part)} ({percent_range(interval)})".replace(" ()", "")
        if verdict.p_value is not None:
            said += f", p = {verdict.p_value:.2g}"
        return f"{said}: {verdict.reason}"

    def _relative(self, verdict: Verdict) -> tuple[float | None, tuple[float, float] | None]:
        """Gain and interval as fractions of the reference's mean, as every other view has them."""
        of, arm = verdict.reference, verdict.proposal
        arms = self.ledger.trials(proposal=arm)  # few; a start may have thousands
        values = _measured([t for t in arms if t.tree == of and t.split == verdict.split])
        if not values:
            known = self.ledger.trials(tree=of, split="search")
            fresh = _measured([t for t in known if t.purpose is not Purpose.SEARCH])
            values = fresh or _measured(known)
        mean = abs(fmean(values)) if values else 0.0
        if not mean or verdict.gain is None:
            return None, None
        ends = verdict.interval
        return verdict.gain / mean, None if ends is None else (ends[0] / mean, ends[1] / mean)

    def _show(self, name: str) -> Iterator[str]:
        if name.startswith("t") and name[1:].isdigit():
            trial = self.ledger.trial(name)
            yield _trial(trial)
            yield self.run.blobs.text(trial.log_blob)[-MAX_DIFF:] if trial.log_blob else "no log"
            return
        proposal = self._proposal_of(name)
        if not proposal.startswith("start:"):
            yield self.why(proposal)
        for candidate in self.ledger.candidates(proposal=proposal):
            size = counted(candidate.changed_lines, "changed line")
            yield f"candidate {candidate.tree} ({size}): {candidate.summary}"
            if candidate.parents:
                yield self.archive.diff(candidate.parents[0], candidate.tree, max_chars=MAX_DIFF)

    def _proposal_of(self, name: str) -> str:
        """The proposal that an id, `champion` or the beginning of a tree means."""
        if not name:
            raise UsageError(
                "say which: #3, an id such as p0-3, t7, champion, or a tree's beginning"
            )
        if name == "champion":
            champion = self.ledger.champion()
            if champion is None:
                raise UnknownName("there is no confirmed champion yet.")
            return self.ledger.candidate(champion[0]).proposal
        if (number := name.removeprefix("#")) != name and number.isdigit():
            return self._idea(int(number)).id
        try:
            return self.ledger.proposal(name).id
        except UnknownName:
            found = self.ledger.trees(name) if len(name) > 3 else ()
        if len(found) != 1:
            raise UnknownName(f"nothing, or not one thing, of this run is named {name!r}.")
        return self.ledger.candidate(found[0]).proposal

    def _idea(self, number: int) -> Proposal:
        """The idea that every other view calls by its number. Raises `UnknownName`."""
        ideas = [p for p in self.ledger.proposals() if p.thread != FINAL_TEST]
        if not 1 <= number <= len(ideas):
            raise UnknownName(f"there is no idea #{number}; there are {len(ideas)}.")
        return ideas[number - 1]


def _measured(trials: Sequence[Trial]) -> list[float]:
    full = (t for t in trials if t.fidelity == "full" and t.purpose is not Purpose.SMOKE)
    return [t.metric for t in full if t.metric is not None]


def _line(text: str) -> str:
    return " ".join(text.split())[:140]


def _evidence(evidence: Evidence) -> str:
    return f"  {evidence.id} {evidence.step} {evidence.outcome}: {_line(evidence.summary)}"


def _trial(trial: Trial) -> str:
    said = f"{trial.metric:.6g}" if trial.metric is not None else _line(trial.error)
    if trial.status is TrialStatus.LAUNCHED:
        said = "runs"
    return f"  {trial.id} {trial.purpose} {trial.split} {trial.tree[:10]} {trial.status} {said}"


def _lesson(lesson: Lesson) -> str:
    return f"{lesson.id} {describe(lesson)}"
