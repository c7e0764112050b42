"""Counterfactuals and hybrids as tables: the course that was taken beside the other one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from novum.app.numbers import duration
from novum.app.wording import MARKS, one_line
from novum.lab.counted import counted

if TYPE_CHECKING:
    from novum.agents.replay.counterfactual import Counterfactual
    from novum.agents.replay.hybrid import LiveModels

MAX_ROWS = 40


def table_of_courses(name: str, found: Counterfactual) -> RenderableType:
    """Both courses in numbers, the ideas whose verdict differs, and where it ends."""
    changes = ", ".join(f"{k} = {v}" for k, v in found.changed.items())
    title = f"{name} with policy {found.policy}" + (f" and audit {changes}" if changes else "")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for word in ("", "as recorded", "counterfactual"):
        table.add_column(word)
    then, now = found.then, found.now
    rows = [
        ("ideas", f"{then.n_ideas} of {found.n_recorded}", str(now.n_ideas)),
        ("champion", _champion(then.champion, then.is_confirmed),
         _champion(now.champion, now.is_confirmed)),
        ("kept as better", str(len(then.kept)), str(len(now.kept))),
        ("  of these not better", str(len(then.false_keeps)), str(len(now.false_keeps))),
        ("trials", str(then.n_trials), str(now.n_trials)),
        ("time in trials", duration(then.trial_s), duration(now.trial_s)),
    ]  # fmt: skip
    for row in rows:
        table.add_row(*row, style="" if row[1] != row[2] else "dim")
    parts: list[RenderableType] = [Text(title, "bold"), table, Text()]
    differ = [step for step in found.steps if step.then != step.now]
    if differ:
        ideas = Table(box=None, pad_edge=False, header_style="dim")
        for word in ("idea", "from", "recorded", "now", "hypothesis"):
            ideas.add_column(word, overflow="fold")
        for step in differ[:MAX_ROWS]:
            words = one_line(step.hypothesis)[:70]
            ideas.add_row(step.id, step.chosen, _label(step.then), _label(step.now), words)
        parts += [ideas, Text()]
    elif found.steps:
        parts.append(Text("no verdict differs"))
    parts.append(Text(f"It ends here: {found.end}."))
    if found.n_threads > 1:
        words = f"The run had {found.n_threads} threads; here one idea follows another."
        parts.append(Text(words, "dim"))
    parts.append(
        Text(
            "Kept but not better: by the mean of all recorded trials, those that selected it left "
            "out, it does not beat what it was measured against.",
            "dim",
        )
    )
    return Group(*parts)


def table_of_ideas(name: str, found: LiveModels) -> RenderableType:
    """What live models proposed on the trials of a recording."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for word in ("idea", "measured as", "verdict", "hypothesis", ""):
        table.add_column(word, overflow="fold")
    for idea in found.ideas[-MAX_ROWS:]:
        table.add_row(
            idea.id,
            idea.then or "–",
            _label(idea.label),
            one_line(idea.hypothesis)[:70],
            one_line(idea.reason)[:70],
        )
    known = sum(bool(idea.then) for idea in found.ideas)
    return Group(
        Text(f"live models on the trials of {name}", "bold"),
        table,
        Text(
            f"\n{known} of {counted(len(found.ideas), 'idea')} measured then; "
            f"{counted(found.n_trials, 'recorded trial')} used, {found.tokens:,.0f} tokens, "
            f"{found.cost_usd:.2f} USD"
        ),
        Text(f"It ends here: {found.end}."),
        Text("Nothing here is a claim: candidates met trials that were already known.", "dim"),
    )


def _champion(tree: str, is_confirmed: bool) -> str:
    return f"{tree[:10]}{'' if is_confirmed else ' (not confirmed)'}" if tree else "–"


def _label(label: str) -> Text:
    mark, style = MARKS.get(str(label), ("–", "dim"))
    return Text(f"{mark} {label or 'not measured'}", style)
