"""Is it progress or luck? Noise, gate, race, confirmation, false discoveries and shrinkage.

Pure functions of recorded scores. Gains are signed so that positive is better; a crashed or
non-finite trial is the worst value and never helps; one trial never yields a p-value.
"""

from novum.evals.significance.fdr import OnlineFdr
from novum.evals.significance.fixed import (
    EquivalenceResult,
    TargetResult,
    beats_target,
    equivalence,
)
from novum.evals.significance.gate import GateResult, search_gate
from novum.evals.significance.guardrails import GuardrailResult, guardrail
from novum.evals.significance.kernels import KernelComparison, compare_kernels
from novum.evals.significance.looks import LOOKS
from novum.evals.significance.noise import NoiseModel, Outlier
from novum.evals.significance.racing import CONFIRM_ALPHA, Design, RaceResult, confirm, race
from novum.evals.significance.scores import Better, Trials
from novum.evals.significance.shrinkage import Shrinkage, ShrunkGain, shrink

__all__ = [
    "CONFIRM_ALPHA",
    "LOOKS",
    "Better",
    "Design",
    "EquivalenceResult",
    "GateResult",
    "GuardrailResult",
    "KernelComparison",
    "NoiseModel",
    "OnlineFdr",
    "Outlier",
    "RaceResult",
    "Shrinkage",
    "ShrunkGain",
    "TargetResult",
    "Trials",
    "beats_target",
    "compare_kernels",
    "confirm",
    "equivalence",
    "guardrail",
    "race",
    "search_gate",
    "shrink",
]
