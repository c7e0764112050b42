"""A simulated campaign whose benchmark has a cheap fidelity: what screens save, and what they cost.

A cheap trial costs a quarter of a full one and has its noise; its correlation with the full one is
set from outside. Decisions are the real ones (`agents/screening.py`): a candidate is compared at
the cheap fidelity with the reference, as in a run.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from novum.agents.screening import Screening
from novum.agents.search.protocol import SearchPolicy
from novum.evals.suites.simulated.campaign import Campaign, Outcome
from novum.evals.suites.simulated.landscapes import Landscape
from novum.lab.records import Label, Proposal

CHEAP_COST = 0.25
MARK = ", screen "
"""Between the names of a policy and of the correlation of its screen."""


class ScreenedCampaign(Campaign):
    """A campaign that runs each candidate at the cheap fidelity before its full trial."""

    landscape: Landscape

    def __init__(
        self,
        landscape: Landscape,
        policy: SearchPolicy,
        budget: int,
        seed: int,
        correlation: float,
    ) -> None:
        super().__init__(landscape, policy, budget, seed)
        self.correlation = correlation
        self.label = f"{policy.name}{MARK}{correlation:g}"
        self.screening = Screening()
        self.n_saved = 0
        self.off_at: float | None = None
        """Trials spent when the screen was switched off."""
        self._cheap: dict[str, float] = {}
        self._luck = Random(f"{landscape.name}/{landscape.seed}/{seed}/{budget}/cheap")

    def run(self) -> Outcome:
        """As without a screen, and what the screen did."""
        return replace(super().run(), policy=self.label, n_saved=self.n_saved, off_at=self.off_at)

    def _judge(self, proposal: Proposal, tree: str, reference: str) -> tuple[Label, float | None]:
        if self.off_at is None and self.screening.is_useless:
            self.off_at = self.cost
        is_known = tree == reference or not proposal.move
        base = self.findings.nodes[reference].score
        if self.off_at is not None or is_known or base is None:
            return super()._judge(proposal, tree, reference)
        if any(self.landscape.crashes(i) for i in self.ideas[tree]):
            return super()._judge(proposal, tree, reference)  # its smoke test finds it out
        noise = self._noise().sd
        gain = self._measure_cheap(tree) - self._measure_cheap(reference)
        decision = self.screening.judge(gain, noise)
        self.screening.n_behind += decision.is_behind
        if not decision.goes_on:
            self.n_saved += 1
            self.findings.note_screened_out(proposal.id)
            return Label.INCONCLUSIVE, None
        judged = super()._judge(proposal, tree, reference)
        first = self.findings.nodes[tree].first
        if first is not None:
            self.screening.add(gain, first - base, decision.weight)
        return judged

    def _measure_cheap(self, tree: str) -> float:
        if tree not in self._cheap:
            self.cost += CHEAP_COST
            value = self.landscape.cheap_value(self.ideas[tree], self.correlation)
            self._cheap[tree] = value + self._luck.gauss(0.0, 1.0)
        return self._cheap[tree]
