"""Run all rules over a candidate: hits of the start are subtracted, a parse error fails closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from novum.benchmarks.pack import Pack, load_module
from novum.evals.evidence import RANK, found
from novum.evals.rules.catalogue import RULES
from novum.evals.rules.program import Program
from novum.evals.rules.rule import BLOCK, Hit, Rule
from novum.lab.records import Evidence, Outcome

STEP = "rules"
UNREADABLE = "unreadable"
LARGE = 256 << 10
"""Bytes of a whole project from which only changed files are read: the rules take about 10 s a MB,
and what an unchanged file has would be subtracted anyway."""


def scan(
    files: Mapping[str, bytes], start: Mapping[str, bytes], rules: Sequence[Rule] = RULES
) -> list[Hit]:
    """Hits of a candidate beyond those that its pack's own start has.

    A file that does not parse is a hit of tier block: what cannot be read is not run.
    """
    if sum(map(len, files.values())) > LARGE:
        changed = {path for path, content in files.items() if start.get(path) != content}
        files = {path: files[path] for path in changed}
        start = {path: content for path, content in start.items() if path in changed}
    program = Program.of(files)
    hits = [
        Hit(UNREADABLE, BLOCK, path, 0, f"not Python: {why}")
        for path, why in program.broken.items()
        if files.get(path) != start.get(path)  # a template, or Python 2, that was there before
    ]
    for rule in rules:
        hits += rule.scan(program)
    known = Counter(_keys(tuple(sorted(start.items())), tuple(rules)))
    fresh = []
    for hit in sorted(set(hits), key=lambda h: (h.path, h.line, h.rule, h.what)):
        if known[hit.key] > 0:
            known[hit.key] -= 1
        else:
            fresh.append(hit)
    return fresh


@lru_cache(maxsize=8)  # a run reads the same start for every candidate
def _keys(start: tuple[tuple[str, bytes], ...], rules: tuple[Rule, ...]) -> list[tuple[str, str]]:
    """What the rules find in files that are trusted."""
    trusted = Program.of(dict(start))
    return [h.key for rule in rules for h in rule.scan(trusted)]


def check_rules(
    pack: Pack, candidate: Mapping[str, bytes], start: Mapping[str, bytes], proposal: str, tree: str
) -> Evidence:
    """One evidence record with all hits; its outcome is that of the gravest tier."""
    hits = scan(candidate, start, (*RULES, *pack_rules(pack)))
    if not hits:
        return found(proposal, tree, STEP, Outcome.PASS, "no rule applies")
    worst = max((h.tier for h in hits), key=RANK.__getitem__)
    shown = [h for h in hits if h.tier is worst]
    summary = "; ".join(f"{h.rule} at {h.path}:{h.line}: {h.what}" for h in shown[:5])
    if len(shown) > 5:
        summary += f"; and {len(shown) - 5} more"
    return found(
        proposal,
        tree,
        STEP,
        worst,
        summary[:600],
        hits=[[h.rule, str(h.tier), h.path, h.line, h.what] for h in hits[:200]],
    )


def pack_rules(pack: Pack) -> tuple[Rule, ...]:
    """Rules that a pack adds in its own `rules.py` as `RULES`."""
    path = pack.folder / "rules.py"
    return _rules_of(pack.id, path, path.stat().st_mtime_ns) if path.is_file() else ()


@lru_cache(maxsize=8)
def _rules_of(pack: str, path: Path, _changed_ns: int) -> tuple[Rule, ...]:
    """Loaded once: rules that are the same objects share what is known of the start."""
    module = load_module(path, f"novum_pack_{pack.replace('-', '_')}_rules")
    return tuple(getattr(module, "RULES", ()))
