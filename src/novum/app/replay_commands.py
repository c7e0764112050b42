"""`replay`: step through a recorded run, make it again from its records, export it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from novum.app.reading import Reading
    from novum.lab.records import Event

Run = Annotated[str | None, typer.Argument(help="Name or folder of a run; the latest if left out.")]


def replay(
    run: Run = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of the runs (default: runs).")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Make the run again from its records and compare.")
    ] = False,
    kind: Annotated[str, typer.Option(help="Only events of this kind.")] = "",
    grep: Annotated[str, typer.Option(help="Only events that hold these words.")] = "",
    event: Annotated[int | None, typer.Option(help="Show what this event holds.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Export every event as one JSON object a line.")
    ] = False,
) -> None:
    """Step through a run; without a terminal, print its timeline.

    --verify runs the state machine again on recorded answers and trials, with no network and no
    experiment, and reports the first difference.

    Example: novum replay nanochat-1 --verify
    """
    if verify:
        _verify(run, runs, as_json)
        return
    from novum.app.reading import reading

    with reading(run, runs) as one:
        events = one.ledger.events()
        if not events:
            print(f"run {one.run.name} has no events yet", file=sys.stderr)
            return
        if event is not None:
            _show(one, events, event)
        elif as_json or kind or grep or not (sys.stdin.isatty() and sys.stdout.isatty()):
            _print(one, events, kind, grep, as_json)
        else:
            _walk(one, events)


def _verify(name: str | None, runs: Path | None, as_json: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console

    from novum.agents.replay.verify import verify
    from novum.app.divergence import table_of
    from novum.app.reading import runs_folder
    from novum.lab.run import find_run

    folder = find_run(runs_folder(runs), name)
    found = verify(folder)
    if as_json:
        print(json.dumps({"run": folder.name, "is_whole": found.is_whole, **asdict(found)}))
    else:
        Console(highlight=False).print(table_of(folder.name, found))
    if not found.is_whole:
        raise typer.Exit(1)


def _print(one: Reading, events: tuple[Event, ...], kind: str, grep: str, as_json: bool) -> None:
    from dataclasses import asdict

    from novum.app.steps import line_of

    for event in events:
        if kind and event.kind != kind:
            continue
        if grep and grep.lower() not in f"{event.key} {json.dumps(event.payload)}".lower():
            continue
        print(json.dumps(asdict(event)) if as_json else line_of(event, events[0].at_s))


def _show(one: Reading, events: tuple[Event, ...], number: int) -> None:
    from rich.console import Console

    from novum.app.steps import Stepper

    stepper = Stepper(one, events)
    out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    said = stepper.do(f"j {number}")
    out.print(stepper.do("v") if stepper.here.seq == number else said)


def _walk(one: Reading, events: tuple[Event, ...]) -> None:
    from prompt_toolkit import PromptSession
    from rich.console import Console

    from novum.app.steps import Stepper

    out = Console(highlight=False)
    stepper = Stepper(one, events)
    session: PromptSession[str] = PromptSession()
    out.print(stepper.do("l"))
    while True:
        try:
            command = session.prompt(f"{stepper.here.seq}/{len(events)} (? for help) ")
        except (EOFError, KeyboardInterrupt):
            return
        shown = stepper.do(command)
        if shown is None:
            return
        out.print(shown)
