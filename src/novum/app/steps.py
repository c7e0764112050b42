"""Walk through a recorded run: a timeline of its events, and what each of them holds."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.text import Text

from novum.app.numbers import duration
from novum.app.reading import Reading
from novum.app.wording import one_line, readable
from novum.errors import NovumError
from novum.lab.records import Event, Json

PAGE = 15
MAX_TEXT = 6_000
HELP = """n, Enter     next event          p            previous event
j N          jump to event N     / WORDS      next event that holds these words
k KIND       only this kind      k            all kinds again
v            what the event holds (messages, tool calls, change, trial, verdict)
l            the events around   q            leave"""


def line_of(event: Event, began_s: float) -> str:
    """An event in one line: number, time since the begin, kind, what it is about."""
    return (
        f"{event.seq:>6}  {duration(max(0.0, event.at_s - began_s)):>9}  {event.kind:15} "
        f"{words_of(event)}"
    )


def words_of(event: Event) -> str:
    """What an event says, in a few words."""
    payload, key = event.payload, event.key.partition(":")[2]
    match event.kind:
        case "proposal":
            return f"{payload['id']} [{payload['kind']}] {one_line(payload['hypothesis'])}"
        case "answer":
            return f"{key} {payload['brain']} {payload['tokens']} tokens"
        case "answer.failed":
            return f"{key} {one_line(payload['error'])}"
        case "trial.launched":
            return f"{payload['id']} {payload['purpose']} of {payload['tree'][:10]}"
        case "trial.ended":
            value = payload["metric"]
            said = f"{value:.6g}" if value is not None else one_line(str(payload["error"]))
            return f"{payload['id']} {payload['status']} {said}"
        case "verdict":
            return f"{payload['proposal']} {payload['label']}: {one_line(payload['reason'])}"
        case "evidence":
            return f"{payload['step']} {payload['outcome']}: {one_line(payload['summary'])}"
        case "candidate":
            return (
                f"{payload['tree'][:10]} of {payload['proposal']}: {one_line(payload['summary'])}"
            )
        case "directive":
            return f"{payload['id']} {one_line(payload['text'])} {payload['action'] or ''}"
        case "choice":
            told = f", told {', '.join(payload['directives'])}" if "directives" in payload else ""
            room = f", up to {1 + len(payload['also'])} new" if "also" in payload else ""
            return f"{key} {payload['mode']} from {payload['parents'][0][:10]}{room}{told}"
        case "idea":
            return f"{key} {one_line(payload['refused']) or 'becomes ' + payload['proposal']}"
        case "approval":
            return f"{payload['id']} waits for a person ({payload['of']})"
        case "approval.answer":
            said = "approved" if payload["approved"] else "refused"
            return f"{payload['id']} {said} by {payload['who']} {one_line(payload['why'])}"
        case "step":
            return f"{key} {payload['node']} state {payload['state']}"
    return key


def detail_of(one: Reading, event: Event) -> RenderableType:
    """Everything that an event holds, for a person."""
    from novum.app import show

    if event.kind == "answer":
        return Text(readable(conversation(one, event)))
    names = {"verdict": "proposal", "candidate": "tree", "trial.ended": "id"}
    names |= {"proposal": "id", "trial.launched": "id"}
    if (field_name := names.get(event.kind)) is not None:
        try:
            return show.as_text(one, one.find(event.payload[field_name]))
        except NovumError:
            pass  # an event of a thing that `show` has no picture of: its fields follow
    text = json.dumps(event.payload, indent=2, ensure_ascii=False)
    return Text(readable(text[:MAX_TEXT]))


def conversation(one: Reading, event: Event) -> str:
    """One turn of a role: what was new to it, what it said, which tools it called."""
    blob: Json = json.loads(one.run.blobs.get(event.payload["blob"]))
    lines = [f"{blob['role']} ({blob['brain']}), question {blob['key']}"]
    for message in blob["asked"]:
        lines.append(f"--- {message['type']}\n{_cut(str(message['data']['content']))}")
    answer = blob["answer"]["data"]
    if answer["content"]:
        lines.append(f"--- answer\n{_cut(str(answer['content']))}")
    for call in answer.get("tool_calls", ()):
        lines.append(f"--- calls {call['name']}\n{_cut(json.dumps(call['args'], indent=2))}")
    for wrong in answer.get("invalid_tool_calls", ()):
        lines.append(f"--- calls {wrong['name']} wrongly\n{_cut(str(wrong['args']))}")
    return "\n".join(lines)


@dataclass
class Stepper:
    """Where a person stands in the events, and what a command does; draws nothing itself."""

    one: Reading
    events: Sequence[Event]
    position: int = 0
    kind: str = ""
    _text: dict[int, str] = field(default_factory=dict)

    @property
    def here(self) -> Event:
        return self.events[self.position]

    def do(self, command: str) -> RenderableType | None:
        """Carry out a command and return what to show; `None` to leave."""
        word, _, rest = command.strip().partition(" ")
        if word.startswith("/"):
            word, rest = "/", command.strip()[1:]
        rest = rest.strip()
        match word:
            case "" | "n":
                return self._walk(1, "that was the last one")
            case "p":
                return self._walk(-1, "that was the first one")
            case "j":
                wrong = self.jump(rest)
                return Text(wrong) if wrong else self._line()
            case "/":
                otherwise = f"no event after this one holds {rest!r}"
                return self._walk(1, otherwise, lambda e: self.holds(e, rest))
            case "k":
                return Text(self.only(rest))
            case "v":
                return Group(self._line(), detail_of(self.one, self.here))
            case "l":
                return Text("\n".join(self._around()))
            case "q":
                return None
        return Text(HELP)

    # --- where one stands ---

    def first(self) -> None:
        """Go to the first event that is shown."""
        self.position = next(iter(self.shown()), 0)

    def last(self) -> None:
        """Go to the last event that is shown."""
        self.position = next(reversed(self.shown()), self.position)

    def seek(self, step: int, is_meant: Callable[[Event], bool]) -> int | None:
        """Go to the next (1) or previous (-1) event that is meant; `None` when there is none."""
        at = self.position + step
        while 0 <= at < len(self.events):
            if self._is_shown(self.events[at]) and is_meant(self.events[at]):
                self.position = at
                return at
            at += step
        return None

    def jump(self, number: str) -> str:
        """Go to an event by its number; what is wrong with the number, or nothing."""
        if not number.isdigit() or not 1 <= int(number) <= len(self.events):
            return f"events are numbered from 1 to {len(self.events)}"
        self.position = int(number) - 1
        return ""

    def only(self, kind: str) -> str:
        """Show one kind of event, or all; returns what to say."""
        known = sorted({e.kind for e in self.events})
        if kind and kind not in known:
            return f"there is no kind {kind!r}; there are {', '.join(known)}"
        self.kind = kind
        return f"only {kind}" if kind else "all kinds"

    def shown(self) -> list[int]:
        """Positions of the events that are shown."""
        if not self.kind:
            return list(range(len(self.events)))
        return [i for i, e in enumerate(self.events) if self._is_shown(e)]

    def place_in(self, shown: Sequence[int]) -> int:
        """Where one stands among the events that are shown: at the event, or before the next."""
        return min(bisect_left(shown, self.position), max(0, len(shown) - 1))

    def holds(self, event: Event, words: str) -> bool:
        """Whether an event, or the messages that it names, hold these words."""
        if event.seq not in self._text:
            text = f"{event.key} {json.dumps(event.payload, ensure_ascii=False)}"
            if event.kind == "answer":
                text += conversation(self.one, event)
            self._text[event.seq] = text.lower()
        return words.lower() in self._text[event.seq]

    def _line(self) -> Text:
        return Text(line_of(self.here, self.events[0].at_s))

    def _walk(
        self, step: int, otherwise: str, is_meant: Callable[[Event], bool] = lambda event: True
    ) -> RenderableType:
        return Text(otherwise) if self.seek(step, is_meant) is None else self._line()

    def _is_shown(self, event: Event) -> bool:
        return not self.kind or event.kind == self.kind

    def _around(self) -> Iterator[str]:
        shown = self.shown()
        after = [i for i in shown if i >= self.position][: PAGE - 5]
        before = [i for i in shown if i < self.position][-(PAGE - len(after)) :]
        for i in (*before, *after):
            mark = ">" if i == self.position else " "
            yield mark + line_of(self.events[i], self.events[0].at_s)


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    return text[:MAX_TEXT] + f"\n[... {len(text) - MAX_TEXT} more characters]"
