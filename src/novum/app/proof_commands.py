"""`evidence`, `verify`: hand a verdict to somebody who has no reason to believe it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from novum.app.options import AsJson, Run, Runs


def evidence(
    run: Run = None,
    candidate: Annotated[
        str | None, typer.Argument(help="Tree hash or its beginning; the champion if left out.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File or folder (default: here).")
    ] = None,
    runs: Runs = None,
) -> None:
    """Export what a verdict rests on as one file that anybody can check offline.

    Example: novum evidence nanochat-1
    """
    from novum.app.evidence import write_evidence
    from novum.app.reading import runs_folder

    path = write_evidence(runs_folder(runs), run, candidate, output)
    print(path)
    typer.echo(f"`novum verify {path}` checks it anywhere, without this run.", err=True)


def verify(
    file: Annotated[Path, typer.Argument(help="An evidence bundle.")],
    as_json: AsJson = False,
) -> None:
    """Check an evidence bundle offline and recompute its verdict from the numbers.

    Example: novum verify evidence-nanochat-1-0a1b2c3d4e.tar
    """
    from novum.app.evidence import check_evidence
    from novum.evals.verify import report_json

    report, text = check_evidence(file)
    print(json.dumps(report_json(report)) if as_json else text)
    if not report.holds:
        raise typer.Exit(4)
