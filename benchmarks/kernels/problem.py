"""A problem on disk: a folder with `definition.json`, `workload.jsonl` and, where we add them,
extras.

workload.jsonl       the format's own file: real model sizes
workload.cpu.jsonl   the same problem in sizes that one core can bear (ours, optional)
roofline.json        corrections of the counted bytes and FLOPs (ours, optional)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pydantic import Field, ValidationError

from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.document import Document
from novum.benchmarks.kernels.expressions import ExpressionError
from novum.benchmarks.kernels.workload import Workload
from novum.errors import PackError, UnknownName

SHIPPED = Path(__file__).parent / "problems"


class RooflineCorrection(Document):
    """Counts that replace what the analyser found, as expressions over the axes."""

    bytes: str | None = None
    """Bytes that must move between memory and the chip."""
    matmul_flops: dict[str, str] | None = None
    """By element type of the operands."""
    vector_flops: str | None = None
    why: str = Field(min_length=10)
    """The argument that the smaller or larger number is right."""


@dataclass(frozen=True)
class Problem:
    """One definition with the workloads of one profile."""

    folder: Path
    definition: Definition
    workloads: tuple[Workload, ...]
    correction: RooflineCorrection | None = None

    @property
    def name(self) -> str:
        """The folder's name: short, and distinct within a benchmark."""
        return self.folder.name


def read_definition(path: Path) -> Definition:
    """Read a definition; an empty reference is taken from `reference.py` beside it.

    Raises:
        PackError: the file is malformed or contradicts itself.
    """
    try:
        fields = json.loads(path.read_text())
        beside = path.parent / "reference.py"
        if isinstance(fields, dict) and not fields.get("reference") and beside.is_file():
            fields["reference"] = beside.read_text()
        return Definition.model_validate(fields)
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError, RecursionError) as error:
        raise PackError(f"{path}: {error}") from error


def read_workloads(path: Path, definition: Definition) -> tuple[Workload, ...]:
    """Read and check every line.

    Raises:
        PackError: a line is malformed, does not fit the definition, or repeats a uuid.
    """
    found: dict[str, Workload] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if isinstance(fields, dict) and isinstance(fields.get("workload"), dict):
                fields = fields["workload"]  # stored as a trace without solution
            workload = Workload.model_validate(fields)
            workload.fits(definition)
        except (json.JSONDecodeError, ValidationError, ExpressionError, ValueError) as error:
            raise PackError(f"{path}, line {number}: {error}") from error
        if workload.uuid in found:
            raise PackError(f"{path}, line {number}: the uuid {workload.uuid} occurs twice")
        found[workload.uuid] = workload
    if not found:
        raise PackError(f"{path} holds no workload")
    return tuple(found.values())


def load_problem(folder: Path, profile: str = "cuda") -> Problem:
    """Read one problem; the profile `cpu` takes `workload.cpu.jsonl` where it exists.

    Raises:
        PackError: a file is missing or malformed.
    """
    if not (folder / "definition.json").is_file():
        raise PackError(f"{folder} holds no definition.json")
    definition = read_definition(folder / "definition.json")
    small = folder / "workload.cpu.jsonl"
    path = small if profile == "cpu" and small.is_file() else folder / "workload.jsonl"
    if not path.is_file():
        raise PackError(f"{folder} holds no workload.jsonl")
    correction = None
    if (folder / "roofline.json").is_file():
        try:
            correction = RooflineCorrection.model_validate_json(
                (folder / "roofline.json").read_text()
            )
        except ValidationError as error:
            raise PackError(f"{folder / 'roofline.json'}: {error}") from error
    return Problem(folder, definition, read_workloads(path, definition), correction)


def load_problems(
    root: Path = SHIPPED, select: Sequence[str] = ("*",), profile: str = "cuda"
) -> tuple[Problem, ...]:
    """Every problem below a folder, in order of names: a single problem, or a benchmark with
    subsets.

    Raises:
        PackError: a file is malformed.
        UnknownName: nothing matches `select`; the message lists what there is.
    """
    folders = sorted(path.parent for path in root.rglob("definition.json"))
    chosen = [
        f
        for f in folders
        if any(fnmatch(f.name, glob) or fnmatch(_below(f, root), glob) for glob in select)
    ]
    if not chosen:
        known = ", ".join(f.name for f in folders) or "none"
        raise UnknownName(f"no problem in {root} matches {list(select)}; there are: {known}")
    return tuple(load_problem(folder, profile) for folder in chosen)


def _below(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()


def write_lines(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines; unset keys are left out, non-finite numbers are refused."""
    lines = [
        json.dumps(d.model_dump(mode="json", exclude_none=True), allow_nan=False) for d in documents
    ]
    path.write_text("".join(line + "\n" for line in lines))
