"""What the audit's reading of a candidate's code rejects, for suites that run without a run."""

from __future__ import annotations

from collections.abc import Mapping

from novum.benchmarks.pack import Pack
from novum.evals.audit import precheck
from novum.lab.records import Outcome


def rejections(pack: Pack, files: Mapping[str, bytes]) -> list[str]:
    """Messages of the static steps that fail these files; the default start is their parent."""
    start = pack.start_files()
    found = precheck(pack, dict(files), start, start)
    return [f"{e.step}: {e.summary}" for e in found if e.outcome is Outcome.FAIL]
