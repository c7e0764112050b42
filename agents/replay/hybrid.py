"""Hybrid replay: one half of a run from its recording, the other half live.

`trials`: recorded models with live trials. The run's answers propose and code what they did then,
and everything is measured again, here and now: an ordinary run whose brain is the recording.

`model`: live models on recorded trials. Models plan and code anew; a candidate has results only if
exactly its files were measured then. What was not is dropped with that reason, so that a search
costs no trial; nothing that comes of it is a claim.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from novum.agents.baseline import measure_noise
from novum.agents.brains.registry import make_brains
from novum.agents.graph import RECURSION_LIMIT, build_graph
from novum.agents.lab import Lab
from novum.agents.opening import brains_of, remember
from novum.agents.recorder import ITERATION
from novum.agents.replay.fork import begin_from
from novum.agents.replay.pool import Recording, TrialPool, miss_of
from novum.agents.replay.stage import make_lab, own_memory, scratch_copy
from novum.errors import RecordError, RecordingMiss
from novum.lab.ledger import Ledger
from novum.lab.records import Event
from novum.lab.run import RunFolder
from novum.settings import Role, Settings, restore_settings

MAX_MISSES = 8
"""Ideas in a row that were never measured, after which the models have left the recording."""


@dataclass(frozen=True, slots=True)
class Idea:
    """What a live model proposed, and what the recording knows of it."""

    id: str
    hypothesis: str
    then: str
    """Proposal of the recording with the same files; empty when there is none."""
    label: str
    """Verdict now; empty when it could not be measured."""
    reason: str


@dataclass(frozen=True, slots=True)
class LiveModels:
    """What live models did on recorded trials."""

    ideas: tuple[Idea, ...]
    end: str
    n_trials: int
    tokens: float
    cost_usd: float


def again(run: RunFolder, runs: Path | None = None, name: str | None = None) -> RunFolder:
    """Make the run that measures a recording again: its answers, live trials.

    `research` works on it as on any other; its seeds are those of the recording.

    Raises:
        LedgerCorrupt: the chain of the recording is broken.
    """
    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        anchor = ledger.anchor()
    spec = f"recorded:{run.path.absolute()}"
    none: dict[str, Any] = dict.fromkeys(get_args(Role))
    settings = restore_settings(run.info.get("settings", {}))
    brain = settings.brain.model_copy(update={**none, "default": spec})
    settings = settings.model_copy(update={"brain": brain})
    return begin_from(run, settings, "again", anchor, runs, name or f"{run.name}-again-*")


def live_models(run: RunFolder, changes: Mapping[str, Any] | None = None) -> LiveModels:
    """Let models plan and code anew over the trials of a recording, in a scratch folder.

    Args:
        changes: settings that differ (`{"brain": {"default": "openai:..."}}`).

    Raises:
        LedgerCorrupt: the chain of the recording is broken.
        UsageError: a brain is not to be had.
    """
    settings = restore_settings(run.info.get("settings", {}), changes or {})
    with run.ledger(read_only=True) as ledger:
        ledger.verify(run.anchor())
        events = ledger.events()
    if not events:
        raise RecordError(f"run {run.name} has no events yet.")
    with tempfile.TemporaryDirectory(prefix="novum-hybrid-") as scratch:
        return asyncio.run(_play(run, settings, events, Path(scratch)))


async def _play(
    run: RunFolder, settings: Settings, events: Sequence[Event], scratch: Path
) -> LiveModels:
    recording = Recording.of(events)
    copy = scratch_copy(run, scratch, keeps_blobs=True)
    pool = TrialPool(recording, run.blobs, int(run.info.get("slots", settings.slots or 1)))
    brains = make_brains(brains_of(settings), settings.brain, settings.budget.cost_usd)
    with (
        closing(Ledger.create(copy.ledger_path)) as ledger,
        closing(remember(copy, own_memory(settings), run.info["benchmark"])) as memory,
    ):
        lab = make_lab(copy, settings, events, ledger, memory, pool, brains, time.time)
        lab.budget.started_s = time.time()
        ideas: list[Idea] = []
        try:
            await measure_noise(lab)
            end = await _search(lab, recording, ideas)
        except (RecordingMiss, ExceptionGroup) as error:
            end = miss_of(error)
        spent = ledger.spent()
    return LiveModels(
        ideas=tuple(ideas),
        end=end,
        n_trials=pool.n_used,
        tokens=spent.get("tokens", 0.0),
        cost_usd=spent.get("cost_usd", 0.0),
    )


async def _search(lab: Lab, recording: Recording, ideas: list[Idea]) -> str:
    """Iterations of one thread; returns why they end."""
    graph = build_graph()
    config: Any = {"recursion_limit": RECURSION_LIMIT}
    by_tree = {t.tree: t.proposal.id for t in recording.tried.values() if t.tree}
    iteration = n_misses = 0
    while not (reason := lab.stop_reason()):
        missed = ""
        out: dict[str, Any] = {}
        begin: Any = {"thread": 0, "iteration": iteration}
        try:
            out = dict(await graph.ainvoke(begin, config, context=lab))
        except (RecordingMiss, ExceptionGroup) as error:
            missed = miss_of(error)
            _drop(lab, iteration, missed)
        if out.get("idle"):
            return str(out["idle"])
        id = f"p0-{iteration}"
        proposal = lab.ledger.find_proposal(id)
        if proposal is not None:
            made = lab.ledger.candidates(proposal=id)
            tree = made[-1].tree if made else ""
            said = missed or out.get("dropped", "")
            then = by_tree.get(tree, "")
            ideas.append(Idea(id, proposal.hypothesis, then, out.get("label", ""), said))
        n_misses = n_misses + 1 if missed else 0
        if n_misses >= MAX_MISSES:
            return f"{n_misses} ideas in a row were never measured: the recording ends here"
        iteration += 1
    return reason


def _drop(lab: Lab, iteration: int, reason: str) -> None:
    """End an iteration whose candidate the recording does not know."""
    id = f"p0-{iteration}"
    proposal = lab.findings.proposals.get(id)
    with lab.ledger.batch():
        if proposal is not None:
            lab.drop(proposal, "", reason, is_broken=False)
        closed = {"thread": 0, "iteration": iteration, "proposal": id, "dropped": reason}
        closed |= {"verdict": "", "label": "", "idle": ""}
        lab.note(ITERATION, f"0/{iteration}", closed)
    lab.close_session(id)
    lab.iterations[0] = iteration + 1
