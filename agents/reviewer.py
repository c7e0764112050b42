"""The reviewer: where a model plays the auditor, it reads each change that is worth a trial.

Its opinion is one more piece of static evidence. It can cost the candidate a stricter test; it
clears nothing and convicts nobody (`evals/review.py`).
"""

from __future__ import annotations

from langchain_core.messages import HumanMessage

from novum.agents.ask import NO_ANSWER, ask
from novum.agents.lab import Lab
from novum.evals.evidence import found
from novum.evals.review import STEP, weigh, write_prompt
from novum.lab.records import Evidence, Outcome, Proposal


async def review_change(lab: Lab, proposal: Proposal, tree: str) -> None:
    """Ask the auditor's brain about a candidate, once; does nothing where no model plays it."""
    if "auditor" not in lab.brains or lab.reviews(proposal.id, tree):
        return
    static = lab.precheck(proposal, tree)
    start = lab.start_files
    prompt = write_prompt(lab.pack, lab.archive.files(tree), start, static)
    lab.add_review(await opinion(lab, prompt, proposal.id, tree))


async def opinion(lab: Lab, prompt: str, proposal: str, tree: str) -> Evidence:
    """The evidence that an answer makes; a model that cannot be asked leaves a note."""
    key = f"{proposal}/review/{tree[:12]}"
    try:
        answer = await ask(lab, "auditor", key, [HumanMessage(prompt)], (), 1)
    except NO_ANSWER as error:
        summary = f"the reviewing model could not be asked: {error}"
        return found(proposal, tree, STEP, Outcome.NOTE, summary)
    return weigh(str(answer.text), proposal=proposal, tree=tree)
