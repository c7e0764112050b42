"""What another search policy, or another audit, would have made of what a run recorded.

The decisions are the real ones: the policy chooses from findings, the audit asks for trials and
judges. What was proposed and measured comes from the recording, each thing once, one idea after
another. Where the policy goes to a candidate from which nothing more was tried, or the audit asks
for a trial that was not run, the counterfactual ends and says so: nothing is made up.

Where only the audit differs, each idea begins where it began then and is judged again; one that the
records cannot decide is left undecided, and the others are not touched by it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from langgraph.runtime import Runtime

from novum.agents.auditor import audit
from novum.agents.baseline import measure_noise
from novum.agents.budget import BudgetLimits
from novum.agents.certify import certify
from novum.agents.choosing import choose_where
from novum.agents.experimenter import experiment
from novum.agents.lab import Lab
from novum.agents.opening import remember
from novum.agents.planner import RETEST, measure_again
from novum.agents.recorder import record
from novum.agents.replay.pool import Proposals, Recording, TrialPool, Tried, miss_of
from novum.agents.replay.stage import make_lab, own_memory, scratch_copy
from novum.agents.situation import moves_of
from novum.agents.state import State
from novum.errors import RecordError, RecordingMiss, UsageError
from novum.lab.ledger import Ledger
from novum.lab.records import Better, Event, Label, Purpose, Trial, Verdict
from novum.lab.run import RunFolder
from novum.settings import restore_settings

GOOD = (Label.PROMISING, Label.CONFIRMED)
UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Step:
    """One idea of the counterfactual."""

    id: str
    """Of the recorded proposal."""
    hypothesis: str
    chosen: str
    """Mode of the choice and the candidates it starts from."""
    then: str
    """Verdict on record: a label, `dropped`, or empty."""
    now: str


@dataclass(frozen=True, slots=True)
class Course:
    """How a search went: as recorded, or as it would have gone."""

    n_ideas: int
    trial_s: float
    """Seconds of its trials."""
    n_trials: int
    kept: tuple[str, ...]
    """Candidates that it kept as better."""
    false_keeps: tuple[str, ...]
    """Of these, the ones that all recorded trials taken together do not show to be better."""
    champion: str
    """Tree of the best candidate; empty where nothing was kept."""
    is_confirmed: bool


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """A course that was not taken, beside the one that was, over as many ideas."""

    policy: str
    changed: dict[str, Any]
    """Settings of the audit that differ."""
    end: str
    """Why it ends."""
    n_recorded: int
    """Ideas of the whole recording."""
    n_threads: int
    """Of the run, where the policy chooses. The counterfactual goes one idea after another, so with
    several threads the same policy may differ too: each choice knows the verdict before it."""
    steps: tuple[Step, ...]
    then: Course
    now: Course


def counterfactual(
    run: RunFolder, policy: str | None = None, audit_settings: Mapping[str, Any] | None = None
) -> Counterfactual:
    """Let a policy and an audit decide again over recorded results.

    Args:
        policy: name of a search policy; the run's own unless said.
        audit_settings: fields of the pack's `win` that differ (`alpha_list`, `min_gain`, ...).

    Raises:
        LedgerCorrupt: the chain is broken; the message says where.
        UnknownName: there is no such policy.
        UsageError: there is no such setting, or its value is wrong.
    """
    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        events = ledger.events()
    if not events:
        raise RecordError(f"run {run.name} has no events yet.")
    with tempfile.TemporaryDirectory(prefix="novum-replay-") as scratch:
        return asyncio.run(_play(run, events, policy, dict(audit_settings or {}), Path(scratch)))


async def _play(
    run: RunFolder,
    events: Sequence[Event],
    policy: str | None,
    changed: dict[str, Any],
    scratch: Path,
) -> Counterfactual:
    settings = restore_settings(run.info.get("settings", {}), {"policy": policy})
    recording = Recording.of(events)
    copy = scratch_copy(run, scratch, keeps_blobs=True)
    pool = TrialPool(recording, run.blobs, int(run.info.get("slots", settings.slots or 1)))
    began_s = events[0].at_s

    def clock() -> float:
        return began_s + pool.spent_s / pool.n_slots

    with (
        closing(Ledger.create(copy.ledger_path, clock=clock)) as ledger,
        closing(remember(copy, own_memory(settings), run.info["benchmark"])) as memory,
    ):
        lab = make_lab(copy, settings, events, ledger, memory, pool, {}, clock)
        lab.begin(BudgetLimits())  # what ended the run does not end this: the records do
        win = lab.terms.win
        if changed:
            lab.terms = replace(lab.terms, win=_checked(win, changed))
        player = _Player(lab, run, recording, pool, is_free=policy is not None)
        end = await player.play()
        verdicts = ledger.verdicts()
        champion = ledger.champion()
        head = lab.findings.head.tree if lab.findings.nodes else ""
    n = len(player.steps)
    better: Better = lab.pack.manifest.metric.better
    own = [v for v in verdicts if not v.proposal.startswith(("certify-", "confirm-"))]
    kept = tuple(v.tree for v in own if v.label in GOOD)
    best = champion[0] if champion else head if kept else ""
    now = Course(
        n_ideas=n,
        trial_s=pool.spent_s,
        n_trials=pool.n_used,
        kept=kept,
        false_keeps=_false(own, recording, better),
        champion=best,
        is_confirmed=champion is not None,
    )
    return Counterfactual(
        policy=lab.policy.name,
        changed=changed,
        end=end,
        n_recorded=len(recording.tried),
        n_threads=settings.threads if policy is not None else 1,
        steps=tuple(player.steps),
        then=_recorded(events, recording, n, better),
        now=now,
    )


def _checked(win: Any, changed: Mapping[str, Any]) -> Any:
    from pydantic import ValidationError

    known = type(win).model_fields
    if unknown := [name for name in changed if name not in known]:
        raise UsageError(f"no audit setting {unknown[0]!r}; there is {', '.join(known)}.")
    try:
        return type(win).model_validate(win.model_dump() | dict(changed))
    except ValidationError as error:
        raise UsageError(f"wrong audit settings: {error.errors()[0]['msg']}") from error


class _Player:
    """Goes through ideas one after another."""

    def __init__(
        self, lab: Lab, run: RunFolder, recording: Recording, pool: TrialPool, *, is_free: bool
    ) -> None:
        self.lab = lab
        self.is_free = is_free
        """Whether the policy chooses; else each idea begins where it began then."""
        self.pool = pool
        self.source = run.archive(read_only=True)
        self.recording = recording
        self.proposals = Proposals(recording)
        self.steps: list[Step] = []
        with run.ledger(read_only=True) as ledger:
            self.labels = {v.proposal: str(v.label) for v in ledger.verdicts()}

    async def play(self) -> str:
        """Play to the end; returns why it is one."""
        lab = self.lab
        try:
            await measure_noise(lab)
        except (RecordingMiss, ExceptionGroup) as error:
            return f"before the first idea: {miss_of(error)}"
        lab.update_reserve()
        # Each idea is made under the id that the recorded one of its turn had: with it comes the
        # random state of its choice.
        for id, turn in self.recording.tried.items():
            if reason := lab.stop_reason():
                return f"after {len(self.steps)} ideas: {reason}"
            if stop := await self.idea(id, turn.proposal.thread, turn.proposal.iteration):
                return stop
        used = f"all {len(self.steps)} recorded ideas were used"
        try:
            await certify(lab)
        except (RecordingMiss, ExceptionGroup) as error:
            return f"{used}; at the final test: {miss_of(error)}"
        return used

    async def idea(self, id: str, thread: int, iteration: int) -> str:
        """One idea to its verdict; what stands in the way of any further one, if something does."""
        lab = self.lab
        found: Tried | None = self.recording.tried[id]
        assert found is not None
        choice, reference = found.choice, found.reference
        if self.is_free:
            choice, reference, _ = choose_where(lab, thread, id)
            found = self.proposals.take(choice, self.is_possible)
        where = f"{choice.mode} {', '.join(tree[:10] for tree in choice.parents)}"
        if found is None:
            return (
                f"idea {len(self.steps) + 1}: the policy chooses to {where}, from which nothing "
                "more was tried"
            )
        state: State = {"thread": thread, "iteration": iteration, "reference": reference}
        if choice.mode == "retest":
            proposal = measure_again(lab, state, choice.parents[0])
        else:
            proposal = replace(found.proposal, id=id, thread=thread, iteration=iteration)
        lab.add_proposal(proposal)
        state["proposal"] = id
        now = ""
        try:
            await self.measure(state, found)
        except (RecordingMiss, ExceptionGroup) as error:
            missed = miss_of(error)
            if self.is_free:
                return f"idea {len(self.steps) + 1} ({found.proposal.id}, {where}): {missed}"
            now = UNDECIDED
            state.update({"dropped": missed, "broken": False})
        await record(state, Runtime(context=lab))
        old = found.proposal.id
        then = self.labels.get(old) or ("dropped" if found.dropped else "")
        now = now or state.get("label", "") or "dropped"
        self.steps.append(Step(old, found.proposal.hypothesis, where, then, now))
        return ""

    def is_possible(self, tried: Tried) -> bool:
        """Whether the candidates that a proposal starts from exist on this course."""
        return all(tree in self.lab.findings.nodes for tree in tried.proposal.parents)

    async def measure(self, state: State, found: Tried) -> None:
        """Freeze the recorded candidate and let experimenter and auditor take turns."""
        lab = self.lab
        proposal = lab.findings.proposals[state["proposal"]]
        if found.dropped is not None or not found.tree:
            # It could not be coded, did not run, or time or money ended: no policy or audit did it.
            dropped = found.dropped or {"reason": "it was under way when the record ends"}
            state.update({"dropped": dropped["reason"], "broken": bool(dropped.get("broken"))})
            own = found.proposal.id
            self.pool.spend(t for t in self.recording.trials.values() if t.proposal == own)
            return
        files = self.source.files(proposal.move.get(RETEST, found.tree))
        applied = moves_of(proposal.move) if found.applied is None else found.applied
        tree = lab.freeze(proposal, files, found.summary, applied)
        state.update({"candidate": tree, "turns": 0, "wanted": None})
        runtime = Runtime(context=lab)
        while not state.get("verdict"):
            state.update(await experiment(state, runtime))
            if not state.get("candidate"):
                error = state["fixes"][-1]["error"][:500]
                state.update({"dropped": f"it does not run: {error}", "broken": True})
            if state.get("dropped"):
                return
            state.update(await audit(state, runtime))


def _recorded(events: Sequence[Event], recording: Recording, n: int, better: Better) -> Course:
    """The course that was taken, up to as many ideas."""
    from novum.lab.codec import decode

    ids = list(recording.tried)[:n]
    owned = {*ids}
    last = len(ids) == len(recording.tried)
    verdicts = [decode(Verdict, e.payload) for e in events if e.kind == "verdict"]
    own = [v for v in verdicts if v.proposal in owned]
    kept = tuple(v.tree for v in own if v.label in GOOD)
    trials = [
        t
        for t in recording.trials.values()
        if t.ended_s
        and (t.proposal in owned or t.purpose is Purpose.NOISE or (last and "-" in t.proposal))
    ]
    crowned = [e.payload["tree"] for e in events if e.kind == "champion"] if last else []
    best = crowned[-1] if crowned else _best(own, recording, better)
    return Course(
        n_ideas=len(ids),
        trial_s=sum(max(0.0, t.ended_s - t.launched_s) for t in trials),
        n_trials=len(trials),
        kept=kept,
        false_keeps=_false(own, recording, better),
        champion=best,
        is_confirmed=bool(crowned),
    )


def _best(verdicts: Sequence[Verdict], recording: Recording, better: Better) -> str:
    means = {v.tree: _mean(recording, v.tree, "search") for v in verdicts if v.label in GOOD}
    known = {tree: mean for tree, mean in means.items() if mean is not None}
    sign = -1 if better == "lower" else 1
    return max(known, key=lambda tree: sign * known[tree]) if known else ""


def _false(verdicts: Sequence[Verdict], recording: Recording, better: Better) -> tuple[str, ...]:
    """Kept candidates that are not better by the mean of all their recorded trials.

    Trials on the sealed split decide where both were measured on it; the trial that selected a
    candidate never counts.
    """
    sign = -1 if better == "lower" else 1
    found = []
    for verdict in verdicts:
        if verdict.label not in GOOD:
            continue
        for split in ("sealed", "search"):
            mine = _mean(recording, verdict.tree, split)
            other = _mean(recording, verdict.reference, split)
            if mine is not None and other is not None:
                if sign * (mine - other) <= 0:
                    found.append(verdict.tree)
                break
    return tuple(found)


def _mean(recording: Recording, tree: str, split: str) -> float | None:
    counted = (t.metric for t in recording.trials.values() if _counts(t, tree, split))
    values = [metric for metric in counted if metric is not None]
    return fmean(values) if values else None


def _counts(trial: Trial, tree: str, split: str) -> bool:
    return (
        trial.tree == tree
        and trial.split == split
        and trial.fidelity == "full"
        and trial.purpose not in (Purpose.SMOKE, Purpose.SEARCH, Purpose.SCREEN)
    )
