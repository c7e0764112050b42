"""A conversation beside a run: look at its records and steer it.

The commands need no model. An assistant (`assistant.py`) is offered the same ones as tools, and
answers what is not a command.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from novum.agents.approvals import open_questions
from novum.app.questions import answer as answer_question
from novum.app.reading import to_type
from novum.app.records import Records
from novum.app.steering import Steering
from novum.app.wording import readable
from novum.errors import NovumError, UsageError
from novum.lab.archive import Archive
from novum.lab.ledger import Ledger
from novum.lab.records import Json, Kind
from novum.lab.run import RunFolder

TRANSCRIPT = "chat.jsonl"
NO_WORDS = (
    "Commands begin with /. `/directive TEXT` tells the planner; /help lists all.\n"
    "Questions in words need a model: novum chat --brain openai:MODEL."
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its words, what it does, its function, and whether it changes something."""

    name: str
    usage: str
    help: str
    run: Callable[[str], str]
    acts: bool = False


class Chat(Records):
    """One person's conversation with one run; `author` is how the records name its wishes."""

    def __init__(
        self, run: RunFolder, ledger: Ledger, archive: Archive, author: str = "user"
    ) -> None:
        super().__init__(run, ledger, archive)
        self.steering = Steering(ledger, author)
        self.is_over = False
        looks = (
            ("status", "", "where the run stands", self.status),
            ("leaderboard", "", "the best candidates and what was shown of them", self.leaderboard),
            ("show", "ID", "a proposal, candidate or trial with its change", self.show),
            ("why", "ID", "the verdict on a proposal and the evidence it rests on", self.why),
            ("log", "TRIAL", "what a trial printed", self.log),
            ("events", "[N]", "the latest lines of the trace", self.events),
            ("recall", "WORDS", "what like experiments of this run taught", self.recall),
            ("directives", "", "what stands and what has ended", self.directives),
            ("approvals", "", "what waits for a person, with the change", self.approvals),
            ("spent", "", "what was spent and what is allowed", lambda _: self.spent()),
        )
        acts = (
            ("directive", "TEXT", "tell the planner something", self.steering.say),
            ("withdraw", "dN", "end a directive", self.steering.withdraw),
            ("pause", "", "begin nothing new", lambda _: self.steering.pause()),
            ("resume", "", "go on after a pause or stop", lambda _: self.steering.resume()),
            ("stop", "", "end the search, certify, finish", lambda _: self.steering.stop()),
            (
                "budget",
                "NAME=VALUE ...",
                "change limits: experiments, wall, tokens, ...",
                self.limit,
            ),
            ("pin", "TREE", "start every proposal from this candidate", self.steering.pin),
            ("ban", "NAME|TREE", "never use a technique, a kind, or a branch", self.ban),
            ("propose", "IDEA", "a technique, NAME=VALUE or a sentence to try next", self.propose),
            ("approve", "[ID]", "say yes to what waits", self.approve),
            ("refuse", "[ID] [WHY]", "say no to what waits, and why", self.refuse),
            ("fork", "EVENT [TEXT]", "a new run from an event, told TEXT besides", self.fork),
        )
        table = [Command(*row) for row in looks]
        table += [Command(name, usage, help, run, True) for name, usage, help, run in acts]
        table.append(Command("help", "", "this list", self.help))
        table.append(Command("quit", "", "leave; the run goes on", self.quit))
        self.commands = {command.name: command for command in table}

    def answer(self, line: str) -> str:
        """Carry out a line and return what to say; kept in the run's transcript."""
        line = line.strip()
        said = readable(self._answer(line))
        self.keep({"you": line, "said": said})
        return said

    def keep(self, entry: Json) -> None:
        """Add to the transcript; one write, so that two chats do not mix their lines."""
        whole = {"at_s": round(time.time(), 3), **entry}
        with (self.run.path / TRANSCRIPT).open("a") as file:
            file.write(json.dumps(whole, ensure_ascii=False) + "\n")

    def carry_out(self, name: str, words: str) -> str:
        """Carry out a command.

        Raises:
            NovumError: it cannot be done; the message says why.
        """
        return self.commands[name].run(words.strip())

    def _answer(self, line: str) -> str:
        if not line.startswith("/"):
            return NO_WORDS
        name, _, rest = line[1:].partition(" ")
        if name not in self.commands:
            close = get_close_matches(name, self.commands, n=1)
            hint = f" Did you mean /{close[0]}?" if close else " /help lists them."
            return f"There is no command /{name}.{hint}"
        try:
            return self.carry_out(name, rest)
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

    def limit(self, words: str) -> str:
        """Change limits; without words, show them."""
        return self.steering.budget(words.split()) if words else self.spent()

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
        return f"the run goes on without you; `novum chat {to_type(self.run.path)}` comes back"

    def approve(self, name: str) -> str:
        """Say yes to what waits."""
        return answer_question(self.ledger, name, is_approved=True)

    def refuse(self, words: str) -> str:
        """Say no: the id first where several things wait, then the reason."""
        name, _, why = words.partition(" ")
        if name and not any(name in (q.id, q.proposal) for q in open_questions(self.ledger)):
            name, why = "", words
        return answer_question(self.ledger, name, is_approved=False, why=why.strip())

    def fork(self, words: str) -> str:
        """Make a new run that goes on from an event of this one."""
        from novum.agents.replay.fork import fork

        event, _, text = words.partition(" ")
        if not event:
            raise UsageError("say from where: /fork EVENT, a number or an id such as p0-3")
        told = [text.strip()] if text.strip() else []
        made = fork(self.run, event, directives=told, author=self.steering.author)
        how = f"novum resume {to_type(made.path)}"
        return f"{made.name} begins as this run was at event {event}; {how}"
