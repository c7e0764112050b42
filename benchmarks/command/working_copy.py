"""The copy of a project that one stage works in: a candidate's edits over the original files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

from novum.benchmarks.harness.scratch import lay_out

CODE = (".py", ".pyc", ".pyi", ".pth", ".so", ".pyd", ".ini", ".cfg", ".toml", ".sh", ".conf")
"""Files that change what another program does when they lie in its folder."""


def overlay(
    candidate: Mapping[str, bytes],
    original: Mapping[str, bytes],
    is_editable: Callable[[str], bool],
    hidden: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """What a candidate may edit, as it made it; all other files as they were at the beginning."""
    kept = {path: content for path, content in candidate.items() if is_editable(path)}
    fixed = {path: content for path, content in original.items() if not is_editable(path)}
    return kept | fixed | dict(hidden or {})


def make_copy(
    folder: Path,
    files: Mapping[str, bytes],
    is_editable: Callable[[str], bool],
    executable: Iterable[str],
) -> None:
    """Write a copy in which programs may write; the files that nobody may edit are read-only."""
    lay_out(folder, files)
    runs = set(executable)
    for parent, _, _ in os.walk(folder):
        os.chmod(parent, 0o755)
    for path, content in files.items():
        may_run = path in runs or (is_editable(path) and content.startswith(b"#!"))
        mode = (0o644 if is_editable(path) else 0o444) | (0o111 if may_run else 0)
        (folder / path).chmod(mode)


def changed_files(folder: Path, expected: Mapping[str, bytes]) -> tuple[str, ...]:
    """Files that no longer are what they were; the writers must be dead."""
    return tuple(sorted(path for path, was in expected.items() if not _is(folder, path, was)))


def _is(folder: Path, path: str, content: bytes) -> bool:
    place = folder / path
    try:
        if place.is_symlink() or not place.is_file() or place.stat().st_size != len(content):
            return False
        return sha256(place.read_bytes()).digest() == sha256(content).digest()
    except OSError:
        return False


def hand_over(
    left: Path, target: Path, known: Mapping[str, bytes], globs: Iterable[str]
) -> list[str]:
    """Copy what a run left and a later stage needs; never over a file of the project, never code.

    `left` has been stripped to regular files.
    """
    wanted, copied = tuple(globs), []
    for path in sorted(left.rglob("*")) if wanted else ():
        name = path.relative_to(left).as_posix()
        if not path.is_file() or path.is_symlink() or name in known or name.endswith(CODE):
            continue
        if any(fnmatch(name, glob) for glob in wanted):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
            copied.append(name)
    return copied
