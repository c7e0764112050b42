"""Work on a run until it ends, and show it: live on a terminal, in lines elsewhere."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

from novum.app.faults import actionable
from novum.app.guard import INTERRUPTED, bugs_go_to

if TYPE_CHECKING:
    from novum.app.watch import Shown
    from novum.lab.run import RunFolder
    from novum.settings import Settings

JSON_FORMAT = 1
"""Of the lines that `--json` prints; docs/headless.md describes them."""


def work_on(
    folder: RunFolder, settings: Settings, plain: bool, as_json: bool, chat: bool = False
) -> None:
    """Work on a run until it ends, show it, and print what came of it."""
    import asyncio

    from novum.app.mirroring import mirrored
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
        with mirrored(folder, settings.paths.mirror):
            summary, story = asyncio.run(watched(folder, settings, how))
    except Exception as found:
        error = actionable(found)
        code = error.exit_code if isinstance(error, NovumError) else 1
        if as_json:
            told = {"kind": "error", "error": type(error).__name__, "message": str(error)}
            print(json.dumps(told | {"exit_code": code}), flush=True)
        if isinstance(error, NovumError):
            raise _with_hint(error, folder) from found
        raise
    outcome = outcome_of(folder, story)
    if as_json:
        end = {"kind": "outcome", "reason": summary.reason, **outcome.json()}
        print(json.dumps(end | {"interrupted": summary.is_interrupted}), flush=True)
    else:
        from novum.app.printing import console

        out = console()
        out.print(closing_lines(outcome, story, reason=summary.reason))
    raise typer.Exit(INTERRUPTED if summary.is_interrupted else outcome.exit_code)


def _with_hint(error: Exception, folder: RunFolder) -> Exception:
    """The same error, saying how to go on with what was recorded, where that is possible; an empty
    folder goes away."""
    import shutil

    from novum.app.reading import to_type
    from novum.errors import RecordError, RunBusy

    if isinstance(error, RunBusy | RecordError):  # resuming meets the same error
        return error
    with folder.ledger(read_only=True) as ledger:
        is_empty = not ledger.counts()["events"]
    if is_empty:
        shutil.rmtree(folder.path, ignore_errors=True)
        return error
    how = f"`novum resume {to_type(folder.path)}`"
    hint = f"What was done is in {folder.path}; {how} goes on from there."
    error.args = (f"{error}\n{hint}", *error.args[1:])
    return error
