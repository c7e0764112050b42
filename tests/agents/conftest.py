"""A lab on the `climb` pack, whose grader computes the loss: everything else is real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from novum.agents.lab import Lab
from novum.agents.opening import open_lab
from novum.lab.run import RunFolder
from novum.settings import restore_settings

PACK = Path(__file__).parent.parent / "packs" / "climb"
MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """Opens the lab of a run folder; called again with its name, resumes it as a new process."""
    stacks: dict[str, ExitStack] = {}

    def make(name: str = "run", *, planner: Any = None, coder: Any = None, **given: Any) -> Lab:
        if name in stacks:
            stacks.pop(name).close()
        values = {
            "benchmark": str(PACK),
            "policy": "greedy",
            "sandbox": {"kind": "process"},
            "budget": {"experiments": 6},
            "paths": {"cache": str(tmp_path / "cache")},
            **given,
        }
        settings = restore_settings(values)
        folder = tmp_path / "runs" / name
        if folder.exists():
            run = RunFolder.open(folder)
        else:
            run = RunFolder.create(
                tmp_path / "runs", name, benchmark="climb", profile="tiny", settings={}
            )
        stacks[name] = ExitStack()
        lab = stacks[name].enter_context(open_lab(run, settings))
        brains = {"planner": planner, "coder": coder}
        lab.brains = {**lab.brains, **{k: v for k, v in brains.items() if v is not None}}
        return lab

    yield make
    for stack in stacks.values():
        stack.close()
