"""`checkout` and `submit`: how people and programs outside work on a run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from novum.app.options import AsJson, Run, Runs
from novum.app.wording import readable

if TYPE_CHECKING:
    from novum.lab.ledger import Ledger
    from novum.tools.workspace import Workspace

POLL_S = 0.5


def checkout(
    folder: Annotated[Path, typer.Argument(help="New folder for the files.")],
    run: Run = None,
    tree: Annotated[str, typer.Option(help="Candidate: champion, best, start, a tree.")] = "best",
    runs: Runs = None,
) -> None:
    """Write the files of a candidate into a folder, to work on them.

    Example: novum checkout work nanochat-1
    """
    from novum.app.reading import reading, to_type
    from novum.errors import UsageError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder.")
    with reading(run, runs) as one:
        name = one.find("start" if tree == "best" and not one.story.best else tree).tree
        for path, content in one.archive.files(name).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        print(f"{folder} holds candidate {name[:10]} of {one.run.name}")
        called = to_type(one.run.path)
        print(f"hand in with: novum submit {called} --folder {folder} --parent {name[:10]} ...")


def submit(
    run: Run = None,
    hypothesis: Annotated[str, typer.Option(help="What you expect, and why.")] = "",
    folder: Annotated[Path | None, typer.Option(help="Folder with the candidate's files.")] = None,
    patch: Annotated[Path | None, typer.Option(help="Unified diff against the parent.")] = None,
    parent: Annotated[str, typer.Option(help="Candidate that it starts from.")] = "best",
    kind: Annotated[str, typer.Option(help="What the change is about.")] = "architecture",
    author: Annotated[str, typer.Option(help="Who hands it in.")] = "external",
    claim: Annotated[
        bool, typer.Option("--claim", help="No search: straight to the final test.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdict.")] = False,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Hand in a candidate, which is tested like any other.

    The next thread that plans takes it.

    Example: novum submit nanochat-1 --hypothesis "Deeper is better" --folder work --wait
    """
    from novum.app.handing import changed_files, hand_in, pack_of, take_folder, take_patch
    from novum.app.reading import reading, to_type
    from novum.errors import UsageError

    if (folder is None) == (patch is None):
        raise UsageError("hand in either --folder or --patch.")
    with reading(run, runs) as one:
        found = one.find("start" if parent == "best" and not one.story.best else parent)
        tree, place = found.tree, one.run
        base = one.archive.files(tree)

    def change(workspace: Workspace) -> None:
        if patch is not None:
            take_patch(patch, workspace)
        elif folder is not None:
            take_folder(folder, workspace)

    files = changed_files(pack_of(place), base, change)
    with place.ledger() as ledger:
        id = hand_in(
            place,
            ledger,
            files,
            parent=tree,
            hypothesis=hypothesis,
            kind=kind,
            author=author,
            is_claim=claim,
        )
        if place.holder() is None:
            hint = f"no process works on the run; `novum resume {to_type(place.path)}` takes it up"
            print(hint, file=sys.stderr)
        result = {"directive": id, "run": place.name, **(_await(ledger, id) if wait else {})}
    lines = readable("\n".join(f"{k}: {v}" for k, v in result.items()))
    print(json.dumps(result) if as_json else lines)


def _await(ledger: Ledger, id: str) -> dict[str, str]:
    """Wait for what becomes of an idea."""
    from novum.app.handing import outcome

    while not (found := outcome(ledger, id)):
        time.sleep(POLL_S)
    return found
