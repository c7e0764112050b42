"""Begin a run with what earlier runs on the same benchmark found, if its memory is shared.

It is read once, before the first proposal, and recorded: later decisions rest on the record, so a
resumed or replayed run decides the same whatever the shared memory holds by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from novum.agents.situation import RecipeFact
from novum.memory.documents import Knowledge
from novum.memory.experience import Experience, summarise

if TYPE_CHECKING:
    from novum.agents.lab import Lab

EXPERIENCE = "experience"
"""Kind and key of the event."""


def take_experience(lab: Lab) -> None:
    """Set `lab.experience` from its record, or from the memory before the first proposal."""
    if (known := lab.recorded(EXPERIENCE, EXPERIENCE)) is not None:
        lab.experience = Experience.from_json(known)
    elif lab.findings.n_proposals == 0:
        found = summarise(
            lab.memory.lessons(lab.pack.id),
            benchmark=lab.pack.id,
            profile=lab.profile.name,
            start=lab.start,
            own=lab.run.name,
        )
        if found.n_lessons:
            lab.experience = found
            lab.note(EXPERIENCE, EXPERIENCE, found.to_json())


def teach(lab: Lab) -> None:
    """Put the pack's playbook into the memory as knowledge: what others report, unproven here."""
    lab.memory.add_knowledge(
        Knowledge(lab.pack.id, name, technique.title, technique.hypothesis, technique.source)
        for name, technique in lab.moves.techniques.items()
    )


def recipes(lab: Lab) -> tuple[RecipeFact, ...]:
    """Lineages that won in earlier runs, without what a directive bans or the pack lacks."""
    known = {n for n in lab.moves.techniques if not lab.directives.bans(n)}
    found = []
    for recipe in lab.experience.recipes:
        moves = tuple(m for m in recipe.moves if "=" in m or m in known)
        if moves:
            found.append(
                RecipeFact(
                    run=recipe.run, moves=moves, gain=round(recipe.gain, 6), label=recipe.label
                )
            )
    return tuple(found)
