"""`run` and `resume`: do research, shown live on a terminal and in lines elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from novum.app.guard import INTERRUPTED, bugs_go_to

if TYPE_CHECKING:
    from novum.app.watch import Shown
    from novum.lab.run import RunFolder
    from novum.settings import Settings

Profile = Annotated[str | None, typer.Option(help="Size of the benchmark (default: the pack's).")]
Threads = Annotated[int | None, typer.Option(help="Lines of research side by side (default: 2).")]
Slots = Annotated[int | None, typer.Option(help="Trials side by side (default: what fits).")]
Brain = Annotated[
    str | None, typer.Option(help="Who researches: playbook (default), openai:MODEL, ...")
]
Experiments = Annotated[int | None, typer.Option(help="Stop after so many ideas.")]
Wall = Annotated[str | None, typer.Option(help="Stop after this time: 90s, 12m, 8h, 2d.")]
GpuHours = Annotated[float | None, typer.Option(help="Stop after so many GPU hours.")]
Tokens = Annotated[int | None, typer.Option(help="Stop after so many model tokens.")]
Cost = Annotated[float | None, typer.Option("--cost-usd", help="Stop after so much money.")]
Target = Annotated[float | None, typer.Option(help="Stop when the metric reaches this.")]
Plateau = Annotated[int | None, typer.Option(help="Stop after so many ideas without progress.")]
Sandbox = Annotated[
    str | None, typer.Option(help="auto (default), docker, bubblewrap, process (no isolation).")
]
Runs = Annotated[Path | None, typer.Option(help="Folder of the runs (default: runs).")]
Approve = Annotated[
    str | None, typer.Option(help="Ask a person before each `plan` is coded, or each `run`.")
]
ApproveWait = Annotated[
    str | None, typer.Option(help="Refuse what nobody answered for so long: 30m, 8h.")
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Answer every question with yes, and record that.")
]
Talk = Annotated[
    bool, typer.Option("--chat", help="Talk with the run while it works, in this terminal.")
]
Plain = Annotated[bool, typer.Option("--plain", help="Lines in place of the live view.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def run(
    benchmark: Annotated[
        str | None, typer.Argument(help="Installed pack or folder of one (default: nanochat).")
    ] = None,
    problems: Annotated[
        Path | None,
        typer.Option(help="Folder of problems in the pack's format, in place of its own."),
    ] = None,
    profile: Profile = None,
    start: Annotated[str | None, typer.Option(help="Starting solution.")] = None,
    threads: Threads = None,
    slots: Slots = None,
    brain: Brain = None,
    policy: Annotated[str | None, typer.Option(help="frontier (default) or greedy.")] = None,
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
    memory: Annotated[
        str | None,
        typer.Option(help="Folder or http://HOST:PORT that carries lessons from run to run."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run (default: PACK-N).")] = None,
    runs: Runs = None,
    chat: Talk = False,
    plain: Plain = False,
    as_json: AsJson = False,
) -> None:
    """Do research on a benchmark: measure its noise, try ideas, confirm the best one.

    Example: novum run nanochat --wall 12m
    """
    from novum.settings import load_settings

    given = _given(
        threads, slots, brain, experiments, wall, gpu_hours, tokens, cost_usd, target, plateau,
        sandbox, runs, approve, approve_wait, yes,
    )  # fmt: skip
    given |= {"benchmark": benchmark, "profile": profile, "start": start, "policy": policy}
    given |= {"memory": {"where": memory}}
    settings = load_settings(given)
    if problems is not None:
        update = {"benchmark": f"{settings.benchmark}:{problems}"}
        settings = settings.model_copy(update=update)
    _require_terminal(chat, as_json)
    _require_somebody(settings)
    folder, settings = _begin(settings, name)
    work_on(folder, settings, plain, as_json, chat)


def resume(
    run: Annotated[
        str | None, typer.Argument(help="Name or folder; the latest if left out.")
    ] = None,
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
    given = _given(
        threads, slots, brain, experiments, wall, gpu_hours, tokens, cost_usd, target, plateau,
        sandbox, None, approve, approve_wait, yes,
    )  # fmt: skip
    settings = restore_settings(folder.info.get("settings", {}), given)
    # What a run does not keep, because it holds secrets.
    settings = settings.model_copy(update={"notify": load_settings().notify})
    _require_somebody(settings)
    work_on(folder, settings, plain, as_json, chat)


def _given(
    threads: int | None,
    slots: int | None,
    brain: str | None,
    experiments: int | None,
    wall: str | None,
    gpu_hours: float | None,
    tokens: int | None,
    cost_usd: float | None,
    target: float | None,
    plateau: int | None,
    sandbox: str | None,
    runs: Path | None,
    approve: str | None,
    approve_wait: str | None,
    yes: bool,
) -> dict[str, Any]:
    """What the command line says, in the form of the settings."""
    return {
        "threads": threads,
        "slots": slots,
        "brain": {"default": brain},
        "sandbox": {"kind": sandbox},
        "paths": {"runs": runs},
        "approval": {"ask": approve, "wait_s": _seconds(approve_wait), "yes": yes or None},
        "budget": {
            "experiments": experiments,
            "wall_s": _seconds(wall),
            "gpu_hours": gpu_hours,
            "tokens": tokens,
            "cost_usd": cost_usd,
            "target": target,
            "plateau": plateau,
        },
    }


def _seconds(text: str | None) -> float | None:
    from novum.app.numbers import parse_duration
    from novum.errors import UsageError

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 90s, 12m, 8h, 2d or 1:30:00.") from None


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


JSON_FORMAT = 1
"""Of the lines that `--json` prints; docs/headless.md describes them."""
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
    _note(f"preparing {pack.id} {profile.name} (the first time makes its data) ...")
    fingerprint = pack.grader(profile, settings.paths.cache.expanduser()).prepare()
    # `resume` may be typed in another folder.
    settings = settings.model_copy(update={"benchmark": lasting_name(settings.benchmark, pack)})
    metric = pack.manifest.metric
    folder = RunFolder.create(
        settings.paths.runs,
        name or f"{pack.id}-*",
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


def work_on(
    folder: RunFolder, settings: Settings, plain: bool, as_json: bool, chat: bool = False
) -> None:
    """Work on a run until it ends, show it, and print what came of it."""
    import asyncio

    from novum.app.outcome import closing_lines, outcome_of
    from novum.app.watch import watched
    from novum.errors import NovumError

    bugs_go_to(folder.path)
    if as_json:
        begin = {"kind": "run", "format": JSON_FORMAT, "name": folder.name}
        begin |= {"folder": str(folder.path), "benchmark": folder.info["benchmark"]}
        print(json.dumps(begin | {"profile": folder.info["profile"]}), flush=True)
    how: Shown = "json" if as_json else "live" if sys.stdout.isatty() and not plain else "plain"
    how = "chat" if chat else how
    try:
        summary, story = asyncio.run(watched(folder, settings, how))
    except Exception as error:
        code = error.exit_code if isinstance(error, NovumError) else 1
        if as_json:
            told = {"kind": "error", "error": type(error).__name__, "message": str(error)}
            print(json.dumps(told | {"exit_code": code}), flush=True)
        if isinstance(error, NovumError):
            raise _with_hint(error, folder) from error
        raise
    outcome = outcome_of(folder, story)
    if as_json:
        end = {"kind": "outcome", "reason": summary.reason, **outcome.json()}
        print(json.dumps(end | {"interrupted": summary.is_interrupted}), flush=True)
    else:
        from rich.console import Console

        out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        out.print(closing_lines(outcome, story, reason=summary.reason))
    raise typer.Exit(INTERRUPTED if summary.is_interrupted else outcome.exit_code)


def _with_hint(error: Exception, folder: RunFolder) -> Exception:
    """The same error, saying how to go on with what was recorded; an empty folder goes away."""
    import shutil

    from novum.errors import RunBusy

    if isinstance(error, RunBusy):
        return error
    with folder.ledger(read_only=True) as ledger:
        is_empty = not ledger.counts()["events"]
    if is_empty:
        shutil.rmtree(folder.path, ignore_errors=True)
        return error
    hint = f"What was done is in {folder.path}; `novum resume {folder.name}` goes on from there."
    error.args = (f"{error}\n{hint}", *error.args[1:])
    return error


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
