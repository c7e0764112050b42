"""Evidence records; their ids depend on their content, so writing one twice is writing it once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256

from novum.lab.records import Evidence, Json, Outcome

RANK = {Outcome.PASS: 0, Outcome.NOTE: 1, Outcome.CONFIRM: 2, Outcome.FAIL: 3}


def found(
    proposal: str,
    tree: str,
    step: str,
    outcome: Outcome,
    summary: str,
    *,
    trials: Sequence[str] = (),
    **detail: object,
) -> Evidence:
    """One record of one step; `detail` must be plain JSON values."""
    content = json.dumps(
        [proposal, tree, step, outcome, summary, detail, list(trials)], sort_keys=True, default=str
    )
    digest = sha256(content.encode()).hexdigest()[:16]
    plain: Json = json.loads(json.dumps(detail, default=str))
    return Evidence(
        f"{step}-{digest}", proposal, tree, step, outcome, summary, plain, tuple(trials)
    )


def worst(records: Sequence[Evidence]) -> Outcome:
    """The gravest outcome; PASS for none."""
    return max((e.outcome for e in records), key=RANK.__getitem__, default=Outcome.PASS)
