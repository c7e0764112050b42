"""A problem on disk: a folder with `definition.json`, `workload.jsonl` and, where we add them,
extras.

workload.jsonl       the format's own file: real model sizes
workload.cpu.jsonl   the same problem in sizes that one core can bear (ours, optional)
roofline.json        corrections of the counted bytes and FLOPs (ours, optional)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from pydantic import Field, ValidationError

from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.document import Document, plainly
from novum.benchmarks.kernels.safetensors import stored_at
from novum.benchmarks.kernels.workload import SafetensorsInput, Workload
from novum.benchmarks.pack import digest_files
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
    root: Path = SHIPPED
    """The benchmark that the problem is part of; stored inputs lie in it."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Why workloads (by uuid) cannot be evaluated: their files contradict themselves."""

    @property
    def name(self) -> str:
        """The folder's name: short, and distinct within a benchmark."""
        return self.folder.name

    @property
    def sound(self) -> tuple[Workload, ...]:
        """The workloads that can be evaluated."""
        return tuple(w for w in self.workloads if w.uuid not in self.faults)

    @property
    def roots(self) -> list[str]:
        """Folders to which a stored input's path may be relative: the nearest first."""
        above = [f for f in self.folder.parents if f.is_relative_to(self.root)]
        return [str(folder) for folder in (self.folder, *above)]


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
    except (ValueError, RecursionError) as error:
        raise PackError(f"{path}: {plainly(error)}") from error


def read_workloads(
    path: Path, definition: Definition | None, faults: dict[str, str] | None = None
) -> tuple[Workload, ...]:
    """Read and check every line. With `faults` given, a line that is wrong is a workload whose
    reason stands there.

    Raises:
        PackError: a line is malformed, does not fit the definition, or repeats a uuid.
    """
    found: dict[str, Workload] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        workload = Workload(uuid=f"line-{number}", axes={}, inputs={})
        try:
            workload = parse_workload(line)
            if workload.uuid in found:
                repeated = workload.uuid
                workload = workload.model_copy(update={"uuid": f"line-{number}"})
                raise ValueError(f"the uuid {repeated} occurs twice")
            if definition is not None:
                workload.fits(definition)
        except ValueError as error:
            if faults is None:
                raise PackError(f"{path}, line {number}: {plainly(error)}") from error
            faults[workload.uuid] = f"{path.name}, line {number}: {plainly(error)}"
        found[workload.uuid] = workload
    if not found:
        raise PackError(f"{path} holds no workload")
    return tuple(found.values())


def parse_workload(line: str) -> Workload:
    """One line: a workload, or a trace without solution around one.

    Raises:
        ValueError: it is neither.
    """
    fields = json.loads(line)
    if isinstance(fields, dict) and isinstance(fields.get("workload"), dict):
        fields = fields["workload"]
    return Workload.model_validate(fields)


def load_problem(
    folder: Path, profile: str = "cuda", root: Path | None = None, *, strict: bool = True
) -> Problem:
    """Read one problem; the profile `cpu` takes `workload.cpu.jsonl` where it exists.

    Where it need not be `strict`, what contradicts itself is a fault of its workloads.

    Raises:
        PackError: a file is missing or malformed.
    """
    if not (folder / "definition.json").is_file():
        raise PackError(f"{folder} holds no definition.json")
    small = folder / "workload.cpu.jsonl"
    path = small if profile == "cpu" and small.is_file() else folder / "workload.jsonl"
    if not path.is_file():
        raise PackError(f"{folder} holds no workload.jsonl")
    correction = read_correction(folder / "roofline.json")
    root = root or folder
    faults: dict[str, str] = {}
    try:
        definition = read_definition(folder / "definition.json")
    except PackError as error:
        if strict:
            raise
        workloads = read_workloads(path, None, faults)
        faults = {w.uuid: str(error) for w in workloads} | faults
        return Problem(folder, nameless(folder.name), workloads, correction, root, faults)
    workloads = read_workloads(path, definition, None if strict else faults)
    return Problem(folder, definition, workloads, correction, root, faults)


def nameless(name: str) -> Definition:
    """Stands for a definition that cannot be read, in traces; nothing else may use it."""
    return Definition.model_construct(name=name, axes={}, inputs={}, outputs={}, reference="")


def read_correction(path: Path) -> RooflineCorrection | None:
    """The corrections of a problem's counts, where it has any.

    Raises:
        PackError: the file is malformed.
    """
    if not path.is_file():
        return None
    try:
        return RooflineCorrection.model_validate_json(path.read_text())
    except ValidationError as error:
        raise PackError(f"{path}: {plainly(error)}") from error


def load_problems(
    root: Path = SHIPPED,
    select: Sequence[str] = ("*",),
    profile: str = "cuda",
    *,
    strict: bool = True,
) -> tuple[Problem, ...]:
    """Every problem below a folder, in order of names: a single problem, or a benchmark with
    subsets. See `load_problem` for `strict`.

    Raises:
        PackError: a file is malformed, or two problems have one name.
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
    by_name = {folder.name: folder for folder in chosen}
    for folder in chosen:
        if by_name[folder.name] != folder:
            both = f"{_below(folder, root)} and {_below(by_name[folder.name], root)}"
            raise PackError(f"{root}: {both} have one name; take a subset of the benchmark")
    return tuple(load_problem(folder, profile, root, strict=strict) for folder in chosen)


def _below(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()


def fingerprint(problems: Iterable[Problem]) -> str:
    """A digest of every file that the problems are made of, stored inputs included."""
    digests: dict[str, bytes] = {}
    for problem in problems:
        files = {f.relative_to(problem.folder).as_posix(): f for f in files_below(problem.folder)}
        for workload in problem.sound:
            for source in workload.inputs.values():
                if isinstance(source, SafetensorsInput):
                    stored = stored_at(problem.roots, source.path)
                    files |= {source.path: stored} if stored is not None else {}
        for name, file in files.items():
            with file.open("rb") as stream:
                digests[f"{problem.name}/{name}"] = hashlib.file_digest(stream, "sha256").digest()
    return digest_files(digests)


def files_below(folder: Path) -> list[Path]:
    """Regular files; caches and links are left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
    ]


def write_lines(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines; unset keys are left out, non-finite numbers are refused."""
    lines = [
        json.dumps(d.model_dump(mode="json", exclude_none=True), allow_nan=False) for d in documents
    ]
    path.write_text("".join(line + "\n" for line in lines))
