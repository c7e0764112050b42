"""`init`: make a benchmark of an existing project, and show that it can be measured."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from novum.lab.counted import counted

if TYPE_CHECKING:
    from novum.app.init_trials import Measured
    from novum.benchmarks.command.writing import Wish
    from novum.benchmarks.pack import Pack

Globs = list[str] | None


def init(
    repo: Annotated[Path, typer.Option(help="Folder of the project.")] = Path(),
    run: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Command that is measured.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Where the number stands: a pattern with one group, json:FILE:a.0.b, or "
            "harness:wall_s (cpu_s, peak_bytes)."
        ),
    ] = None,
    better: Annotated[str | None, typer.Option(help="Which way is better.")] = None,
    editable: Annotated[
        Globs, typer.Option(help="Glob of files that may change; may be repeated.")
    ] = None,
    openevolve: Annotated[
        str | None, typer.Option(help="An evaluator.py of OpenEvolve, in place of --run.")
    ] = None,
    grade: Annotated[
        str | None, typer.Option(help="Program that measures from outside; its file is hidden.")
    ] = None,
    heldout: Annotated[
        str | None, typer.Option(help="Command that is measured for a claim.")
    ] = None,
    hidden: Annotated[Globs, typer.Option(help="Glob of files that candidates never see.")] = None,
    check: Annotated[
        Globs, typer.Option(help="Command that must succeed (tests); may be repeated.")
    ] = None,
    guard: Annotated[
        Globs,
        typer.Option(help="'acc higher 1% acc: ([0-9.]+)' or 'peak_bytes lower 20%'."),
    ] = None,
    build: Annotated[str | None, typer.Option(help="Command before every run.")] = None,
    keep: Annotated[
        Globs, typer.Option(help="Glob of files that the run makes for the held-out command.")
    ] = None,
    leave_out: Annotated[Globs, typer.Option(help="Glob of files not to take along.")] = None,
    mount: Annotated[
        list[Path] | None, typer.Option(help="Folder that the command reads (data, a venv).")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Id of the pack (default: the folder's).")
    ] = None,
    metric_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the number is called.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Its unit.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Where to write it (default: ./ID-pack).")
    ] = None,
    budget: Annotated[str, typer.Option(help="Time of one run: 90s, 5m.")] = "10m",
    cores: Annotated[int, typer.Option(min=1, help="Cores of one run.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of one run.")] = 0,
    memory: Annotated[float, typer.Option(metavar="GB", help="GB of memory of one run.")] = 4.0,
    max_jump: Annotated[
        float | None, typer.Option(help="Gain in one step that has to be looked at (0.5 = 50 %).")
    ] = None,
    trials: Annotated[int, typer.Option(min=2, help="Trial runs.")] = 3,
    sandbox: Annotated[str | None, typer.Option(help="As of `novum run`.")] = None,
) -> None:
    """Make a benchmark of an existing project.

    Example: novum init --run "./train" --metric "loss: (.+)" --better lower --editable train.py
    """
    from novum.app.init_wish import Given, wish_of
    from novum.benchmarks.command.repository import read_project
    from novum.benchmarks.command.writing import split_files

    given = Given(
        repo=repo, run=run, metric=metric, better=better, editable=editable or [],
        openevolve=openevolve, grade=grade, heldout=heldout, hidden=hidden or [],
        check=check or [], guard=guard or [], build=build, keep=keep or [], mount=mount or [],
        name=name, metric_name=metric_name, unit=unit, budget=budget, cores=cores, gpus=gpus,
        memory_gb=memory, max_jump=max_jump,
    )  # fmt: skip
    project = read_project(repo, leave_out or ())
    wish, project = wish_of(given, project, _ask if _is_terminal() else None)
    folder = out or Path(f"{wish.id}-pack")
    _must_be_free(folder)
    seen, secret = split_files(wish, project)
    n_bytes = sum(map(len, seen.values()))
    _note(f"{counted(len(seen), 'file')}, {n_bytes:,} bytes" + _taken(project.by_git))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".novum-init-", dir=folder.parent) as place:
        made = Path(place) / "pack"
        text = _make(made, wish, seen, secret, trials, sandbox)
        shutil.move(made, folder)
    print(text)
    print(f"\nPack      {folder}\nNext      novum packs check {folder}")
    print(f"          novum run {folder} --experiments 20")


def _make(
    folder: Path,
    wish: Wish,
    seen: dict[str, bytes],
    hidden: dict[str, bytes],
    n: int,
    sandbox: str | None,
) -> str:
    """Write the pack, run it, and write it anew with what the runs have taught."""
    from dataclasses import replace

    from novum.app.init_trials import report
    from novum.benchmarks.command.writing import manifest, readme, task, write_cheats, write_pack

    write_pack(folder, wish, seen, hidden)
    _note(f"running `{wish.spec.run}` {n} times, then once as for a claim ...")
    measured = _measure(folder, n, sandbox)
    if measured.rewritten:
        _note(f"note: the command rewrites {', '.join(measured.rewritten)}; that is allowed now")
    wish = replace(
        wish,
        spec=wish.spec.model_copy(update={"rewrites": measured.rewritten}),
        budget_s=min(wish.budget_s, max(10.0, round(4 * measured.seconds))),
        noise_trials=measured.noise_trials,
        digits=measured.digits,
        deterministic=not measured.varies,
    )
    (folder / "pack.toml").write_text(manifest(wish))
    (folder / "task.md").write_text(task(wish, seen))
    write_cheats(folder, wish, seen, _better_line(wish, measured))
    if (n_matches := _matched(wish, measured)[2]) > 1:
        _note(f"note: the pattern matches {n_matches} times in a run; the last one counts")
    reported = wish.spec.is_self_reported
    text = report(measured, wish.metric_name, wish.better, reported)
    (folder / "README.md").write_text(readme(wish, text))
    if reported:
        _note(
            "The metric is self-reported: whoever edits the project can make it print any number.\n"
            "Every view says so. --grade names a program that measures from outside; --heldout\n"
            "and --check make a lie harder."
        )
    return text


def _measure(folder: Path, n: int, sandbox: str | None) -> Measured:
    from novum.app.init_trials import measure
    from novum.benchmarks.pack import load_pack
    from novum.settings import load_settings

    settings = load_settings()
    pack: Pack = load_pack(folder)
    kind = sandbox or settings.sandbox.kind
    return measure(pack, n, kind, settings.paths.cache.expanduser(), _note)


def _matched(wish: Wish, measured: Measured) -> tuple[str, str, int]:
    """Number, line and count of what the project printed of its metric; empty where it prints
    none, or where a program from outside does."""
    from novum.benchmarks.command.reading import NoNumber, last_match

    if wish.spec.source.kind != "pattern" or wish.spec.grade:
        return "", "", 0
    try:
        return last_match(wish.spec.metric, measured.log, "")
    except NoNumber:
        return "", "", 0


def _better_line(wish: Wish, measured: Measured) -> str:
    """What the program printed of its metric, with a better number; empty where it has none."""
    number, line, n = _matched(wish, measured)
    if not n:
        return ""
    factor = 0.9 if (wish.better == "lower") == (measured.values[0] > 0) else 1.1
    return line.replace(number, f"{measured.values[0] * factor:.6f}")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _ask(question: str, default: str) -> str:
    return cast(str, typer.prompt(question, default=default or None, err=True))


def _must_be_free(folder: Path) -> None:
    from novum.errors import UsageError

    if folder.exists():
        raise UsageError(f"{folder} exists already; remove it, or name another with --out.")


def _taken(by_git: bool) -> str:
    return "" if by_git else " (no git repository: everything was taken)"


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
