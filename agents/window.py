"""The trials that verdicts may rest on, kept at hand: this proposal's, the reference's, the noise.

A long run has tens of thousands of trials. A verdict needs those of its own proposal, enough of the
reference's and enough arms to know the noise; the window keeps these and no more, so that judging
costs the same all along. What falls out of it stays in the ledger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from novum.evals.facts import PastIdea
from novum.evals.significance import NoiseModel
from novum.lab.records import Evidence, Purpose, Trial, Verdict

MAX_SHARED = 160
"""NOISE and RACE trials of the whole run that are kept: ten arms or more, a hundred degrees of
freedom; more would not sharpen the noise."""
MAX_HISTORY = 200


class TrialWindow:
    """Feed it every trial that ended and every verdict, in the order of the ledger."""

    def __init__(self) -> None:
        self._own: dict[str, dict[str, Trial]] = {}
        self._noise: dict[str, Trial] = {}
        self._shared: deque[Trial] = deque(maxlen=MAX_SHARED)
        self._history: deque[PastIdea] = deque(maxlen=MAX_HISTORY)

    def add(self, trial: Trial) -> None:
        """A trial ended."""
        own = self._own.setdefault(trial.proposal, {})
        if trial.id in own:
            return
        own[trial.id] = trial
        if trial.purpose is Purpose.NOISE and len(self._noise) < MAX_SHARED:
            self._noise[trial.id] = trial
        elif trial.purpose in (Purpose.NOISE, Purpose.RACE):
            self._shared.append(trial)

    def for_proposal(self, proposal: str, reference: str) -> tuple[Trial, ...]:
        """The trials that a verdict on a proposal may rest on."""
        found = dict(self._noise)
        found.update((t.id, t) for t in self._shared)
        found.update(self._own.get(proposal, {}))
        return tuple(found.values())

    def forget(self, proposal: str) -> None:
        """A proposal is judged; its race trials stay, as noise arms of others."""
        self._own.pop(proposal, None)

    def noise(self) -> NoiseModel:
        """The noise of the metric, from the baseline trials of the start."""
        arms: dict[str, list[float]] = {}
        for trial in self._noise.values():
            if trial.metric is not None:
                arms.setdefault(trial.tree, []).append(trial.metric)
        return NoiseModel.from_arms(arms)

    def cost_s(self, proposal: str) -> float:
        """Wall seconds of all trials of a proposal."""
        trials = self._own.get(proposal, {}).values()
        return round(sum(max(0.0, t.ended_s - t.launched_s) for t in trials), 3)

    def note_verdict(self, verdict: Verdict, evidence: Iterable[Evidence]) -> None:
        """A judged proposal joins the history that shrinkage and false-discovery control read."""
        self._history.append(PastIdea.of(verdict, evidence))

    @property
    def history(self) -> tuple[PastIdea, ...]:
        """What came of earlier proposals, oldest first."""
        return tuple(self._history)
