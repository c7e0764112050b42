"""Evaluators of OpenEvolve as the command of a pack: `evaluate(program_path)` gives metrics.

Source: OpenEvolve's contract for `evaluator.py` (a dict of numbers or an object with `metrics`;
`combined_score` counts, else the mean). The evaluator imports the program, so what it says is
self-reported, as it is there.
"""

from __future__ import annotations

from dataclasses import replace

from novum.benchmarks.command.repository import Project
from novum.errors import UsageError

DRIVER = "novum_openevolve.py"
METRIC = r"^combined_score: (\S+)$"
PROGRAM = '''"""Evaluate a program as OpenEvolve does, and print its score."""

import importlib.util
import os
import sys

evaluator, program = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.abspath(evaluator)))
spec = importlib.util.spec_from_file_location("evaluator", evaluator)
module = importlib.util.module_from_spec(spec)
sys.modules["evaluator"] = module
spec.loader.exec_module(module)
found = module.evaluate(program)
metrics = getattr(found, "metrics", found)
numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}
if not numbers:
    sys.exit(f"the evaluator gave no number: {metrics}")
mean = sum(numbers.values()) / len(numbers)
for name, value in numbers.items():
    if name != "combined_score":
        print(f"{name}: {value!r}")
print(f"combined_score: {numbers.get('combined_score', mean)!r}")
'''


def with_driver(project: Project, evaluator: str, program: str) -> tuple[Project, str]:
    """The project with a program that calls its evaluator, and the command for it.

    Raises:
        UsageError: one of the two files is not there.
    """
    for path in (evaluator, program):
        if path not in project.files:
            raise UsageError(f"--openevolve: {path!r} is no file of the project.")
    if evaluator == program:
        raise UsageError("the evaluator measures the program, so it cannot be editable.")
    files = {**project.files, DRIVER: PROGRAM.encode()}
    return replace(project, files=files), f"python {DRIVER} {evaluator} {program}"
