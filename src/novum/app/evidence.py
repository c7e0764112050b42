"""`novum evidence RUN CANDIDATE` and `novum verify FILE`, as functions for the command line."""

from __future__ import annotations

from pathlib import Path

from novum.errors import UsageError
from novum.evals.bundle import export_bundle
from novum.evals.verify import BundleReport, render_report, verify_bundle
from novum.lab.run import find_run


def write_evidence(
    runs: Path, run: str | None, candidate: str | None = None, target: Path | None = None
) -> Path:
    """Export the evidence for a candidate, or for the champion (the default); returns the file.

    Raises:
        UnknownName: no such run or candidate.
        UsageError: no candidate is named and the run has no champion.
        RecordError: there is no verdict on it, or the records do not bear it out.
    """
    folder = find_run(runs, run)
    if candidate is None or candidate == "champion":
        with folder.ledger(read_only=True) as ledger:
            champion = ledger.champion()
        if champion is None:
            raise UsageError(
                f"run {folder.name} has no champion yet; name a candidate: `novum evidence "
                f"{folder.name} CANDIDATE`"
            )
        candidate = champion[0]
    return export_bundle(folder, candidate, target or Path.cwd())


def check_evidence(file: Path) -> tuple[BundleReport, str]:
    """Verify a bundle; returns the report and its text. `report.holds` decides the exit code.

    Raises:
        UsageError: there is no such file.
        RecordError: it is not an evidence bundle.
    """
    if not file.is_file():
        what = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise UsageError(f"{file} {what}.\n`novum evidence RUN` writes a bundle.")
    report = verify_bundle(file)
    return report, render_report(report)
