"""Compiled kernels that the trials of one candidate may share, where all code is one's own.

A folder that outlives a trial carries state from one to the next: a program could leave its
trained weights there and find them in the next trial, before the clock starts. So each trial
compiles anew, unless who starts the harness names a folder in `NOVUM_COMPILE_CACHE`, which is for
code that they wrote themselves. Candidates of different files never share a folder, and only the
sandbox `process`, which does not isolate and is for such code, passes one on.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "NOVUM_COMPILE_CACHE"


def cache_variables(sandbox: str, tree: str) -> dict[str, str]:
    """Where torch and Triton of a candidate keep what they compile; empty where they may not."""
    folder = os.environ.get(VARIABLE)
    if not folder or sandbox != "process":
        return {}
    own = Path(folder).resolve() / tree
    own.mkdir(parents=True, exist_ok=True)
    return {
        "TORCHINDUCTOR_CACHE_DIR": str(own / "inductor"),
        "TRITON_CACHE_DIR": str(own / "triton"),
    }
