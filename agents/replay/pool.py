"""What a recording holds, whatever the order in which it is asked for: proposals and results.

A counterfactual goes another way than the run did. It may use only what was really proposed and
measured, each thing once; where that ends, it ends.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from novum.agents.lab import DROPPED, MOVES
from novum.agents.replay.parts import result_of
from novum.agents.search.naming import lineage_key
from novum.agents.search.protocol import Choice
from novum.benchmarks.protocol import TrialRequest, TrialResult
from novum.benchmarks.toolbox import PackTool
from novum.errors import RecordingMiss, ToolError
from novum.lab.blobs import Blobs
from novum.lab.codec import decode, encode
from novum.lab.records import Event, Json, Proposal, Purpose, Trial, TrialStatus

Setting = tuple[str, str, str, bool]
"""Tree, split, fidelity, and whether it is a smoke test: what a trial measures."""
UNUSABLE = (TrialStatus.LOST, TrialStatus.KILLED, TrialStatus.LAUNCHED)


@dataclass
class Tried:
    """A recorded proposal: where it began, and what became of it."""

    proposal: Proposal
    choice: Choice
    reference: str = ""
    """What the candidate had to beat."""
    applied: tuple[str, ...] | None = None
    """Techniques that were really made, where that differs from the proposal."""
    dropped: Json | None = None
    tree: str = ""
    """What was measured: its own candidate, or an earlier one with the same files."""
    summary: str = ""


@dataclass
class Recording:
    """The proposals and trials of a run."""

    tried: dict[str, Tried] = field(default_factory=dict)
    """Ideas by id, in the order in which they were proposed."""
    trials: dict[str, Trial] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Sequence[Event]) -> Recording:
        """Read the events of a run."""
        self = cls()
        choices: dict[str, Choice] = {}
        references: dict[str, str] = {}
        for event in events:
            payload, name = event.payload, event.key.partition(":")[2]
            match event.kind:
                case "choice":
                    choices[name] = Choice(
                        payload["mode"], tuple(payload["parents"]), payload["kind_hint"]
                    )
                    references[name] = payload["reference"]
                case "proposal" if payload["thread"] >= 0:
                    made = decode(Proposal, payload)
                    choice = choices.get(made.id, Choice("improve", made.parents))
                    self.tried[made.id] = Tried(made, choice, references.get(made.id, ""))
                case "candidate" if payload["proposal"] in self.tried:
                    found = self.tried[payload["proposal"]]
                    found.tree, found.summary = payload["tree"], payload["summary"]
                case "verdict" if payload["proposal"] in self.tried:
                    self.tried[payload["proposal"]].tree = payload["tree"]
                case kind if kind == MOVES:
                    self.tried[name.partition("/")[0]].applied = tuple(payload["made"])
                case kind if kind == DROPPED and name in self.tried:
                    self.tried[name].dropped = payload
                case "trial.launched":
                    self.trials[payload["id"]] = decode(Trial, payload)
                case "trial.ended":
                    known = encode(self.trials[payload["id"]])
                    ended = {k: v for k, v in payload.items() if k != "spent"}
                    self.trials[payload["id"]] = decode(Trial, known | ended)
        return self


class Proposals:
    """Recorded proposals, handed out once each to whoever begins where they began."""

    def __init__(self, recording: Recording) -> None:
        self.left = list(recording.tried.values())

    def take(self, choice: Choice, is_possible: Callable[[Tried], bool]) -> Tried | None:
        """The first one that was made for this choice, or else on these parents."""
        on = lineage_key(choice.parents)
        fits = [t for t in self.left if lineage_key(t.choice.parents) == on and is_possible(t)]
        same = [t for t in fits if t.choice.mode == choice.mode]
        hinted = [t for t in same if t.choice.kind_hint == choice.kind_hint]
        for found in (*hinted, *same, *fits):
            self.left.remove(found)
            return found
        return None


class TrialPool:
    """A runner that answers with recorded results of the same files, each once.

    Trials that are asked for side by side end in the order in which they ended then: what is
    believed after each of them, and so what is chosen, depends on it.
    """

    def __init__(self, recording: Recording, blobs: Blobs, n_slots: int) -> None:
        self.n_slots = n_slots
        self.blobs = blobs
        self.spent_s = 0.0
        """Seconds that the trials handed out took when they were run."""
        self.n_used = 0
        self._under_way: list[tuple[float, str]] = []
        """Trials handed out, each by when it ended then."""
        self._left: dict[Setting, deque[Trial]] = defaultdict(deque)
        for trial in recording.trials.values():
            if trial.status not in UNUSABLE:
                is_smoke = trial.purpose is Purpose.SMOKE
                at = (trial.tree, trial.split, trial.fidelity, is_smoke)
                self._left[at].append(trial)

    async def run(
        self, prepare: Callable[[int], TrialRequest | None], label: str
    ) -> TrialResult | None:
        """The next recorded result of what is asked for.

        Raises:
            RecordingMiss: nothing more of this kind was measured.
        """
        request = prepare(0)
        if request is None:
            return None
        left = self._left[request.tree, request.split, request.fidelity, request.smoke]
        if not left:
            what = "smoke test" if request.smoke else f"trial on the {request.split} split"
            raise RecordingMiss(f"the recording holds no further {what} of {request.tree[:10]}")
        trial = left.popleft()
        self.spend([trial])
        await self._end(trial)
        return result_of(trial, self.blobs)

    async def _end(self, trial: Trial) -> None:
        """Wait for those that were asked for beside a trial and ended before it."""
        mine = (trial.ended_s, trial.id)
        self._under_way.append(mine)
        try:
            await asyncio.sleep(0)  # until all that start together have begun
            while min(self._under_way) != mine:
                await asyncio.sleep(0)
        finally:
            self._under_way.remove(mine)

    def spend(self, trials: Iterable[Trial]) -> None:
        """Count trials as run whose results are not asked for."""
        for trial in trials:
            self.spent_s += max(0.0, trial.ended_s - trial.launched_s)
            self.n_used += 1

    async def use_tool(self, tool: PackTool, call: BaseModel, files: Mapping[str, bytes]) -> str:
        """Refuse: what a tool said of other files is not recorded.

        Raises:
            ToolError: always.
        """
        raise ToolError("the tools of the pack are not at hand when trials are only recorded")

    def kill(self) -> None:
        """Nothing runs."""


def miss_of(error: BaseException) -> str:
    """What a recording lacks, from the error that says it, alone or in a group of such errors.

    Raises:
        BaseException: the error itself, if it is another one.
    """
    if isinstance(error, RecordingMiss):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        others = error.split(RecordingMiss)[1]
        if others is None:
            return miss_of(error.exceptions[0])
    raise error
