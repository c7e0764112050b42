"""The planner: what to try next, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from langchain_core.messages import HumanMessage
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from novum.agents.ask import NO_ANSWER
from novum.agents.carrying import OWNER, can_be_resolved, put_together
from novum.agents.conversation import Conversation
from novum.agents.lab import Lab
from novum.agents.observe import observe
from novum.agents.outside import EXTERNAL, wait_for_ideas
from novum.agents.prompting import MAX_TASK, render
from novum.agents.search.findings import CARRY
from novum.agents.search.naming import attempt_key
from novum.agents.search.node import COMPOSED, Node
from novum.agents.search.protocol import Choice
from novum.agents.situation import moves_of
from novum.agents.state import State
from novum.errors import DoesNotApply, ToolError
from novum.lab.counted import counted
from novum.lab.records import Json, Kind, Proposal
from novum.memory.novelty import Attempt, find_duplicate
from novum.tools.desk import Desk, NothingLeft, Proposed
from novum.tools.registry import PLANNER_TOOLS
from novum.tools.text import bounded

if TYPE_CHECKING:
    from novum.agents.situation import Situation

RETEST = "retest"
"""In a move: the tree of a candidate to measure again."""
CHOICE = "choice"
IDEA = "idea"
MAX_TURNS = 6
MAX_DRAWS = 8
"""Draws of the policy that may fall on a banned branch before the best other one is taken."""
PRECEDENTS = 8
"""Nearest lessons that a proposal in words is compared with."""


async def plan(state: State, runtime: Runtime[Lab]) -> State:
    """Propose the next experiment, or say why there is none.

    Reads `thread` and `iteration`; writes `proposal` and `reference`, or `idle` and
    `confused`.
    """
    lab, thread, iteration = runtime.context, state["thread"], state["iteration"]
    if pause := lab.pause():
        interrupt({"directive": pause})
    id = f"p{thread}-{iteration}"
    choice, reference, seed = choose_where(lab, thread, id)
    if id in lab.findings.proposals:  # recorded before a crash
        return {"proposal": id, "reference": reference}
    if choice.mode == "retest":
        return await add(lab, measure_again(lab, state, choice.parents[0]), reference)
    if choice.resolve:
        return await add(lab, make_fit(lab, state, choice), reference)
    await wait_for_ideas(lab, id)
    situation = observe(lab, thread, iteration, choice, seed)
    if lab.directives.ideas:
        await lab.turn(id)  # a trial may have been launched since the choice
    if handed_in := take_idea(lab, state, situation):
        return {"proposal": handed_in, "reference": reference}
    if lab.brain_names["planner"] == EXTERNAL:
        return {"idle": lab.control.reason or "what was handed in cannot be tried"}

    def check_proposal(proposed: Proposed) -> None:
        check(lab, situation, proposed)
        check_together(lab, situation, proposed)

    desk = Desk(precedents=lab.memory, check_proposal=check_proposal)
    opening = HumanMessage(
        render("planner", s=situation, task=bounded(lab.pack.task, MAX_TASK)),
        additional_kwargs={"situation": situation.model_dump(mode="json")},
    )
    talk = Conversation(lab, "planner", f"{id}/planner", PLANNER_TOOLS, desk, opening)
    try:
        known = {d.id: d.text for d in lab.directives.standing}
        while desk.outcome is None and talk.n_turns < MAX_TURNS:
            if talk.n_turns and (news := said_meanwhile(lab, known)):
                talk.say(news)
            await talk.turn()
    except NO_ANSWER as error:
        return {"idle": str(error)}
    match desk.outcome:
        case Proposed() as proposed:
            return await add(lab, as_proposal(lab, state, situation, proposed), reference)
        case NothingLeft(reason):
            parent = lab.findings.nodes[choice.parents[0]]
            if choice.carry is not None and parent.label == COMPOSED and not parent.n_all:
                # No new idea, but the known ones in a mix that was never measured.
                return await add(lab, measure_again(lab, state, parent.tree), reference)
            return {"idle": reason}
    reason = f"the planner made no acceptable proposal in {MAX_TURNS} turns"
    return {"idle": reason, "confused": True}


def said_meanwhile(lab: Lab, known: dict[str, str]) -> str:
    """What the user has said since `known` was told, which is brought up to date.

    No event of its own: the question that carries it is recorded, and when it is read differs
    between a run and its replay.
    """
    lab.read_directives()
    now = {d.id: d.text for d in lab.directives.standing}
    lines = [f"- [{id}] {text}" for id, text in now.items() if text and id not in known]
    lines += [f"- [{id}] no longer stands" for id in known if id not in now]
    known.clear()
    known.update(now)
    return "\n".join(["The user says meanwhile (it comes first):", *lines]) if lines else ""


async def add(lab: Lab, proposal: Proposal, reference: str) -> State:
    """Record a proposal, unless another thread made the last one while this one was planning."""
    # Trials are launched from threads of their own: one may stand between answer and proposal.
    await lab.turn(proposal.id)
    if lab.budget.has_all_experiments(lab.findings.n_proposals):
        return {"idle": f"begun: {counted(lab.findings.n_proposals, 'experiment')}"}
    lab.add_proposal(proposal)
    return {"proposal": proposal.id, "reference": reference}


def take_idea(lab: Lab, state: State, situation: Situation) -> str:
    """Make the oldest idea that the user handed in a proposal; its id, or empty without one.

    An idea that cannot be tried (it was tried before, or a directive forbids it) ends with the
    reason on record.
    """
    id = f"p{state['thread']}-{state['iteration']}"
    for directive in lab.directives.ideas:
        idea = directive.action["idea"]
        parents = tuple(idea.get("parents", ()))
        proposed = Proposed(idea["hypothesis"], idea["kind"], parents, idea.get("move", {}))
        try:
            refuse_present(situation, proposed)
            check(lab, situation, proposed)
        except ToolError as error:
            lab.note(IDEA, directive.id, {"proposal": id, "refused": str(error)})
            lab.ledger.finish_directive(directive.id)
            continue
        proposal = as_proposal(lab, state, situation, proposed)
        with lab.ledger.batch():
            lab.note(IDEA, directive.id, {"proposal": id, "refused": ""})
            lab.add_proposal(replace(proposal, brain=directive.author))
            lab.ledger.finish_directive(directive.id)
        lab.read_directives()
        return id
    return ""


def refuse_present(situation: Situation, proposed: Proposed) -> None:
    """Raise `ToolError` for techniques that the suggested parent has already."""
    names = proposed.move.get("apply", ())
    if names and set(names) <= set(situation.head.moves):
        raise ToolError(f"{', '.join(names)} is part of {situation.head.tree[:10]} already")


def measure_again(lab: Lab, state: State, tree: str) -> Proposal:
    """The proposal to measure a candidate once more: its files, fresh trials, no brain."""
    node = lab.findings.nodes[tree]
    if node.label == COMPOSED:
        adds = "adds up" if len(node.ideas) == 1 else "add up"
        text = f"{counted(len(node.ideas), 'idea')} {adds}: {', '.join(node.ideas)}"
        kind = Kind.COMBINATION
    elif node.proposal.startswith(OWNER):
        text, kind = f"{tree[:10]} is as good as it looked: {node.summary}", Kind.COMBINATION
    else:
        old = lab.ledger.proposal(node.proposal)
        text, kind = f"{tree[:10]} is as good as it looked: {old.hypothesis}", old.kind
    return Proposal(
        id=f"p{state['thread']}-{state['iteration']}",
        thread=state["thread"],
        iteration=state["iteration"],
        hypothesis=text[:2000],
        kind=kind,
        parents=node.parents,
        brain="novum",
        move={RETEST: tree},
        created_s=lab.clock(),
    )


def make_fit(lab: Lab, state: State, choice: Choice) -> Proposal:
    """The proposal to bring an idea into a candidate with whose lines it clashes."""
    source = lab.findings.sources[choice.resolve]
    text = f"{choice.resolve} helps beside what clashes with it: {source.hypothesis}"
    return Proposal(
        id=f"p{state['thread']}-{state['iteration']}",
        thread=state["thread"],
        iteration=state["iteration"],
        hypothesis=text[:2000],
        kind=source.kind,
        parents=choice.parents,
        brain="novum",
        move={CARRY: choice.resolve},
        created_s=lab.clock(),
    )


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


def as_proposal(lab: Lab, state: State, situation: Situation, proposed: Proposed) -> Proposal:
    """The record of what was proposed, with the directions of changed constants."""
    move: Json = dict(proposed.move)
    values = {c.name: c.value for c in situation.constants}
    directions = {
        name: "up" if float(value) > float(values[name]) else "down"
        for name, value in move.get("set", {}).items()
        if name in values and is_number(str(value)) and is_number(values[name])
    }
    if directions:
        move["direction"] = directions
    id = f"p{state['thread']}-{state['iteration']}"
    return Proposal(
        id=id,
        thread=state["thread"],
        iteration=state["iteration"],
        hypothesis=proposed.hypothesis,
        kind=Kind(proposed.kind),
        parents=proposed.parents or (situation.head.tree,),
        brain=lab.player("planner", id)[0],
        move=move,
        created_s=lab.clock(),
    )


def is_number(text: str) -> bool:
    """Whether a text is a number to Python."""
    try:
        float(text)
    except ValueError:
        return False
    return True
