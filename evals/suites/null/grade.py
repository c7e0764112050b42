"""Grader that starts no process: noise that the seed decides."""

from __future__ import annotations

from pathlib import Path
from random import Random

from novum.benchmarks.pack import Profile
from novum.benchmarks.protocol import Graded, TrialContext

NOISE = 0.01


class Grader:
    """1, give or take the noise, whatever the candidate does."""

    def __init__(self, folder: Path, profile: Profile, cache: Path) -> None:
        pass

    def prepare(self) -> str:
        return "nothing"

    def trial(self, context: TrialContext) -> Graded:
        return Graded(1.0 + Random(context.request.seed).gauss(0.0, NOISE))
