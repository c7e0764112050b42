"""The report's pictures: best so far, gains with intervals, lineage."""

from __future__ import annotations

import math
from statistics import fmean

from markupsafe import Markup, escape

from novum.app.ideas import STEPS, Idea
from novum.app.numbers import duration, percent, percent_range
from novum.app.story import Story
from novum.app.svg import BOTTOM, TOP, Frame, picture, plain
from novum.app.wording import one_line
from novum.lab.records import Purpose, Trial, TrialStatus

WIDTH = 960
MAX_GAINS = 60
MAX_LINEAGE = 400
CLIP = 3.0
"""Values worse than this many times the spread of the middle half are drawn at the edge."""


def best_so_far(story: Story) -> Markup:
    """Every trial over time, the start's level and noise, and the best candidate known."""
    shown = [t for t in story.trials.values() if _is_shown(t)]
    if not shown:
        return Markup('<p class="quiet">No trial has ended yet.</p>')
    show = story.metric.show
    worked_s, at = story.worked_at(story.last_s), story.worked_at
    unit, word = _time_unit(worked_s)
    end = max(worked_s, 1.0) / unit
    frame = Frame(WIDTH, 380, (0.0, end), _range_of(story, shown), left=74)
    frame.axes(f"{word} of work", story.metric.title(), plain)
    if story.baseline:
        base = fmean(story.baseline)
        sd = story.noise_sd or 0.0
        frame.band(0, end, base - sd, base + sd, "noise")
        frame.line(0, base, end, base, "base")
        frame.text(end, base, f"start {show(base)}", "note end", dx=-4, dy=-5)
    for i, best in enumerate(story.best):
        x0 = at(best.at_s) / unit
        x1 = at(story.best[i + 1].at_s) / unit if i + 1 < len(story.best) else end
        if not math.isnan(best.error):
            frame.band(x0, x1, best.mean - best.error, best.mean + best.error, "band")
        before = story.best[i - 1].mean if i else fmean(story.baseline or [best.mean])
        frame.line(x0, before, x0, best.mean, "best")
        frame.line(x0, best.mean, x1, best.mean, "best")
    for trial in shown:
        _trial_dot(frame, story, trial, unit)
    if story.best:
        last = story.best[-1]
        words = f"best {show(last.mean)} ± {show(last.error)}"
        below = 16 if story.metric.better == "lower" else -8
        frame.text(end, last.mean, words, "note strong end", dx=-4, dy=below)
    failed = [t for t in story.trials.values() if _has_failed(t)]
    for trial in failed:
        x = frame.px(at(trial.ended_s) / unit)
        bottom = frame.height - BOTTOM
        tip = escape(f"{trial.id}: {trial.status} {one_line(trial.error)[:120]}")
        frame.add(
            f'<path class="failed" d="M{x - 3:.1f} {bottom - 7} l6 6 m0 -6 l-6 6">'
            f"<title>{tip}</title></path>"
        )
    return frame.svg("Every trial over time and the best candidate so far")


def gains(story: Story) -> Markup:
    """Gain of each judged idea against what it had to beat, with its interval."""
    rows = []
    for idea in [*story.ideas.values(), *story.tests.values()]:
        if idea.verdict is not None and idea.verdict.gain is not None:
            gain, interval = story.relative(idea.verdict)
            if gain is not None and math.isfinite(gain):
                rows.append((idea, gain, interval))
    left_out, rows = max(0, len(rows) - MAX_GAINS), rows[-MAX_GAINS:]
    if not rows:
        return Markup('<p class="quiet">No idea has been measured to a verdict yet.</p>')
    ends = [g for _, g, _ in rows] + [0.0]
    ends += [e for _, _, i in rows if i for e in i if math.isfinite(e)]
    low, high = max(min(ends), -0.5), min(max(ends), 1.0)
    pad = (high - low) * 0.06 or 0.01
    height = TOP + BOTTOM + 20 * len(rows)
    frame = Frame(WIDTH, height, (low - pad, high + pad), (len(rows) - 0.5, -0.5), left=330)
    frame.y = (-(len(rows) - 0.5), 0.5)
    frame.axes("gain against what it had to beat, in percent", show_x=lambda v: f"{100 * v:g}")
    frame.line(0, frame.y[0], 0, frame.y[1], "zero")
    for i, (idea, gain, interval) in enumerate(rows):
        words = story.in_words(one_line(idea.proposal.hypothesis))
        _gain_row(frame, idea, words, gain, interval, -float(i))
    note = f'<p class="quiet">The {left_out} earliest are not drawn.</p>' if left_out else ""
    return frame.svg("Gain of each idea with its interval") + Markup(note)


def lineage(story: Story) -> Markup:
    """Which candidate came from which: depth grows to the right, the champion's line is bold."""
    trees = list(story.candidates)
    left_out, trees = max(0, len(trees) - MAX_LINEAGE), trees[:MAX_LINEAGE]
    if not trees:
        return Markup('<p class="quiet">No candidate yet.</p>')
    places = _places(story, trees)
    depth = max(x for x, _ in places.values())
    rows = max(y for _, y in places.values())
    step_x = min(150.0, (WIDTH - 90) / max(1, depth))
    step_y = 26.0 if rows < 30 else max(9.0, 780 / rows)
    height = 40 + step_y * rows
    main_line = _main_line(story)
    parts = []
    at = {tree: (36 + x * step_x, 20 + y * step_y) for tree, (x, y) in places.items()}
    for tree in trees:
        x1, y1 = at[tree]
        for parent in story.candidates[tree].parents:
            if parent in at:
                x0, y0 = at[parent]
                style = "edge main" if tree in main_line and parent in main_line else "edge"
                half = (x0 + x1) / 2
                parts.append(
                    f'<path class="{style}" d="M{x0:.1f} {y0:.1f} C{half:.1f} {y0:.1f} '
                    f'{half:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"/>'
                )
    for tree in trees:
        x, y = at[tree]
        idea = story.ideas.get(story.candidates[tree].proposal)
        label = (idea.label or "open") if idea is not None else "start"
        name = story.name_of(tree)
        tip = f"{name} {label}: {one_line(story.candidates[tree].summary)[:160]}"
        size = 7 if story.champion and story.champion[0] == tree else 5
        parts.append(
            f'<circle class="node {label}" cx="{x:.1f}" cy="{y:.1f}" r="{size}">'
            f"<title>{escape(tip)}</title></circle>"
        )
        if step_y >= 12:
            strong = " strong" if tree in main_line else ""
            parts.append(
                f'<text class="note{strong}" x="{x + 9:.1f}" y="{y + 4:.1f}">{escape(name)}</text>'
            )
    note = f'<p class="quiet">{left_out} later candidates are not drawn.</p>' if left_out else ""
    return picture("".join(parts), WIDTH, height, "Lineage of candidates") + Markup(note)


# --- parts ---------------------------------------------------------------------------------------


def _is_shown(trial: Trial) -> bool:
    return (
        trial.metric is not None and trial.fidelity == "full" and trial.purpose is not Purpose.SMOKE
    )


def _has_failed(trial: Trial) -> bool:
    return trial.status not in (TrialStatus.FINISHED, TrialStatus.LAUNCHED)


def _trial_dot(frame: Frame, story: Story, trial: Trial, unit: float) -> None:
    assert trial.metric is not None
    style = "trial"
    if trial.purpose is Purpose.NOISE:
        style = "trial start"
    elif trial.split == "sealed":
        style = "trial sealed"
    tip = (
        f"{trial.id}: {STEPS[trial.purpose]} of {story.whose(trial)}, "
        f"{story.metric.show(trial.metric)}, {trial.split} split, "
        f"{duration(trial.ended_s - trial.launched_s)}"
    )
    low, high = frame.y
    y = min(max(trial.metric, low), high)
    frame.circle(story.worked_at(trial.ended_s) / unit, y, 3.2, style, tip)


def _gain_row(
    frame: Frame,
    idea: Idea,
    words: str,
    gain: float,
    interval: tuple[float, float] | None,
    y: float,
) -> None:
    name = idea.name
    tip = f"{name} {idea.label}: {percent(gain)} ({percent_range(interval)})"
    room = 44 - len(name)
    cut = words if len(words) <= room else words[: room - 1] + "…"
    frame.add(
        f'<text class="row end" x="{frame.left - 12}" y="{frame.py(y) + 4:.1f}">'
        f'<tspan class="strong">{escape(name)}</tspan> {escape(cut)}'
        f"<title>{escape(words)}</title></text>"
    )
    low, high = frame.x
    if interval is not None:
        a, b = (min(max(end, low), high) for end in interval)
        frame.line(a, y, b, y, f"interval {idea.label}", tip)
    frame.circle(min(max(gain, low), high), y, 4.5, f"node {idea.label}", tip)


def _range_of(story: Story, shown: list[Trial]) -> tuple[float, float]:
    values = sorted(story.metric.sign * t.metric for t in shown if t.metric is not None)
    quarter = len(values) // 4
    spread = values[-1 - quarter] - values[quarter]
    low = max(values[0], values[quarter] - CLIP * spread) if spread else values[0]
    low = min([low, *(story.metric.sign * v for v in story.baseline)])
    high = values[-1]
    pad = (high - low) * 0.08 or abs(high) * 0.01 or 1.0
    ends = story.metric.sign * (low - pad), story.metric.sign * (high + pad)
    return min(ends), max(ends)


def _time_unit(seconds: float) -> tuple[float, str]:
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 4 * 3600 else (3600.0, "hours")


def _places(story: Story, trees: list[str]) -> dict[str, tuple[int, int]]:
    """Column (depth) and row of each candidate: a child stands beside or below its first parent."""
    children: dict[str, list[str]] = {}
    roots = []
    for tree in trees:
        parents = [p for p in story.candidates[tree].parents if p in story.candidates]
        if parents and parents[0] in trees:
            children.setdefault(parents[0], []).append(tree)
        else:
            roots.append(tree)
    places: dict[str, tuple[int, int]] = {}
    row = 0
    for root in roots:
        stack = [(root, 0)]
        while stack:
            tree, depth = stack.pop()
            places[tree] = (depth, row)
            below = children.get(tree, [])
            if not below:
                row += 1
            # The longest line of descent is drawn straight; the others branch off below it.
            stack += [
                (child, depth + 1) for child in sorted(below, key=lambda c: _size(c, children))
            ]
    return places


def _size(tree: str, children: dict[str, list[str]]) -> int:
    n, stack = 0, [tree]
    while stack:
        n += 1
        stack += children.get(stack.pop(), [])
    return n


def _main_line(story: Story) -> set[str]:
    """The champion (or the best candidate) and its ancestors."""
    tree = story.champion[0] if story.champion else story.best[-1].tree if story.best else ""
    line, queue = set(), [tree] if tree else []
    while queue:
        tree = queue.pop()
        if tree in story.candidates and tree not in line:
            line.add(tree)
            queue += story.candidates[tree].parents
    return line
