"""Cheap trials first: a candidate that falls behind in a short budget is spared the full one.

Where the profile offers a cheaper fidelity, each candidate is run at it once, and its screened gain
over the reference is set beside the full gain, if it comes to that. A Bayesian regression over
these pairs says how likely the full trial is to lie above the reference; where that is unlikely,
the full trial is saved. The first pairs, and every fifth candidate behind, go on whatever the
screen says, so that its worth stays measured; one that does not predict is switched off for good.

All that is decided here is an event, and the numbers of it follow from the events before. Screened
scores decide what is run, never a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING

from novum.agents.screening import MIN_CORRELATION, Screening
from novum.agents.trials import NOBODYS_SCORE, Order, run_orders
from novum.benchmarks.pack import Profile
from novum.lab.records import Event, Json, Outcome, Proposal, Purpose, Trial, TrialStatus

if TYPE_CHECKING:
    from novum.agents.lab import Lab

PLAN, SCREEN, OFF = "screen.plan", "screen", "screen.off"
AHEAD = ("tree", "reference", "gain", "weight")
"""What is kept of a decision until the full trial."""
LEAST_NOISE = 1e-4
"""Noise as a fraction of the score, where the metric has none."""


def always(key: str) -> bool:
    """Every candidate."""
    return True


@dataclass(slots=True)
class Screens(Screening):
    """What the run knows of its screen. Fed with events and trials in the order of the ledger."""

    fidelity: str = ""
    """Empty: nothing is screened."""
    is_due: Callable[[str], bool] = always
    """Whether this candidate (`PROPOSAL/TREE`) is; replay screens where the recording did."""
    is_off: bool = False
    """Whether it was switched off because it did not predict."""
    scores: dict[str, float] = field(default_factory=dict)
    """First screened value of the metric, by tree."""
    _ahead: dict[str, Json] = field(default_factory=dict)
    """By proposal: what was decided of candidates that went on and have no full trial yet."""

    def note_trial(self, lab: Lab, trial: Trial) -> None:
        """A trial ended: a screened score, or the second half of a pair."""
        if trial.status in NOBODYS_SCORE:
            return
        value = _score(trial)
        if trial.purpose is Purpose.SCREEN:
            if value is not None and trial.fidelity == self.fidelity:
                self.scores.setdefault(trial.tree, value)
        elif trial.purpose is Purpose.SEARCH and (known := self._ahead.get(trial.proposal)):
            if trial.tree != known["tree"]:
                return
            del self._ahead[trial.proposal]
            base = lab.findings.nodes[known["reference"]].score
            if value is not None and base:
                full = (lab.findings.oriented(value) - base) / abs(base)
                self.add(known["gain"], full, known["weight"])

    def note_decision(self, lab: Lab, decided: Json) -> None:
        """It was decided whether a candidate goes on."""
        self.n_behind += decided["is_behind"]
        if decided["goes_on"]:
            self._ahead[decided["proposal"]] = {name: decided[name] for name in AHEAD}
        else:
            lab.findings.note_screened_out(decided["proposal"])

    def close(self, proposal: str) -> None:
        """A proposal ended."""
        self._ahead.pop(proposal, None)


def cheapest(profile: Profile) -> str:
    """The fidelity to screen at: the one of the smallest budget; empty where there is none."""
    cheaper = {
        k: f.budget_s for k, f in profile.fidelities.items() if f.budget_s < profile.budget_s
    }
    return min(cheaper, key=lambda name: (cheaper[name], name), default="")


def as_recorded(events: Iterable[Event]) -> Screens:
    """Screens the candidates that a recording screened, at its fidelity."""
    plans = {e.key.partition(":")[2]: e.payload for e in events if e.kind == PLAN}
    fidelity = next((plan["fidelity"] for plan in plans.values()), "")
    return Screens(fidelity=fidelity, is_due=plans.__contains__)


async def screen_out(lab: Lab, proposal: Proposal, tree: str, reference: str) -> str:
    """Run a candidate at the cheap fidelity; why its full trial is saved, or an empty text.

    A candidate that fails there, or whose probes do, goes on: that is the audit's business.
    """
    screens, key = lab.screens, f"{proposal.id}/{tree}"
    is_known = tree == reference or bool(proposal.move.get("retest"))
    if not screens.fidelity or is_known or not screens.is_due(key):
        return ""
    plan = lab.recorded(PLAN, key)
    if plan is None:
        await lab.turn(proposal.id)
        plan = _plan(lab, proposal, key, reference)
    if not plan["is_on"]:
        return ""
    nodes = lab.findings.nodes
    arms = [(tree, proposal.id)]
    if plan["measures_reference"]:
        arms.append((reference, nodes[reference].proposal))
    mine, *_ = await run_orders(
        lab,
        [
            Order(
                tree=arm,
                proposal=owner,
                purpose=Purpose.SCREEN,
                fidelity=screens.fidelity,
                effect=f"{proposal.id}/screen/{arm[:12]}",
            )
            for arm, owner in arms
        ],
    )
    decided = lab.recorded(SCREEN, key)
    if decided is None:
        await lab.turn(proposal.id)
        decided = _decide(lab, proposal, mine, reference)
        if decided is None:
            return ""
        lab.note(SCREEN, key, decided)
        screens.note_decision(lab, decided)
    return "" if decided["goes_on"] else decided["reason"]


def _plan(lab: Lab, proposal: Proposal, key: str, reference: str) -> Json:
    """Whether to screen, and whether the reference has to be measured too; recorded."""
    screens = lab.screens
    if not screens.is_off and screens.is_useless:
        screens.is_off = True
        found = screens.correlation()
        numbers = {"pairs": len(screens.pairs), "correlation": found, "least": MIN_CORRELATION}
        lab.note(OFF, proposal.id, {"fidelity": screens.fidelity, **numbers})
    plan = {
        "proposal": proposal.id,
        "fidelity": screens.fidelity,
        "is_on": not screens.is_off and bool(lab.findings.nodes[reference].score),
        "measures_reference": reference not in screens.scores,
    }
    lab.note(PLAN, key, plan)
    return plan


def _decide(lab: Lab, proposal: Proposal, mine: Trial, reference: str) -> Json | None:
    """Whether a screened candidate goes on; `None` where the screen cannot say."""
    screens, findings = lab.screens, lab.findings
    score, theirs = _score(mine), screens.scores.get(reference)
    base = findings.nodes[reference].score
    is_proven = any(p.outcome is Outcome.FAIL for p in mine.probes)
    if score is None or is_proven or not theirs or not base:
        return None
    gain = (findings.oriented(score) - findings.oriented(theirs)) / abs(theirs)
    noise = max(lab.window.noise().sd / abs(base), LEAST_NOISE)
    decision = screens.judge(gain, noise)
    forecast = decision.forecast
    return {
        "proposal": proposal.id,
        "tree": mine.tree,
        "reference": reference,
        "gain": gain,
        "forecast": forecast.mean * noise,
        "chance": forecast.chance,
        "pairs": len(screens.pairs),
        "correlation": screens.correlation(),
        "is_behind": decision.is_behind,
        "goes_on": decision.goes_on,
        "weight": decision.weight,
        "reason": (
            f"screened out: {gain:+.1%} at fidelity {screens.fidelity}; over {len(screens.pairs)} "
            f"pairs that promises {forecast.mean * noise:+.1%} in full, and a chance of "
            f"{forecast.chance:.1%} to lie above the reference"
        ),
    }


def _score(trial: Trial) -> float | None:
    """The metric of a trial that ended well."""
    is_done = trial.status is TrialStatus.FINISHED
    return trial.metric if is_done and trial.metric is not None and isfinite(trial.metric) else None
