"""Grader that starts no process: the loss follows from the files and the seed."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

from novum.benchmarks.moves import constants
from novum.benchmarks.pack import Profile
from novum.benchmarks.protocol import CandidateFailed, Graded, TrialContext

GAINS = {"alpha": 0.20, "beta": 0.15, "gamma": 0.10}
NOISE = 0.01


class Grader:
    """1 at the start, less for good features and a good rate, plus noise of the seed."""

    def __init__(self, folder: Path, profile: Profile, cache: Path) -> None:
        self.trial_s = float(profile.options.get("trial_s", 0.0))

    def prepare(self) -> str:
        return "nothing"

    def trial(self, context: TrialContext) -> Graded:
        files = dict(context.request.files)
        text = files["solve.py"].decode()
        if '"broken"' in text or "raise" in text:
            raise CandidateFailed("RuntimeError: it does not work")
        if not context.request.smoke:
            time.sleep(self.trial_s)
        value = 1.02
        for name, gain in GAINS.items():
            value *= 1 - gain if f'"{name}"' in text else 1.0
        rate = next((float(c.value) for c in constants(files) if c.name == "RATE"), 9.0)
        value += 0.04 * min(3.0, abs(rate - 1.0)) - 0.02
        return Graded(value + Random(context.request.seed).gauss(0.0, NOISE))
