"""Where the next idea starts: what the policy chooses under the directives that stand."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from novum.agents.carrying import can_be_resolved, put_together
from novum.agents.search.node import Node
from novum.agents.search.protocol import Choice
from novum.lab.records import Json, Kind

if TYPE_CHECKING:
    from novum.agents.lab import Lab

CHOICE = "choice"
MAX_DRAWS = 8
"""Draws of the policy that may fall on a banned branch before the best other one is taken."""


def choose_where(lab: Lab, thread: int, id: str) -> tuple[Choice, str, int]:
    """The policy's choice, the reference and the random state: recorded, and so made once."""
    known = lab.recorded(CHOICE, id)
    if known is None:
        with lab.ledger.batch():  # what is told stands in the trace before what follows from it
            known = choose_now(lab, thread, id)
            lab.note(CHOICE, id, known)
    lab.casting.note_cast(id, known.get("cast", {}))
    hint = Kind(known["kind_hint"]) if known["kind_hint"] else None
    choice = Choice(
        known["mode"],
        tuple(known["parents"]),
        hint,
        carry=() if known.get("carries") else None,
        resolve=known.get("resolve", ""),
        also=tuple(Kind(kind) for kind in known.get("also", ())),
    )
    return choice, known["reference"], known["random"]


def choose_now(lab: Lab, thread: int, id: str) -> Json:
    """The choice of the policy under the directives that stand now."""
    lab.read_directives()
    seed = lab.seed("plan", id)
    rng = Random(seed)
    choice = pinned(lab) or lab.policy.choose(lab.findings, thread, rng)
    for _ in range(MAX_DRAWS):
        if not any(lab.is_banned(tree) for tree in choice.parents):
            break
        choice = lab.policy.choose(lab.findings, thread, rng)
    else:
        choice = Choice("improve", (best_allowed(lab).tree,), choice.kind_hint)
    choice = carried_out(lab, choice, id)
    known: Json = {
        "mode": choice.mode,
        "parents": list(choice.parents),
        "kind_hint": choice.kind_hint,
        "reference": best_allowed(lab).tree,
        "random": seed,
    }
    if cast := lab.casting.choose(lab.brains, Random(f"{seed}/cast")):
        known["cast"] = cast
    if choice.carry is not None:
        known["carries"] = True
    if choice.resolve:
        known["resolve"] = choice.resolve
    if choice.also:
        known["also"] = list(choice.also)
    if lab.directives.standing:
        known["directives"] = [d.id for d in lab.directives.standing]
    return known


def carried_out(lab: Lab, choice: Choice, id: str) -> Choice:
    """The choice with what it wants carried put together: its parent is then that candidate."""
    if choice.carry is None:
        return choice
    allowed = tuple(idea for idea in choice.carry if may_carry(lab, idea))
    base = choice.parents[0]
    if not set(lab.findings.nodes[base].ideas) <= set(allowed):
        base = lab.findings.start
    resolve = choice.resolve if reads_text(lab) and may_carry(lab, choice.resolve) else ""
    if resolve and can_be_resolved(lab.findings, resolve) is None:
        resolve = ""
    tree = put_together(lab, id, base, allowed)
    mode = choice.mode
    if mode == "retest" and tree == lab.findings.start:
        mode = "improve"
    return replace(choice, mode=mode, parents=(tree,), resolve=resolve)


def may_carry(lab: Lab, idea: str) -> bool:
    """Whether no directive forbids an idea or what it was taken from."""
    if lab.directives.bans(idea.partition("=")[0]):
        return False
    if not lab.directives.dead_branches or idea not in lab.findings.sources:
        return True
    return not any(lab.is_banned(tree) for _, tree in lab.findings.sources[idea].commits)


def reads_text(lab: Lab) -> bool:
    """Whether there is a coder who can be told of a clash in words; a counterfactual has none."""
    coder = lab.brains.get("coder")
    return coder is not None and bool(getattr(coder, "reads_text", True))


def best_allowed(lab: Lab) -> Node:
    """The best candidate that won a race on a branch the user has not banned; else the start."""
    if not lab.directives.dead_branches:
        return lab.findings.head
    allowed = (n for n in lab.findings.frontier if not lab.is_banned(n.tree))
    return next(allowed, lab.findings.nodes[lab.findings.start])


def pinned(lab: Lab) -> Choice | None:
    """The candidate that a directive wants every proposal to start from."""
    prefix = lab.directives.pin
    tree = next((t for t in lab.findings.nodes if prefix and t.startswith(prefix)), None)
    return None if tree is None else Choice("improve", (tree,))
