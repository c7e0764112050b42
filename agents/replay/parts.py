"""The lab's parts as a recording plays them: ledger, runner, brain, sandbox, clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast

from langchain_core.messages import AIMessage, messages_from_dict
from pydantic import BaseModel
from sqlalchemy import Connection, Engine

from novum.agents.replay.script import Script, is_from_outside
from novum.benchmarks.protocol import TrialRequest, TrialResult
from novum.benchmarks.toolbox import PackTool
from novum.errors import (
    BrainUnavailable,
    BudgetExhausted,
    RecordingMiss,
    SandboxNotStarted,
    UnknownName,
)
from novum.lab.blobs import Blobs
from novum.lab.codec import decode
from novum.lab.forking import highest_ids
from novum.lab.ledger import Ledger
from novum.lab.records import Event, Json, Trial, TrialStatus


class ReplayLedger(Ledger):
    """A new ledger that takes only the events of a script, in their order.

    Each event is written as it was recorded, with its time, so that the chain of digests comes out
    the same; what users and processes did in between is put in where it happened. So the script
    knows what the ledger holds, and lookups by key need no query.
    """

    def __init__(self, engine: Engine, target: Path | str, **kwargs: object) -> None:
        super().__init__(engine, target, clock=lambda: self.now_s)
        self.now_s = 0.0
        self.script = Script(())
        self.on_outside: Callable[[Event, float], None] = lambda event, before_s: None

    def restore(self, script: Script) -> None:
        """Take in the events before the place where a script begins, as they were recorded."""
        past = script.events[: script.position]
        with self._writing() as connection:
            for event in past:
                self.now_s = event.at_s
                super()._append(connection, event.kind, event.payload, event.key)
            self.reserve_ids(highest_ids(past))
        self.script = script

    def begin(self, script: Script) -> None:
        """Follow a script from where it begins."""
        self.script = script
        if script.next is not None:
            self.now_s = script.next.at_s
        with self._writing() as connection:
            self._put_in(connection)

    def _append(
        self, connection: Connection, kind: str, payload: Json, key: str
    ) -> tuple[Event, bool]:
        if (known := self._event(connection, key)) is not None:
            return known, False
        event = self.script.take(kind, key, payload)
        self.now_s = event.at_s
        made = super()._append(connection, kind, event.payload, key)
        self.script.advance()
        self._put_in(connection)
        return made

    def _event(self, connection: Connection, key: str) -> Event | None:
        return self.script.by_key[key] if self.script.is_past(key) else None

    def _put_in(self, connection: Connection) -> None:
        while (event := self.script.next) is not None and is_from_outside(event):
            before_s, self.now_s = self.now_s, event.at_s
            super()._append(connection, event.kind, event.payload, event.key)
            self.on_outside(event, before_s)
            self.script.advance()


@dataclass
class RecordedRunner:
    """Answers each trial with its record."""

    script: Script
    blobs: Blobs
    n_slots: int = 1

    async def run(
        self, prepare: Callable[[int], TrialRequest | None], label: str
    ) -> TrialResult | None:
        """Wait for the trial's turn; its record is its result. `label` is its effect.

        Raises:
            SandboxNotStarted: the record says that the trial was lost.
        """
        key = f"launch:{label}"
        await self.script.until_key(key)
        launched = self.script.by_key[key].payload
        if prepare(launched.get("slot", 0)) is None:
            return None
        end = f"end:{launched['id']}"
        await self.script.until_key(end)
        ended = decode(Trial, launched | _without_spent(self.script.by_key[end].payload))
        if ended.status is TrialStatus.LOST:
            raise SandboxNotStarted(ended.error)  # whose doing it was is in the record already
        return result_of(ended, self.blobs)

    async def use_tool(self, tool: PackTool, call: BaseModel, files: Mapping[str, bytes]) -> str:
        """Nothing: a tool changes no file, and the model has answered already."""
        return "(not run again in a replay)"

    def kill(self) -> None:
        """Nothing runs."""


def result_of(ended: Trial, blobs: Blobs) -> TrialResult:
    """The result that a recorded trial had."""
    return TrialResult(
        status=ended.status,
        metric=ended.metric,
        observed=ended.observed,
        claimed=ended.claimed,
        probes=ended.probes,
        artifact=ended.artifact,
        error=ended.error,
        log=blobs.text(ended.log_blob) if ended.log_blob else "",
        phases=(),
        self_reported=ended.self_reported,
    )


@dataclass
class RecordedAnswers:
    """Answers each question of a script with its record, when its turn comes."""

    script: Script
    blobs: Blobs

    async def find(self, key: str) -> AIMessage:
        """The answer to the question of this key.

        Raises:
            BrainUnavailable: the model could not be asked then.
            BudgetExhausted: the time ended while the model thought.
        """
        kept, failed = f"answer:{key}", f"answer.failed:{key}/"
        owner = key.partition("/")[0]

        def is_due(event: Event) -> bool:
            is_end = event.kind == "step" and self.script.owners[event.key] == owner
            return event.key == kept or event.key.startswith(failed) or is_end

        await self.script.until(is_due, kept)
        event = self.script.next
        assert event is not None
        if event.kind == "step":
            raise BudgetExhausted("the time for search ended while the model thought")
        if event.key != kept:
            raise BrainUnavailable(event.payload["error"], tuple(event.payload["faults"]))
        return answer_of(self.blobs, event)


def answer_of(blobs: Blobs, event: Event) -> AIMessage:
    """The recorded answer that an event names."""
    content = json.loads(blobs.get(event.payload["blob"]))
    return cast(AIMessage, messages_from_dict([content["answer"]])[0])


class RecordedBlobs(Blobs):
    """The blobs of a recording, which are only read.

    In a replay the events name recorded blobs, so new ones are not kept; what goes another way than
    the recording keeps them in a folder of its own.
    """

    def __init__(self, recorded: Path, own: Path | None = None) -> None:
        super().__init__(recorded)
        self.own = None if own is None else Blobs(own)

    def put(self, content: bytes | str) -> str:
        """Keep content where new blobs are kept; returns its digest in any case."""
        if self.own is not None:
            return self.own.put(content)
        raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
        return sha256(raw).hexdigest() if raw else ""

    def get(self, digest: str) -> bytes:
        """The content of a digest, wherever it lies."""
        if self.own is not None:
            try:
                return self.own.get(digest)
            except UnknownName:
                pass  # then it is recorded
        return super().get(digest)


class NoSandbox:
    """Stands where a sandbox would: a replay runs no commands."""

    name = "none"

    def __getattr__(self, name: str) -> object:
        raise RecordingMiss(
            "a coder ran a command here; what it did to the files is not recorded, so the steps "
            "after it cannot be made again"
        )


def _without_spent(payload: Json) -> Json:
    return {k: v for k, v in payload.items() if k != "spent"}
