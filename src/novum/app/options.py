"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[str | None, typer.Argument(help="Name or folder of a run; the latest if left out.")]
Runs = Annotated[Path | None, typer.Option(help="Folder of the runs (default: runs).")]
Demo = Annotated[bool, typer.Option("--demo", help="The recorded run of the package.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
