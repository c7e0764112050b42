"""Tables of measured trials, written into the page beside them.

    python -m novum.benchmarks.nanochat.tables benchmarks/nanochat/results
    python -m novum.benchmarks.nanochat.tables benchmarks/nanochat/results --keep DRIVER_OUTPUT
    python -m novum.benchmarks.nanochat.tables benchmarks/nanochat/results --run runs/NAME

The folder holds `setting.json` (device, versions, corpus, arms, which is compared with which, which
trials chose an arm), `trials.jsonl` (a trial a line) and `README.md`, of which only what stands
between the two marks is written. `--keep` first takes over the trials that a driver left, without
their logs, in place of all that is there. `--run` takes over those of a run's ledger, smoke tests
left out, by the trees of the arms that name this run, in place of what these arms had.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from novum.errors import UsageError
from novum.evals.significance import NoiseModel
from novum.evals.significance.distributions import t_sf

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
KEPT = (
    *("startup_s", "used_s", "collect_s", "load_s", "answered_s", "score_s", "graded_s", "trial_s"),
    *("gpu_peak_bytes", "gpu_busy", "gpu_tensor_busy", "gpu_power_w", "gpu_clock_mhz"),
    *("cpu_s", "peak_bytes", "artifact_bytes"),
)
Trial = Mapping[str, Any]


class Difference(NamedTuple):
    """Candidate against reference; `gain` is in per cent of the reference's mean, + is better."""

    n: tuple[int, int]
    gain: float
    half: float
    """Half of the 95 % interval, in the same per cent; infinite where nothing was repeated."""
    p_value: float | None
    """One-sided."""


def compact(row: Trial) -> dict[str, Any]:
    """A driver's line without its log, and numbers of six digits."""
    seen = {k: float(f"{row['observed'][k]:.6g}") for k in KEPT if k in row.get("observed", {})}
    return {
        **{k: row.get(k) for k in ("arm", "split", "seed", "status", "metric")},
        **{"claimed": row.get("claimed") or {}, "observed": seen},
        "probes": {p["name"]: p["outcome"] for p in row.get("probes", ())},
        "error": (row.get("error") or "")[-300:],
    }


def read_trials(path: Path) -> list[dict[str, Any]]:
    """Trials of a file, a line each.

    Raises:
        UsageError: there is no such file, or a line is not a trial.
    """
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        for row in rows:
            row["arm"], row["seed"], row["status"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} does not hold trials, a line each: {error!r}") from error
    return rows


def trials_of_run(folder: Path, arms: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Trials of a run, as a driver would have written them; `arms` says which tree is which arm.

    Raises:
        UsageError: there is no such run, or a trial is of no arm.
    """
    from novum.lab.records import Purpose
    from novum.lab.run import RunFolder

    names = {arms[name]["tree"]: name for name in arms_of_run(folder, arms)}
    rows = []
    with RunFolder.open(folder).ledger(read_only=True) as ledger:
        for trial in ledger.trials():
            if trial.purpose is Purpose.SMOKE:
                continue
            if trial.tree not in names:
                raise UsageError(f"tree {trial.tree[:10]} of trial {trial.id} is of no arm")
            row = {k: getattr(trial, k) for k in ("split", "seed", "metric", "claimed", "observed")}
            probes = [{"name": p.name, "outcome": str(p.outcome)} for p in trial.probes]
            row |= {"arm": names[trial.tree], "status": str(trial.status), "probes": probes}
            rows.append(compact({**row, "error": trial.error}))
    return rows


def arms_of_run(folder: Path, arms: Mapping[str, Any]) -> list[str]:
    """Arms that name this run: one tree may have been measured in several."""
    return [name for name, arm in arms.items() if arm.get("run") == folder.name]


def values(trials: Sequence[Trial], arm: str, without: Sequence[int] = ()) -> list[float]:
    """Metrics of an arm's finished trials, those of some seeds left out."""
    rows = (t for t in trials if t["arm"] == arm and t["seed"] not in without)
    return [float(t["metric"]) for t in rows if t["status"] == "finished"]


def difference(reference: Sequence[float], candidate: Sequence[float]) -> Difference:
    """Compare two arms of a metric that should be low, by t with the spread of both pooled.

    Raises:
        ValueError: an arm has no trial.
    """
    if not reference or not candidate:
        raise ValueError("an arm without a finished trial compares with nothing")
    n = (len(reference), len(candidate))
    mean = fmean(reference)
    gain = mean - fmean(candidate)
    noise = NoiseModel.from_arms([reference, candidate])
    if not noise.df or not noise.variance:
        return Difference(n, 100 * gain / mean, float("inf"), None)
    error = noise.sd * sqrt(sum(1 / k for k in n))
    half = noise.half_width(*n)
    return Difference(n, 100 * gain / mean, 100 * half / mean, t_sf(gain / error, noise.df))


def tables(setting: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """All tables, as Markdown."""
    arms = list(dict.fromkeys(t["arm"] for t in trials))
    parts = [setting_table(setting), arms_table(setting, trials, arms)]
    parts.append(comparisons(setting, trials))
    return "\n\n".join([*parts, trials_table(trials)])


def setting_table(setting: Mapping[str, Any]) -> str:
    """Where and on what it was measured."""
    rows = [
        ("device", setting["device"]),
        ("cores of a trial", setting["cores"]),
        ("software", f"Python {setting['python']}, torch {setting['torch']}"),
        ("sandbox", setting["sandbox"]),
        ("budget", f"{setting['budget_s']:g} s of wall clock"),
        ("corpus", f"`{setting['corpus']}`, fingerprint `{setting['fingerprint'][:16]}`"),
        ("harness", f"`{setting['harness'][:16]}`"),
        *(
            (name, f"{s['n_bytes']:,} bytes, {s['n_tokens']:,} tokens, {s['n_documents']:,} texts")
            for name, s in setting["splits"].items()
        ),
    ]
    return table(("what", "value"), rows)


def arms_table(setting: Mapping[str, Any], trials: Sequence[Trial], arms: Sequence[str]) -> str:
    """Mean and spread of each arm, and what it is made of."""
    rows = []
    for arm in arms:
        got = values(trials, arm)
        made = setting["arms"][arm]
        moves = " ".join(f"`{m}`" for m in made["moves"]) or "nothing changed"
        sd = f"{NoiseModel.from_arms([got]).sd:.5f}" if len(got) > 1 else "-"
        n_failed = sum(t["arm"] == arm and t["status"] != "finished" for t in trials)
        mean = f"{fmean(got):.5f}" if got else "-"
        rows.append((arm, made["start"], moves, len(got), n_failed, mean, sd, made["tree"][:10]))
    head = ("arm", "start", "moves", "n", "failed", "bits per byte", "sd", "tree")
    return table(head, rows)


def comparisons(setting: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """Each pair that is to be compared, with all trials and without those that chose the arm."""
    rows = []
    for arm, reference in setting["pairs"]:
        chose = setting.get("chosen_by", {}).get(arm, ())
        sets = [("all", ())] + ([("without those that chose the arm", chose)] if chose else [])
        for name, without in sets:
            got, known = values(trials, arm, without), values(trials, reference)
            if not got or not known:
                continue
            d = difference(known, got)
            p = "-" if d.p_value is None else f"{d.p_value:.1e}"
            interval = f"{d.gain - d.half:+.1f} to {d.gain + d.half:+.1f} %"
            rows.append((f"{arm} against {reference}", name, f"{d.n[1]} and {d.n[0]}",
                         f"{d.gain:+.2f} %", interval, p))  # fmt: skip
    head = ("comparison", "trials", "n", "lower by", "95 % interval", "p")
    return table(head, rows)


def trials_table(trials: Sequence[Trial]) -> str:
    """Each trial as the harness saw it."""
    rows = []
    for t in trials:
        seen, claimed = t["observed"], t["claimed"]
        bad = [name for name, outcome in t["probes"].items() if outcome != "pass"]
        rows.append(
            (
                *(t["arm"], t["split"], t["seed"], t["status"]),
                *(digits(t["metric"], 5), digits(claimed.get("steps"), 0)),
                digits(claimed.get("epochs"), 2),
                *(digits(seen.get(k), 1) for k in ("startup_s", "used_s", "graded_s")),
                digits(seen.get("gpu_busy"), 2),
                digits(seen.get("gpu_power_w"), 0),
                digits(scaled(seen.get("gpu_peak_bytes")), 1),
                digits(scaled(seen.get("artifact_bytes")), 2),
                ", ".join(bad) or t["error"] or "none",
            )
        )
    head = ("arm", "split", "seed", "status", "bits per byte", "steps", "epochs", "start-up s",
            "used s", "graded s", "GPU busy", "W", "GPU GiB", "saved GiB", "amiss")  # fmt: skip
    return table(head, rows)


def scaled(n_bytes: float | None) -> float | None:
    """Bytes in GiB."""
    return None if n_bytes is None else n_bytes / 2**30


def digits(value: float | None, n: int) -> str:
    """A number with `n` decimals, or a dash."""
    return "-" if value is None else f"{value:.{n}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def page(text: str, inner: str) -> str:
    """The page with `inner` between its marks.

    Raises:
        UsageError: the page does not have both marks once, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise UsageError(f"the page needs the lines {BEGIN} and {END} once, in this order")
    return f"{before}{BEGIN}\n\n{inner}\n\n{END}{after}"


def write(folder: Path, driver_output: Path | None = None, run: Path | None = None) -> None:
    """Write the tables of a folder into its page, of trials that are taken over first if given."""
    setting = json.loads((folder / "setting.json").read_text())
    rows = None
    if driver_output is not None:
        rows = [compact(row) for row in read_trials(driver_output)]
    elif run is not None:
        new = arms_of_run(run, setting["arms"])
        kept = [row for row in read_trials(folder / "trials.jsonl") if row["arm"] not in new]
        rows = trials_of_run(run, setting["arms"]) + kept
    if rows is not None:
        (folder / "trials.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    readme = folder / "README.md"
    readme.write_text(
        page(readme.read_text(), tables(setting, read_trials(folder / "trials.jsonl")))
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Write a folder's page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=Path, metavar="TRIALS", help="trials.jsonl of a driver")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="a run's folder")
    arguments = parser.parse_args(argv)
    try:
        write(arguments.folder, arguments.keep, arguments.run)
    except (UsageError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
