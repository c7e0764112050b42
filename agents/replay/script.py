"""The recording as a script: which event comes next, whose it is, and who waits for it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from novum.agents.approvals import ANSWERED
from novum.errors import RecordError
from novum.lab.chain import canonical
from novum.lab.records import Event, Json

NOT_COMPARED = frozenset(
    {"created_s", "launched_s", "ended_s", "cost_s", "spent", "seconds", "blob", "log_blob", "pid"}
)
"""Times, and digests of texts that hold times: these differ each time the machine runs."""
STALL_S = 20.0
"""Without an event for so long, while everything waits, the machine does not make the next one."""
LOST_WITH_PROCESS = "the process that ran it ended before the trial did"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of an event: what was recorded, and what the machine says now."""

    name: str
    was: str
    now: str


class Diverged(RecordError):
    """The machine did something else than was recorded."""

    def __init__(
        self, event: Event | None, what: str, differences: Sequence[Difference] = ()
    ) -> None:
        where = (
            f"event {event.seq} ({event.kind}, {event.key})" if event else "after the last event"
        )
        super().__init__(f"{where}: {what}")
        self.event = event
        self.what = what
        self.differences = tuple(differences)


class EndOfRecording(Exception):
    """The recording holds nothing more; the run was cut off here."""


@dataclass
class Waiter:
    """Somebody who goes on when an event is next."""

    is_due: Callable[[Event], bool]
    what: str
    turn: asyncio.Future[None]


class Script:
    """The events of a recorded run, and how far they have been made again."""

    def __init__(self, events: Sequence[Event], begin: int = 0) -> None:
        self.events = events
        self.position = begin
        self.by_key = {e.key: e for e in events}
        self.owners = owners(events)
        self._last = {self.owners[e.key]: e.seq for e in events}
        self._waiters: list[Waiter] = []

    @property
    def next(self) -> Event | None:
        """The event that has to be made next; `None` at the end."""
        return self.events[self.position] if self.position < len(self.events) else None

    def is_past(self, key: str) -> bool:
        """Whether the event of this key was made already."""
        event = self.by_key.get(key)
        return event is not None and event.seq <= self.events[0].seq + self.position - 1

    def take(self, kind: str, key: str, payload: Json) -> Event:
        """The recorded event that equals the one which the machine makes now.

        Raises:
            Diverged: another event is next, or it says something else.
            EndOfRecording: there is none.
        """
        event = self.next
        if event is None:
            raise EndOfRecording
        if event.key != key:
            raise Diverged(event, f"the machine made {kind} {key!r} here")
        plain = json.loads(canonical(payload))
        if plain == event.payload:  # as it is nearly always
            return event
        before, now = comparable(event.payload), comparable(plain)
        if before != now:
            found = [
                Difference(k, _short(before.get(k)), _short(now.get(k)))
                for k in sorted(before | now)
                if before.get(k) != now.get(k)
            ]
            told = "; ".join(f"{d.name} was {d.was}, is now {d.now}" for d in found)
            raise Diverged(event, told, found)
        return event

    def advance(self) -> None:
        """The next event was made; wake whoever waits for the one after it."""
        self.position += 1
        self._wake()

    async def until(self, is_due: Callable[[Event], bool], what: str) -> None:
        """Wait until the next event is one that is meant."""
        if self.next is not None and is_due(self.next):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(Waiter(is_due, what, turn))
        await turn

    async def until_key(self, *keys: str) -> None:
        """Wait until one of these events is next, or was made already."""
        if any(self.is_past(key) for key in keys):
            return
        await self.until(lambda e: e.key in keys, keys[0])

    async def turn(self, owner: str) -> None:
        """Wait until the next event belongs to a proposal, or none that is ahead does."""
        event = self.next
        if event is not None and self._last.get(owner, 0) < event.seq:
            return
        await self.until(lambda e: self.owners.get(e.key) == owner, owner)

    async def watch(self) -> None:
        """Ends with `EndOfRecording` at the end, and with `Diverged` when nothing moves."""
        last = -1
        while True:
            if self.position == last:
                waiting = ", ".join(sorted(w.what for w in self._waiters)[:4])
                raise Diverged(self.next, f"the machine does not make it; it waits for {waiting}")
            last = self.position
            for _ in range(int(STALL_S / 0.1)):
                await asyncio.sleep(0.1)
                if self.next is None:
                    await asyncio.sleep(0.2)  # what needs no more events may end by itself
                    raise EndOfRecording
                if self.position != last:
                    break

    def _wake(self) -> None:
        event = self.next
        if event is None:
            return
        due = [w for w in self._waiters if w.is_due(event)]
        self._waiters = [w for w in self._waiters if w not in due]
        for waiter in due:
            if not waiter.turn.done():
                waiter.turn.set_result(None)


def owners(events: Sequence[Event]) -> dict[str, str]:
    """The proposal that each event belongs to, by key; `pT-I` also before that proposal exists."""
    effects: dict[str, str] = {}
    found: dict[str, str] = {}
    for event in events:
        payload, rest = event.payload, event.key.partition(":")[2]
        match event.kind:
            case "trial.launched" | "trial.reused":
                effects[payload.get("id", "")] = payload["effect"]
                owner = payload["effect"].partition("/")[0]
            case "trial.ended":
                owner = effects.get(payload["id"], "").partition("/")[0]
            case "step" | "iteration":
                thread, iteration = rest.split("/")[:2]
                owner = f"p{thread}-{iteration}"
            case "proposal":
                owner = payload["id"]
            case _:
                owner = str(payload.get("proposal") or re.split(r"[/:]", rest)[0])
        found[event.key] = owner.removeprefix("carry:")
    return found


def is_from_outside(event: Event) -> bool:
    """Whether an event was not made by the machine: the user, the process, a shared
    memory, a lost trial."""
    if event.kind == "trial.ended":
        return bool(event.payload["error"] == LOST_WITH_PROCESS)
    return event.kind in (
        "session",
        "experience",
        "directive",
        "directive.closed",
        ANSWERED,
        "fork",
    )


def comparable(value: Json) -> Json:
    """A payload without what differs each time. Of lists of trials the order does not matter: a
    resumed process reads them back in another one."""
    return {
        k: comparable(v) if isinstance(v, dict) else sorted(v) if k == "trials" else v
        for k, v in value.items()
        if k not in NOT_COMPARED
    }


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else text[:117] + "..."
