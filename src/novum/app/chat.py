"""A conversation beside a run: look at its records and steer it, with slash commands.

Every answer comes from the records and cites their ids. Nothing here reads a whole run, so that the
first answer is quick however long the run is. A model is not needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from novum.app.numbers import duration
from novum.app.steering import LIMITS, Steering
from novum.errors import NovumError, UnknownName, UsageError
from novum.lab.archive import Archive
from novum.lab.ledger import Ledger
from novum.lab.records import Evidence, Kind, Label, Trial, TrialStatus, Verdict
from novum.lab.run import RunFolder

if TYPE_CHECKING:
    from novum.lab.records import Candidate

TRANSCRIPT = "chat.jsonl"
MAX_ROWS = 12
MAX_DIFF = 4_000
GOOD = (Label.CONFIRMED, Label.PROMISING)


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command: its words, what it does, its function."""

    name: str
    usage: str
    help: str
    run: Callable[[str], str]


class Chat:
    """One person's conversation with one run."""

    def __init__(self, run: RunFolder, ledger: Ledger, archive: Archive) -> None:
        self.run = run
        self.ledger = ledger
        self.archive = archive
        self.steering = Steering(ledger)
        self.is_over = False
        table = (
            ("status", "", "where the run stands", self.status),
            ("leaderboard", "", "the best candidates and what was shown of them", self.leaderboard),
            ("show", "ID", "a proposal, candidate or trial with its change", self.show),
            ("why", "ID", "the verdict on a proposal and the evidence it rests on", self.why),
            ("directives", "", "what stands and what has ended", self.directives),
            ("directive", "TEXT", "tell the planner something", self.steering.say),
            ("withdraw", "dN", "end a directive", self.steering.withdraw),
            ("pause", "", "begin nothing new", lambda _: self.steering.pause()),
            ("resume", "", "go on after a pause or stop", lambda _: self.steering.resume()),
            ("stop", "", "end the search, certify, finish", lambda _: self.steering.stop()),
            ("budget", "NAME=VALUE ...", "what is spent; with words: change limits", self.budget),
            ("pin", "TREE", "start every proposal from this candidate", self.steering.pin),
            ("ban", "NAME|TREE", "never use a technique, a kind, or a branch", self.ban),
            ("propose", "IDEA", "a technique, NAME=VALUE or a sentence to try next", self.propose),
            ("help", "", "this list", self.help),
            ("quit", "", "leave; the run goes on", self.quit),
        )
        self.commands = {row[0]: Command(*row) for row in table}

    def answer(self, line: str) -> str:
        """Carry out a line and return what to say; kept in the run's transcript."""
        said = self._answer(line.strip())
        entry = {"at_s": round(time.time(), 3), "you": line.strip(), "said": said}
        with (self.run.path / TRANSCRIPT).open("a") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return said

    def _answer(self, line: str) -> str:
        if not line.startswith("/"):
            return "Commands begin with /. `/directive TEXT` tells the planner; /help lists all."
        name, _, rest = line[1:].partition(" ")
        command = self.commands.get(name)
        if command is None:
            close = get_close_matches(name, self.commands, n=1)
            hint = f" Did you mean /{close[0]}?" if close else " /help lists them."
            return f"There is no command /{name}.{hint}"
        try:
            return command.run(rest.strip())
        except NovumError as error:
            return f"{error}"

    @cached_property
    def techniques(self) -> tuple[str, ...]:
        """Names of the pack's playbook; none where the pack is not to be had here."""
        from novum.agents.moves import PlaybookMoves
        from novum.benchmarks.pack import find_pack

        try:
            name = self.run.info.get("settings", {}).get("benchmark", self.run.info["benchmark"])
            return tuple(PlaybookMoves(find_pack(name)).techniques)
        except NovumError:
            return ()

    # --- looking ---

    def status(self, _: str = "") -> str:
        """Where the run stands."""
        counts, spent = self.ledger.counts(), self.ledger.spent()
        holder = self.run.holder()
        who = f"process {holder['pid']} works on it" if holder else "no process works on it"
        labels = ", ".join(
            f"{counts[f'verdicts.{label}']} {label}"
            for label in Label
            if counts.get(f"verdicts.{label}")
        )
        lines = [
            f"{self.run.name}: {self.run.info.get('benchmark')} {self.run.info.get('profile')}; "
            f"{who}",
            f"{counts.get('proposals', 0)} proposals, {counts.get('trials', 0)} trials, "
            f"{duration(spent.get('trial_s', 0.0))} of them; verdicts: {labels or 'none yet'}",
            self._champion(),
        ]
        for proposal in self.ledger.proposals(last=3):
            lines.append(f"latest {proposal.id} [{proposal.kind}] {_line(proposal.hypothesis)}")
        standing = self.ledger.directives(standing=True)
        lines += [f"directive {d.id}: {d.text}" for d in standing[-MAX_ROWS:]]
        return "\n".join(lines)

    def leaderboard(self, _: str = "") -> str:
        """The best candidates, confirmed ones first."""
        good = self.good()
        if not good:
            return "nothing has won a race yet"
        lines = [f"{'candidate':12} {'verdict':10} {'gain':>12}  from"]
        for verdict in good[:MAX_ROWS]:
            gain = "" if verdict.gain is None else f"{verdict.gain:+.5g}"
            where = f"{self.ledger.candidate(verdict.tree).proposal} ({verdict.id})"
            lines.append(f"{verdict.tree[:12]:12} {verdict.label:10} {gain:>12}  {where}")
        lines.append("gain: in the metric's unit, against the reference of the verdict")
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
        lines += [_verdict(v) for v in verdicts]
        if not verdicts:
            dropped = self.ledger.event(f"dropped:{proposal.id}")
            reason = f"dropped: {dropped.payload['reason']}" if dropped else "no verdict yet"
            lines.append(reason)
        lines += [_evidence(e) for e in self.ledger.evidence(proposal=proposal.id)]
        trials = self.ledger.trials(proposal=proposal.id)
        lines += [_trial(t) for t in trials[:MAX_ROWS]]
        if len(trials) > MAX_ROWS:
            lines.append(f"and {len(trials) - MAX_ROWS} more trials")
        return "\n".join(lines)

    def directives(self, _: str = "") -> str:
        """All directives, the ended ones marked."""
        found = self.ledger.directives()
        lines = [f"{d.id} {d.status:9} {d.author}: {d.text}" for d in found[-3 * MAX_ROWS :]]
        return "\n".join(lines) or "there are no directives"

    def budget(self, words: str) -> str:
        """What was spent and what is allowed; with words, change it."""
        if words:
            return self.steering.budget(words.split())
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

    # --- steering ---

    def ban(self, name: str) -> str:
        """Ban a technique, a kind of change, or a candidate and what came from it."""
        if not name:
            raise UsageError("say what: /ban NAME or /ban TREE")
        if name not in (*self.techniques, *Kind) and self.ledger.trees(name):
            return self.steering.ban_branch(name)
        return self.steering.ban(name, self.techniques)

    def propose(self, words: str) -> str:
        """Hand in an idea."""
        if not words:
            raise UsageError("say what: /propose IDEA")
        return self.steering.propose(words, self.techniques)

    def help(self, _: str = "") -> str:
        """The commands."""
        return "\n".join(f"/{c.name + ' ' + c.usage:24} {c.help}" for c in self.commands.values())

    def quit(self, _: str = "") -> str:
        """Leave."""
        self.is_over = True
        return f"the run goes on without you; `novum chat {self.run.name}` comes back"

    # --- parts ---

    def _champion(self) -> str:
        champion = self.ledger.champion()
        if champion is None:
            return "no confirmed champion yet"
        return f"champion {champion[0][:12]}: {_verdict(self.ledger.verdict(champion[1]))}"

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
            size = f"{candidate.changed_lines} changed lines"
            yield f"candidate {candidate.tree} ({size}): {candidate.summary}"
            if candidate.parents:
                yield self.archive.diff(candidate.parents[0], candidate.tree, max_chars=MAX_DIFF)

    def _proposal_of(self, name: str) -> str:
        """The proposal that an id, `champion` or the beginning of a tree means."""
        if not name:
            raise UsageError("say which: an id such as p0-3, t7, champion, or a tree's beginning")
        if name == "champion":
            champion = self.ledger.champion()
            if champion is None:
                raise UnknownName("there is no confirmed champion yet.")
            return self.ledger.candidate(champion[0]).proposal
        try:
            return self.ledger.proposal(name).id
        except UnknownName:
            found = [c for c in self._candidates() if len(name) > 3 and c.tree.startswith(name)]
        if len(found) != 1:
            raise UnknownName(f"nothing, or not one thing, of this run is named {name!r}.")
        return found[0].proposal

    def _candidates(self) -> tuple[Candidate, ...]:
        return self.ledger.candidates()


class Words(Completer):
    """Completes commands, then what can follow them."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """What may stand at the cursor."""
        text = document.text_before_cursor
        name, space, _ = text.partition(" ")
        if not space:
            for command in self.chat.commands.values():
                if f"/{command.name}".startswith(text):
                    yield Completion(f"/{command.name}", -len(text), display_meta=command.help)
            return
        word = text.rpartition(" ")[2]
        for option in self._options(name[1:]):
            if option.startswith(word):
                yield Completion(option, -len(word))

    def _options(self, command: str) -> list[str]:
        ledger = self.chat.ledger
        match command:
            case "withdraw":
                return [d.id for d in ledger.directives(standing=True)]
            case "budget":
                return [f"{name}=" for name in LIMITS]
            case "ban":
                return [*self.chat.techniques, *Kind]
            case "propose":
                return list(self.chat.techniques)
            case "why" | "show":
                return ["champion", *(p.id for p in reversed(ledger.proposals(last=30)))]
            case "pin":
                return [c.tree[:12] for c in reversed(ledger.candidates(last=30))]
        return []


def _line(text: str) -> str:
    return " ".join(text.split())[:140]


def _verdict(verdict: Verdict) -> str:
    gain = "" if verdict.gain is None else f", gain {verdict.gain:+.5g}"
    if verdict.interval is not None:
        gain += f" ({verdict.interval[0]:+.5g} to {verdict.interval[1]:+.5g})"
    p = "" if verdict.p_value is None else f", p = {verdict.p_value:.2g}"
    return f"{verdict.id} {verdict.label}{gain}{p}: {verdict.reason}"


def _evidence(evidence: Evidence) -> str:
    return f"  {evidence.id} {evidence.step} {evidence.outcome}: {_line(evidence.summary)}"


def _trial(trial: Trial) -> str:
    said = f"{trial.metric:.6g}" if trial.metric is not None else _line(trial.error)
    if trial.status is TrialStatus.LAUNCHED:
        said = "runs"
    return f"  {trial.id} {trial.purpose} {trial.split} {trial.tree[:10]} {trial.status} {said}"
