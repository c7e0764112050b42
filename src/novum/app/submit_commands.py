"""`checkout` and `submit`: how people and programs outside work on a run."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from novum.benchmarks.pack import Pack
    from novum.lab.ledger import Ledger
    from novum.lab.run import RunFolder

Run = Annotated[str | None, typer.Argument(help="Name or folder of a run; the latest if left out.")]
Runs = Annotated[Path | None, typer.Option(help="Folder of the runs (default: runs).")]
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
    from novum.app.reading import reading
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
        print(
            f"hand in with: novum submit {one.run.name} --folder {folder} --parent {name[:10]} ..."
        )


def submit(
    run: Run = None,
    hypothesis: Annotated[str, typer.Option(help="What you expect, and why.")] = "",
    folder: Annotated[Path | None, typer.Option(help="Folder with the candidate's files.")] = None,
    patch: Annotated[Path | None, typer.Option(help="Unified diff against the parent.")] = None,
    parent: Annotated[str, typer.Option(help="Candidate that it starts from.")] = "best",
    kind: Annotated[str, typer.Option(help="What the change is about.")] = "architecture",
    author: Annotated[str, typer.Option(help="Who hands it in.")] = "external",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdict.")] = False,
    runs: Runs = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Hand in a candidate. The next thread that plans takes it; it is tested like any other.

    Example: novum submit nanochat-1 --hypothesis "Deeper is better" --folder work --wait
    """
    from novum.app.reading import reading
    from novum.app.steering import Steering
    from novum.benchmarks.pack import find_pack
    from novum.errors import UsageError
    from novum.lab.records import Kind

    if kind not in list(Kind):
        raise UsageError(f"no kind {kind!r}; there is {', '.join(Kind)}.")
    with reading(run, runs) as one:
        found = one.find("start" if parent == "best" and not one.story.best else parent)
        tree, place = found.tree, one.run
        base = one.archive.files(tree)
    pack = find_pack(place.info.get("settings", {}).get("benchmark", place.info["benchmark"]))
    files = changed_files(pack, base, folder, patch)
    from novum.agents.outside import FILES, packed

    move = {FILES: place.blobs.put(packed(files))}
    idea = {"hypothesis": hypothesis.strip(), "kind": kind, "move": move, "parents": [tree]}
    if not idea["hypothesis"]:
        raise UsageError("say what you expect and why: --hypothesis TEXT.")
    with place.ledger() as ledger:
        said = Steering(ledger, author).say(f"Try: {hypothesis}", {"idea": idea})
        id = said.split()[0]
        holder = place.holder()
        if not as_json:
            print(said, file=sys.stderr)
            if holder is None:
                hint = f"no process works on the run; `novum resume {place.name}` takes it up"
                print(hint, file=sys.stderr)
        result = {"directive": id, "run": place.name, **(_await(place, ledger, id) if wait else {})}
    print(json.dumps(result) if as_json else "\n".join(f"{k}: {v}" for k, v in result.items()))


def changed_files(
    pack: Pack, base: dict[str, bytes], folder: Path | None, patch: Path | None
) -> dict[str, bytes]:
    """All files of the candidate that is handed in.

    Raises:
        UsageError: it changes nothing, or what may not be changed.
    """
    from novum.errors import ToolError, UsageError
    from novum.tools.patch import ApplyPatch, apply_patch
    from novum.tools.workspace import Workspace

    if (folder is None) == (patch is None):
        raise UsageError("hand in either --folder or --patch.")
    with tempfile.TemporaryDirectory(prefix="novum-submit-") as scratch:
        try:
            workspace = Workspace(Path(scratch) / "w", base, pack.is_editable)
            if patch is not None:
                apply_patch(ApplyPatch(diff=patch.read_text()), workspace)
            elif folder is not None:
                _take_over(folder, workspace)
            snapshot = workspace.snapshot()
        except (ToolError, OSError, UnicodeDecodeError) as error:
            raise UsageError(f"it cannot be handed in: {error}") from error
    if not snapshot.changed:
        raise UsageError("it changes nothing against its parent.")
    return snapshot.files


def _take_over(folder: Path, workspace: object) -> None:
    """Bring the editable files of a folder into a workspace; others must be as they were."""
    from novum.errors import UsageError
    from novum.tools.workspace import IGNORED, Workspace

    assert isinstance(workspace, Workspace)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.")
    here = {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink() and not IGNORED & set(p.relative_to(folder).parts)
    }
    for name, content in here.items():
        if workspace.base.get(name) != content:
            workspace.write_bytes(name, content)
    for name in set(workspace.base) - set(here):
        workspace.delete(name)


def _await(place: RunFolder, ledger: Ledger, id: str) -> dict[str, str]:
    """Wait for what becomes of an idea."""
    while (taken := ledger.event(f"idea:{id}")) is None:
        time.sleep(POLL_S)
    if taken.payload["refused"]:
        return {"refused": taken.payload["refused"]}
    proposal = taken.payload["proposal"]
    while True:
        for verdict in ledger.verdicts(proposal=proposal):
            return {"proposal": proposal, "verdict": str(verdict.label), "why": verdict.reason}
        if dropped := ledger.event(f"dropped:{proposal}"):
            return {"proposal": proposal, "dropped": dropped.payload["reason"]}
        time.sleep(POLL_S)
