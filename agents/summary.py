"""What came of a run, for its last lines."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from novum.lab.records import Label, Purpose, Verdict

if TYPE_CHECKING:
    from novum.agents.lab import Lab


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run. Gains are in the metric's unit, positive is better."""

    reason: str
    """Why the search ended."""
    is_interrupted: bool
    metric: str
    unit: str
    baseline: float | None
    """Mean of the start on the search split."""
    noise_sd: float | None
    champion: str
    """Tree of the confirmed champion; empty when nothing was confirmed."""
    head: str
    """Tree of the best candidate that won a race, confirmed or not; the start if none did."""
    verdict: Verdict | None
    """The certification of the champion, or the last one that failed."""
    reference_mean: float | None
    """Of the certification: what the start measured on the sealed split."""
    champion_mean: float | None
    relative_gain: float | None
    """Certified gain as a fraction of the reference's mean."""
    relative_interval: tuple[float, float] | None
    n_ideas: int
    n_trials: int
    wall_s: float
    tokens: int
    cost_usd: float

    @property
    def is_confirmed(self) -> bool:
        """Whether the run ends with a headline."""
        return self.verdict is not None and self.verdict.label is Label.CONFIRMED


def summarise(lab: Lab) -> Summary:
    """The summary of a run as it stands in the ledger."""
    metric = lab.pack.manifest.metric
    noise = [
        t.metric
        for t in lab.ledger.trials(tree=lab.findings.start, purpose=Purpose.NOISE)
        if t.metric is not None
    ]
    verdict = lab.headline()
    means = (
        (None, None)
        if verdict is None
        else (arm(lab, verdict, verdict.reference), arm(lab, verdict, verdict.tree))
    )
    gain = interval = None
    if verdict is not None and verdict.gain is not None and means[0]:
        gain = verdict.gain / abs(means[0])
        if verdict.interval is not None:
            interval = (verdict.interval[0] / abs(means[0]), verdict.interval[1] / abs(means[0]))
    champion = lab.ledger.champion()
    counts = lab.ledger.counts()
    return Summary(
        reason=lab.control.reason,
        is_interrupted=lab.control.is_interrupted,
        metric=metric.name,
        unit=metric.unit,
        baseline=fmean(noise) if noise else None,
        noise_sd=stdev(noise) if len(noise) > 1 else None,
        champion=champion[0] if champion else "",
        head=lab.findings.head.tree,
        verdict=verdict,
        reference_mean=means[0],
        champion_mean=means[1],
        relative_gain=gain,
        relative_interval=interval,
        n_ideas=lab.findings.n_proposals,
        n_trials=counts.get("trials", 0),
        wall_s=lab.budget.wall_s,
        tokens=lab.budget.tokens,
        cost_usd=lab.budget.cost_usd,
    )


def arm(lab: Lab, verdict: Verdict, tree: str) -> float | None:
    """Mean of one arm of a certification."""
    trials = lab.ledger.trials(proposal=verdict.proposal, tree=tree)
    values = [t.metric for t in trials if t.metric is not None and t.split == "sealed"]
    return fmean(values) if values else None
