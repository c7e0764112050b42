"""Noise first: the start becomes the first candidate, and is measured before anything is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from novum.agents.trials import Order, run_orders
from novum.errors import UsageError
from novum.lab.records import Candidate, Purpose, TrialStatus

if TYPE_CHECKING:
    from novum.agents.lab import Lab


async def measure_noise(lab: Lab) -> None:
    """Freeze the start and run its baseline trials; what was measured before is not run again.

    Where the start is measured only when it is needed, it is frozen and that is all.

    Raises:
        UsageError: the start does not run here, so nothing can be compared with it.
        Interrupted: the run was told to stop.
    """
    start = add_start(lab)
    if not lab.measures_first:
        return
    orders = [
        Order(
            tree=start.tree,
            proposal=start.proposal,
            purpose=Purpose.NOISE,
            effect=f"noise/{start.tree[:12]}/{i}",
        )
        for i in range(lab.profile.noise_trials)
    ]
    trials = await run_orders(lab, orders)
    measured = [t for t in trials if t.status is TrialStatus.FINISHED]
    if len(measured) < 2:
        failed = next(t for t in trials if t.status is not TrialStatus.FINISHED)
        where = f"\nIts log is blob {failed.log_blob} of {lab.run.path}." if failed.log_blob else ""
        raise UsageError(
            f"the start {start.proposal.removeprefix('start:')} of {lab.pack.id} does not run "
            f"here: {failed.status}: {failed.error}{where}"
        )


def add_start(lab: Lab) -> Candidate:
    """The start as a candidate of the run; made once."""
    name = f"start:{lab.start}"
    summary = f"Start from {lab.start}"
    tree, commit = lab.archive.put(lab.start_files, (), summary, {"Proposal": name}, 0.0)
    candidate = lab.ledger.add_candidate(
        Candidate(tree, commit, (), name, summary, created_s=lab.clock())
    )
    lab.findings.note_candidate(candidate)
    return candidate
