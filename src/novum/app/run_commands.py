"""`run` and `resume`: begin a run, or go on with one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from novum.app.options import AsJson, Corpus, Problems, Run, Runs, name_of_pack
from novum.app.run_options import (
    Approve,
    ApproveWait,
    Brain,
    Cost,
    Experiments,
    GpuHours,
    Mirror,
    Plain,
    Plateau,
    Profile,
    Sandbox,
    Slots,
    Talk,
    Target,
    Threads,
    Tokens,
    Wall,
    Yes,
    given_by,
)
from novum.app.working import work_on

if TYPE_CHECKING:
    from novum.lab.run import RunFolder
    from novum.settings import Settings


def run(
    benchmark: Annotated[
        str | None, typer.Argument(help="Installed pack or folder of one (default: nanochat).")
    ] = None,
    problems: Problems = None,
    corpus: Corpus = None,
    profile: Profile = None,
    start: Annotated[str | None, typer.Option(help="Starting solution.")] = None,
    threads: Threads = None,
    slots: Slots = None,
    brain: Brain = None,
    policy: Annotated[
        str | None,
        typer.Option(help="What to build on: frontier (default), greedy, tree, islands."),
    ] = None,
    experiments: Experiments = None,
    wall: Wall = None,
    gpu_hours: GpuHours = None,
    tokens: Tokens = None,
    cost_usd: Cost = None,
    target: Target = None,
    plateau: Plateau = None,
    sandbox: Sandbox = None,
    approve: Approve = None,
    approve_wait: ApproveWait = None,
    yes: Yes = False,
    confirm_trials: Annotated[
        int | None, typer.Option(help="Trials an arm of the final test (default: what decides it).")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="Measure the start first (default), or when `needed`.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="Folder or http://HOST:PORT that carries lessons from run to run."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run (default: PACK-N).")] = None,
    runs: Runs = None,
    mirror: Mirror = None,
    chat: Talk = False,
    plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Do research on a benchmark: measure its noise, try ideas, confirm the best one.

    Example: novum run nanochat --wall 12m
    """
    from novum.settings import load_settings

    given = given_by(
        threads, slots, brain, experiments, wall, gpu_hours, tokens, cost_usd, target, plateau,
        sandbox, runs, approve, approve_wait, yes, mirror,
    )  # fmt: skip
    given |= {"benchmark": benchmark, "profile": profile, "start": start, "policy": policy}
    given |= {"memory": {"where": memory}, "confirm_trials": confirm_trials, "noise": noise}
    settings = load_settings(given)
    named = name_of_pack(settings.benchmark, problems, corpus)
    settings = settings.model_copy(update={"benchmark": named})
    _require_terminal(chat, as_json)
    _require_somebody(settings)
    folder, settings = _begin(settings, name)
    work_on(folder, settings, plain, as_json, chat)


def resume(
    run: Run = None,
    threads: Threads = None,
    slots: Slots = None,
    brain: Brain = None,
    experiments: Experiments = None,
    wall: Wall = None,
    gpu_hours: GpuHours = None,
    tokens: Tokens = None,
    cost_usd: Cost = None,
    target: Target = None,
    plateau: Plateau = None,
    sandbox: Sandbox = None,
    approve: Approve = None,
    approve_wait: ApproveWait = None,
    yes: Yes = False,
    runs: Runs = None,
    mirror: Mirror = None,
    chat: Talk = False,
    plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was interrupted or killed, or give it more budget.

    Example: novum resume nanochat-1 --wall 1h
    """
    from novum.app.reading import runs_folder
    from novum.lab.run import find_run
    from novum.settings import load_settings, restore_settings

    _require_terminal(chat, as_json)
    folder = find_run(runs_folder(runs), run)
    given = given_by(
        threads, slots, brain, experiments, wall, gpu_hours, tokens, cost_usd, target, plateau,
        sandbox, None, approve, approve_wait, yes, mirror,
    )  # fmt: skip
    settings = restore_settings(folder.info.get("settings", {}), given)
    # What a run does not keep, because it holds secrets.
    settings = settings.model_copy(update={"notify": load_settings().notify})
    _require_somebody(settings)
    work_on(folder, settings, plain, as_json, chat)


def _require_terminal(chat: bool, as_json: bool) -> None:
    """Raise `UsageError` for a chat that nobody could hold."""
    from novum.app.terminal import is_terminal
    from novum.errors import UsageError

    if chat and (as_json or not is_terminal()):
        raise UsageError("--chat needs a terminal; `novum chat RUN` reads lines from a pipe.")


def _require_somebody(settings: Settings) -> None:
    """Raise `UsageError` where a run would wait for a person who may never come."""
    from novum.errors import UsageError

    approval = settings.approval
    is_settled = approval.ask == "nothing" or approval.yes or approval.wait_s is not None
    if not is_settled and not sys.stdin.isatty():
        raise UsageError(
            f"--approve {approval.ask} waits for a person, and there is no terminal here.\n"
            "Say how long with --approve-wait 8h (`novum approve` answers meanwhile), or add --yes."
        )


UNISOLATED = (
    "sandbox `process`: time, memory and processes are bounded, nothing is hidden from the code.\n"
    "Good enough for the playbook's own techniques; `apt-get install bubblewrap` isolates."
)


def _begin(settings: Settings, name: str | None) -> tuple[RunFolder, Settings]:
    """Check that everything is to be had, then make the run's folder."""
    from novum.agents.brains.registry import make_brains
    from novum.agents.opening import brains_of, choose_sandbox
    from novum.agents.search.registry import make_policy
    from novum.benchmarks.harness import harness_digest
    from novum.benchmarks.pack import find_pack, lasting_name
    from novum.lab.run import RunFolder
    from novum.sandboxes.executor import make_slots

    pack = find_pack(settings.benchmark)
    profile = pack.profile(settings.profile)
    start = settings.start or pack.starts_of(profile)[0]
    pack.start_files(start)
    make_policy(settings.policy)
    make_brains(brains_of(settings), settings.brain, settings.budget.cost_usd)
    sandbox = choose_sandbox(settings)
    if sandbox.name == "process":
        _note(UNISOLATED)
    slots = make_slots(profile.cores, profile.gpus, n_slots=settings.slots)
    if pack.problems is not None:
        _note(pack.manifest.title)
    _note(f"preparing {pack.id} {profile.name} (the first time makes its data) ...")
    fingerprint = pack.grader(profile, settings.paths.cache.expanduser()).prepare()
    # `resume` may be typed in another folder.
    settings = settings.model_copy(update={"benchmark": lasting_name(settings.benchmark, pack)})
    metric = pack.manifest.metric
    folder = RunFolder.create(
        settings.paths.runs,
        name or f"{pack.id}-*",
        also_free_in=settings.paths.mirror,
        benchmark=pack.id,
        profile=profile.name,
        settings=settings.saved(),
        data_fingerprint=fingerprint,
        about={
            "start": start,
            "sandbox": sandbox.name,
            "slots": len(slots),
            "harness": harness_digest(pack, fingerprint),
            "trial_budget_s": profile.budget_s,
            "metric": metric.model_dump() | {"self_reported": pack.manifest.self_reported},
            "requirements": {
                name: required.model_dump(exclude_none=True)
                for name, required in profile.requirements.items()
            },
        },
    )
    return folder, settings


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
