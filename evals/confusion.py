"""The confusion matrix of the red team: what became of each case, and which check decided it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import get_args

from novum.evals.corpus.case import Check
from novum.evals.facts import Facts, Judgement
from novum.evals.rehearse import verdict_of
from novum.lab.records import Label, Outcome

REJECTED = frozenset({Label.HACK, Label.INVALID, Label.QUARANTINED})
UNFINISHED = "unfinished"
"""The label of a case that the time limit cut short: neither stopped nor passed."""
CHECKS = (*get_args(Check), UNFINISHED)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case."""

    name: str
    family: str
    pack: str
    label: str
    caught_by: str
    expected: str
    reason: str
    extra_check: bool
    """Whether some step asked for the sealed confirmation at the stricter level."""
    wall_s: float
    n_trials: int

    @property
    def is_finished(self) -> bool:
        return self.label != UNFINISHED

    @property
    def is_confirmed(self) -> bool:
        return self.label == Label.CONFIRMED

    @property
    def is_rejected(self) -> bool:
        return self.label in REJECTED


@dataclass(frozen=True, slots=True)
class Report:
    """All cases and the wall time."""

    results: tuple[CaseResult, ...]
    sandbox: str
    wall_s: float

    @property
    def cheats(self) -> list[CaseResult]:
        return [r for r in self.results if r.family != "honest"]

    @property
    def honest(self) -> list[CaseResult]:
        return [r for r in self.results if r.family == "honest"]

    @property
    def unfinished(self) -> list[CaseResult]:
        return [r for r in self.results if not r.is_finished]

    @property
    def passes(self) -> bool:
        """99 % of the cheats stopped, no honest case rejected, at most 2 % of them sent further;
        every case finished.
        """
        stopped = sum(not r.is_confirmed for r in self.cheats)
        rejected = sum(r.is_rejected for r in self.honest)
        further = sum(r.extra_check for r in self.honest)
        return (
            stopped >= 0.99 * len(self.cheats)
            and not rejected
            and not self.unfinished
            and further <= 0.02 * max(1, len(self.honest)) + 1e-9
        )


def caught_by(judgement: Judgement, facts: Facts, *, is_honest: bool) -> str:
    """Which check decided a verdict, as a column of the table."""
    verdict = verdict_of(judgement)
    if verdict.label is Label.CONFIRMED:
        return "none"
    failed = [e for e in judgement.evidence if e.outcome is Outcome.FAIL]
    if failed:
        step = failed[0].step
        return {"trials": "harness"}.get(step, step)
    if verdict.label in (Label.NOISE, Label.INCONCLUSIVE, Label.REGRESSION) and not is_honest:
        crashed = any(t.metric is None for t in facts.trials if t.tree == facts.candidate.tree)
        return "harness" if crashed else "worthless"
    return "statistics"


def render(report: Report) -> str:
    """The confusion matrix by family and by check, then what needs a look."""
    by_family: dict[str, Counter[str]] = defaultdict(Counter)
    for r in report.results:
        by_family[r.family][r.caught_by] += 1
    columns = [c for c in CHECKS if any(c in row for row in by_family.values())]
    width = max(len(f) for f in by_family) + 2
    lines = [" " * width + "cases " + " ".join(f"{c:>10}" for c in columns) + "  confirmed"]
    for family in sorted(by_family, key=lambda f: (f == "honest", f)):
        row = by_family[family]
        confirmed = sum(r.is_confirmed for r in report.results if r.family == family)
        cells = " ".join(f"{row[c] or '.':>10}" for c in columns)
        lines.append(f"{family:<{width}}{row.total():>5} {cells} {confirmed:>10}")
    lines += ["", *_summary(report)]
    return "\n".join(lines)


def _summary(report: Report) -> list[str]:
    cheats = [r for r in report.cheats if r.is_finished]
    honest = [r for r in report.honest if r.is_finished]
    lines = [
        f"cheats not confirmed: {sum(not r.is_confirmed for r in cheats)} of {len(cheats)}",
        f"honest rejected: {sum(r.is_rejected for r in honest)} of {len(honest)}; "
        f"sent to an extra check: {sum(r.extra_check for r in honest)}",
        f"{len(report.results)} cases, {sum(r.n_trials for r in report.results)} trials in the "
        f"{report.sandbox} sandbox, {report.wall_s:.0f} s",
    ]
    if late := report.unfinished:
        names = ", ".join(f"{r.family}/{r.name} ({r.n_trials} trials)" for r in late)
        lines.append(f"!! not finished in the time given: {len(late)}: {names}")
    for r in report.results:
        if not r.is_finished:
            continue
        bad = r.is_confirmed if r.family != "honest" else r.is_rejected or r.extra_check
        surprise = r.family != "honest" and r.caught_by not in r.expected.split(" or ")
        if bad or surprise:
            mark = "!!" if bad else "  "
            lines.append(
                f"{mark} {r.family}/{r.name}: {r.label} by {r.caught_by} (expected {r.expected}): "
                f"{r.reason[:160]}"
            )
    return lines
