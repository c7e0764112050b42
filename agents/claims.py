"""Claims: candidates that whoever hands them in declares to be better, with nothing left to search.

The final test trusts nothing but its own trials, so a claim goes there at once: it is read, run
for a moment to see that it works, and then tested on fresh seeds and on data that no search has
seen. What a search would cost, noise of the start included, is saved. All claims of a run share
the headline's level with the candidates that its search has found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from novum.agents.search.node import Node

if TYPE_CHECKING:
    from novum.agents.lab import Lab
    from novum.lab.records import Proposal

CLAIM = "claim"
"""Key of a move, and kind of the event that a claim is ready for its test."""
REASON = "a claim: it goes to the final test without a search"


def is_claim(proposal: Proposal) -> bool:
    """Whether a proposal was handed in as a claim."""
    return bool(proposal.move.get(CLAIM))


def note_claim(lab: Lab, proposal: Proposal, tree: str) -> str:
    """A claim was read and runs; returns why its iteration ends here."""
    lab.note(CLAIM, tree, {"tree": tree, "proposal": proposal.id})
    return REASON


def claimed(lab: Lab) -> list[Node]:
    """Candidates that are claimed to be better, in the order in which they came."""
    trees = (event.payload["tree"] for event in lab.ledger.events(kinds=[CLAIM]))
    return [lab.findings.nodes[tree] for tree in trees]
