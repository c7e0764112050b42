"""Scope of the diff: which files a candidate touches, how large they are and what they hide.

A path must lie below the candidate's folder on every system, must not shadow a module that the
harness or a library imports, and must match the manifest's globs if it differs from the start's.
Weights or answers smuggled in source code are met by a limit on information: the compressed size
of what was added, however it is spelt and into however many pieces it is cut.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from novum.benchmarks.pack import Pack
from novum.evals.evidence import found
from novum.lab.counted import counted
from novum.lab.records import Evidence, Outcome

STEP = "scope"
Files = Mapping[str, bytes]

MAX_PATH = 200
MAX_FILES = 64
MAX_FILE_BYTES = 256 << 10
MAX_ADDED_BYTES = 48 << 10
"""Compressed bytes that a candidate may add over its start. Our longest start is 4 KB compressed;
a thousand lines of dense code are about 12 KB; the weights of a 30,000-parameter model are more."""

SHADOWED = frozenset(sys.stdlib_module_names) | {
    "torch", "numpy", "triton", "novum", "harness", "scipy", "pydantic", "psutil", "tokenizers",
    "sitecustomize", "usercustomize", "conftest", "setup", "pip", "pkg_resources", "setuptools",
    "cuda", "cupy", "jax", "transformers",
}  # fmt: skip
HOOK_SUFFIXES = (
    ".pth",
    ".so",
    ".pyd",
    ".dll",
    ".dylib",
    ".pyc",
    ".pyo",
    ".o",
    ".a",
    ".whl",
    ".egg",
)
HOOK_NAMES = frozenset({"pyvenv.cfg", "pyproject.toml", "setup.cfg", "makefile", "dockerfile"})
ODD = re.compile(r"[\x00-\x1f\x7f\\:*?\"<>|]|[^\x00-\x7f]")


def check_scope(
    pack: Pack, candidate: Files, parent: Files, start: Files, proposal: str, tree: str
) -> Evidence:
    """FAIL where the change reaches beyond what the pack lets a candidate change."""
    changed = sorted(p for p in candidate.keys() | start.keys() if candidate.get(p) != start.get(p))
    problems = [
        *(f"{p}: {why}" for p in changed if (why := _path_problem(p, start))),
        *(f"{p} is not one of {', '.join(pack.manifest.editable)}" for p in changed
          if not pack.is_editable(p)),
        *_twins(candidate),
        *(f"{p}: {why}" for p in changed if (why := _size_problem(candidate.get(p, b"")))),
    ]  # fmt: skip
    if len(candidate) > MAX_FILES + len(start):
        problems.append(f"{len(candidate)} files are more than {MAX_FILES}")
    added = added_bytes(candidate, start)
    if added > MAX_ADDED_BYTES:
        problems.append(
            f"the change adds {added:,} bytes of information; code needs less than "
            f"{MAX_ADDED_BYTES:,}: weights or data must not travel in source files"
        )
    against_parent = sum(
        candidate.get(p) != parent.get(p) for p in candidate.keys() | parent.keys()
    )
    summary = "; ".join(problems) or _within(against_parent)
    outcome = Outcome.FAIL if problems else Outcome.PASS
    return found(proposal, tree, STEP, outcome, summary[:600], files=changed, added_bytes=added)


def added_bytes(candidate: Files, start: Files) -> int:
    """Compressed size of the candidate's files given the start's: the information in the change."""
    before = b"".join(start[p] for p in sorted(start))
    changed = [p for p in sorted(candidate) if candidate[p] != start.get(p)]
    after = b"".join(_between(start.get(p, b""), candidate[p]) for p in changed)
    if not after:
        return 0
    packer = zlib.compressobj(9, zdict=before[-32768:]) if before else zlib.compressobj(9)
    return len(packer.compress(after) + packer.flush())


def _between(old: bytes, new: bytes) -> bytes:
    """What of a file lies between the lines that it begins and ends with as before: a compressor
    that looks back 32 KB does not find a large file again."""
    was, lines = old.splitlines(keepends=True), new.splitlines(keepends=True)
    head = _common(was, lines)
    tail = _common(was[head:][::-1], lines[head:][::-1])
    return b"".join(lines[head : len(lines) - tail])


def _common(a: list[bytes], b: list[bytes]) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _path_problem(path: str, start: Files) -> str:
    pure = PurePosixPath(path)
    parts = path.split("/")
    if not path or path.startswith(("/", "~", "-")) or pure.is_absolute():
        return "the path must be relative"
    if any(p in ("", ".", "..") for p in parts) or ODD.search(path) or len(path) > MAX_PATH:
        return "the path plays tricks"
    if any(p.startswith(".") for p in parts):
        return "hidden files are not part of a candidate"
    if path in start:
        return ""
    names = {p.split(".")[0].lower() for p in parts}
    if path.endswith((".py", ".pyi")) and names & SHADOWED or _is_package(path):
        return "it would be imported in place of a module of that name"
    if path.lower().endswith(HOOK_SUFFIXES) or pure.name.lower() in HOOK_NAMES:
        return "files of this kind run on their own or hide their content"
    return ""


def _is_package(path: str) -> bool:
    """Whether the file makes a folder that shadows a module, whatever the file's suffix."""
    return any(p.lower() in SHADOWED for p in path.split("/")[:-1])


def _within(n_changed: int) -> str:
    editable = "it is editable" if n_changed == 1 else "all of them editable"
    return f"{counted(n_changed, 'file')} changed, {editable}"


def _twins(files: Files) -> list[str]:
    seen: dict[str, str] = {}
    clash = []
    for path in sorted(files):
        other = seen.setdefault(path.lower(), path)
        if other != path:
            clash.append(f"{path} and {other} differ by case only")
    return clash


def _size_problem(content: bytes) -> str:
    if len(content) > MAX_FILE_BYTES:
        return f"{len(content):,} bytes are more than {MAX_FILE_BYTES:,}"
    if b"\x00" in content:
        return "a binary file"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8 text"
    return ""
