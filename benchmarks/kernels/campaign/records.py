"""What a campaign keeps of one problem: the result with everything it rests on, in one file."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.results import ProblemResult, WorkloadResult
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.trace import Status


class Row(BaseModel):
    """One workload."""

    axes: dict[str, int]
    status: str
    log: str = ""
    quarantine: str = ""
    mode: str = ""
    """Under which mode of torch.compile the baseline ran."""
    t_s: float | None = None
    t_b_s: float | None = None
    t_sol_s: float | None = None
    by: str = ""
    bytes: int = 0
    matmul_flops: dict[str, int] = {}
    score: float = 0.0
    verified_calls: int = 0
    processes: int = 0


class Record(BaseModel):
    """One problem."""

    problem: str
    key: str
    """Of the definition, the workloads and how thoroughly was measured."""
    digest: str
    """Of the solution."""
    solution: Solution
    device: str
    libs: dict[str, str]
    at: str
    nonce: str
    rows: list[Row]
    traces: list[dict[str, Any]]
    phases: dict[str, float]
    wall_s: float
    overhead_s: float
    mode_errors: dict[str, str] = {}
    clocks: dict[str, dict[str, str]] = {}

    @property
    def score(self) -> float:
        """Mean over workloads."""
        return statistics.fmean(row.score for row in self.rows)

    @property
    def is_whole(self) -> bool:
        """Whether every workload passed and is believed."""
        return all(row.status == Status.PASSED and not row.quarantine for row in self.rows)

    def write(self, folder: Path) -> None:
        """Keep it under the problem's name; a reader never sees half of it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.problem}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(self.model_dump_json(indent=1))
        partial.replace(path)


def record_of(
    result: ProblemResult,
    solution: Solution,
    key: str,
    nonce: str,
    modes: Mapping[str, str],
    mode_errors: Mapping[str, str],
    clocks: Mapping[str, dict[str, str]],
) -> Record:
    """The record of a result."""
    return Record(
        problem=result.problem.name,
        key=key,
        digest=solution.digest(),
        solution=solution,
        device=result.hardware,
        libs=result.libs,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        nonce=nonce,
        rows=[row_of(found, modes.get(found.workload.uuid, "")) for found in result.results],
        traces=[t.model_dump(mode="json", exclude_none=True) for t in result.traces()],
        phases=result.phases,
        wall_s=round(result.wall_s, 2),
        overhead_s=round(result.overhead_s, 2),
        mode_errors=dict(mode_errors),
        clocks=dict(clocks),
    )


def row_of(found: WorkloadResult, mode: str) -> Row:
    """One workload's numbers."""
    row = Row(
        axes=dict(found.workload.axes),
        status=found.status.value,
        log=found.log[-1500:],
        quarantine=found.quarantine,
        mode=mode,
        score=found.score,
        verified_calls=found.verified_calls,
        processes=len(found.candidate.calls),
    )
    if found.bound is not None:
        row.t_sol_s, row.by, row.bytes = found.bound.t_sol_s, found.bound.by, found.bound.bytes
        row.matmul_flops = dict(found.bound.matmul_flops)
    if found.is_timed:
        row.t_s, row.t_b_s = found.candidate.time_s, found.baseline.time_s
    return row


def key_of(problem: Problem, *thoroughness: object) -> str:
    """Changes when what is measured, or how, changes."""
    parts = [
        problem.definition.model_dump(mode="json"),
        [w.model_dump(mode="json") for w in problem.workloads],
        list(thoroughness),
    ]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def read_records(folder: Path) -> dict[str, Record]:
    """All records of a folder by problem; none where there is no folder."""
    found = [Record.model_validate_json(p.read_bytes()) for p in sorted(folder.glob("*.json"))]
    return {record.problem: record for record in found}


def lines(record: Record) -> list[str]:
    """One line for each workload and one for the problem."""
    found = []
    for row in record.rows:
        axes = ",".join(f"{k}={v}" for k, v in row.axes.items())[:38]
        state = "QUARANT." if row.quarantine else row.status[:9]
        text = f"{record.problem:20}{axes:39}{state:>10}"
        if row.t_s is not None and row.t_b_s is not None and row.t_sol_s is not None:
            times = (row.t_s, row.t_b_s, row.t_sol_s)
            text += "".join(f"{1e6 * t:>10.2f}" for t in times)
            text += f" {row.by:8}{row.score:>6.3f} {row.mode}"
        else:
            text += f"  {last(row.log, 1)[:90]}"
        found.append(text)
        if row.quarantine:
            found.append(f"{'':20}{row.quarantine}")
    spent = " ".join(f"{k} {v:.1f}" for k, v in record.phases.items())
    found.append(
        f"{record.problem:20}score {record.score:.3f}; wall {record.wall_s:.1f} s, overhead "
        f"{record.overhead_s:.1f} s: {spent}"
    )
    return found


def summary(records: Sequence[Record]) -> str:
    """The mean, and what pulls it down."""
    if not records:
        return "nothing was evaluated"
    ordered = sorted(records, key=lambda r: r.score)
    mean = statistics.fmean(r.score for r in records)
    low = ", ".join(f"{r.problem} {r.score:.3f}" for r in ordered[:5])
    broken = [r.problem for r in records if not r.is_whole]
    note = f"; not whole: {', '.join(broken)}" if broken else ""
    return f"mean over {len(records)} problems {mean:.4f}; lowest {low}{note}"


def last(text: str, count: int) -> str:
    """The last lines that say something."""
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(kept[-count:])


HEADER = (
    f"{'problem':20}{'axes':39}{'status':>10}{'T us':>10}{'T_b us':>10}{'T_SOL us':>10} "
    f"{'bound':8}{'S':>6} baseline"
)
