"""This pack on somebody else's problems: a folder in the form of SOL-ExecBench, as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from novum.benchmarks.kernels.problem import load_problems
from novum.benchmarks.pack import Pack
from novum.errors import PackError, UsageError

LEFT_OUT = ("cpu_all",)
"""Profiles that name all of this pack's own problems: with others, each profile takes all."""


def adopt(pack: Pack, problems: Path) -> Pack:
    """The pack with the problems of a folder: one problem, a subset, or a whole benchmark.

    It starts from the references. A definition that contradicts itself is no error here: its
    workloads end as INVALID_REFERENCE, and the others are measured.

    Raises:
        UsageError: there is no such folder.
        UnknownName: it holds no problem.
        PackError: it holds none that can be evaluated.
    """
    root = problems.expanduser().resolve()
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}.")
    found = load_problems(root, strict=False)
    if not any(problem.sound for problem in found):
        reason = next(iter(found[0].faults.values()))
        raise PackError(f"none of its problems can be evaluated; the first: {reason}")
    start = {f"{p.name}.py": p.definition.reference.encode() for p in found if p.sound}
    options = {"path": str(root), "problems": ["*"]}
    profiles = {
        name: profile.model_copy(update={"options": profile.options | options, "starts": ()})
        for name, profile in pack.manifest.profiles.items()
        if name not in LEFT_OUT
    }
    faulty = sum(1 for problem in found if problem.faults)
    remark = f" ({faulty} with faults)" if faulty else ""
    title = f"{len(found)} problems of {root.name}{remark}, scored by the device's speed of light"
    manifest = pack.manifest.model_copy(
        update={"title": title, "profiles": profiles, "default_start": "reference"}
    )
    return replace(pack, manifest=manifest, problems=root, given_starts={"reference": start})
