"""`replay`: step through a recorded run, make it again, or let it go another way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from novum.app.options import AsJson, Demo, Run, Runs
from novum.app.wording import readable
from novum.errors import LedgerCorrupt, UnknownName, UsageError

if TYPE_CHECKING:
    from novum.app.reading import Reading
    from novum.lab.records import Event


CHECKED = 20_000
"""Events up to which the chain is checked before they are shown: about 3 s."""


def replay(
    run: Run = None,
    runs: Runs = None,
    demo: Demo = False,
    kind: Annotated[str, typer.Option(help="Only events of this kind.")] = "",
    grep: Annotated[str, typer.Option(help="Only events that hold these words.")] = "",
    event: Annotated[int | None, typer.Option(help="Show what this event holds.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Make the run again from its records and compare.")
    ] = False,
    hybrid: Annotated[
        Literal["model", "trials"] | None,
        typer.Option(
            help="One half live: models on recorded trials, or trials of recorded models."
        ),
    ] = None,
    fork: Annotated[
        str | None, typer.Option(help="New run from this event: a number, key, p3-1 or t7.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Counterfactual: decide with this search policy.")
    ] = None,
    audit: Annotated[
        list[str] | None, typer.Option(help="Counterfactual audit: alpha_list=0.01, min_gain=0.")
    ] = None,
    brain: Annotated[str | None, typer.Option(help="Of a fork or hybrid: who researches.")] = None,
    directive: Annotated[
        list[str] | None, typer.Option(help="Of a fork: tell the planner this.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of a fork or hybrid: its name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Step through a run; without a terminal, print its timeline.

    --verify runs the state machine again on recorded answers and trials, with no network and no
    experiment, and reports the first difference. --policy and --audit let another policy or audit
    decide over what was recorded, as far as that reaches.

    Example: novum replay nanochat-1 --verify
    """
    from novum.app import replay_actions as do
    from novum.app.serve_commands import opened

    if sum((verify, hybrid is not None, fork is not None)) > 1:
        raise UsageError("--verify, --hybrid and --fork are three different things; take one.")
    with opened(run, runs, demo) as one:
        if verify:
            do.verify(one.run, as_json)
        elif hybrid == "trials":
            do.measure_again(one.run, runs, name, as_json)
        elif hybrid == "model":
            do.live_models(one.run, brain, as_json)
        elif fork is not None:
            target = runs if not demo else Path("runs")
            do.fork(one.run, fork, target, name, brain, policy, directive or [])
        elif policy is not None or audit:
            do.counterfactual(one.run, policy, audit or [], as_json)
        else:
            _look(one, kind, grep, event, as_json)


def _look(one: Reading, kind: str, grep: str, event: int | None, as_json: bool) -> None:
    events = one.ledger.events()
    _warn(one, len(events))
    if not events:
        print(f"run {one.run.name} has no events yet", file=sys.stderr)
    elif event is not None:
        _show(one, events, event)
    elif as_json or kind or grep or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print(one, events, kind, grep, as_json)
    else:
        from novum.app.player import play

        play(one, events)


def _warn(one: Reading, n_events: int) -> None:
    """Say where the chain is broken; the events are shown all the same."""
    if n_events > CHECKED:
        print("the chain was not checked: --verify does", file=sys.stderr)
        return
    try:
        one.ledger.verify(one.run.anchor())
    except LedgerCorrupt as error:
        print(f"do not trust this trace: {error}", file=sys.stderr)


def _print(one: Reading, events: tuple[Event, ...], kind: str, grep: str, as_json: bool) -> None:
    from dataclasses import asdict

    from novum.app.steps import Stepper, line_of

    stepper = Stepper(one, events)
    kinds = sorted({event.kind for event in events})
    if kind and kind not in kinds:
        raise UnknownName(f"no event is of kind {kind!r}; there is {', '.join(kinds)}.")
    found = [e for e in events if kind in ("", e.kind) and (not grep or stepper.holds(e, grep))]
    for event in found:
        print(json.dumps(asdict(event)) if as_json else readable(line_of(event, events[0].at_s)))
    if not found:
        print(f"no event holds {grep!r}", file=sys.stderr)


def _show(one: Reading, events: tuple[Event, ...], number: int) -> None:
    from novum.app.printing import console
    from novum.app.steps import Stepper

    stepper = Stepper(one, events)
    out = console()
    said = stepper.do(f"j {number}")
    if stepper.here.seq != number:
        raise UnknownName(f"{said}.")
    out.print(stepper.do("v"))
