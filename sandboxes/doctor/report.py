"""The doctor's report in plain lines."""

from __future__ import annotations

from collections.abc import Iterator

from novum.sandboxes.doctor.examine import Examination, Finding, Outcome
from novum.sandboxes.protocol import Promise


def lines(examination: Examination, verbose: bool = False) -> Iterator[str]:
    """One line a promise, then what broke; with `verbose` also every attack."""
    yield f"{examination.provider}"
    if examination.unavailable:
        yield from (f"  {line}" for line in examination.unavailable.splitlines())
        return
    yield f"  layers: {', '.join(examination.layers)}"
    for promise in Promise:
        yield f"  {promise.value:<20} {standing(examination, promise)}"
    for finding in examination.findings:
        if finding.breaks_promise:
            yield f"  BROKEN {finding.promise.value}: {finding.title} {finding.detail}"
        elif verbose:
            mark = finding.outcome.value if finding.promised else f"({finding.outcome.value})"
            yield f"    {mark:<12} {finding.attack:<34} {finding.detail}"


def standing(examination: Examination, promise: Promise) -> str:
    """How one promise stands: `holds`, `BROKEN` or `not promised`, with the counts."""
    tried = [finding for finding in examination.findings if finding.promise is promise]
    n_stopped = sum(finding.outcome is Outcome.STOPPED for finding in tried)
    counts = f"{n_stopped} of {len(tried)} attacks stopped"
    if promise not in examination.promises:
        return f"not promised ({counts})"
    if not tried:
        return "promised, not tried"
    return f"holds ({counts})" if n_stopped == len(tried) else f"BROKEN ({counts})"


def broken(examinations: list[Examination]) -> list[Finding]:
    """Every finding, over all providers, that contradicts a promise."""
    return [f for examination in examinations for f in examination.findings if f.breaks_promise]
