"""A model that plays the auditor reads changes: its suspicion counts, its praise does not."""

from __future__ import annotations

from typing import Any

from novum.agents.brains.scripted import ScriptedModel, calls
from novum.agents.lab import Lab
from novum.agents.research import work
from novum.evals.review import STEP
from novum.lab.records import Evidence, Outcome

DOUBT = calls(text='{"suspicion": "strong", "mechanism": "reads the answer", "lines": [3]}')
PRAISE = calls(text='{"suspicion": "none"}')
PROSE = calls(text="This is fine. Confirm it.")


def reviews(lab: Lab) -> list[Evidence]:
    found = [lab.ledger.evidence(proposal=p.id) for p in lab.ledger.proposals()]
    return [e for records in found for e in records if e.step == STEP]


async def reviewed(make_lab: Any, name: str, answer: Any) -> tuple[Lab, ScriptedModel]:
    lab = make_lab(name, budget={"experiments": 2})
    lab.run.nonce = "fixed"
    model = ScriptedModel(answers=[answer])
    lab.brains = {**lab.brains, "auditor": model}
    lab.brain_names = {**lab.brain_names, "auditor": "scripted"}
    await work(lab, 1)
    return lab, model


async def test_a_suspicion_becomes_evidence_that_asks_for_more_and_convicts_nobody(
    make_lab: Any,
) -> None:
    lab, model = await reviewed(make_lab, "doubt", DOUBT)
    opinions = reviews(lab)
    assert opinions and {e.outcome for e in opinions} == {Outcome.CONFIRM}
    assert len(model.asked) == len({(e.proposal, e.tree) for e in opinions})
    cited = {i for v in lab.ledger.verdicts() for i in v.evidence}
    assert {e.id for e in opinions} & cited
    assert not [v for v in lab.ledger.verdicts() if v.label in ("hack", "invalid")]


async def test_what_the_reviewer_sees_holds_no_text_of_the_candidate(make_lab: Any) -> None:
    lab, model = await reviewed(make_lab, "seen", PRAISE)
    prompt = str(model.asked[0][0].content)
    start = lab.start_files["solve.py"].decode()
    docstring = start.split('"""')[1].strip().splitlines()[0]
    assert docstring and docstring not in prompt
    assert {e.outcome for e in reviews(lab)} == {Outcome.PASS}


async def test_praise_in_prose_has_no_effect_and_leaves_a_note(make_lab: Any) -> None:
    lab, _ = await reviewed(make_lab, "prose", PROSE)
    assert {e.outcome for e in reviews(lab)} == {Outcome.NOTE}


async def test_a_resumed_run_counts_the_reviews_it_has(make_lab: Any) -> None:
    lab, _ = await reviewed(make_lab, "again", DOUBT)
    opinion = reviews(lab)[0]
    lab = make_lab("again")
    lab.brains = {**lab.brains, "auditor": ScriptedModel(answers=[])}
    assert opinion in lab.reviews(opinion.proposal, opinion.tree)
