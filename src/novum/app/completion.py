"""Completion for the chat: commands, then what can follow them."""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from novum.agents.approvals import open_questions
from novum.app.chat import Chat
from novum.app.steering import LIMITS
from novum.lab.records import Kind


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
                trees = [c.tree[:12] for c in reversed(ledger.candidates(last=30))]
                return [*self.chat.techniques, *Kind, *trees]
            case "propose":
                return list(self.chat.techniques)
            case "approve" | "refuse":
                return [q.id for q in open_questions(ledger)]
            case "log":
                return [t.id for t in reversed(ledger.trials(last=30))]
            case "why" | "show":
                return ["champion", *(p.id for p in reversed(ledger.proposals(last=30)))]
            case "pin":
                return [c.tree[:12] for c in reversed(ledger.candidates(last=30))]
        return []
