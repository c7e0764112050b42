"""The story of a run: its facts, and what views ask of them.

The live screen, `status`, the report and the dashboard are pictures of the same story.
"""

from __future__ import annotations

import re
from statistics import fmean

from novum.app.fold import Fold
from novum.app.ideas import STEPS, Idea
from novum.app.numbers import MetricName
from novum.lab.queries import Queries
from novum.lab.records import Json, Purpose, Trial, Verdict

HASH = re.compile(r"\b[0-9a-f]{8,10}\b")
"""How records write a candidate in a sentence."""


class Story(Fold):
    """The facts of a run, and answers from them."""

    def name_of(self, tree: str) -> str:
        """A candidate as people name it: `#3`, `start`, `mix 89efb66a`, or how its hash begins."""
        candidate = self.candidates.get(tree)
        idea = self.idea(candidate.proposal) if candidate is not None else None
        if idea is not None and idea.number:
            return idea.name
        by = candidate.proposal.partition(":")[0] if candidate is not None else ""
        return {"start": "start", "carry": f"mix {tree[:8]}"}.get(by, tree[:10])

    def whose(self, trial: Trial) -> str:
        """What a trial measures: `#3`, or `start against #3` for the other arm of a comparison."""
        idea = self.ideas.get(trial.proposal)
        if idea is None:
            return self.name_of(trial.tree)
        if idea.tree in ("", trial.tree):
            return idea.name
        return f"{self.name_of(trial.tree)} against {idea.name}"

    def in_words(self, text: str) -> str:
        """A sentence with candidates by their names in place of their hashes."""
        return HASH.sub(lambda found: self._named(found[0]), text)

    @property
    def certification(self) -> Idea | None:
        """The test behind the headline: the champion's, or the last one that failed."""
        if self.champion is not None:
            for test in self.tests.values():
                if test.verdict is not None and test.verdict.id == self.champion[1]:
                    return test
        ended = [test for test in self.tests.values() if test.verdict is not None]
        return ended[-1] if ended else None

    def arm(self, idea: Idea, tree: str, split: str = "sealed") -> list[float]:
        """Full-budget values of one arm of the trials that were run for an idea or a test."""
        found = (self.trials[id] for id in idea.trials)
        return [
            t.metric
            for t in found
            if t.tree == tree and t.metric is not None and t.split == split
            if t.fidelity == "full" and t.purpose is not Purpose.SMOKE
        ]

    def worked_at(self, at_s: float) -> float:
        """Seconds that processes had worked until a moment: what lies between sessions is no time.

        A run of ten minutes that was resumed the next day is drawn over its ten minutes.
        """
        if not self.sessions:
            return at_s - self.began_s
        return sum(max(0.0, min(end, at_s) - begin) for begin, end in self.sessions)

    @property
    def wall_s(self) -> float:
        """Seconds that processes have worked on the run."""
        return sum(end - begin for begin, end in self.sessions)

    def stage(self, idea: Idea) -> str:
        """What is done with an open idea now, in words."""
        if idea.proposal.id in self.waiting.values():
            return "waits for approval"
        running = [self.trials[id] for id in idea.trials if id in self.running]
        if running:
            step = STEPS[running[0].purpose]
            of_step = [id for id in idea.trials if self.trials[id].purpose is running[0].purpose]
            n_done = len(of_step) - len(running)
            return f"{step}, {n_done} done" if n_done else step
        if idea.trials:
            return "waiting"
        return "to be tested" if idea.tree else "writing code"

    def relative(self, verdict: Verdict) -> tuple[float | None, tuple[float, float] | None]:
        """Gain of a verdict and its interval as fractions of the reference's mean."""
        scale = self._scale(verdict)
        if scale is None or verdict.gain is None:
            return None, None
        interval = verdict.interval
        low_high = None if interval is None else (interval[0] / scale, interval[1] / scale)
        return verdict.gain / scale, low_high

    def _named(self, begin: str) -> str:
        found = [tree for tree in self.candidates if tree.startswith(begin)]
        return self.name_of(found[0]) if len(found) == 1 else begin

    def _scale(self, verdict: Verdict) -> float | None:
        idea = self.idea(verdict.proposal)
        values = self.arm(idea, verdict.reference, verdict.split) if idea is not None else []
        values = values or self.measured(verdict.reference) or self.baseline
        mean = fmean(values) if values else 0.0
        return abs(mean) if mean else None


def read_story(info: Json, ledger: Queries) -> Story:
    """The story of a run up to now."""
    story = Story(MetricName.of(info), info)
    story.follow(ledger)
    return story
