"""Two runs side by side: settings, what was tried, verdicts that differ, champions, costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from novum.agents.search.naming import attempt_key
from novum.app.ideas import Idea
from novum.app.numbers import duration, percent
from novum.app.outcome import Outcome, outcome_of
from novum.app.reading import Reading
from novum.app.wording import MARKS, one_line
from novum.errors import UsageError
from novum.lab.counted import counted
from novum.lab.records import Json
from novum.settings import restore_settings

MAX_LISTED = 12
IDENTITY = ("harness", "data_fingerprint", "benchmark", "profile", "start", "sandbox")
"""What must be equal for numbers to be comparable, and where they were made."""


@dataclass(frozen=True, slots=True)
class Both:
    """An idea that both runs had."""

    hypothesis: str
    a: Idea
    b: Idea

    @property
    def differs(self) -> bool:
        """Whether the two verdicts are not the same."""
        return self.a.label != self.b.label


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs have in common and what not."""

    names: tuple[str, str]
    settings: tuple[tuple[str, str, str], ...]
    """Name and the two values, where they differ."""
    shared_events: int
    """Events at the beginning that are the same, as in a run and its fork."""
    both: tuple[Both, ...]
    only: tuple[tuple[Idea, ...], tuple[Idea, ...]]
    outcomes: tuple[Outcome, Outcome]
    gains: tuple[dict[str, float | None], dict[str, float | None]]
    """Gain of each idea's verdict as a fraction, by proposal."""

    def json(self) -> Json:
        """One object for a program."""
        return {
            "runs": list(self.names),
            "settings": [list(row) for row in self.settings],
            "shared_events": self.shared_events,
            "both": [
                {"hypothesis": x.hypothesis, "ids": [x.a.proposal.id, x.b.proposal.id],
                 "labels": [x.a.label, x.b.label]}
                for x in self.both
            ],
            "only": [[i.proposal.id for i in ideas] for ideas in self.only],
            "outcomes": [outcome.json() for outcome in self.outcomes],
        }  # fmt: skip


def compare(a: Reading, b: Reading) -> Comparison:
    """Compare two runs."""
    ideas = [{_what(i): i for i in one.story.ideas.values()} for one in (a, b)]
    both = [Both(one_line(ideas[0][k].proposal.hypothesis), ideas[0][k], ideas[1][k])
            for k in ideas[0] if k in ideas[1]]  # fmt: skip
    return Comparison(
        names=(a.run.name, b.run.name),
        settings=tuple(_settings(a.run.info, b.run.info)),
        shared_events=_shared(a, b),
        both=tuple(both),
        only=(
            tuple(i for k, i in ideas[0].items() if k not in ideas[1]),
            tuple(i for k, i in ideas[1].items() if k not in ideas[0]),
        ),
        outcomes=(outcome_of(a.run, a.story), outcome_of(b.run, b.story)),
        gains=(_gains(a), _gains(b)),
    )


def _what(idea: Idea) -> tuple[str, tuple[str, ...]]:
    """What an idea tries and on what: the same in two runs, whatever its number."""
    proposal = idea.proposal
    return attempt_key(proposal.move, proposal.hypothesis), tuple(sorted(proposal.parents))


def _gains(one: Reading) -> dict[str, float | None]:
    return {
        idea.proposal.id: one.story.relative(idea.verdict)[0]
        for idea in one.story.ideas.values()
        if idea.verdict is not None
    }


def _settings(a: Json, b: Json) -> Iterator[tuple[str, str, str]]:
    for name in IDENTITY:
        if a.get(name) != b.get(name):
            yield name, str(a.get(name, "–"))[:40], str(b.get(name, "–"))[:40]
    old, new = dict(_flat(_resolved(a))), dict(_flat(_resolved(b)))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, str(old.get(name, "–")), str(new.get(name, "–"))


def _resolved(info: Json) -> Json:
    """The settings with the defaults of those that an earlier version did not know."""
    saved: Json = info.get("settings", {})
    try:
        return restore_settings(saved).saved()
    except UsageError:  # another version's: as they are
        return saved


def _flat(values: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shared(a: Reading, b: Reading) -> int:
    """Length of the common beginning of two chains: by halving, for digests chain."""
    low, high = 0, min(a.ledger.anchor().seq, b.ledger.anchor().seq)
    while low < high:
        middle = (low + high + 1) // 2
        ends = [one.ledger.events(middle - 1, limit=1)[0].digest for one in (a, b)]
        low, high = (middle, high) if ends[0] == ends[1] else (low, middle - 1)
    return low


def as_text(found: Comparison) -> RenderableType:
    """For a person."""
    a, b = found.names
    parts: list[RenderableType] = []
    if found.shared_events:
        parts.append(Text(f"the first {found.shared_events} events are the same\n", "dim"))
    parts += [_outcomes(found), Text()]
    if found.settings:
        table = _table("setting", a, b)
        for row in found.settings:
            table.add_row(*row)
        parts += [table, Text()]
    n_same = sum(not x.differs for x in found.both)
    parts.append(
        Text(
            f"{counted(len(found.both), 'idea')} in both, {n_same} of them with the same verdict; "
            f"{len(found.only[0])} only in {a}, {len(found.only[1])} only in {b}"
        )
    )
    if found.both:
        parts.append(_ideas(found))
    for name, ideas in zip(found.names, found.only, strict=True):
        if ideas:
            parts.append(Text(f"\nonly in {name}", "bold"))
            parts += [_line(idea) for idea in ideas[:MAX_LISTED]]
            if len(ideas) > MAX_LISTED:
                parts.append(Text(f"  … {len(ideas) - MAX_LISTED} more", "dim"))
    return Group(*parts)


def _outcomes(found: Comparison) -> Table:
    table = _table("", *found.names)
    a, b = found.outcomes
    rows = [
        ("outcome", a.state, b.state),
        ("certified gain", percent(a.gain), percent(b.gain)),
        ("champion", a.champion[:10] or "–", b.champion[:10] or "–"),
        ("ideas", str(a.n_ideas), str(b.n_ideas)),
        ("trials", str(a.n_trials), str(b.n_trials)),
        ("time in trials", duration(a.trial_s), duration(b.trial_s)),
        ("work", duration(a.wall_s), duration(b.wall_s)),
        ("tokens", f"{a.tokens:,.0f}", f"{b.tokens:,.0f}"),
        ("cost", f"{a.cost_usd:.2f} USD", f"{b.cost_usd:.2f} USD"),
    ]
    for row in rows:
        table.add_row(*row, style="" if row[1] != row[2] else "dim")
    return table


def _ideas(found: Comparison) -> Table:
    table = _table("idea", *found.names, "")
    shown = sorted(found.both, key=lambda x: not x.differs)[: 2 * MAX_LISTED]
    for one in shown:
        style = "" if one.differs else "dim"
        sides = [
            _verdict(idea, found.gains[i].get(idea.proposal.id))
            for i, idea in enumerate((one.a, one.b))
        ]
        table.add_row(f"#{one.a.number} #{one.b.number}", *sides, one.hypothesis[:70], style=style)
    return table


def _verdict(idea: Idea, gain: float | None) -> Text:
    mark, style = MARKS.get(idea.label, ("…", ""))
    text = Text(f"{mark} {idea.label or 'open'}", style)
    return text.append(f" {percent(gain)}") if gain is not None else text


def _line(idea: Idea) -> Text:
    mark, style = MARKS.get(idea.label, ("…", "dim"))
    words = one_line(idea.proposal.hypothesis)
    text = Text(f"  {mark} {idea.label or 'open':13} ", style, no_wrap=True, overflow="ellipsis")
    return text.append(f"#{idea.number} {words}", "default")


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold")
    return table
