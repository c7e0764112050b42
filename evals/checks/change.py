"""Does the change change anything? Compared by meaning, not by text.

A proposal that only moves comments, names or layout costs trials and can only win by luck; one that
only moves a seed is luck on purpose.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache

from novum.evals.evidence import found
from novum.evals.rules.clex import tokens
from novum.evals.syntax import SEEDERS, normal_form
from novum.lab.counted import counted
from novum.lab.records import Evidence, Outcome

STEP = "change"
Files = Mapping[str, bytes]
SEEDS = re.compile(rb"(?i)seed|[^\x00-\x7f]|" + "|".join(sorted(SEEDERS)).encode())
"""What a file that chooses a seed must hold; a letter beyond ASCII may stand for another one."""
C_SUFFIXES = (".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hpp", ".inl")


def check_change(candidate: Files, parent: Files, proposal: str, tree: str) -> Evidence:
    """FAIL where the candidate does the same as its parent, or differs by seeds alone."""
    changed = sorted(
        p for p in candidate.keys() | parent.keys() if candidate.get(p) != parent.get(p)
    )
    real = [p for p in changed if not _is_same(p, candidate, parent, ignore_seeds=False)]
    if not real:
        summary = "the change does nothing: " + (
            "only comments, layout, names or dead code differ" if changed else "no file differs"
        )
        return found(proposal, tree, STEP, Outcome.FAIL, summary, files=changed)
    if all(_is_same(p, candidate, parent, ignore_seeds=True) for p in real):
        summary = "the change only moves a seed, which is luck on purpose"
        return found(proposal, tree, STEP, Outcome.FAIL, summary, files=changed)
    summary = f"{counted(len(real), 'file')} {'does' if len(real) == 1 else 'do'} something new"
    return found(proposal, tree, STEP, Outcome.PASS, summary, files=real)


def _is_same(path: str, candidate: Files, parent: Files, *, ignore_seeds: bool) -> bool:
    if path not in candidate or path not in parent:
        only = candidate.get(path, parent.get(path, b""))
        return path.endswith(".py") and _meaning(path, only, ignore_seeds) == _meaning(
            path, b"", ignore_seeds
        )
    return _meaning(path, candidate[path], ignore_seeds) == _meaning(
        path, parent[path], ignore_seeds
    )


@lru_cache(maxsize=64)  # a parent is compared with one candidate after another
def _meaning(path: str, content: bytes, ignore_seeds: bool) -> object:
    """A value that is equal for files that do the same; plain words where nothing is known."""
    if ignore_seeds and not SEEDS.search(content):
        return _meaning(path, content, False)
    text = content.decode("utf-8", "replace")
    try:
        if path.endswith(".py"):
            return normal_form(content, ignore_seeds=ignore_seeds)
        if path.endswith(".json"):
            return json.loads(text)
        if path.endswith(".toml"):
            return tomllib.loads(text)
    except (SyntaxError, ValueError):
        pass
    if path.endswith(C_SUFFIXES):
        return [(t.kind, t.text) for t in tokens(text)]
    if path.endswith((".md", ".rst")):
        return ""
    return text.split()
