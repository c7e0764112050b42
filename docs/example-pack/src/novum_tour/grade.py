"""Grade a trial: the length of a round trip, computed here from the order that was handed in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from novum.benchmarks.harness import GatedGrader
from novum.benchmarks.protocol import (
    Array,
    CandidateFailed,
    Graded,
    RunOutcome,
    ScoreSession,
    TrialContext,
    TrialRequest,
)
from novum.lab.records import Outcome, Probe

N_CITIES = 60
SETS = {"search": 1, "sealed": 2}


class Grader(GatedGrader):
    """Runs `solve.py` behind the gate, then asks for the order of the cities."""

    argv = ("python", "solve.py")
    entry = "solve"
    tensors = "numpy"

    def prepare(self) -> str:
        return "drawn from fixed seeds, version 1"

    def arrays(self, request: TrialRequest) -> Mapping[str, Array | Path]:
        return {"cities": cities(request.split)}

    def measure(self, context: TrialContext, session: ScoreSession, outcome: RunOutcome) -> Graded:
        points = cities(context.request.split)
        order = np.full(N_CITIES, -1)
        session.call("", [points], order, timeout_s=self.profile.score_s)
        if sorted(order.tolist()) != list(range(N_CITIES)):
            raise CandidateFailed("the trip does not visit every city once")
        again = np.full(N_CITIES, -1)
        session.call("", [points], again, timeout_s=self.profile.score_s)
        is_same = bool((order == again).all())
        probe = Probe(
            "asked twice",
            Outcome.PASS if is_same else Outcome.FAIL,
            "the same trip both times" if is_same else "asked again, it names another trip",
        )
        return Graded(length(points[order]), {}, (probe,))


def cities(split: str) -> Array:
    """The cities of a split, (60, 2)."""
    return np.random.default_rng(SETS[split]).uniform(0.0, 1.0, (N_CITIES, 2))


def length(trip: Array) -> float:
    """Length of a closed trip through points in this order."""
    return float(np.linalg.norm(trip - np.roll(trip, 1, axis=0), axis=1).sum())
