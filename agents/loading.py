"""Make the process's indexes from the ledger: what a resumed run knows."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from novum.agents.beliefs import Asleep
from novum.agents.screens import OFF, SCREEN
from novum.agents.window import MAX_HISTORY
from novum.lab.codec import decode
from novum.lab.records import Candidate, Evidence, Proposal, Verdict

if TYPE_CHECKING:
    from novum.agents.beliefs import Kept
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
PAGE = 5_000
MAX_LESSONS = 3_000


def load(lab: Lab, kept: Kept | None = None) -> None:
    """Feed the ledger's records, in their order, to the findings, the window and the memory.

    What the lab knows then is what it knew in the process that recorded them, field by field. From
    trials up to event `kept` nothing is learned, as that was done; see `beliefs`.

    Raises:
        Misfit: what was kept does not fit these events. The lab is of no use then.
    """
    ledger = lab.ledger
    made: dict[str, tuple[str, ...]] = {}
    carried: dict[str, tuple[str, ...]] = {}
    judged: deque[Verdict] = deque(maxlen=MAX_HISTORY)
    after = 0
    if kept is not None:
        lab.findings.effects = Asleep()
    kinds = (*KINDS, *CAST) if lab.has_ensembles else KINDS
    while lines := ledger.lines(after, kinds, PAGE):
        after = lines[-1][0]
        ended = [key.removeprefix("end:") for _, kind, key, _ in lines if kind == "trial.ended"]
        trials = ledger.trials_of(ended)
        for seq, kind, key, text in lines:
            if kept is not None and seq > kept.seq:
                kept.give_to(lab)
                kept = None
            match kind:  # the commonest kinds say all in their key
                case "trial.ended":
                    lab.note_trial(trials[key.removeprefix("end:")])
                    continue
                case "iteration":
                    thread, _, number = key.removeprefix("iteration:").partition("/")
                    id = f"p{thread}-{number}"
                    lab.casting.note_outcome(id, None, None)
                    lab.close_session(id)
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
                case "carried" if payload["tree"] in lab.findings.nodes:
                    lab.findings.note_same(tuple(payload["ideas"]), payload["tree"])
                case "carried":
                    carried[payload["tree"]] = tuple(payload["ideas"])
                case "clashed":
                    lab.findings.note_clashes(payload["left_out"])
                case "candidate":
                    tree = payload["tree"]
                    lab.findings.note_candidate(
                        decode(Candidate, payload), made.pop(tree, None), carried.pop(tree, None)
                    )
                case "verdict":
                    verdict = decode(Verdict, payload)
                    is_idea = verdict.proposal in lab.findings.proposals
                    lab.findings.note_verdict(verdict)
                    lab.casting.note_outcome(verdict.proposal, verdict.label, lab.relative(verdict))
                    judged.append(verdict)
                    if not is_idea:  # a confirmation ends with its verdict
                        lab.close_session(verdict.proposal)
                case "dropped":
                    id = key.removeprefix("dropped:")
                    lab.findings.note_dropped(id, is_broken=payload["broken"])
                    lab.casting.note_outcome(id, None, None)
                case _ if kind == SCREEN:
                    lab.screens.note_decision(lab, payload)
                case _ if kind == OFF:
                    lab.screens.is_off = True
                case "choice":
                    lab.casting.note_cast(key.removeprefix("choice:"), payload.get("cast", {}))
                case "answer":
                    cost_usd = payload["cost_usd"]
                    lab.casting.note_cost(payload["brain"], payload["tokens"], cost_usd)
    if kept is not None:
        kept.give_to(lab)
    for verdict in judged:
        lab.window.note_verdict(verdict, tests_of(ledger, verdict))
    for lesson in ledger.lessons(last=MAX_LESSONS):
        lab.recent.append(lesson)
        lab.memory.add(lesson)


def tests_of(ledger: Ledger, verdict: Verdict) -> list[Evidence]:
    """The evidence of a verdict that holds measured gains."""
    if verdict.gain is None:
        return []
    listed = set(verdict.evidence)
    return [e for e in ledger.evidence(proposal=verdict.proposal) if e.id in listed]
