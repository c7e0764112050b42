"""`status`, `show`, `report`: look at a run while it works or afterwards."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novum.app.options import AsJson, Run, Runs

if TYPE_CHECKING:
    from novum.app.live import Screen
    from novum.app.reading import Reading


def status(
    run: Run = None,
    runs: Runs = None,
    all: Annotated[bool, typer.Option("--all", help="A line for every run.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch it work.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the event chain and the tables.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say where a run stands, what it found, and what to type next.

    Example: novum status nanochat-1 --follow
    """
    from novum.app import proposers
    from novum.app.outcome import closing_lines, outcome_of
    from novum.app.printing import console
    from novum.app.reading import reading, runs_folder
    from novum.lab.run import list_runs

    if all:
        for folder in list_runs(runs_folder(runs)):
            with reading(str(folder.path), None) as one:
                _print_line(one, as_json)
        return
    with reading(run, runs) as one:
        if verify:
            one.ledger.verify(one.run.anchor())
            print("the event chain and the tables hold", file=sys.stderr)
        outcome = outcome_of(one.run, one.story)
        if as_json:
            holder = one.run.holder()
            authors = [p.json() for p in proposers.proposers(one.story)]
            more = {"holder": holder, "counts": one.ledger.counts(), "proposers": authors}
            print(json.dumps(outcome.json() | more))
            return
        if follow:
            _follow(one)
            outcome = outcome_of(one.run, one.story)
        _print_status(one)
        out = console()
        who = proposers.proposers(one.story)
        if proposers.worth_telling(who):
            out.print(proposers.table(who))
        is_busy = one.run.holder() is not None
        out.print(closing_lines(outcome, one.story, reason=one.story.reason, is_busy=is_busy))


def show(
    what: Annotated[
        str,
        typer.Argument(
            help="champion, best, start, a proposal (p3 or #3), a trial (t7) or a tree hash."
        ),
    ],
    run: Run = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Show a candidate, proposal or trial with its verdict and evidence.

    Example: novum show champion
    """
    from novum.app import show as showing
    from novum.app.printing import console
    from novum.app.reading import reading

    with reading(run, runs) as one:
        found = one.find(what)
        if as_json:
            print(json.dumps(showing.as_json(one, found)))
        else:
            console().print(showing.as_text(one, found))


def report(
    run: Run = None,
    runs: Runs = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write (default: report.html of the run)."),
    ] = None,
) -> None:
    """Write a run as one HTML file that needs nothing else: plots, lineage, verdicts, settings.

    Example: novum report nanochat-1 -o result.html
    """
    from novum.app.reading import reading
    from novum.app.report import write_report

    with reading(run, runs) as one:
        path = output or one.run.path / "report.html"
        write_report(one, path)
        print(path)


def rebuild_memory(
    run: Run = None,
    runs: Runs = None,
    where: Annotated[
        str | None, typer.Option(help="Folder or server address of a shared memory.")
    ] = None,
    embedder: Annotated[str, typer.Option(help="What makes the vectors.")] = "ngrams",
) -> None:
    """Make the index of lessons anew from the ledger, which is the truth.

    Example: novum memory rebuild nanochat-1
    """
    from novum.app.memory import rebuild
    from novum.app.reading import runs_folder
    from novum.lab.counted import counted
    from novum.lab.run import find_run

    folder = find_run(runs_folder(runs), run)
    print(f"{counted(rebuild([folder.path], where, embedder), 'lesson')}, kept again")


def _print_status(one: Reading) -> None:
    from rich.text import Text

    from novum.app.live import picture_height
    from novum.app.numbers import moment
    from novum.app.printing import console
    from novum.app.wording import benchmark_of

    out = console()
    holder = one.run.holder()
    info = one.run.info
    who = f"process {holder['pid']} works on it" if holder else "no process works on it"
    what = f"  {benchmark_of(info)}"
    began = moment(info.get("created_s", 0))
    out.print(Text.assemble((one.run.name, "bold"), f"{what}, begun {began}, {who}"))
    if out.is_terminal:
        screen = screen_of(one)
        screen.hint, screen.is_busy = "", holder is not None
        out.print(screen, height=picture_height(out.height))


def _follow(one: Reading) -> None:
    import time

    from rich.live import Live

    from novum.app.printing import console

    screen = screen_of(one)
    screen.hint = "Ctrl-C ends the watching; the run goes on"
    with Live(screen, console=console(), auto_refresh=False, screen=True) as live:
        try:
            while one.run.holder() is not None:
                one.story.follow(one.ledger)
                live.refresh()
                time.sleep(1.0)
        except KeyboardInterrupt:
            return  # only the watching ends


def screen_of(one: Reading) -> Screen:
    """The live view of a run, as its folder describes it."""

    from novum.app.live import Screen

    info = one.run.info
    settings = info.get("settings", {})
    return Screen(
        one.story,
        title=f"{info.get('benchmark')} {info.get('profile')} · {one.run.name}",
        n_threads=settings.get("threads", 1),
        n_slots=info.get("slots", settings.get("slots") or 1),
        trial_budget_s=info.get("trial_budget_s"),
        limits=settings.get("budget", {}),
    )


def _print_line(one: Reading, as_json: bool) -> None:
    from novum.app.numbers import duration, percent
    from novum.app.outcome import outcome_of
    from novum.lab.counted import counted

    outcome = outcome_of(one.run, one.story)
    if as_json:
        print(json.dumps(outcome.json()))
        return
    gain = f"{percent(outcome.gain):>9}" if outcome.gain is not None else " " * 9
    print(
        f"{outcome.run:24} {outcome.state:14} {gain}  {counted(outcome.n_ideas, 'idea'):>10}  "
        f"{duration(outcome.wall_s):>9}"
    )
