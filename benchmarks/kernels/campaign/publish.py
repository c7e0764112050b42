"""A page of results with everything it rests on, for `results/` of this pack."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from novum.benchmarks.kernels.campaign.confirm import CONFIRMED, RESULTS
from novum.benchmarks.kernels.campaign.records import Record, Row, read_records
from novum.benchmarks.kernels.phases import NAMES
from novum.benchmarks.kernels.roofline import Ceilings

_CEILINGS = TypeAdapter(dict[str, Ceilings])


def publish(out: Path, to: Path) -> None:
    """Write README.md, traces.jsonl, ceilings.json, solutions/ and evidence/ from a campaign.

    Raises:
        SystemExit: the campaign holds no results.
    """
    chosen = read_records(out / RESULTS)
    if not chosen:
        raise SystemExit(f"{out} holds no results; run `score` first")
    confirmed = {
        name: record
        for name, record in read_records(out / CONFIRMED).items()
        if name in chosen and record.digest == chosen[name].digest
    }
    ceilings = _CEILINGS.validate_json((out / "ceilings.json").read_bytes())
    for folder in (to, to / "solutions", to / "evidence" / "first"):
        folder.mkdir(parents=True, exist_ok=True)
    records = [confirmed.get(name, record) for name, record in chosen.items()]
    traces = [json.dumps(t, allow_nan=False) for r in records for t in r.traces]
    (to / "traces.jsonl").write_text("".join(line + "\n" for line in traces))
    (to / "ceilings.json").write_bytes(_CEILINGS.dump_json(ceilings, indent=1))
    for record in records:
        record.write(to / "evidence")
        write_solution(record, to / "solutions")
    for record in chosen.values():
        record.write(to / "evidence" / "first")
    (to / "README.md").write_text(page(chosen, confirmed, list(ceilings.values())))


def write_solution(record: Record, folder: Path) -> None:
    """What was measured: the file itself where there is one, else a solution of the format."""
    files = record.solution.files
    entry = record.solution.spec.entry_file
    if set(files) == {entry} and Path(entry).stem == record.problem:
        (folder / entry).write_bytes(files[entry])
    else:
        (folder / f"{record.problem}.json").write_text(record.solution.model_dump_json(indent=1))


def headline(scores: Mapping[str, float | None], before: float) -> str:
    """The mean of what is confirmed, and what is not (None); where nothing is, that comes first."""
    if all(score is None for score in scores.values()):
        return (
            f"**Nothing here is confirmed yet**: one evaluation of {len(scores)} problems, with a "
            f"mean score of {before:.4f}. Only what scores again on fresh inputs in fresh "
            "processes, after the solutions were frozen (`campaign confirm`), is a result. "
        )
    known = {name: score for name, score in scores.items() if score is not None}
    lowest = min(known, key=lambda name: known[name])
    text = (
        f"Mean score **{statistics.fmean(known.values()):.4f}** over "
        f"{len(known)} of {len(scores)} problems, the lowest {known[lowest]:.3f} ({lowest}), "
        "confirmed on fresh inputs in fresh processes after the solutions were frozen. "
    )
    if missing := [name for name in scores if name not in known]:
        zero = sum(known.values()) / len(scores)
        text += f"**Not confirmed: {', '.join(missing)}**; counted as 0, the mean is {zero:.4f}. "
    return f"{text}Before, all {len(scores)} scored {before:.4f}. "


def page(
    chosen: Mapping[str, Record], confirmed: Mapping[str, Record], ceilings: Sequence[Ceilings]
) -> str:
    """The page. What is not confirmed is named at its head."""
    records = [confirmed.get(name, record) for name, record in chosen.items()]
    scores = {name: confirmed[name].score if name in confirmed else None for name in chosen}
    before = statistics.fmean(record.score for record in chosen.values())
    device = ", ".join(sorted({r.device for r in records}))
    versions = sorted({f"{k} {v}" for r in records for k, v in r.libs.items()})
    parts = [
        "# Results\n",
        headline(scores, before) + f"Device: {device}; {', '.join(versions)}.\n",
        "T is the median over processes of medians over calls, T_b the reference under the best "
        "mode of torch.compile for that workload, measured in the same interleaved pairs of fresh "
        "processes; T_SOL is the roofline of the measured ceilings. S = 1 / (1 + (T - T_SOL) / "
        "(T_b - T_SOL)). A mode that does not compile in time does not count and is named below.\n",
        "| problem | axes | T us | T_b us | mode | T_SOL us | bound | T / T_SOL | S | S before |",
        "| --- | --- | --: | --: | --- | --: | --- | --: | --: | --: |",
    ]
    for record in records:
        was = chosen[record.problem]
        for row, first in zip(record.rows, was.rows, strict=True):
            parts.append(f"{line(record.problem, row)} {first.score:.3f} |")
        shown = f"{record.score:.3f}" if record.problem in confirmed else "not confirmed"
        parts.append(f"| **{record.problem}** | | | | | | | | **{shown}** | {was.score:.3f} |")
    parts += ["", "## Ceilings\n", *(ceiling(c) for c in ceilings)]
    parts += ["", "## Modes that do not count\n", *mode_errors(records)]
    parts += ["", "## Where the evaluator's time went\n", *spent(records)]
    parts += [
        "",
        "## How to repeat\n",
        "    PYTHONPATH=src python3 -m novum.benchmarks.kernels.campaign score OUT "
        "--solutions benchmarks/kernels/results/solutions --gpus 0",
        "    PYTHONPATH=src python3 -m novum.benchmarks.kernels.campaign confirm OUT --gpus 0",
        "    PYTHONPATH=src python3 -m novum.benchmarks.kernels.campaign publish OUT "
        "--to benchmarks/kernels/results",
        "",
        "`evidence/` has one file for each problem (and in `first/` the one from before the "
        "confirmation): the solution as measured, medians of every "
        "process, clocks, the nonce from which all inputs follow, errors, operation counts and "
        "where the evaluator's time went. `traces.jsonl` has the same in SOL-ExecBench's format.",
        "",
    ]
    return "\n".join(parts)


def line(problem: str, row: Row) -> str:
    """One workload."""
    axes = ", ".join(f"{k}={v}" for k, v in row.axes.items())
    if row.t_s is None or row.t_b_s is None or row.t_sol_s is None:
        return f"| {problem} | {axes} | {row.status} | | | | | | 0 |"
    note = " (quarantined)" if row.quarantine else ""
    times = (row.t_s, row.t_b_s, row.t_sol_s)
    t, t_b, t_sol = (f"{1e6 * seconds:.1f}" for seconds in times)
    return (
        f"| {problem} | {axes} | {t}{note} | {t_b} | {row.mode} | {t_sol} | {row.by} "
        f"| {row.t_s / row.t_sol_s:.2f} | {row.score:.3f} |"
    )


def ceiling(found: Ceilings) -> str:
    """One device."""
    rates = ", ".join(f"{k} {v / 1e12:.3g}" for k, v in found.matmul_flops_per_s.items())
    copy, read = found.copy_bytes_per_s / 1e12, found.read_bytes_per_s / 1e12
    return (
        f"- {found.device}: copy {copy:.3f} TB/s (read and written bytes), "
        f"read {read:.3f} TB/s; matrix products in TFLOP/s: {rates}; an "
        f"empty call {1e6 * found.empty_call_s:.2f} us."
    )


def spent(records: Sequence[Record]) -> list[str]:
    """Seconds of each problem: candidate and baseline in timed calls, and the evaluator beside."""
    names = [name for name in NAMES if any(name in r.phases for r in records)]
    found = [
        "Seconds from a problem's beginning to its end, after compilation and beside other "
        "problems, whose timed calls it waits for. Computing is what candidate and baseline took "
        "in timed calls; the overhead is the rest, by phase.\n",
        f"| problem | wall | computing | overhead | {' | '.join(names)} |",
        f"| --- | --: | --: | --: |{' --: |' * len(names)}",
    ]
    for r in records:
        phases = " | ".join(f"{r.phases.get(name, 0.0):.1f}" for name in names)
        computing = r.wall_s - r.overhead_s
        found.append(
            f"| {r.problem} | {r.wall_s:.1f} | {computing:.2f} | {r.overhead_s:.1f} | {phases} |"
        )
    if records:
        wall = statistics.fmean(r.wall_s for r in records)
        waited = statistics.fmean(r.phases.get("wait", 0.0) for r in records)
        found.append(f"\nOn average {wall:.1f} s a problem, {waited:.1f} s of them waiting.")
    return found


def mode_errors(records: Sequence[Record]) -> list[str]:
    """Which modes failed, and why."""
    found = [
        f"- {r.problem}, {mode}: {error.splitlines()[-1][:200] if error else ''}"
        for r in records
        for mode, error in r.mode_errors.items()
    ]
    return found or ["None."]
