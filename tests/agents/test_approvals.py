"""Approvals: an iteration waits for a person, the others go on, and the records say who decided."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage

from novum.agents.approvals import ANSWERED, NOVUM, find_open, give, open_questions
from novum.agents.brains.scripted import ScriptedModel, calls
from novum.agents.lab import Lab
from novum.agents.replay.verify import verify
from novum.agents.research import work
from novum.app.steering import Steering
from novum.errors import UnknownName
from novum.lab.records import Label, Purpose
from novum.lab.run import RunFolder
from novum.lab.toml import dumps
from novum.settings import restore_settings
from novum.tools.recall import describe


def keep(lab: Lab, ask: str) -> RunFolder:
    """The run's folder with its settings, as `novum run` writes them."""
    values = {"benchmark": str(lab.pack.folder), "policy": "greedy", "approval": {"ask": ask}}
    values["budget"] = {"experiments": lab.budget.limits.experiments}
    info = {**lab.run.info, "settings": restore_settings(values).saved()}
    info |= {"slots": lab.runner.n_slots}
    (lab.run.path / "run.toml").write_text(dumps(info))
    return RunFolder.open(lab.run.path)


def one_idea() -> ScriptedModel:
    """A planner with an idea that runs and helps nothing."""
    idea = {"hypothesis": "it helps", "kind": "architecture", "move": {"apply": ["useless"]}}
    return ScriptedModel(answers=[calls(("propose", idea))])


async def waiting(lab: Lab, n: int = 1, known: Collection[str] = ()) -> list[str]:
    """Ids of the open questions that are not known, once there are `n`."""
    async with asyncio.timeout(100):
        while len(found := [q.id for q in open_questions(lab.ledger) if q.id not in known]) < n:
            await asyncio.sleep(0.01)
    return found


async def test_a_plan_waits_while_the_other_thread_goes_on_and_a_refusal_is_recorded(
    make_lab: Any,
) -> None:
    lab = make_lab(approval={"ask": "plan"}, budget={"experiments": 3})
    task = asyncio.ensure_future(work(lab, 2))
    first, second = await waiting(lab, 2)
    assert not lab.ledger.candidates(proposal=first)
    give(lab.ledger, second, is_approved=True, who="ada")
    (third,) = await waiting(lab, 1, {first, second})
    # What was drawn may be the technique that does not run: then it was dropped, not judged.
    assert lab.ledger.verdicts(proposal=second) or lab.ledger.event(f"dropped:{second}")
    assert not lab.ledger.candidates(proposal=first)
    give(lab.ledger, first, is_approved=False, who="ada", why="too dear")
    give(lab.ledger, third, is_approved=True, who="ada")
    await task
    dropped = lab.ledger.event(f"dropped:{first}")
    assert dropped is not None and dropped.payload["reason"] == "refused by ada: too dear"
    assert not lab.ledger.trials(proposal=first)
    (lesson,) = [x for x in lab.ledger.lessons() if x.proposal == first]
    assert lesson.label is Label.INCONCLUSIVE
    assert describe(lesson).endswith("not tried, refused by ada: too dear")
    lab.ledger.verify()
    found = await asyncio.to_thread(verify, keep(lab, "plan"))
    assert found.is_whole, found.problem


async def test_a_candidate_waits_before_its_trials(make_lab: Any) -> None:
    lab = make_lab(planner=one_idea(), approval={"ask": "run"}, budget={"experiments": 1})
    task = asyncio.ensure_future(work(lab, 1))
    (id,) = await waiting(lab)
    proposal, _, tree = id.partition("/")
    (candidate,) = lab.ledger.candidates(proposal=proposal)
    assert candidate.tree.startswith(tree)
    measured = (Purpose.SEARCH, Purpose.RACE)
    assert not [t for t in lab.ledger.trials(proposal=proposal) if t.purpose in measured]
    give(lab.ledger, find_open(lab.ledger, proposal).id, is_approved=True, who="ada")
    await task
    assert lab.ledger.verdicts(proposal=proposal)
    found = await asyncio.to_thread(verify, keep(lab, "run"))
    assert found.is_whole, found.problem


@pytest.mark.parametrize("answered_while_down", [True, False])
async def test_a_question_survives_the_process_and_takes_its_answer_at_any_time(
    make_lab: Any, answered_while_down: bool
) -> None:
    settings: dict[str, Any] = {"approval": {"ask": "plan"}, "budget": {"experiments": 1}}
    settings["planner"] = one_idea()
    lab = make_lab(**settings)
    task = asyncio.ensure_future(work(lab, 1))
    (id,) = await waiting(lab)
    task.cancel()  # as a kill leaves it: nothing is written after the question
    await asyncio.gather(task, return_exceptions=True)
    if answered_while_down:
        give(lab.ledger, id, is_approved=True, who="ada")
    lab = make_lab(**settings)
    task = asyncio.ensure_future(work(lab, 1))
    if not answered_while_down:
        await asyncio.sleep(0.2)
        assert [q.id for q in open_questions(lab.ledger)] == [id]
        give(lab.ledger, id, is_approved=True, who="ada")
    await task
    assert len(lab.ledger.verdicts(proposal=id)) == 1
    assert len(lab.ledger.proposals(thread=0)) == 1


async def test_nobody_there_is_a_refusal_after_the_stated_wait_and_a_yes_with_yes(
    make_lab: Any,
) -> None:
    settings = {"ask": "plan", "wait_s": 0.1}
    lab = make_lab("late", approval=settings, budget={"experiments": 1})
    await work(lab, 1)
    (late,) = lab.ledger.latest((ANSWERED,), 9)
    assert late.payload["who"] == NOVUM and not late.payload["approved"]
    assert late.payload["why"] == "nobody answered within 0.1 s"
    lab = make_lab("yes", approval={"ask": "plan", "yes": True}, budget={"experiments": 2})
    await work(lab, 1)
    given = lab.ledger.latest((ANSWERED,), 9)
    assert [e.payload["why"] for e in given] == ["--yes", "--yes"]


async def test_a_stop_closes_what_nobody_answered(make_lab: Any) -> None:
    lab = make_lab(approval={"ask": "plan"})
    task = asyncio.ensure_future(work(lab, 1))
    (id,) = await waiting(lab)
    Steering(lab.ledger).stop()
    await task
    dropped = lab.ledger.event(f"dropped:{id}")
    assert dropped is not None
    assert (
        "the search ended before anybody answered: directive d1 asked to stop"
        in dropped.payload["reason"]
    )
    assert not open_questions(lab.ledger)


async def test_the_first_answer_stands_and_unknown_names_are_said(make_lab: Any) -> None:
    lab = make_lab(approval={"ask": "plan"}, budget={"experiments": 1})
    task = asyncio.ensure_future(work(lab, 1))
    (id,) = await waiting(lab)
    give(lab.ledger, id, is_approved=False, who="ada")
    assert not give(lab.ledger, id, is_approved=True, who="bob").is_approved
    with pytest.raises(UnknownName, match="was refused already, by ada"):
        find_open(lab.ledger, id)
    with pytest.raises(UnknownName, match="does not wait for approval; open: none"):
        find_open(lab.ledger, "p9-9")
    with pytest.raises(UnknownName, match="nothing waits for a person's yes"):
        find_open(lab.ledger, "")
    with pytest.raises(UnknownName, match="nothing waits"):
        give(lab.ledger, "p9-9", is_approved=True, who="ada")
    await task


async def test_the_trace_shows_which_directives_a_plan_was_told(make_lab: Any) -> None:
    lab = make_lab(budget={"experiments": 2})
    Steering(lab.ledger).say("Look at the optimiser.")
    await work(lab, 1)
    told = lab.ledger.event("choice:p0-0")
    assert told is not None and told.payload["directives"] == ["d1"]


async def test_nothing_is_built_on_a_banned_branch(make_lab: Any) -> None:
    lab = make_lab(budget={"experiments": 6})
    await work(lab, 1)
    (won, *_) = [n for n in lab.findings.frontier if n.label != "start"]
    Steering(lab.ledger).ban_branch(won.tree[:12])
    lab = make_lab(budget={"experiments": 10})
    await work(lab, 1)
    later = lab.ledger.proposals(thread=0)[6:]
    assert len(later) == 4
    assert not [p for p in later for t in p.parents if lab.findings.is_ancestor(won.tree, t)]
    for proposal in later:
        choice = lab.ledger.event(f"choice:{proposal.id}")
        assert choice is not None and not lab.is_banned(choice.payload["reference"])


async def test_a_planner_in_the_middle_of_its_turns_hears_what_the_user_says(
    make_lab: Any,
) -> None:
    def looks_first(messages: list[BaseMessage]) -> AIMessage:
        Steering(lab.ledger).say("Mind the data.")
        Steering(lab.ledger).withdraw("d1")
        return calls(("recall", {"text": "depth"}))

    idea = {"hypothesis": "it helps", "kind": "data", "move": {"apply": ["useless"]}}
    planner = ScriptedModel(answers=[looks_first, calls(("propose", idea))])
    lab = make_lab(planner=planner, budget={"experiments": 1})
    Steering(lab.ledger).say("Depth first.")
    await work(lab, 1)
    heard = planner.asked[1][-1].text
    assert "[d2] Mind the data." in heard and "[d1] no longer stands" in heard
    assert len(lab.ledger.proposals(thread=0)) == 1


async def test_an_idea_of_the_user_starts_from_what_they_pinned(make_lab: Any) -> None:
    lab = make_lab(budget={"experiments": 6})
    await work(lab, 1)
    person = Steering(lab.ledger)
    person.pin(lab.findings.start[:12])
    person.say("Try: something", {"idea": {"hypothesis": "something", "kind": "data", "move": {}}})
    lab = make_lab(budget={"experiments": 7})
    await work(lab, 1)
    proposal = lab.ledger.proposals(thread=0)[6]
    assert (proposal.hypothesis, proposal.parents) == ("something", (lab.findings.start,))
    taken = lab.ledger.event("idea:d2")
    assert taken is not None and taken.payload == {"proposal": proposal.id, "refused": ""}


async def test_a_planner_reads_why_its_last_plan_was_refused(make_lab: Any) -> None:
    idea = {"hypothesis": "it helps", "kind": "data", "move": {"apply": ["useless"]}}
    planner = ScriptedModel(
        answers=[calls(("propose", idea)), calls(("nothing_left", {"reason": "x"}))]
    )
    lab = make_lab(planner=planner, approval={"ask": "plan"}, budget={"experiments": 2})
    task = asyncio.ensure_future(work(lab, 1))
    (id,) = await waiting(lab)
    give(lab.ledger, id, is_approved=False, who="ada", why="data is not the matter")
    await task
    assert "not tried, refused by ada: data is not the matter" in planner.asked[1][0].text
