"""Anybody's project as a benchmark: a command, a metric read from what it says, files to edit.

`novum init` writes such a pack. Its `grade.py` imports `Grader` from here; everything it needs to
know stands in `pack.toml` (`Spec`). This folder is no pack itself.
"""

from novum.benchmarks.command.grade import Grader
from novum.benchmarks.command.spec import Spec

__all__ = ["Grader", "Spec"]
