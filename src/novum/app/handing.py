"""Hand in a candidate: what changed against its parent, as an idea of the run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from novum.agents.claims import CLAIM
from novum.agents.outside import FILES, packed
from novum.app.steering import Steering
from novum.benchmarks.pack import Pack, find_pack
from novum.errors import ToolError, UsageError
from novum.lab.ledger import Ledger
from novum.lab.records import Json, Kind
from novum.lab.run import RunFolder
from novum.tools.patch import ApplyPatch, apply_patch
from novum.tools.workspace import IGNORED, Workspace

MAX_HYPOTHESIS = 1_900


def pack_of(run: RunFolder) -> Pack:
    """The pack that a run works on."""
    return find_pack(run.info.get("settings", {}).get("benchmark", run.info["benchmark"]))


def hand_in(
    run: RunFolder,
    ledger: Ledger,
    files: Mapping[str, bytes],
    *,
    parent: str,
    hypothesis: str,
    kind: str,
    author: str,
    is_claim: bool = False,
) -> str:
    """Write the idea to test these files; returns the id of its directive.

    A claim goes to the final test without a search.

    Raises:
        UsageError: the hypothesis or the kind is none, or the run goes on without isolation only
            because so far its own playbook writes all code.
    """
    kind_of_sandbox = run.info.get("settings", {}).get("sandbox", {}).get("kind", "auto")
    if run.info.get("sandbox") == "process" and kind_of_sandbox != "process":
        raise UsageError(
            "nothing isolates code on this machine, and this run only works with the playbook's.\n"
            "Install bubblewrap, or start one with `--sandbox process` if you trust this code."
        )
    hypothesis = hypothesis.strip()
    if not 0 < len(hypothesis) <= MAX_HYPOTHESIS:
        raise UsageError(
            f"say what you expect and why, in at most {MAX_HYPOTHESIS} characters: "
            "--hypothesis TEXT."
        )
    if kind not in list(Kind):
        raise UsageError(f"no kind {kind!r}; there is {', '.join(Kind)}.")
    move: Json = {FILES: run.blobs.put(packed(files))}
    if is_claim:
        move[CLAIM] = True
    idea = {"hypothesis": hypothesis, "kind": kind, "move": move, "parents": [parent]}
    return Steering(ledger, author).say(f"Try: {hypothesis}", {"idea": idea}).split()[0]


def outcome(ledger: Ledger, directive: str) -> dict[str, str]:
    """What became of an idea that was handed in; empty while it is open.

    A candidate that looked good is measured again, and the best one tested at the end of the run on
    data that no search has seen: the latest verdict of that kind is told beside the first.
    """
    taken = ledger.event(f"idea:{directive}")
    if taken is None:
        return {}
    if taken.payload["refused"]:
        return {"refused": taken.payload["refused"]}
    proposal = taken.payload["proposal"]
    for verdict in ledger.verdicts(proposal=proposal, last=1):
        told = {"proposal": proposal, "verdict": str(verdict.label), "why": verdict.reason}
        for test in ledger.verdicts(tree=verdict.tree, last=1):
            if test.proposal != proposal:
                told["later"] = f"{test.label} ({test.split} data): {test.reason}"
        return told
    if dropped := ledger.event(f"dropped:{proposal}"):
        if ledger.event(f"{CLAIM}:{dropped.payload['tree']}"):
            tests = ledger.verdicts(tree=dropped.payload["tree"], last=1)
            told = {"proposal": proposal}
            return told | {"verdict": str(tests[0].label), "why": tests[0].reason} if tests else {}
        return {"proposal": proposal, "dropped": dropped.payload["reason"]}
    return {}


def changed_files(
    pack: Pack, base: Mapping[str, bytes], change: Callable[[Workspace], object]
) -> dict[str, bytes]:
    """All files of a candidate after `change` worked on a copy of its parent's.

    Raises:
        UsageError: it changes nothing, or what may not be changed.
    """
    with tempfile.TemporaryDirectory(prefix="novum-submit-") as scratch:
        try:
            workspace = Workspace(Path(scratch) / "w", base, pack.is_editable)
            change(workspace)
            snapshot = workspace.snapshot()
        except (ToolError, OSError, UnicodeDecodeError) as error:
            raise UsageError(f"it cannot be handed in: {error}") from error
    if not snapshot.changed:
        raise UsageError("it changes nothing against its parent.")
    return snapshot.files


def take_patch(patch: Path, workspace: Workspace) -> None:
    """Apply a unified diff."""
    apply_patch(ApplyPatch(diff=patch.read_text()), workspace)


def take_folder(folder: Path, workspace: Workspace) -> None:
    """Bring the editable files of a folder into a workspace; others must be as they were.

    Raises:
        UsageError: there is no such folder.
        ToolError: a file that may not change was changed, added or is missing.
    """
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
