"""Open the lab on a run's folder: everything that research needs, from words to working parts."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from novum.agents import beliefs
from novum.agents.brains.registry import make_brains
from novum.agents.budget import Budget, BudgetLimits
from novum.agents.lab import Lab
from novum.agents.loading import load
from novum.agents.runner import LocalRunner
from novum.agents.screens import Screens, cheapest
from novum.agents.search.findings import Findings
from novum.agents.search.registry import make_policy
from novum.benchmarks.harness import hardware_class, harness_digest
from novum.benchmarks.pack import find_pack
from novum.errors import RecordError
from novum.lab.ledger import Ledger
from novum.lab.run import RunFolder
from novum.memory.choose import open_memory
from novum.memory.protocol import Memory
from novum.sandboxes.executor import Executor, make_slots
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.registry import find_sandbox
from novum.settings import Role, Settings

log = logging.getLogger(__name__)
ROLES: tuple[Role, ...] = ("planner", "coder")
SESSION = "session"


def brains_of(settings: Settings) -> dict[Role, str]:
    """Who plays which role: planner and coder always, and an auditor who was named as such.

    The auditor's verdict needs no model; a brain that plays it reviews changes besides.
    """
    names: dict[Role, str] = {role: settings.brain.role(role) for role in ROLES}
    if settings.brain.auditor:
        names["auditor"] = settings.brain.auditor
    return names


def choose_sandbox(settings: Settings) -> Sandbox:
    """The sandbox of a run.

    Where every role is played by the playbook, all code that will run was installed with the pack,
    and `auto` may do without isolation on a machine that offers none.

    Raises:
        SandboxUnavailable: what was asked for cannot be had here.
    """
    own_code = all(settings.brain.role(role) == "playbook" for role in ROLES)
    return find_sandbox(settings.sandbox.kind, own_code=own_code)


@contextmanager
def open_lab(run: RunFolder, settings: Settings) -> Iterator[Lab]:
    """Hold the run's folder and give the lab that works in it.

    On a run that an earlier process left, trials that were under way are marked lost, and the
    findings are read back from the ledger.

    Raises:
        RunBusy: another process works in the folder.
        UsageError: a pack, brain, policy or number of slots is not to be had.
        OperatorError: the machine lacks something: data, a sandbox, room.
        RecordError: the run was measured with another harness, grader or data.
    """
    pack = find_pack(settings.benchmark)
    profile = pack.profile(settings.profile)
    policy = make_policy(settings.policy)
    names = brains_of(settings)
    brains = make_brains(names, settings.brain, settings.budget.cost_usd)
    slots = make_slots(profile.cores, profile.gpus, n_slots=settings.slots)
    sandbox = choose_sandbox(settings)
    grader = pack.grader(profile, settings.paths.cache.expanduser())
    harness = harness_digest(pack, grader.prepare())
    start = settings.start or pack.starts_of(profile)[0]
    with (
        run.lock(),
        run.ledger() as ledger,
        tempfile.TemporaryDirectory(prefix="novum-", dir=settings.paths.scratch) as scratch,
        closing(Executor(slots)) as executor,
        closing(remember(run, settings, pack.id)) as memory,
    ):
        archive = run.archive()
        archive.drop_stale_locks()
        runner = LocalRunner(pack, profile, grader, sandbox, executor, Path(scratch))

        def know_nothing() -> Lab:
            return Lab(
                run=run,
                ledger=ledger,
                archive=archive,
                memory=memory,
                pack=pack,
                profile=profile,
                harness=harness,
                hardware=hardware_class(profile),
                start=start,
                start_files=pack.start_files(start),
                runner=runner,
                sandbox=sandbox,
                policy=policy,
                brains=brains,
                brain_names={str(role): spec for role, spec in names.items()},
                budget=open_budget(ledger, settings, runner.n_slots, profile.gpus),
                findings=Findings(pack.manifest.metric.better),
                scratch=Path(scratch) / "workspaces",
                coder_turns=settings.brain.coder_turns,
                ablate=settings.ablate,
                confirm_trials=settings.confirm_trials,
                measures_first=settings.noise == "first",
                screens=Screens(fidelity=cheapest(profile) if settings.screens else ""),
                must_ask=lambda stage, _: stage == settings.approval.ask,
                approval=settings.approval,
            )

        lab = know_nothing()
        require_same_harness(lab)
        ledger.mark_lost()
        try:
            load(lab, beliefs.find(lab))
        except beliefs.Misfit as error:
            log.warning("%s is not used: %s", beliefs.NAME, error)
            lab = know_nothing()
            load(lab)
        try:
            yield lab
            beliefs.keep_if_due(lab, beliefs.FEW)
        finally:
            run.note_anchor(ledger.anchor())


def remember(run: RunFolder, settings: Settings, benchmark: str) -> Memory:
    """The memory that the settings ask for."""
    wanted = settings.memory
    return open_memory(run.memory, wanted.where, wanted.embedder, benchmark)


def open_budget(ledger: Ledger, settings: Settings, n_slots: int, n_gpus: int) -> Budget:
    """The account of a run, with what earlier processes spent."""
    limits = BudgetLimits(**settings.budget.model_dump())
    budget = Budget(limits, time.monotonic, n_slots=n_slots, gpus_per_trial=n_gpus)
    spent = ledger.spent()
    budget.tokens = int(spent.get("tokens", 0))
    budget.cost_usd = spent.get("cost_usd", 0.0)
    budget.used_wall_s = used_wall_s(ledger)
    return budget


def used_wall_s(ledger: Ledger) -> float:
    """Wall seconds that earlier processes worked on a run.

    A process that was killed wrote no end; it counts up to the last event before the next begin.
    """
    total, after = 0.0, 0
    marks = ledger.events(kinds=[SESSION])
    begins = [e for e in marks if "wall_s" not in e.payload]
    ends = {e.key.rpartition("/")[0]: e for e in marks if "wall_s" in e.payload}
    for i, begin in enumerate(begins):
        end = ends.get(begin.key.rpartition("/")[0])
        if end is None:
            until = begins[i + 1].seq - 1 if i + 1 < len(begins) else ledger.anchor().seq
            after = max(begin.seq, until) - 1
            end = ledger.events(after, limit=1)[0]
        total += max(0.0, end.at_s - begin.at_s)
    return total


def require_same_harness(lab: Lab) -> None:
    """Trials under different harnesses, graders or data cannot be compared.

    Raises:
        RecordError: the run was begun with another one.
    """
    last = lab.ledger.trials(last=1)
    if last and last[0].harness != lab.harness:
        raise RecordError(
            f"run {lab.run.name} was measured with another harness, grader or data "
            f"({last[0].harness[:12]}, now {lab.harness[:12]}).\n"
            "Start a new run; `novum show` and `novum report` still read this one."
        )
