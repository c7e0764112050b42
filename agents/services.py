"""The services of the lab that tools reach through their desk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from novum.agents.trials import Order, run_orders, what_failed
from novum.errors import MergeConflict, ToolError
from novum.lab.archive import Archive
from novum.lab.records import Proposal, Purpose
from novum.sandboxes.protocol import Confinement, Exit, Mount, Sandbox
from novum.tools.desk import Smoke

if TYPE_CHECKING:
    from novum.agents.lab import Lab
    from novum.benchmarks.pack import Profile

WORKSPACE = Path("/workspace")
QUOTED = 1_500
"""Characters of each side of a conflict that the coder is shown."""


class SandboxShell:
    """Runs a command in the sandbox: the workspace writable, nothing of the benchmark to see."""

    def __init__(self, sandbox: Sandbox, profile: Profile) -> None:
        self.sandbox = sandbox
        self.profile = profile

    async def __call__(self, argv: Sequence[str], workspace: Path, timeout_s: float) -> Exit:
        """Run a command in the workspace's folder and wait for its end."""
        mounts = (Mount(workspace, WORKSPACE, writable=True),)
        confinement = Confinement(
            argv=tuple(argv),
            cwd=self.sandbox.visible(workspace, mounts),
            mounts=mounts,
            limits=self.profile.limits(timeout_s),
        )

        def run() -> Exit:
            process = self.sandbox.start(confinement)
            end = process.wait()
            assert end is not None  # without a timeout, waiting ends with the process
            return end

        return await asyncio.to_thread(run)


class ArchiveCandidates:
    """Merges of candidates, by tree hash."""

    def __init__(self, archive: Archive, known: Mapping[str, object]) -> None:
        self.archive = archive
        self.known = known

    def merge(self, trees: Sequence[str]) -> dict[str, bytes]:
        """Files of the three-way merge of two candidates.

        Raises:
            MergeConflict: both changed the same lines; the message quotes them.
            ToolError: a tree is unknown, or there are not two.
        """
        for tree in trees:
            if tree not in self.known:
                raise ToolError(f"there is no candidate {tree!r}")
        if len(set(trees)) != 2:
            raise ToolError("merge two different candidates at a time")
        merged = self.archive.merge(*trees)
        if merged.is_clean:
            return dict(merged.files)
        sides = [
            f"{c.path}\n<<<<<<< {trees[0][:10]}\n{_text(c.ours)}\n=======\n{_text(c.theirs)}\n"
            f">>>>>>> {trees[1][:10]}"
            for c in merged.conflicts[:2]
        ]
        paths = tuple(c.path for c in merged.conflicts)
        raise MergeConflict(
            f"both candidates changed the same lines of {', '.join(paths)}:\n" + "\n".join(sides),
            paths,
        )


def smoke_service(lab: Lab, proposal: Proposal) -> Smoke:
    """The coder's smoke test: a trial like any other, once for the same files."""

    async def smoke(files: Mapping[str, bytes]) -> str:
        tree = lab.archive.tree_of(files)
        order = Order(
            tree=tree,
            proposal=proposal.id,
            purpose=Purpose.SMOKE,
            effect=f"{proposal.id}/smoke/{tree[:12]}",
            files=dict(files),
        )
        (trial,) = await run_orders(lab, [order])
        return what_failed(lab, trial)

    return smoke


def _text(content: bytes | None) -> str:
    return "(no such file)" if content is None else content.decode(errors="replace")[:QUOTED]
