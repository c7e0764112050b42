"""The files of a project as they lie on disk: what git would keep, or everything where git is not.

A candidate is made of these files, is archived whole, and is laid out for every trial: so there are
limits, and a link may point at nothing outside.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from novum.errors import ToolError, UsageError
from novum.lab.paths import check_names

MAX_FILES = 2_000
MAX_FILE_BYTES = 2 << 20
MAX_BYTES = 64 << 20
SKIPPED = frozenset({".git", "__pycache__", ".venv", "venv", "node_modules", ".tox", ".mypy_cache"})
"""Folders that are left out where no .gitignore says so."""
LISTED = 8


@dataclass(frozen=True)
class Project:
    """A project read from its folder."""

    files: dict[str, bytes]
    executable: tuple[str, ...]
    by_git: bool
    """Whether git said which files belong to it."""


def read_project(folder: Path, leave_out: Iterable[str] = ()) -> Project:
    """Read a project's files; links to files inside become copies of them.

    Args:
        leave_out: globs of files that do not become part of it.

    Raises:
        UsageError: there is no project, a link leads out of it, or it is too large.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; name the project with --repo.")
    root = folder.resolve()
    names = _of_git(root)
    by_git = names is not None
    globs = tuple(leave_out)
    paths = [
        name
        for name in sorted(set(names if names is not None else _walk(root)))
        if not any(fnmatch(name, glob) for glob in globs)
    ]
    files: dict[str, bytes] = {}
    executable: list[str] = []
    for name in paths:
        for path, place in _resolved(root, name):
            if _is_novums(root, path):
                continue
            files[path] = _read(place, path)
            if os.access(place, os.X_OK):
                executable.append(path)
    _check(files, folder)
    return Project(files, tuple(executable), by_git)


def _of_git(root: Path) -> list[str] | None:
    """What git tracks, and what it would add; `None` where it is no work tree of git."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    argv = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(argv, capture_output=True, env=clean, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        if "dubious ownership" in said:
            raise UsageError(f"git refuses {root}: {said.splitlines()[0]}")
        return None
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def _walk(root: Path) -> list[str]:
    found = []
    for parent, folders, names in os.walk(root):
        links = [f for f in folders if os.path.islink(os.path.join(parent, f))]
        folders[:] = sorted(f for f in folders if f not in SKIPPED and f not in links)
        found += [os.path.relpath(os.path.join(parent, n), root) for n in (*names, *links)]
        if len(found) > 10 * MAX_FILES:
            raise UsageError(
                f"{root} holds more than {10 * MAX_FILES} files and is no git repository; "
                "run `git init` there and list in .gitignore what does not belong to it."
            )
    return [name for name in found if not name.endswith(".pyc")]


def _resolved(root: Path, name: str) -> list[tuple[str, Path]]:
    """Regular files that a name stands for: itself, a link's target, a linked folder's files."""
    place = root / name
    target = place.resolve()
    if not target.is_relative_to(root):
        shown = os.readlink(place) if place.is_symlink() else target
        raise UsageError(
            f"{name} is a link that leads out of the project, to {shown}. Replace it by what it "
            f"points to, or leave it out with --leave-out '{name}'."
        )
    if target.is_file():
        return [(name, target)]
    if place.is_symlink() and target.is_dir():
        inner = [p for p in sorted(target.rglob("*")) if p.is_file() and not p.is_symlink()]
        return [
            (f"{name}/{p.relative_to(target).as_posix()}", p)
            for p in inner
            if not SKIPPED & set(p.relative_to(target).parts)
        ]
    return []  # deleted in the work tree, a submodule, a pipe


def _is_novums(root: Path, path: str) -> bool:
    """Whether a file belongs to a run or a pack of Novum that lies inside the project."""
    for parent in (root / path).parents:
        if parent == root:
            return False
        if (parent / "ledger.db").is_file() or (
            (parent / "pack.toml").is_file() and (parent / "start").is_dir()
        ):
            return True
    return False


def _read(place: Path, name: str) -> bytes:
    if (size := place.stat().st_size) > MAX_FILE_BYTES:
        raise UsageError(
            f"{name} has {size:,} bytes; a file of a candidate may have {MAX_FILE_BYTES:,}. If the "
            f"command reads it as data, leave it out (--leave-out '{name}') and mount its folder "
            "(--mount FOLDER)."
        )
    return place.read_bytes()


def _check(files: dict[str, bytes], folder: Path) -> None:
    if not files:
        raise UsageError(f"{folder} has no files that belong to a project.")
    if len(files) > MAX_FILES:
        raise UsageError(
            f"{folder} has {len(files)} files; a candidate may have {MAX_FILES}. "
            "List in .gitignore or with --leave-out what the command does not need."
        )
    if (total := sum(map(len, files.values()))) > MAX_BYTES:
        largest = sorted(files, key=lambda n: -len(files[n]))[:LISTED]
        raise UsageError(
            f"{folder} holds {total:,} bytes; a candidate may have {MAX_BYTES:,}. The largest "
            f"files: {', '.join(largest)}."
        )
    try:
        check_names(files)
    except ToolError as error:
        raise UsageError(f"{error}. Rename it, or leave it out with --leave-out.") from error
