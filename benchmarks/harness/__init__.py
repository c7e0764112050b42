"""How one trial is run and scored without believing the candidate."""

from novum.benchmarks.harness.gated import GatedGrader
from novum.benchmarks.harness.identity import hardware_class, harness_digest
from novum.benchmarks.harness.trial import run_trial
from novum.lab.trees import tree_hash

__all__ = ["GatedGrader", "hardware_class", "harness_digest", "run_trial", "tree_hash"]
