"""Confirm a candidate: fresh seeds, the sealed split, both arms, nothing reused.

Every confirmation is a proposal of its own ("this candidate beats that one"), so that its trials
belong to it alone: what selected a candidate never confirms it, and what confirmed it as a list
entry never certifies it as the headline. All effects have keys: it can be cut off anywhere and
called again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from novum.agents.ablation import ablate
from novum.agents.auditor import as_wanted
from novum.agents.carrying import put_together
from novum.agents.choosing import may_carry
from novum.agents.claims import claimed
from novum.agents.experimenter import orders_of
from novum.agents.search.frontier import nearest
from novum.agents.search.node import UNFIT, Node
from novum.agents.trials import run_orders
from novum.evals.audit import judge
from novum.evals.significance import OnlineFdr
from novum.evals.significance.gate import PROMISING_SDS
from novum.lab.records import Json, Kind, Label, Proposal, Trial, Verdict

if TYPE_CHECKING:
    from novum.agents.lab import Lab

MAX_STEPS = 40
MAX_FALLBACKS = 3
"""Candidates that are tried for the headline, best first. Each is one more chance to be lucky, so
the level is shared among them."""


async def certify(lab: Lab) -> Verdict | None:
    """Certify the best candidate against the start, or the next best one; crown what passes, and
    take each of its changes out once.

    The headline's level is divided by the number of candidates that may be tried (Bonferroni), and
    what earlier calls have spent of it counts: see `level_of_each`.
    Returns the last verdict, whatever it says; `None` when nothing won a race.
    """
    start = lab.findings.start
    lab.read_directives()
    better = finalists(lab)
    alpha = level_of_each(lab, [node.tree for node in better])
    verdict = None
    for rank, node in enumerate(better):
        if rank and not lab.budget.has_time_to_certify():
            break
        verdict = await confirm(lab, node.tree, start, alpha, "certify")
        if verdict is not None and verdict.label is Label.CONFIRMED:
            break
    if lab.ablate:
        await ablate(lab)
    return verdict


def level_of_each(lab: Lab, trees: Sequence[str]) -> float:
    """The level at which each of these candidates that was not tested yet is tested.

    The first call shares the headline's level among them. Who resumes a run, claims again or bans
    what failed gets another look at the sealed split each time: from then on a call has half of
    what is left of twice the level. All tests of a run together never spend more than that.
    """
    start, full = lab.findings.start, lab.terms.win.alpha_headline
    begun = {e.key: e.payload for e in lab.ledger.events(kinds=["level"])}
    spent: float = sum(d["alpha"] for key, d in begun.items() if key.startswith("level:certify-"))
    fresh = [t for t in trees if f"level:{name_of_test('certify', t, start)}" not in begun]
    left = max(0.0, 2 * full - spent) / 2
    return min(full / max(1, len(trees)), left / max(1, len(fresh)))


def finalists(lab: Lab) -> list[Node]:
    """What to certify: claims as they came, then best first what the policy would put together and
    what was measured."""
    findings = lab.findings
    found = [n for n in findings.finalists(MAX_FALLBACKS) if not lab.is_banned(n.tree)]
    final = lab.policy.final_set(findings)
    if final is not None:
        allowed = tuple(idea for idea in final if may_carry(lab, idea))
        tree = put_together(lab, "final", nearest(findings, allowed).tree, allowed)
        found = findings.with_final(found, findings.nodes[tree], MAX_FALLBACKS)
    claims = [n for n in claimed(lab) if not lab.is_banned(n.tree)]
    return list({node.tree: node for node in (*claims, *(found or in_hand(lab)))}.values())


def in_hand(lab: Lab) -> list[Node]:
    """The best candidate that passed the gate of the search, where its budget ended before anybody
    raced it: the final test needs no race before it, and its time was set aside."""
    findings, noise = lab.findings, lab.window.noise()
    base = findings.nodes[findings.start].score
    if base is None or not noise.df:
        return []
    nodes = (findings.nodes[tree] for tree in findings.recent)
    gains = {
        node.tree: node.first - base
        for node in nodes
        if node.first is not None and not node.n and node.label not in ("start", *UNFIT)
    }
    best = max(gains, key=lambda tree: (gains[tree], tree), default=None)
    if best is None or gains[best] < PROMISING_SDS * noise.sd or lab.is_banned(best):
        return []
    return [findings.nodes[best]]


async def confirm_head(lab: Lab) -> Verdict | None:
    """Confirm the head as a list entry against the champion (the start, while there is none).

    The level is what online false-discovery control leaves for it.
    """
    head = lab.findings.head
    champion = lab.ledger.champion()
    reference = champion[0] if champion else lab.findings.start
    if head.tree == reference or head.label == "start":
        return None
    decided = [h.confirm_p for h in lab.window.history if h.confirm_p is not None]
    alpha = min(lab.terms.win.alpha_list, OnlineFdr().next_level(decided))
    return await confirm(lab, head.tree, reference, alpha, "confirm")


def name_of_test(purpose: str, tree: str, reference: str) -> str:
    """The proposal that a test is."""
    return f"{purpose}-{tree[:10]}-{reference[:10]}"


def asked_before(trials: Iterable[Trial], test: str, n_asked: int) -> tuple[Trial, ...]:
    """The trials without those of a test that were asked for when `n_asked` were already.

    A test that was cut off goes through its steps again, and finds the trials of each as they
    ended then: what it asks for must not depend on those of steps to come.
    """

    def is_known(trial: Trial) -> bool:
        return trial.proposal != test or int(trial.effect.split("/")[1]) < n_asked

    return tuple(filter(is_known, trials))


async def confirm(
    lab: Lab, tree: str, reference: str, alpha: float, purpose: str
) -> Verdict | None:
    """Test one candidate against another on the sealed split; crown it when it passes.

    Returns `None` when the time ran out before the test could decide.
    """
    id = name_of_test(purpose, tree, reference)
    if known := lab.ledger.verdicts(proposal=id, last=1):
        return known[0]
    await lab.turn(id)
    # Level and trials are fixed by the first call; a resumed one must not test at others.
    design: Json = {"alpha": alpha, "tree": tree, "reference": reference}
    if lab.terms.win.confirm_trials is not None:
        design["trials"] = lab.terms.win.confirm_trials
    lab.note("level", id, design)
    design = lab.recorded("level", id) or design
    proposal = lab.ledger.add_proposal(
        Proposal(
            id=id,
            thread=-1,
            iteration=0,
            hypothesis=f"{tree[:10]} beats {reference[:10]} on data that no search has seen",
            kind=Kind.COMBINATION,
            parents=(reference,),
            brain="novum",
            created_s=lab.clock(),
        )
    )
    fixed = {"alpha_headline": design["alpha"], "confirm_trials": design.get("trials")}
    win = lab.terms.win.model_copy(update=fixed)
    terms = replace(lab.terms, win=win)
    n_asked = 0
    for _ in range(MAX_STEPS):
        await lab.turn(id)  # others may have recorded something since the last trial ended
        facts = lab.facts(proposal, tree, reference, aim="certify", terms=terms)
        facts = replace(facts, trials=asked_before(facts.trials, id, n_asked))
        judgement = judge(facts)
        if judgement.verdict is not None:
            with lab.ledger.batch():  # a kill in between would leave it without its crown
                lab.add_verdict(judgement.verdict, judgement.evidence, facts)
                if judgement.verdict.label is Label.CONFIRMED:
                    lab.ledger.set_champion(tree, judgement.verdict.id)
            lab.close_session(id)
            return judgement.verdict
        assert judgement.more is not None
        wanted = as_wanted(judgement.more)
        if purpose == "confirm" and not lab.budget.has_time_for(
            wanted["candidate"] + wanted["reference"]
        ):
            return None
        await run_orders(lab, orders_of(lab, proposal, tree, reference, wanted, n_asked))
        n_asked += wanted["candidate"] + wanted["reference"]
    raise AssertionError(f"a test has three looks; the audit asked for trials {MAX_STEPS} times")
