"""One trial: freeze, run stage, score stage, and a result whatever happens."""

from __future__ import annotations

import errno
import logging
import math
import time
from pathlib import Path

from novum.benchmarks.harness import score
from novum.benchmarks.harness.scratch import scratch_folder
from novum.benchmarks.harness.stages import Stages
from novum.benchmarks.pack import Pack, Profile
from novum.benchmarks.protocol import (
    CandidateFailed,
    Graded,
    Grader,
    Phase,
    TrialRequest,
    TrialResult,
)
from novum.errors import DiskFull, NovumError, UsageError
from novum.lab.records import TrialStatus
from novum.lab.trees import tree_hash
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.slots import Cancelled, Slot

LOG_CHARS = 1 << 16
STOPPED = "the run was told to stop"

log = logging.getLogger(__name__)


def run_trial(
    request: TrialRequest,
    *,
    pack: Pack,
    profile: Profile,
    grader: Grader,
    sandbox: Sandbox,
    slot: Slot,
    scratch: Path,
) -> TrialResult:
    """Run and grade one candidate once. What the candidate does wrong is a result.

    An exception that a grader lets out fails the trial and says so in `error`: nothing that went
    wrong is ever a pass. A fault of the harness itself is raised.

    Raises:
        SandboxLost: the sandbox died of its own; run the trial again.
        OperatorError: the machine stands in the way (no sandbox, disk full, data missing).
        UsageError: the files are not those that were frozen.
    """
    if (found := tree_hash(request.files)) != request.tree:
        raise UsageError(
            f"the files to run have tree hash {found[:12]}, not {request.tree[:12]} as frozen"
        )
    if foreign := pack.out_of_scope(request.files):
        return _refused(pack, f"it changes files that are not editable: {', '.join(foreign)}")
    began_s = time.monotonic()
    with scratch_folder(scratch) as folder:
        stages = Stages(request, profile=profile, sandbox=sandbox, slot=slot, scratch=folder)
        stages.phase("freeze", tree=request.tree, split=request.split, fidelity=request.fidelity)
        try:
            status, graded, error = _grade(grader, stages)
        finally:
            stages.close()
        if stages.is_stopped:
            status, graded, error = TrialStatus.KILLED, None, STOPPED
    stages.phase("result", status=str(status))
    observed = {**stages.observed, **(graded.observed if graded else {})}
    return TrialResult(
        status=status,
        metric=graded.metric if graded else None,
        observed=observed | {"trial_s": time.monotonic() - began_s},
        claimed={**stages.claimed, **(graded.claimed if graded else {})},
        probes=graded.probes if graded else (),
        artifact=stages.artifact,
        error=error,
        log=_log_of(stages),
        phases=tuple(stages.phases),
        self_reported=pack.manifest.self_reported or bool(graded and graded.self_reported),
    )


def _refused(pack: Pack, reason: str) -> TrialResult:
    """The result of a candidate that is not run at all."""
    return TrialResult(
        status=TrialStatus.CRASHED,
        metric=None,
        observed={},
        claimed={},
        probes=(),
        artifact="",
        error=reason,
        log="",
        phases=(Phase("refused", 0.0, {"reason": reason}),),
        self_reported=pack.manifest.self_reported,
    )


def _grade(grader: Grader, stages: Stages) -> tuple[TrialStatus, Graded | None, str]:
    try:
        graded = grader.trial(stages)
    except CandidateFailed as error:
        return error.status, None, str(error)
    except Cancelled:
        return TrialStatus.KILLED, None, STOPPED
    except NovumError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no room is left for a trial in {stages.scratch.parent}: {error}.\n"
                "Free some, or name another folder for scratch files."
            ) from error
        return _blame(stages, error)
    except Exception as error:
        return _blame(stages, error)
    if not math.isfinite(graded.metric):
        return TrialStatus.CRASHED, None, f"its metric is {graded.metric}"
    return TrialStatus.FINISHED, graded, ""


def _blame(stages: Stages, error: Exception) -> tuple[TrialStatus, None, str]:
    """A failed trial where the grader is at fault; a fault of ours is let out."""
    if stages.bug is not None:
        raise error
    log.error("the grader failed", exc_info=error)
    return TrialStatus.CRASHED, None, f"the grader failed: {type(error).__name__}: {error}"


def _log_of(stages: Stages) -> str:
    parts = []
    for stage, ended in stages.exits.items():
        for name, text in (("stdout", ended.stdout), ("stderr", ended.stderr)):
            if text := score.clean(text).strip():
                parts.append(f"[{stage} {name}]\n{text[-LOG_CHARS:]}\n")
    return "".join(parts)
