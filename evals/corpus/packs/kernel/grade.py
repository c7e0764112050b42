"""Grader of the tiny kernel: milliseconds of a scaled softmax, every answer checked.

The kernel runs in a process that only answers. Values are fresh at every call, the clock and the
expected answers stay here, and the timed answers are checked like all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from novum.benchmarks.pack import Profile
from novum.benchmarks.probes.kernels import (
    Tolerance,
    disagreement,
    probe_cache,
    probe_sensitivity,
    probe_stable,
    probe_timed,
    probe_values,
)
from novum.benchmarks.protocol import Graded, ScoreSession, TrialContext

Array = NDArray[Any]
ROWS, WIDTH = 256, 128
N_TIMED, N_REPEATED = 12, 5
TOLERANCE = Tolerance(rtol=1e-4, atol=1e-7, matched=0.99)


def reference(inputs: Sequence[Array]) -> Array:
    """Softmax of `x * weight` along the last axis, in float64."""
    x, weight = (i.astype(np.float64) for i in inputs)
    z = x * weight
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def families(rng: np.random.Generator) -> Mapping[str, list[Array]]:
    """Inputs of different structure: what is right for one only is wrong for another."""
    weight = rng.normal(1.0, 0.3, WIDTH).astype(np.float32)
    x = rng.normal(0.0, 1.0, (ROWS, WIDTH)).astype(np.float32)
    return {
        "large": [x * 30, weight],
        "tiny": [x * 1e-3, weight],
        "constant": [np.full_like(x, 0.7), weight],
        "sorted": [np.sort(x, axis=-1), weight],
        "zero": [np.zeros_like(x), weight],
        "one-hot": [np.eye(WIDTH, dtype=np.float32)[rng.integers(WIDTH, size=ROWS)] * 9, weight],
        "negative": [-np.abs(x) - 50, -weight],
        "equal rows": [np.repeat(x[:1], ROWS, axis=0), np.ones_like(weight)],
        "random": [x, weight],
    }


class Grader:
    """Milliseconds of the quickest call on fresh inputs: the rest is other people's load."""

    def __init__(self, folder: Path, profile: Profile, cache: Path) -> None:
        self.profile = profile

    def prepare(self) -> str:
        """There is no data."""
        return "softmax"

    def trial(self, context: TrialContext) -> Graded:
        """Check and time one kernel."""
        artifact = context.scratch / "nothing"
        artifact.mkdir(exist_ok=True)
        rng = np.random.default_rng(context.request.seed)
        limits = self.profile.limits(self.profile.score_s)
        with context.score_stage(
            artifact, entry="kernel", limits=limits, tensors="numpy"
        ) as session:
            return self.measure(session, rng)

    def measure(self, session: ScoreSession, rng: np.random.Generator) -> Graded:
        """Questions before, between and after the timed calls, all alike to the kernel."""
        seconds: list[float] = []

        def call(inputs: Sequence[Array]) -> Array:
            out = np.full((ROWS, WIDTH), 7e33, np.float32)  # poison, should nothing be written
            seconds.append(session.call("", list(inputs), out, 5.0))
            return out

        values = probe_values(call, reference, families(rng), TOLERANCE)
        known = self.draw(rng)
        answers = [(known, call(known))]
        fresh_s: list[float] = []
        repeated_s: list[float] = []
        for is_fresh in rng.permutation([True] * N_TIMED + [False] * N_REPEATED):
            inputs = self.draw(rng) if is_fresh else known
            answers.append((inputs, call([i.copy() for i in inputs])))
            (fresh_s if is_fresh else repeated_s).append(seconds[-1])
        wrong = [w for i, out in answers if (w := disagreement(out, reference(i), TOLERANCE))]
        probes = (
            values,
            probe_timed(wrong, len(answers)),
            probe_stable(call, known, TOLERANCE),
            probe_cache(fresh_s, repeated_s),
            probe_sensitivity(call, reference, known, TOLERANCE, rng),
        )
        metric = min(fresh_s) * 1e3
        return Graded(metric, {"wall_s": sum(fresh_s)}, probes)

    def draw(self, rng: np.random.Generator) -> list[Array]:
        """Random inputs like those of the timed calls."""
        x = rng.normal(0.0, 1.0, (ROWS, WIDTH)).astype(np.float32)
        return [x, rng.normal(1.0, 0.3, WIDTH).astype(np.float32)]
