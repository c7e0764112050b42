"""Grader of the tiny speedrun: seconds on the harness's clock to reach a loss on held-out text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from novum.benchmarks.pack import load_module
from novum.benchmarks.probes.language import Reading
from novum.benchmarks.protocol import CandidateFailed, Graded, RunOutcome
from novum.lab.records import Probe

TARGET_BITS = 4.68
_language = load_module(Path(__file__).parents[1] / "language" / "grade.py", "novum_tiny_language")


class Grader(_language.Grader):  # type: ignore[misc,name-defined]
    """Seconds from `start()` to the last byte, for a model at or under the target."""

    def result(
        self,
        outcome: RunOutcome,
        reading: Reading,
        probes: Sequence[Probe],
    ) -> Graded:
        """The time counts only where the model is good enough."""
        bits = float(reading.nats.mean() / np.log(2))
        if not bits <= TARGET_BITS:
            raise CandidateFailed(f"{bits:.4f} bits per byte miss the target of {TARGET_BITS}")
        return Graded(outcome.used_s, {"bpb": bits}, tuple(probes))
