"""Questions to a person: which steps wait for a yes, who answered, when and why.

Both are events of the ledger. The state machine asks (`approval`); an answer (`approval.answer`)
comes from outside: from chat, `novum approve`, `--yes`, or the end of a stated wait. The first
answer stands. Nothing else decides, so a run that was killed while it waited goes on waiting, and a
replay finds the answers where they were given.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass

from novum.errors import UnknownName
from novum.lab.ledger import Ledger
from novum.lab.queries import Queries
from novum.lab.records import Event, Json

ASKED = "approval"
ANSWERED = "approval.answer"
NOVUM = "novum"
"""Who answers when no person does: `--yes`, the end of a wait, the end of the search."""
RECENT = 600
"""Questions that are looked at to find the open ones; a thread has one at a time."""


@dataclass(frozen=True, slots=True)
class Question:
    """A step that waits for a person, or waited."""

    id: str
    proposal: str
    of: str
    """`plan`: before its code is written; `run`: before its trials."""
    tree: str
    """The candidate to run; empty for a plan."""
    asked_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What was decided, by whom, when."""

    is_approved: bool
    who: str
    why: str
    at_s: float


def question_id(proposal: str, tree: str = "") -> str:
    """The id of the question about a plan, or about running a candidate."""
    return f"{proposal}/{tree[:12]}" if tree else proposal


def ask_for(ledger: Ledger, proposal: str, tree: str = "") -> str:
    """Record the question, once; returns its id."""
    id = question_id(proposal, tree)
    of = "run" if tree else "plan"
    payload: Json = {"id": id, "proposal": proposal, "of": of, "tree": tree}
    ledger.append(ASKED, payload, f"{ASKED}:{id}")
    return id


def give(ledger: Ledger, id: str, *, is_approved: bool, who: str, why: str = "") -> Answer:
    """Answer a question; the answer that came first is returned, whatever it says."""
    asked = ledger.event(f"{ASKED}:{id}")
    if asked is None:
        raise UnknownName(f"nothing waits for approval under the name {id!r}.")
    proposal = asked.payload["proposal"]
    payload = {"id": id, "proposal": proposal, "approved": is_approved, "who": who, "why": why}
    return _answer(ledger.append(ANSWERED, payload, f"{ANSWERED}:{id}"))


def answer_to(ledger: Queries, id: str) -> Answer | None:
    """The answer to a question; `None` while it is open."""
    event = ledger.event(f"{ANSWERED}:{id}")
    return None if event is None else _answer(event)


def asked_s(ledger: Queries, id: str) -> float:
    """When a question was asked."""
    event = ledger.event(f"{ASKED}:{id}")
    return 0.0 if event is None else event.at_s


def open_questions(ledger: Queries) -> tuple[Question, ...]:
    """What waits for an answer, oldest first."""
    asked = ledger.latest((ASKED,), RECENT)
    answered = {e.payload["id"] for e in ledger.latest((ANSWERED,), RECENT)}
    found = [e for e in asked if e.payload["id"] not in answered]
    return tuple(Question(**e.payload, asked_s=e.at_s) for e in found)


def find_open(ledger: Queries, name: str) -> Question:
    """The open question that a name means: its id, its proposal, or, empty, the only one.

    Raises:
        UnknownName: there is none, or it was answered, or several wait and none is named.
    """
    waiting = open_questions(ledger)
    found = [q for q in waiting if not name or name in (q.id, q.proposal)]
    if len(found) == 1:
        return found[0]
    there = ", ".join(q.id for q in waiting) or "none"
    if name and (answer := answer_to(ledger, name)):
        verb = "approved" if answer.is_approved else "refused"
        raise UnknownName(f"{name} was {verb} already, by {answer.who}; open: {there}.")
    if not name and not waiting:
        raise UnknownName("nothing waits for a person's yes.")
    what = f"{name!r} does not wait for approval" if name else "say which"
    raise UnknownName(f"{what}; open: {there}.")


def person() -> str:
    """The login name of whoever answers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        return "user"


def _answer(event: Event) -> Answer:
    payload = event.payload
    return Answer(payload["approved"], payload["who"], payload["why"], event.at_s)
