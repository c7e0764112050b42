"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from novum.lab.records import Split

Run = Annotated[str | None, typer.Argument(help="Name or folder of a run; the latest if left out.")]
Runs = Annotated[Path | None, typer.Option(help="Folder of the runs (default: runs).")]
Demo = Annotated[bool, typer.Option("--demo", help="The recorded run of the package.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Problems = Annotated[
    Path | None,
    typer.Option(help="Folder of problems in the pack's format, in place of its own."),
]
Corpus = Annotated[
    str | None,
    typer.Option(help="Text in place of the pack's: text:PATH, climbmix:FOLDER, linux[:ARCHIVE]."),
]


def split_of(text: str) -> Split:
    """The split that a person named.

    Raises:
        UsageError: there is no such split.
    """
    from novum.errors import UsageError

    if text not in ("search", "sealed"):
        raise UsageError(f"no split {text!r}; there is search, and sealed for a claim.")
    return cast("Split", text)


def name_of_pack(pack: str, problems: Path | None, corpus: str | None) -> str:
    """The name by which `find_pack` finds a pack on problems or text of somebody else's.

    Raises:
        UsageError: both are given.
    """
    from novum.errors import UsageError

    if problems is not None and corpus is not None:
        raise UsageError("--problems and --corpus exclude each other: no pack takes both.")
    other = problems if problems is not None else corpus
    return pack if other is None else f"{pack}:{other}"
