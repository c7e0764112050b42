"""Ablation: what each change of a confirmed champion is worth, by taking it out once.

The champion and the versions that lack one change each are measured side by side, so that whatever
the machine does meets all alike. These trials prove nothing about the champion, which is confirmed
already; they are paid from a share of the run of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING

from novum.agents.carrying import put_together
from novum.agents.search.frontier import nearest
from novum.agents.search.naming import ideas_of
from novum.agents.search.node import Node
from novum.agents.trials import Order, interleave, run_orders
from novum.evals.significance.distributions import t_isf
from novum.lab.records import Json, Purpose

if TYPE_CHECKING:
    from novum.agents.lab import Lab

PLAN, RESULT = "ablation", "ablated"
N_PER_ARM = 2
"""Trials of the champion and of each version without one change, at least."""
MAX_PER_ARM = 4
MAX_PARTS = 12
LEVEL = 0.025


@dataclass(frozen=True, slots=True)
class Arm:
    """A version of the champion; `idea` is what it lacks, empty for the champion itself."""

    idea: str
    tree: str


async def ablate(lab: Lab) -> None:
    """Take each change out of the champion once, the most promising first, as far as the share
    goes; what was measured before is not measured again."""
    champion = lab.ledger.champion()
    node = lab.findings.nodes.get(champion[0]) if champion else None
    if node is None or len(node.ideas) < 2:
        return
    plan = lab.recorded(PLAN, node.tree)
    if plan is None:
        plan = plan_of(lab, node)
        lab.note(PLAN, node.tree, plan)
    id = f"ablate-{node.tree[:10]}"
    arms = [Arm("", node.tree)]
    for i, idea in enumerate(plan["ideas"]):
        rest = ideas_of(other for other in node.ideas if other != idea)
        tree = put_together(lab, f"{id}-{i}", nearest(lab.findings, rest).tree, rest)
        if lab.findings.nodes[tree].ideas == rest and tree != node.tree:
            arms.append(Arm(idea, tree))
        else:
            lab.note(RESULT, f"{node.tree}/{idea}", {"idea": idea, "needed": True})
    if len(arms) < 2:
        return
    orders = [
        [
            Order(arm.tree, id, Purpose.ABLATION, f"{id}/{arm.tree[:12]}/{i}")
            for i in range(plan["per_arm"])
        ]
        for arm in arms
    ]
    await run_orders(lab, interleave(*orders))
    for arm in arms[1:]:
        lab.note(RESULT, f"{node.tree}/{arm.idea}", worth(lab, id, node.tree, arm))


def plan_of(lab: Lab, node: Node) -> Json:
    """Which changes to take out, and how many trials each version gets."""
    share = int(lab.ablate * lab.ledger.counts().get("trials", 0))
    if (left_s := lab.budget.left_s()) is not None:
        share = min(share, int(left_s / max(lab.budget.trial_s, 1e-9)) * lab.budget.n_slots)
    effects = lab.findings.effects
    ranked = sorted(node.ideas, key=lambda idea: (-abs(effects.value((idea,))[0]), idea))
    ideas = ranked[: max(0, min(MAX_PARTS, share // N_PER_ARM - 1))]
    per_arm = min(MAX_PER_ARM, share // (len(ideas) + 1)) if ideas else 0
    return {"ideas": ideas, "per_arm": per_arm, "n_changes": len(node.ideas)}


def worth(lab: Lab, id: str, champion: str, arm: Arm) -> Json:
    """What a change adds to the champion: by how much it is worse without it, with the 95 %
    interval that the run's noise gives; as fractions of the champion's mean."""
    found: dict[str, list[float]] = {champion: [], arm.tree: []}
    for trial in lab.ledger.trials(proposal=id):
        if trial.tree in found and trial.metric is not None:
            found[trial.tree].append(lab.findings.oriented(trial.metric))
    with_it, without = found[champion], found[arm.tree]
    facts: Json = {"idea": arm.idea, "tree": arm.tree, "n": len(without)}
    if not with_it or not without:
        return facts | {"broken": True}
    noise = lab.window.noise()
    scale = abs(fmean(with_it)) or 1.0
    gain = (fmean(with_it) - fmean(without)) / scale
    error = noise.sd * sqrt(1 / len(with_it) + 1 / len(without)) / scale
    half = t_isf(LEVEL, max(noise.df, 1)) * error
    return facts | {"gain": gain, "interval": [gain - half, gain + half]}
