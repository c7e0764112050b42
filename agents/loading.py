"""Make the process's indexes from the ledger: what a resumed run knows."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from novum.agents.brains.ensemble import Ensemble
from novum.agents.screens import OFF, SCREEN
from novum.agents.window import MAX_HISTORY
from novum.lab.codec import decode
from novum.lab.records import Candidate, Evidence, Proposal, Purpose, Trial, Verdict

if TYPE_CHECKING:
    from novum.agents.lab import Lab
    from novum.lab.ledger import Ledger

CAST = ("choice", "answer")
"""Read besides where ensembles play."""
KINDS = (
    "proposal",
    "candidate",
    "moves",
    "carried",
    "clashed",
    "trial.ended",
    "verdict",
    "dropped",
    "iteration",
    "session",
    SCREEN,
    OFF,
)
MEASURING = (Purpose.NOISE, Purpose.SCREEN, Purpose.SEARCH, Purpose.RACE, Purpose.ABLATION)
PAGE = 5_000
MAX_LESSONS = 3_000


def load(lab: Lab) -> None:
    """Feed the ledger's records, in their order, to the findings, the window and the memory."""
    ledger = lab.ledger
    trials: dict[str, Trial] = {}
    for purpose in MEASURING:
        trials.update((t.id, t) for t in ledger.trials(purpose=purpose))
    made: dict[str, tuple[str, ...]] = {}
    carried: dict[str, tuple[str, ...]] = {}
    judged: deque[Verdict] = deque(maxlen=MAX_HISTORY)
    after = 0
    cast = any(isinstance(brain, Ensemble) for brain in lab.brains.values())
    kinds = (*KINDS, *CAST) if cast else KINDS
    while lines := ledger.lines(after, kinds, PAGE):
        after = lines[-1][0]
        for _, kind, key, text in lines:
            match kind:  # the commonest kinds say all in their key
                case "trial.ended":
                    if trial := trials.get(key.removeprefix("end:")):
                        lab.note_trial(trial)
                    continue
                case "iteration":
                    thread, _, number = key.removeprefix("iteration:").partition("/")
                    lab.casting.note_outcome(f"p{thread}-{number}", None, None)
                    lab.iterations[int(thread)] = int(number) + 1
                    continue
                case "session":
                    lab.session = max(lab.session, int(key.split(":")[1].split("/")[0]) + 1)
                    continue
            payload = json.loads(text)
            match kind:
                case "proposal":
                    if payload["thread"] >= 0:  # confirmations are proposals, but no ideas
                        lab.findings.note_proposal(decode(Proposal, payload))
                case "moves":
                    made[payload["tree"]] = tuple(payload["made"])
                case "carried":
                    carried[payload["tree"]] = tuple(payload["ideas"])
                case "clashed":
                    lab.findings.note_clashes(payload["left_out"])
                case "candidate":
                    tree = payload["tree"]
                    lab.findings.note_candidate(
                        decode(Candidate, payload), made.get(tree), carried.get(tree)
                    )
                case "verdict":
                    verdict = decode(Verdict, payload)
                    lab.findings.note_verdict(verdict)
                    lab.casting.note_outcome(verdict.proposal, verdict.label, lab.relative(verdict))
                    judged.append(verdict)
                    lab.window.forget(verdict.proposal)
                case "dropped":
                    id = key.removeprefix("dropped:")
                    lab.findings.note_dropped(id, is_broken=payload["broken"])
                    lab.casting.note_outcome(id, None, None)
                    lab.window.forget(id)
                case _ if kind == SCREEN:
                    lab.screens.note_decision(lab, payload)
                case _ if kind == OFF:
                    lab.screens.is_off = True
                case "choice":
                    lab.casting.note_cast(key.removeprefix("choice:"), payload.get("cast", {}))
                case "answer":
                    cost_usd = payload["cost_usd"]
                    lab.casting.note_cost(payload["brain"], payload["tokens"], cost_usd)
    for verdict in judged:
        lab.window.note_verdict(verdict, tests_of(ledger, verdict))
    for proposal in lab.findings.proposals:  # those under way need all their trials
        for trial in ledger.trials(proposal=proposal):
            lab.window.add(trial)
    for lesson in ledger.lessons(last=MAX_LESSONS):
        lab.recent.append(lesson)
        lab.memory.add(lesson)


def tests_of(ledger: Ledger, verdict: Verdict) -> list[Evidence]:
    """The evidence of a verdict that holds measured gains."""
    if verdict.gain is None:
        return []
    listed = set(verdict.evidence)
    return [e for e in ledger.evidence(proposal=verdict.proposal) if e.id in listed]
