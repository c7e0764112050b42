"""Researchers outside: people and programs that hand in ideas, in words, as moves or as files.

What they hand in is a directive with an `idea`; the next thread that plans takes it, and it gets
the same smoke test, trials, audit, memory and records as an idea of a brain. With the brain
`external` nobody else proposes, and threads wait.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING

from novum.errors import ToolError
from novum.lab.paths import check_names
from novum.lab.records import Proposal

if TYPE_CHECKING:
    from novum.agents.lab import Lab

EXTERNAL = "external"
FILES = "files"
"""Key of a move whose value names the blob with the candidate's files."""
WAIT_S = 0.2


def packed(files: Mapping[str, bytes]) -> str:
    """Files as the text of a blob."""
    return json.dumps({name: b64encode(content).decode() for name, content in files.items()})


def unpacked(text: bytes | str) -> dict[str, bytes]:
    """The files of a blob."""
    return {name: b64decode(content) for name, content in json.loads(text).items()}


async def wait_for_ideas(lab: Lab, id: str) -> None:
    """With the brain `external`: wait until an idea is handed in or the search is to end."""
    if lab.brain_names["planner"] != EXTERNAL:
        return
    if lab.is_replay:  # when the recorded thread went on, something had come
        await lab.turn(id)
        lab.read_directives()
        if not lab.directives.ideas:
            lab.stop_reason()  # kept by the lab, and told as the reason why nothing was planned
        return
    while not lab.directives.ideas and not lab.stop_reason():
        await lab.control.wait(WAIT_S)


def refuse_files(lab: Lab, proposal: Proposal, files: Mapping[str, bytes]) -> None:
    """Refuse files that change what may not be changed, or nothing, or what was measured.

    Raises:
        ToolError: with the names of the files, or the proposal that tried them.
    """
    check_names(files)
    base = lab.archive.files(proposal.parents[0])
    changed = [n for n in {*base, *files} if base.get(n) != files.get(n)]
    if not changed:
        raise ToolError("nothing was changed")
    if forbidden := sorted(n for n in changed if not lab.pack.is_editable(n)):
        raise ToolError(f"these files may not be changed: {', '.join(forbidden[:10])}")
    node = lab.findings.nodes.get(lab.archive.tree_of(files))
    if node is not None and node.proposal != proposal.id and not lab.directives.allow_repeat:
        raise ToolError(f"exactly these files were tried as {node.proposal}")


def hand_in(lab: Lab, proposal: Proposal) -> str:
    """Freeze the files that came with a proposal; returns their tree.

    Raises:
        ToolError: they are refused.
    """
    files = unpacked(lab.run.blobs.get(proposal.move[FILES]))
    refuse_files(lab, proposal, files)
    return lab.freeze(proposal, files, proposal.hypothesis[:600], ())
