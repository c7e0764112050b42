"""What `novum replay` does besides showing: verify, fork, hybrids and counterfactuals."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from novum.app.reading import to_type
from novum.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from novum.lab.run import RunFolder


def verify(run: RunFolder, as_json: bool) -> None:
    """Make the run again from its records and print where it differs."""
    from dataclasses import asdict

    from novum.agents.replay.verify import verify as make_again
    from novum.app.divergence import table_of

    found = make_again(run)
    if as_json:
        print(json.dumps({"run": run.name, "is_whole": found.is_whole, **asdict(found)}))
    else:
        _show(table_of(run.name, found))
    if not found.is_whole:
        raise typer.Exit(1)


def fork(
    run: RunFolder,
    event: str,
    runs: Path | None,
    name: str | None,
    brain: str | None,
    policy: str | None,
    directives: Sequence[str],
) -> None:
    """Make a new run from an event, and say how to go on with it."""
    from novum.agents.replay.fork import fork as make_fork

    changes: dict[str, Any] = {"policy": policy}
    if brain is not None:
        changes["brain"] = {"default": brain, "planner": brain, "coder": brain}
    changes = {k: v for k, v in changes.items() if v is not None}
    new = make_fork(run, event, runs, name, changes=changes, directives=directives)
    origin = new.info["fork"]
    print(f"{new.name}: {run.name} up to event {origin['event']} ({origin['digest'][:12]})")
    print(f"Folder    {new.path}\nNext      novum resume {to_type(new.path)}")


def counterfactual(run: RunFolder, policy: str | None, audit: Sequence[str], as_json: bool) -> None:
    """Let another policy or audit decide over the records."""
    from dataclasses import asdict

    from novum.agents.replay.counterfactual import counterfactual as play
    from novum.app.courses import table_of_courses

    found = play(run, policy, parsed(audit))
    if as_json:
        print(json.dumps({"run": run.name, **asdict(found)}))
    else:
        _show(table_of_courses(run.name, found))


def live_models(run: RunFolder, brain: str | None, as_json: bool) -> None:
    """Let models plan and code anew over recorded trials."""
    from dataclasses import asdict

    from novum.agents.replay.hybrid import live_models as play
    from novum.app.courses import table_of_ideas

    changes = {"brain": {"default": brain, "planner": brain, "coder": brain}} if brain else {}
    found = play(run, changes)
    if as_json:
        print(json.dumps({"run": run.name, **asdict(found)}))
    else:
        _show(table_of_ideas(run.name, found))


def measure_again(run: RunFolder, runs: Path | None, name: str | None, as_json: bool) -> None:
    """Measure what recorded models proposed again, and compare the two runs."""
    from novum.agents.replay.hybrid import again
    from novum.app.working import work_on
    from novum.settings import restore_settings

    new = again(run, runs, name)
    print(
        f"`novum diff {to_type(run.path)} {to_type(new.path)}` compares them afterwards",
        file=sys.stderr,
    )
    work_on(new, restore_settings(new.info["settings"]), plain=False, as_json=as_json)


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """Settings of the audit: `alpha_list=0.01`, `looks=[2,4]`.

    Raises:
        UsageError: a word is no setting.
    """
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            sign = ""
        if not sign:
            raise UsageError(f"{word!r} is no setting of the audit; write alpha_list=0.01.")
    return found


def _show(what: RenderableType) -> None:
    from novum.app.printing import console

    console().print(what)
