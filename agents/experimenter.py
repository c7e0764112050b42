"""The experimenter: runs what the design of the experiment asks for, and judges nothing."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Literal

from langgraph.runtime import Runtime

from novum.agents.claims import is_claim, note_claim
from novum.agents.coder import MAX_FIXES
from novum.agents.lab import Lab
from novum.agents.reviewer import review_change
from novum.agents.screens import screen_out
from novum.agents.state import Fix, State, Wanted
from novum.agents.trials import Order, interleave, run_orders, what_failed
from novum.evals.arms import noise_arms
from novum.evals.audit import decide_static
from novum.lab.records import Proposal, Purpose

FIRST = Wanted(
    purpose=Purpose.SEARCH,
    split="search",
    fidelity="full",
    candidate=1,
    reference=0,
    reason="one trial to see whether the idea is worth more",
)
"""What every experiment begins with; the audit would ask for just this."""


async def experiment(state: State, runtime: Runtime[Lab]) -> State:
    """Read the change, try whether it runs, then run the trials that were asked for.

    Reads `proposal`, `candidate`, `reference` and `wanted`; writes `fixes` when the smoke test
    failed, `dropped` when a cheap trial screens it out or the time does not suffice.
    """
    lab = runtime.context
    proposal = lab.findings.proposals[state["proposal"]]
    wanted = state.get("wanted")
    if wanted is None:
        if decide_static(lab.precheck(proposal, state["candidate"])) is not None:
            return {"wanted": None}
        if error := await smoke(lab, proposal, state["candidate"]):
            fixes = state.get("fixes", [])
            if len(fixes) < MAX_FIXES:
                return {"fixes": [*fixes, Fix(turn=state["turns"], error=error)], "candidate": ""}
            return {"wanted": None}
        await review_change(lab, proposal, state["candidate"])
        if is_claim(proposal):
            return {"dropped": note_claim(lab, proposal, state["candidate"]), "broken": False}
        if reason := await screen_out(lab, proposal, state["candidate"], state["reference"]):
            return {"dropped": reason, "broken": False}
        wanted = FIRST
    tree, reference, step = state["candidate"], state["reference"], state.get("step", 0)
    async with turn_at_noise(lab, reference, wanted):
        wanted = without_known_noise(lab, proposal, tree, reference, wanted, step)
        if not lab.has_time_for(wanted["candidate"] + wanted["reference"]):
            return {"dropped": f"no time is left for: {wanted['reason']}", "broken": False}
        await run_orders(lab, orders_of(lab, proposal, tree, reference, wanted, step))
    return {"wanted": None, "step": step + 1}


def turn_at_noise(lab: Lab, reference: str, wanted: Wanted) -> AbstractAsyncContextManager[object]:
    """One thread at a time while a reference's noise is measured: it serves all of them."""
    if wanted["purpose"] != Purpose.NOISE:
        return nullcontext()
    return lab.noise_turns.setdefault(reference, asyncio.Lock())


def without_known_noise(
    lab: Lab, proposal: Proposal, tree: str, reference: str, wanted: Wanted, step: int
) -> Wanted:
    """What was asked for, less the noise that another thread measured in the meantime.

    What this very step measured, before it was interrupted, stays asked for: it has its keys.
    """
    if wanted["purpose"] != Purpose.NOISE or wanted["reference"] <= 1:
        return wanted
    known = noise_arms(lab.facts(proposal, tree, reference)).get(reference, ())
    theirs = sum(not trial.effect.startswith(f"{proposal.id}/{step}/") for trial in known)
    missing = max(0, lab.terms.noise_trials - theirs)
    return Wanted({**wanted, "reference": min(wanted["reference"], missing)})


def after_experiment(state: State, _: Runtime[Lab]) -> Literal["coder", "auditor", "record"]:
    """Back to the coder with a crash, to the auditor with results, else to the record."""
    if state.get("dropped"):
        return "record"
    return "auditor" if state.get("candidate") else "coder"


async def smoke(lab: Lab, proposal: Proposal, tree: str) -> str:
    """Run the candidate for a moment; what went wrong, or an empty text. Once a tree."""
    order = Order(
        tree=tree,
        proposal=proposal.id,
        purpose=Purpose.SMOKE,
        effect=f"{proposal.id}/smoke/{tree[:12]}",
    )
    (trial,) = await run_orders(lab, [order])
    return what_failed(lab, trial)


def orders_of(
    lab: Lab, proposal: Proposal, tree: str, reference: str, wanted: Wanted, step: int
) -> list[Order]:
    """The trials of one step, both arms interleaved; each has a key, so that none runs twice."""
    purpose = Purpose(wanted["purpose"])
    # Noise of the reference is the reference's own: it serves every experiment after this one.
    owner = lab.findings.nodes[reference].proposal if purpose is Purpose.NOISE else proposal.id
    arms = ((tree, wanted["candidate"], proposal.id), (reference, wanted["reference"], owner))
    orders = [
        [
            Order(
                tree=arm,
                proposal=name,
                purpose=purpose,
                split="sealed" if wanted["split"] == "sealed" else "search",
                fidelity=wanted["fidelity"],
                effect=f"{proposal.id}/{step}/{purpose}/{arm[:12]}/{i}",
            )
            for i in range(n)
        ]
        for arm, n, name in arms
    ]
    return interleave(*orders)
