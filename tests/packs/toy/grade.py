"""Grader of a pack that trains in milliseconds: numbers in, their mean out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from novum.benchmarks.harness import GatedGrader
from novum.benchmarks.protocol import (
    Array,
    Graded,
    RunOutcome,
    ScoreSession,
    TrialContext,
    TrialRequest,
)

HIDDEN_MEAN = 7.0
N_QUESTIONS = 8


class Grader(GatedGrader):
    """Error of the delivered mean on questions that the candidate never sees with their answers."""

    tensors = "numpy"

    def prepare(self) -> str:
        return "seven"

    def info(self, request: TrialRequest) -> Mapping[str, Any]:
        return {"n": 1000}

    def arrays(self, request: TrialRequest) -> Mapping[str, Array | Path]:
        rng = np.random.default_rng(request.seed)
        return {"train": rng.normal(HIDDEN_MEAN, 1.0, 1000)}

    def measure(self, context: TrialContext, session: ScoreSession, outcome: RunOutcome) -> Graded:
        rng = np.random.default_rng(context.request.seed + 1)
        questions = rng.normal(0.0, 1.0, N_QUESTIONS)
        answers = np.empty(N_QUESTIONS)
        session.call("", [questions], answers, timeout_s=20)
        error = float(np.abs(answers - questions - HIDDEN_MEAN).mean())
        return Graded(error, {"n_questions": float(N_QUESTIONS)})
