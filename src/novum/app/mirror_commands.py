"""`mirror`: keep a second copy of a run on another disk or machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from novum.app.options import Runs


def mirror(
    run: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    folder: Annotated[Path, typer.Argument(help="Where the copy goes: FOLDER/NAME.")],
    runs: Runs = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until nobody works on the run.")
    ] = False,
) -> None:
    """Copy a run, also while it works, into a folder in which `resume` can go on with it.

    Example: novum mirror nanochat-1 /mnt/backup --follow
    """
    from novum.app.mirroring import follow as keep
    from novum.app.reading import runs_folder
    from novum.lab.mirror import Mirror
    from novum.lab.run import find_run

    found = find_run(runs_folder(runs), run)
    if follow:
        end = keep(found, folder)
    else:
        one = Mirror(found, folder)
        with one.open():
            end = one.copy().seq
    print(f"{folder / found.name} holds {found.name} up to event {end}")
