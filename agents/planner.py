"""The planner: what to try next, and from where."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from langchain_core.messages import HumanMessage
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from novum.agents.ask import NO_ANSWER
from novum.agents.carrying import OWNER
from novum.agents.checking import check, check_together, refuse_present
from novum.agents.choosing import choose_where
from novum.agents.conversation import Conversation
from novum.agents.lab import Lab
from novum.agents.observe import observe
from novum.agents.outside import EXTERNAL, wait_for_ideas
from novum.agents.prompting import MAX_TASK, render
from novum.agents.search.findings import CARRY
from novum.agents.search.node import COMPOSED
from novum.agents.search.protocol import Choice
from novum.agents.state import State
from novum.errors import ToolError
from novum.lab.counted import counted
from novum.lab.records import Json, Kind, Proposal
from novum.tools.desk import Desk, NothingLeft, Proposed
from novum.tools.registry import PLANNER_TOOLS
from novum.tools.text import bounded

if TYPE_CHECKING:
    from novum.agents.situation import Situation

RETEST = "retest"
"""In a move: the tree of a candidate to measure again."""
IDEA = "idea"
MAX_TURNS = 6


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
