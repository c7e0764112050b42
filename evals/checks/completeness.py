"""Did the candidate's trials end, and did the harness see what it needs?"""

from __future__ import annotations

from math import isfinite

from novum.evals.arms import own
from novum.evals.evidence import found
from novum.evals.facts import Facts
from novum.lab.counted import counted
from novum.lab.records import Evidence, Outcome, Purpose, Trial, TrialStatus

STEP = "trials"


def check_completeness(facts: Facts) -> Evidence:
    """FAIL where the first trials crashed or gave no finite score.

    A crash in a later stage is no FAIL: it counts as the worst rank there, so that a program that
    falls over only when it is confirmed gains nothing by it.
    """
    first = own(facts, Purpose.SMOKE, Purpose.SCREEN, Purpose.SEARCH)
    bad = [t for t in first if t.status is not TrialStatus.FINISHED]
    odd = [t for t in own(facts) if _is_odd(t)]
    failed = bad[-1:] or odd[:1]
    if failed and not _succeeded_later(failed[0], first):
        trial = failed[0]
        what = trial.error.splitlines()[-1] if trial.error else f"metric {trial.metric}"
        return found(
            facts.proposal.id,
            facts.candidate.tree,
            STEP,
            Outcome.FAIL,
            f"a {trial.purpose} trial {trial.status}: {what}"[:400],
            trials=[trial.id],
            status=str(trial.status),
        )
    trials = own(facts)
    crashed = [t.id for t in trials if t.status is not TrialStatus.FINISHED]
    summary = f"{counted(len(trials), 'trial')} ended" + (
        f", {len(crashed)} of them crashed" if crashed else ""
    )
    outcome = Outcome.NOTE if crashed else Outcome.PASS
    return found(
        facts.proposal.id,
        facts.candidate.tree,
        STEP,
        outcome,
        summary,
        trials=[t.id for t in trials],
        crashed=crashed,
    )


def _is_odd(trial: Trial) -> bool:
    """A finished trial must have a finite score, whatever its sign and size."""
    if trial.status is not TrialStatus.FINISHED or trial.purpose is Purpose.SMOKE:
        return False
    return trial.metric is None or not isfinite(trial.metric)


def _succeeded_later(failed: Trial, trials: tuple[Trial, ...]) -> bool:
    """A crash of the smoke test that was repaired leaves a later, finished trial of this tree."""
    return any(
        t.status is TrialStatus.FINISHED and not _is_odd(t) and t.launched_s > failed.launched_s
        for t in trials
    ) and not _is_odd(failed)
