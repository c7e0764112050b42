"""Recorded facts without running anything: for tests and for simulations of the auditor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from novum.benchmarks.pack import Guardrail, Win
from novum.evals.facts import RULES, Facts, Terms
from novum.lab.records import (
    Candidate,
    Kind,
    Proposal,
    Purpose,
    Split,
    Trial,
    TrialStatus,
)

TERMS = Terms(
    metric="bpb",
    better="lower",
    win=Win(),
    guardrails={"peak_bytes": Guardrail(margin=0.2)},
    max_jump=0.5,
    clock="wall",
    budget_s=1.0,
    noise_trials=5,
    floor=0.5,
    rules=RULES,
)
PROPOSAL = Proposal("p1", 0, 1, "a better idea", Kind.ARCHITECTURE, ("base",), "playbook")
CANDIDATE = Candidate("cand", "c0ffee", ("base",), "p1", "a better idea")
BASE = (2.00, 2.02, 1.98, 2.01, 1.99)


class Builder:
    """Grows facts trial by trial; seeds, ids and times are distinct unless said otherwise."""

    def __init__(self, **changes: Any) -> None:
        self.facts = Facts(PROPOSAL, CANDIDATE, "base", TERMS, (), n_ideas=3)
        self.facts = replace(self.facts, **changes)
        self.count = 0

    def add(
        self,
        tree: str,
        purpose: Purpose,
        values: Sequence[float | None],
        *,
        proposal: str = "p1",
        **changes: Any,
    ) -> Builder:
        """Append finished trials; a value of `None` is a crash."""
        split: Split = "sealed" if purpose in (Purpose.CONFIRM, Purpose.CERTIFY) else "search"
        for value in values:
            self.count += 1
            n = self.count
            trial = Trial(
                id=f"t{n}",
                key=f"k{n}",
                tree=tree,
                proposal=proposal,
                purpose=purpose,
                split=split,
                fidelity="full",
                seed=1000 + n,
                seed_index=n,
                harness="h",
                hardware="cpu",
                slot=0,
                status=TrialStatus.CRASHED if value is None else TrialStatus.FINISHED,
                metric=value,
                observed={"peak_bytes": 100.0, "wall_s": 1.0},
                launched_s=float(n),
                ended_s=float(n) + 0.5,
            )
            self.facts = replace(self.facts, trials=(*self.facts.trials, replace(trial, **changes)))
        return self

    def baseline(self) -> Builder:
        """The noise arm of the reference."""
        return self.add("base", Purpose.NOISE, BASE, proposal="start:base")

    def race(self, values: Sequence[float | None], purpose: Purpose = Purpose.RACE) -> Builder:
        """Fresh trials of both arms, interleaved."""
        for i, value in enumerate(values):
            self.add("base", purpose, [BASE[i % len(BASE)]]).add("cand", purpose, [value])
        return self
