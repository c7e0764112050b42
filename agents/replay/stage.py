"""The stage of a replay: a lab in a scratch folder, with the identity and seeds of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from novum.agents.budget import Budget, BudgetLimits
from novum.agents.lab import Lab
from novum.agents.opening import brains_of
from novum.agents.replay.parts import NoSandbox, RecordedBlobs
from novum.agents.search.findings import Findings
from novum.agents.search.registry import make_policy
from novum.benchmarks.pack import find_pack
from novum.evals.facts import load_terms
from novum.lab.archive import Archive
from novum.lab.ledger import Ledger
from novum.lab.records import Event
from novum.lab.run import RunFolder
from novum.memory.protocol import Memory
from novum.sandboxes.protocol import Sandbox
from novum.settings import Settings

if TYPE_CHECKING:
    from novum.agents.brains.ensemble import Brain
    from novum.agents.trials import TrialRunner


def scratch_copy(run: RunFolder, scratch: Path, *, keeps_blobs: bool = False) -> RunFolder:
    """A folder with the run's identity and seeds, and no records.

    Blobs are the recording's own and only read, unless new ones have to be kept.
    """
    folder = scratch / run.name
    folder.mkdir()
    for name in ("run.toml", "nonce"):
        shutil.copy(run.path / name, folder / name)
    copy = RunFolder.open(folder)
    copy.blobs = RecordedBlobs(run.blobs.folder, folder / "blobs" if keeps_blobs else None)
    return copy


def own_memory(settings: Settings) -> Settings:
    """The settings with a memory in the run's folder, whatever memory it shared."""
    memory = settings.memory.model_copy(update={"where": None})
    return settings.model_copy(update={"memory": memory})


def make_lab(
    copy: RunFolder,
    settings: Settings,
    events: Sequence[Event],
    ledger: Ledger,
    memory: Memory,
    runner: TrialRunner,
    brains: Mapping[str, Brain],
    clock: Callable[[], float],
    **more: Any,
) -> Lab:
    """A lab on the scratch folder; harness, hardware, slots and rules are the recording's."""
    pack = find_pack(settings.benchmark)
    profile = pack.profile(settings.profile)
    start = settings.start or pack.starts_of(profile)[0]
    launched = next((e.payload for e in events if e.kind == "trial.launched"), {})
    budget = Budget(
        BudgetLimits(**settings.budget.model_dump()),
        clock,
        n_slots=runner.n_slots,
        gpus_per_trial=profile.gpus,
    )
    budget.started_s = events[0].at_s
    lab = Lab(
        run=copy,
        ledger=ledger,
        archive=Archive.create(copy.archive_path),
        memory=memory,
        pack=pack,
        profile=profile,
        harness=launched.get("harness", ""),
        hardware=launched.get("hardware", ""),
        start=start,
        start_files=pack.start_files(start),
        runner=runner,
        sandbox=cast(Sandbox, NoSandbox()),
        policy=make_policy(settings.policy),
        brains=brains,
        brain_names={str(role): spec for role, spec in brains_of(settings).items()},
        budget=budget,
        findings=Findings(pack.manifest.metric.better),
        scratch=copy.path / "workspaces",
        coder_turns=settings.brain.coder_turns,
        ablate=settings.ablate,
        confirm_trials=settings.confirm_trials,
        measures_first=settings.noise == "first",
        clock=clock,
        **more,
    )
    outlines = (e.payload for e in events if e.kind == "facts")
    if (outline := next(outlines, None)) is not None:
        # how a test is laid out is the run's settings'; the auditor's rules are those of the time
        lab.terms = replace(load_terms(outline["terms"]), win=lab.terms.win)
    return lab
