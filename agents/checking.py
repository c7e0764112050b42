"""What may be proposed: nothing that cannot be started from, was tried, or is forbidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from novum.agents.search.naming import attempt_key
from novum.agents.situation import moves_of
from novum.errors import DoesNotApply, ToolError
from novum.memory.novelty import Attempt, find_duplicate
from novum.tools.desk import Proposed

if TYPE_CHECKING:
    from novum.agents.lab import Lab
    from novum.agents.situation import Situation

PRECEDENTS = 8
"""Nearest lessons that a proposal in words is compared with."""


def refuse_present(situation: Situation, proposed: Proposed) -> None:
    """Raise `ToolError` for techniques that the suggested parent has already."""
    names = proposed.move.get("apply", ())
    if names and set(names) <= set(situation.head.moves):
        raise ToolError(f"{', '.join(names)} is part of {situation.head.tree[:10]} already")


def check(lab: Lab, situation: Situation, proposed: Proposed) -> None:
    """Refuse what cannot be started from, what was tried, and what a directive forbids.

    Raises:
        ToolError: with the earlier proposal to look at.
    """
    parents = proposed.parents or (situation.head.tree,)
    for tree in parents:
        if tree not in lab.findings.nodes:
            raise ToolError(f"there is no candidate {tree!r}; take the full id of one in the list")
        if lab.is_banned(tree):
            raise ToolError(f"the user wants nothing more of {tree[:10]} and what came from it")
    if proposed.move.get("merge") and len(parents) < 2:
        raise ToolError("a merge needs two parents")
    lab.directives.require_allowed(replace(proposed, parents=parents))
    key = attempt_key(proposed.move, proposed.hypothesis)
    if situation.any_base and key != "merge":
        before = lab.findings.anywhere.get(key)
    else:
        before = lab.findings.tried_on(parents).get(key)
    if before and not situation.allow_repeat:
        where = "" if situation.any_base else " on these parents"
        raise ToolError(f"that was tried{where} as {before}; propose something else")
    if not proposed.move and not situation.allow_repeat:
        refuse_reworded(lab, parents, proposed.hypothesis, any_base=situation.any_base)


def check_together(lab: Lab, situation: Situation, proposed: Proposed) -> None:
    """Where several new changes may be put into one candidate, refuse those that stand in each
    other's way on the first parent, and one that is known already and carried where it helps.

    Raises:
        ToolError: with what stands in the way.
    """
    named = moves_of(proposed.move)
    if not situation.also or not named or proposed.move.get("merge"):
        return
    if len(named) == 1 and situation.any_base and not situation.allow_repeat:
        source = lab.findings.sources.get(named[0])
        if source is not None and source.n_run and not source.is_suspect:
            raise ToolError(
                f"{named[0]} was tried with others and is carried where it helps; propose "
                "something else"
            )
    if len(named) > 1 + len(situation.also):
        return  # what an earlier run ended with: the coder leaves out what does not fit
    base = lab.archive.files((proposed.parents or (situation.head.tree,))[0])
    files: Mapping[str, bytes] = base
    for name in named:
        try:
            files = lab.moves.make(name, files)
        except DoesNotApply as error:
            if lab.moves.fits(name, base):
                raise ToolError(f"{name} does not go with the others: {error}") from error
            # A coder has to make it fit in any case.


def refuse_reworded(lab: Lab, parents: tuple[str, ...], hypothesis: str, *, any_base: bool) -> None:
    """Refuse what was tried on these parents, or on any, in other words.

    Raises:
        ToolError: with the earlier proposal to look at.
    """
    near = lab.memory.recall(hypothesis, PRECEDENTS)
    past = [
        Attempt(x.proposal, x.hypothesis, parents if any_base else x.parents, {})
        for x in near
        if x.run == lab.run.name
    ]
    if twin := find_duplicate(Attempt("", hypothesis, parents, {}), past):
        raise ToolError(
            f"that is {twin.earlier} in other words ({twin.similarity:.0%} alike), tried "
            f"{'before' if any_base else 'on the same parents'}; propose something else"
        )
