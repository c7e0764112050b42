"""The live view of a run: best so far, what each thread and slot does, budgets, last verdicts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from novum.app.chart import Chart
from novum.app.ideas import STEPS, Idea
from novum.app.numbers import duration, percent, percent_range
from novum.app.story import Story
from novum.app.wording import MARKS, NAMES, one_line, used_of
from novum.lab.counted import counted
from novum.lab.records import TrialStatus

PLAIN_WIDTH = 60
CLOSING, MIN_HEIGHT, MAX_HEIGHT = 9, 16, 34
"""Lines that are printed around a picture that stays, the least that it has, and the most."""


@dataclass
class Screen:
    """Draws a story; hand it to `rich.live.Live` and update the story behind it."""

    story: Story
    title: str
    n_threads: int
    n_slots: int
    trial_budget_s: float | None = None
    limits: dict[str, float | None] = field(default_factory=dict)
    """Of `experiments`, `wall_s`, `gpu_hours`, `tokens`, `cost_usd`; `None` is no limit."""
    hint: str = "Ctrl-C stops; the run can be resumed"
    """Last line, about keys."""
    is_busy: bool = True
    """Whether a process works on the run; without one nobody is at anything now."""
    notice: str = ""
    clock: float = 0.0
    """Seconds since the epoch at which the picture is taken; 0 is now."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        now = self.clock or time.time()
        working = [*self._threads(now), *self._slots(now)] if self.is_busy else []
        room = (
            height - len(working) - (9 if working else 7)
        )  # what headings and borders leave for curve and verdicts
        n_rows = min(16, max(3, room * 3 // 5)) if room >= 3 else 0
        n_verdicts = min(12, room - n_rows)
        yield self._heading(now, width)
        if n_rows:
            chart = self._chart(width - 4, n_rows)
            yield _panel(chart, self._chart_title(width - 6))
        if working:
            yield _panel(Group(*working), "now")
        if n_verdicts > 0 and (rows := self._verdicts(n_verdicts, width - 4)):
            yield _panel(rows, "last verdicts")
        if budgets := self._budgets(now, width):
            yield budgets
        waits = ", ".join(self.story.waiting)
        notice = self.notice or (f"to be approved: {waits} (novum approve)" if waits else "")
        if notice:
            yield Text(notice, "bold yellow", overflow="ellipsis", no_wrap=True)

    # --- parts ---------------------------------------------------------------------------------

    def _heading(self, now: float, width: int) -> RenderableType:
        grid = Table.grid(expand=True)
        grid.add_column(no_wrap=True, ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        left = Text.assemble(("novum ", "bold cyan"), self.title, no_wrap=True, overflow="ellipsis")
        story = self.story
        ended = sum(t.status is not TrialStatus.LAUNCHED for t in story.trials.values())
        ideas, trials = counted(len(story.ideas), "idea"), counted(ended, "trial")
        right = Text(f"{ideas} · {trials} · {duration(self._wall_s(now))}")
        grid.add_row(left, right)
        return grid

    def _chart_title(self, width: int) -> Text:
        """As many facts as fit: what the search sees, what was confirmed, the start."""
        story, show = self.story, self.story.metric.show
        text = Text(story.metric.label())
        if not story.baseline:
            return text.append(" · measuring the noise of the start", "dim")
        base = fmean(story.baseline)
        facts = [*self._best_facts(base), (f" · start {show(base)}", "dim")]
        if story.noise_sd is not None:
            facts.append((f", sd over seeds {show(story.noise_sd)}", "dim"))
        for words, style in facts:
            if text.cell_len + len(words) > width:
                break
            text.append(words, style)
        return text

    def _best_facts(self, base: float) -> list[tuple[str, str]]:
        story, show = self.story, self.story.metric.show
        if not story.best:
            return []
        best = story.best[-1]
        gain = story.metric.sign * (best.mean - base) / abs(base) if base else math.nan
        words = f" · best {show(best.mean)} ± {show(best.error)} ({percent(gain)})"
        is_champion = story.champion is not None and story.champion[0] == best.tree
        test = story.certification if is_champion else None
        final = story.relative(test.verdict)[0] if test and test.verdict else None
        known = "unconfirmed" if final is None else f"confirmed {percent(final)}"
        return [(words, "bold green"), (f" · {known}", "green")]

    def _chart(self, width: int, height: int) -> RenderableType:
        story, sign = self.story, self.story.metric.sign
        points = [
            (story.worked_at(t.ended_s), t.metric, t)
            for t in story.trials.values()
            if t.metric is not None and t.fidelity == "full" and t.purpose != "smoke"
        ]
        if not points:
            return Text("no trial has ended yet", "dim")
        best = [(story.worked_at(b.at_s), sign * b.mean) for b in story.best]
        base = sign * fmean(story.baseline) if story.baseline else None
        low, high = _range([sign * y for _, y, _ in points], [y for _, y in best], base)
        labels = [story.metric.show(sign * y) for y in (high, low)]
        margin = max(map(len, labels)) + 1
        last = max(max(x for x, _, _ in points), story.worked_at(story.last_s), 1.0)
        chart = Chart(max(10, width - margin), height, (0.0, last), (low, high))
        if base is not None:
            chart.level(base, "dim", every=3)
        for x, y, trial in points:
            chart.dot(x, sign * y, "magenta" if trial.split == "sealed" else "cyan")
        if best:
            chart.steps([(0.0, base), *best] if base is not None else best, "bold green")
        rows = list(chart.lines())
        sides = [labels[0], *[""] * (len(rows) - 2), labels[1]]
        lines = [
            Text(f"{side:>{margin - 1}} ", "dim") + row
            for side, row in zip(sides, rows, strict=True)
        ]
        return Group(*lines)

    def _threads(self, now: float) -> Sequence[RenderableType]:
        story = self.story
        lines = []
        for thread in range(self.n_threads):
            idea = story.ideas.get(story.threads.get(thread, ""))
            line = Text(f"thread {thread}  ", "bold", no_wrap=True, overflow="ellipsis")
            if idea is None:
                line.append("waits for the baseline" if not story.ideas else "planning", "dim")
            elif idea.is_open:
                line.append(f"#{idea.number} ", "cyan")
                line.append(f"{story.stage(idea)}  ", "yellow")
                line.append(story.in_words(one_line(idea.proposal.hypothesis)), "default")
            else:
                line.append("planning the next idea", "dim")
            lines.append(line)
        return lines[:8]

    def _slots(self, now: float) -> Sequence[RenderableType]:
        running = {t.slot: t for t in self.story.running.values()}
        lines = []
        used = max((trial.slot + 1 for trial in running.values()), default=0)
        for slot in range(max(self.n_slots, used)):
            trial = running.get(slot)
            line = Text(f"slot {slot}    ", "bold", no_wrap=True, overflow="ellipsis")
            if trial is None:
                line.append("free", "dim")
            else:
                spent_s = max(0.0, now - trial.launched_s)
                if self.trial_budget_s:
                    line.append_text(bar(spent_s / (self.trial_budget_s * 1.15), 12))
                whose = self.story.whose(trial)
                line.append(f" {duration(spent_s):>6}  ", "default")
                line.append(f"{trial.id} {STEPS[trial.purpose]} of {whose}", "default")
            lines.append(line)
        return lines[:8]

    def _verdicts(self, n: int, width: int) -> RenderableType | None:
        ended = [i for i in [*self.story.ideas.values(), *self.story.tests.values()] if i.label]
        ended.sort(key=lambda idea: idea.ended_s)
        if not ended:
            return None
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for idea in reversed(ended[-n:]):
            table.add_row(*self._verdict_row(idea, width))
        if self.is_busy:  # what lies below keeps its place while verdicts come in
            for _ in range(n - len(ended)):
                table.add_row()
        return table

    def _verdict_row(self, idea: Idea, width: int) -> tuple[RenderableType, ...]:
        mark, style = MARKS.get(idea.label, ("?", ""))
        gain = Text("")
        if idea.verdict is not None:
            value, interval = self.story.relative(idea.verdict)
            gain = Text(percent(value) if value is not None else "")
            if interval is not None and width > PLAIN_WIDTH:
                gain.append(f" ({percent_range(interval)})", "dim")
        number = f"#{idea.number}" if idea.number else "final"
        words = idea.dropped or self.story.in_words(idea.proposal.hypothesis)
        return (
            Text(f"{mark} {idea.label}", style),
            Text(number, "cyan"),
            gain,
            Text(one_line(words)),
        )

    def _budgets(self, now: float, width: int) -> Text:
        spent = self.story.spent
        used = {
            "experiments": float(len(self.story.ideas)),
            "wall_s": self._wall_s(now),
            "gpu_hours": spent.get("gpu_s", 0.0) / 3600,
            "tokens": spent.get("tokens", 0.0),
            "cost_usd": spent.get("cost_usd", 0.0),
        }
        text = Text(no_wrap=True, overflow="ellipsis")
        for name, amount in used.items():
            limit = self.limits.get(name)
            if limit:
                text.append(f"{NAMES[name]} ", "dim")
                text.append_text(bar(amount / limit, 10))
                text.append(f" {used_of(name, amount, limit)}   ")
        text.append(self.hint, "dim")
        return text

    def _wall_s(self, now: float) -> float:
        sessions = self.story.sessions
        if not sessions or self.story.ended or not self.is_busy:
            return self.story.wall_s
        return self.story.wall_s + max(0.0, now - sessions[-1][1])


def picture_height(height: int) -> int:
    """Lines of a picture that is printed into a terminal of this height, among other lines."""
    return max(MIN_HEIGHT, min(height - CLOSING, MAX_HEIGHT))


def _panel(inside: RenderableType, title: str | Text) -> Panel:
    return Panel(inside, title=title, title_align="left", border_style="dim", padding=(0, 1))


def bar(fraction: float, width: int) -> Text:
    """A bar that is filled to a fraction."""
    n_full = round(min(max(fraction, 0.0), 1.0) * width)
    style = "yellow" if fraction >= 1 else "cyan"
    return Text.assemble(("━" * n_full, style), ("━" * (width - n_full), "grey30"))


def _range(values: list[float], best: list[float], base: float | None) -> tuple[float, float]:
    """From the worst value worth seeing to the best; far outliers do not flatten the rest."""
    must = [*best, *([base] if base is not None else [])]
    ordered = sorted(values)
    typical = ordered[len(ordered) // 10 :]
    low, high = min([*typical, *must]), max([*values, *must])
    pad = (high - low) * 0.08 or abs(high) * 0.01 or 1.0
    return low - pad, high + pad
