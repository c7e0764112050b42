"""A tool for the researcher: what is wrong with the trips that the present `solve.py` finds."""

from __future__ import annotations

import json

from pydantic import BaseModel, Field

from novum.benchmarks.toolbox import ToolBench
from novum.errors import ToolError
from novum.sandboxes.protocol import ExitCause

PROGRAM = b"""
import json, sys, types
import numpy as np

sys.modules["harness"] = types.ModuleType("harness")  # the gate is not here
import solve

rng = np.random.default_rng(int(sys.argv[1]))
points = rng.uniform(0.0, 1.0, (60, 2))
trip = points[np.asarray(solve.trip(points, rng))]
steps = np.linalg.norm(trip - np.roll(trip, -1, axis=0), axis=1)


def side(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def cross(i, j):
    a, b, c, d = trip[i], trip[(i + 1) % 60], trip[j], trip[(j + 1) % 60]
    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


crossings = sum(cross(i, j) for i in range(60) for j in range(i + 2, 60) if (j + 1) % 60 != i)
print(json.dumps({"length": steps.sum(), "longest": steps.max(), "crossings": int(crossings)}))
"""


class InspectTour(BaseModel, extra="forbid"):
    """Run your solve.py on other cities; say how long its trip is and how often it crosses itself.

    A trip that crosses itself can always be shortened.
    """

    seed: int = Field(default=0, ge=0, description="Which cities: any number but the benchmark's.")


def inspect_tour(call: InspectTour, bench: ToolBench) -> str:
    """Length, longest step and crossings, from a run in the sandbox on cities of no trial.

    Raises:
        ToolError: the program does not run; with the end of what it printed.
    """
    # Cities of the benchmark have small seeds; nobody is to practise on them.
    argv = ("python", "inspect_tour.py", str(1_000_000 + call.seed))
    ended = bench.run(argv, timeout_s=30, extra={"inspect_tour.py": PROGRAM})
    if ended.cause is not ExitCause.EXITED or ended.code != 0:
        raise ToolError(f"solve.py does not run: {(ended.stderr or ended.stdout)[-1500:]}")
    found = json.loads(ended.stdout.strip().splitlines()[-1])
    return (
        f"length {found['length']:.4f}, longest step {found['longest']:.4f}, "
        f"{found['crossings']} crossings"
    )


TOOLS = (("inspect_tour", InspectTour, inspect_tour),)
