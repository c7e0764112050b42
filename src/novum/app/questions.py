"""What waits for a person, and the person's answer: for `novum approve` and for chat."""

from __future__ import annotations

import time

from novum.agents.approvals import Question, find_open, give, open_questions, person
from novum.app.numbers import duration
from novum.lab.archive import Archive
from novum.lab.ledger import Ledger
from novum.lab.queries import Queries

MAX_DIFF = 3_000
OF = {"plan": "before its code is written", "run": "before its trials"}


def waiting(ledger: Queries, archive: Archive) -> str:
    """Everything that waits, with what has to be known to answer."""
    found = [_picture(q, ledger, archive) for q in open_questions(ledger)]
    return "\n".join(found) or "nothing waits for approval"


def answer(
    ledger: Ledger, name: str, *, is_approved: bool, why: str = "", who: str | None = None
) -> str:
    """Answer an open question; returns what to tell the person.

    Raises:
        UnknownName: nothing waits under this name, or several things wait and none is named.
    """
    question = find_open(ledger, name)
    given = give(ledger, question.id, is_approved=is_approved, who=who or person(), why=why)
    verb = "approved" if given.is_approved else "refused"
    if given.is_approved is not is_approved:
        return f"{question.id} was {verb} already, by {given.who}"
    return f"{question.id} is {verb} by {given.who}" + (f": {given.why}" if given.why else "")


def _picture(question: Question, ledger: Queries, archive: Archive) -> str:
    proposal = ledger.proposal(question.proposal)
    since = duration(max(0.0, time.time() - question.asked_s))
    lines = [
        f"{question.id} waits for {since}, {OF[question.of]}",
        f"  [{proposal.kind}] by {proposal.brain}, from "
        f"{', '.join(t[:10] for t in proposal.parents)}: {proposal.hypothesis}",
    ]
    if proposal.move and not question.tree:
        lines.append(f"  {proposal.move}"[:400])
    if question.tree and proposal.parents:
        lines.append(archive.diff(proposal.parents[0], question.tree, max_chars=MAX_DIFF))
    return "\n".join(lines)
