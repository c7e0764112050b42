"""The harness's digest: numbers count under the harness, grader and data of the run's start."""

from __future__ import annotations

from novum.evals.evidence import found
from novum.lab.records import Evidence, Outcome

STEP = "harness"


def check_seal(sealed: str, now: str, proposal: str, tree: str) -> Evidence:
    """FAIL where harness, grader or data are not those that the run was started with."""
    if sealed and sealed == now:
        return found(proposal, tree, STEP, Outcome.PASS, f"harness {now[:12]} as at the start")
    summary = (
        f"harness, grader or data changed during the run: {sealed[:12] or 'none'} became "
        f"{now[:12] or 'none'}; results before and after cannot be compared"
    )
    return found(proposal, tree, STEP, Outcome.FAIL, summary, sealed=sealed, now=now)
