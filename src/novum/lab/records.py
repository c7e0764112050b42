"""What a run is made of: proposals, candidates, trials, evidence, verdicts, directives, lessons.

All records are frozen and hold only plain values, so that they cross a checkpoint, the ledger and
JSON unchanged. Times are seconds since the epoch; gains are signed so that positive is better
whatever the direction of the metric.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Json = dict[str, Any]
Better = Literal["lower", "higher"]
Split = Literal["search", "sealed"]


class Kind(StrEnum):
    """What a proposal changes. Kinds are kept diverse on purpose: loops sink into constants."""

    ARCHITECTURE = "architecture"
    OPTIMISER = "optimiser"
    DATA = "data"
    SCHEDULE = "schedule"
    SYSTEMS = "systems"
    CONSTANTS = "constants"
    COMBINATION = "combination"
    ABLATION = "ablation"


class TrialStatus(StrEnum):
    """How a trial stands. Every trial that was launched ends as one of the last five."""

    LAUNCHED = "launched"
    FINISHED = "finished"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    KILLED = "killed"
    LOST = "lost"


class Purpose(StrEnum):
    """Why a trial was run. The trials that selected a candidate never confirm it."""

    NOISE = "noise"
    SMOKE = "smoke"
    SCREEN = "screen"
    SEARCH = "search"
    RACE = "race"
    CONFIRM = "confirm"
    CERTIFY = "certify"
    ABLATION = "ablation"


class Label(StrEnum):
    """What the auditor says of a proposal."""

    CONFIRMED = "confirmed"
    PROMISING = "promising"
    INCONCLUSIVE = "inconclusive"
    NOISE = "noise"
    REGRESSION = "regression"
    MISSED = "missed"
    """It does not meet what the pack requires (a target loss), however good its metric is."""
    HACK = "hack"
    INVALID = "invalid"
    QUARANTINED = "quarantined"


class Outcome(StrEnum):
    """What one step of the audit found."""

    PASS = "pass"
    NOTE = "note"
    CONFIRM = "confirm"
    """Suspicious: costs the candidate an extra check, does not convict."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the append-only trace; `digest` covers `previous` and everything else."""

    seq: int
    at_s: float
    kind: str
    key: str
    payload: Json
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A hypothesis, the change that would test it, and the candidates it starts from."""

    id: str
    thread: int
    iteration: int
    hypothesis: str
    kind: Kind
    parents: tuple[str, ...]
    """Tree hashes; two or more for a combination."""
    brain: str
    move: Json = field(default_factory=dict)
    """How a brain without words would make the change (playbook technique, constant, merge)."""
    created_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frozen version of the editable files: one commit, named by its tree hash."""

    tree: str
    commit: str
    parents: tuple[str, ...]
    """Tree hashes of the candidates it came from; empty for a start."""
    proposal: str
    """Proposal id, or `start:NAME`."""
    summary: str
    changed_lines: int = 0
    created_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One seeded execution of one candidate under one budget."""

    id: str
    key: str
    """Digest of tree, harness hash, benchmark, profile, seed, split, fidelity, hardware class."""
    tree: str
    proposal: str
    purpose: Purpose
    split: Split
    fidelity: str
    """`full`, or the name of a cheaper setting of the profile."""
    seed: int
    seed_index: int
    harness: str
    """Digest of harness and grader code and of the data."""
    hardware: str
    slot: int
    status: TrialStatus
    metric: float | None = None
    """The pack's metric as the harness observed it; `None` unless the status is finished."""
    observed: dict[str, float] = field(default_factory=dict)
    """Everything else measured from outside: wall_s, cpu_s, peak_bytes, artifact_bytes, ..."""
    claimed: dict[str, float] = field(default_factory=dict)
    """What the candidate said of itself. Shown beside the observed, never believed."""
    probes: tuple[Probe, ...] = ()
    artifact: str = ""
    log_blob: str = ""
    error: str = ""
    self_reported: bool = False
    launched_s: float = 0.0
    ended_s: float = 0.0
    benchmark: str = ""
    profile: str = ""
    effect: str = ""
    """The key under which it was asked for: asked again, the same trial answers."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question put to the delivered artifact, and the answer."""

    name: str
    outcome: Outcome
    summary: str
    detail: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one step of the audit found about one candidate."""

    id: str
    proposal: str
    tree: str
    step: str
    outcome: Outcome
    summary: str
    detail: Json = field(default_factory=dict)
    trials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the auditor says of a proposal, with the evidence it rests on."""

    id: str
    proposal: str
    tree: str
    reference: str
    """Tree hash of what it was measured against."""
    label: Label
    reason: str
    gain: float | None = None
    """Improvement in the metric's unit, positive is better."""
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    split: Split = "search"
    evidence: tuple[str, ...] = ()
    n_ideas: int = 0
    """Proposals tried in the run up to this verdict."""
    created_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Directive:
    """A wish of the user that the planner reads at its next step."""

    id: str
    text: str
    status: Literal["standing", "withdrawn", "done"] = "standing"
    action: Json = field(default_factory=dict)
    """Machine-readable part: pin, ban, stop, pause, budget, idea, ..."""
    author: str = "user"
    created_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an experiment taught, with the verdict it rests on."""

    id: str
    benchmark: str
    hypothesis: str
    kind: Kind
    diff_summary: str
    label: Label
    gain: float | None
    """Relative to the reference, positive is better: 0.03 is three percent."""
    interval: tuple[float, float] | None
    cost_s: float
    proposal: str
    tree: str
    parents: tuple[str, ...] = ()
    run: str = ""
    created_s: float = 0.0
    profile: str = ""
    start: str = ""
    moves: tuple[str, ...] = ()
    """Techniques and constants (`NAME=value`) that this experiment added."""
    lineage: tuple[str, ...] = ()
    """All of them that the candidate holds."""
    total_gain: float | None = None
    """Estimated gain of the candidate over the start, relative."""
