"""Held-out text that lies on the machine itself, and what a sandbox shows in its place.

The corpus `python` is the source of the interpreter and of torch, which a candidate needs to run;
the archive of the corpus `linux` lies under /usr. A sandbox shows both, and which documents are
held out follows from public code: a candidate could read the sealed split off the disk. So the
harness mounts something else over each file of held-out text. What nobody needs is empty. A module
that a program may import is replaced by its own bytecode without docstrings: it works as before,
and its text is not there. Names and constants stay in bytecode; the rules of the audit stop who
takes it apart.
"""

from __future__ import annotations

import ast
import marshal
from collections.abc import Iterable, Iterator
from importlib.util import cache_from_source
from pathlib import Path

from novum.benchmarks.nanochat.corpus import (
    Document,
    as_document,
    excerpt,
    is_held_out,
    python_files,
    split,
)
from novum.benchmarks.nanochat.prepare import DataPlan
from novum.sandboxes import interpreter

Covers = dict[Path, bytes | None]
"""What a path shows instead: other contents, or nothing at all, a whole folder too."""

LINUX_FOLDER = Path("/usr/src")
"""Holds the archive, and the headers of the kernel, which repeat parts of it."""
NEVER_IMPORTED = frozenset(
    """test tests idle_test idlelib lib2to3 turtledemo testing examples distutils ensurepip
    pydoc_data tkinter bench""".split()
)
SYSTEM_PYTHONS = ("/usr/lib/python3*", "/usr/local/lib/python3*")


def cover(plan: DataPlan) -> Covers:
    """What to hide from a candidate that is graded on this data; a corpus may lie elsewhere."""
    kind, _, argument = plan.corpus.partition(":")
    if kind == "python":
        return dict(_modules(plan))
    return hide(_places(kind, argument))


def hide(paths: Iterable[Path]) -> Covers:
    """Show nothing in these places, as far as a sandbox would show them."""
    return dict.fromkeys(_shown(paths))


def is_shown(path: Path) -> bool:
    """Whether a sandbox that isolates shows a path of this machine."""
    return any(base == path or base in path.parents for base in interpreter.shown())


def _places(kind: str, argument: str) -> list[Path]:
    """Where a corpus lies that no program needs; without an argument `linux` is in its folder."""
    named = [Path(argument).expanduser().absolute()] if argument else []
    match kind:
        case "linux":
            return [LINUX_FOLDER, *named]
        case "climbmix":
            return [shard for folder in named for shard in folder.glob("*.parquet")]
        case "text":
            return named
    return []


def _modules(plan: DataPlan) -> Iterator[tuple[Path, bytes]]:
    for root, path in _held_out(plan):
        inside = path.relative_to(root)
        shown = replacement(path, inside)
        for place in _shown([path]):
            yield place, shown
            yield from ((compiled, b"") for compiled in _compiled(place))
        for pattern in SYSTEM_PYTHONS:  # another Python's edition of the module
            for other in Path("/").glob(f"{pattern[1:]}/{inside}"):
                if other.resolve() != path.resolve():
                    yield from ((place, replacement(other, inside)) for place in _shown([other]))


def _held_out(plan: DataPlan) -> Iterator[tuple[Path, Path]]:
    """Files of the corpus `python` that are graded, each after its root."""
    files: dict[str, list[tuple[Path, Path]]] = {}
    documents: dict[str, Document] = {}
    for root, path in python_files():
        if (document := as_document(path.read_bytes())) is not None:
            files.setdefault(document.digest, []).append((root, path))
            if is_held_out(document, plan.held_out_fraction):
                documents[document.digest] = document
    splits = split(
        (documents[digest] for digest in sorted(documents)),
        held_out_fraction=plan.held_out_fraction,
        held_out_bytes=plan.held_out_bytes,
        max_document_bytes=plan.max_document_bytes,
        max_train_bytes=0,
    )
    graded = {d.digest for d in (*splits.validation, *splits.sealed)}
    for digest, document in documents.items():
        if excerpt(document, plan.max_document_bytes).digest in graded:
            yield from files[digest]


def _compiled(module: Path) -> set[Path]:
    """Where bytecode of a module lies, or may come to lie while a run goes on."""
    written = set((module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"))
    return written | {Path(cache_from_source(module, optimization=o)) for o in ("", 1, 2)}


def replacement(path: Path, inside: Path) -> bytes:
    """What a module's file shows: nothing, or a program that does the same without its text."""
    if NEVER_IMPORTED & set(inside.parts) or inside.name.startswith("test_"):
        return b""
    try:
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            _blank_docstring(node)
        code = compile(tree, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return b""  # an example of bad syntax
    return b"exec(__import__('marshal').loads(%r))\n" % marshal.dumps(code)


def _blank_docstring(node: ast.AST) -> None:
    """Leave an empty one: code that adds to or formats its own docstring goes on working."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
        statement = node.body[0]
        assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        statement.value.value = ""


def _shown(paths: Iterable[Path]) -> list[Path]:
    """Those that a sandbox shows, under each of their names."""
    names = {name for path in paths if path.exists() for name in (path, path.resolve())}
    return sorted(name for name in names if is_shown(name))
