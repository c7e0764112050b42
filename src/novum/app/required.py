"""What the report shows of requirements, such as a target loss: each trial against its limit, and
the history of records with the technique that each came from."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from markupsafe import Markup

from novum.agents.situation import moves_of
from novum.app.ideas import STEPS
from novum.app.numbers import moment, percent
from novum.app.story import Story
from novum.app.svg import Frame
from novum.app.wording import one_line
from novum.lab.records import Purpose, Trial

WIDTH, HEIGHT = 960, 340
CLIP = 4.0
"""Values that miss a limit by more than this many times the spread of those that meet it are drawn
at the edge: a run that learned nothing says no more than that."""


def pictures(story: Story) -> list[tuple[str, Markup]]:
    """A title and a picture for each requirement of the run; none where nothing is required."""
    required = story.info.get("requirements") or {}
    return [(name, _against_limit(story, name, one)) for name, one in sorted(required.items())]


def records(story: Story) -> list[dict[str, str]]:
    """Each best of its time, oldest first: value, step down, technique, required values."""
    rows, before = [], fmean(story.baseline) if story.baseline else None
    names = sorted(story.info.get("requirements") or {})
    for number, best in enumerate(story.best, 1):
        idea = story.idea(best.idea)
        gain = None if not before else story.metric.sign * (best.mean - before) / abs(before)
        rows.append(
            {
                "number": str(number),
                "idea": f"#{idea.number}" if idea is not None else best.tree[:10],
                "when": moment(best.at_s),
                "value": story.metric.show(best.mean),
                "error": story.metric.show(best.error),
                "gain": percent(gain) if gain is not None else "",
                "technique": _technique(story, best.idea),
                "required": ", ".join(f"{n} {_mean(story, best.tree, n)}" for n in names),
            }
        )
        before = best.mean
    return rows


def _technique(story: Story, proposal: str) -> str:
    idea = story.idea(proposal)
    if idea is None:
        return ""
    names = ", ".join(moves_of(idea.proposal.move))
    words = one_line(idea.proposal.hypothesis)
    return f"{names}: {words}" if names else words


def _mean(story: Story, tree: str, name: str) -> str:
    values = [t.observed[name] for t in _shown(story, name) if t.tree == tree]
    return f"{fmean(values):.4g}" if values else "–"


def _against_limit(story: Story, name: str, one: dict[str, Any]) -> Markup:
    shown = _shown(story, name)
    if not shown:
        return Markup('<p class="quiet">No trial has ended yet.</p>')
    limits = {split: one[split] for split in ("search", "sealed") if one.get(split) is not None}
    x = _wide([t.metric for t in shown if t.metric is not None], from_zero=True)
    y = _clipped([t.observed[name] for t in shown], list(limits.values()))
    frame = Frame(WIDTH, HEIGHT, x, y, left=74)
    frame.axes(story.metric.title(), name, lambda v: f"{v:g}", lambda v: f"{v:g}")
    for split, limit in limits.items():
        frame.line(x[0], limit, x[1], limit, "base")
        others = [other for of, other in limits.items() if of != split]
        above = all(limit > other or (limit == other and split == "search") for other in others)
        words = f"{split} target {limit:g}"
        frame.text(x[1], limit, words, "note end", dx=-4, dy=-5 if above else 13)
    for trial in shown:
        _dot(frame, story, trial, name, one)
    return frame.svg(f"{name} against {story.metric.name}, each trial and the target")


def _dot(frame: Frame, story: Story, trial: Trial, name: str, one: dict[str, Any]) -> None:
    assert trial.metric is not None
    value, limit = trial.observed[name], one.get(trial.split)
    sign = 1 if one.get("better", "lower") == "lower" else -1
    style = "trial start" if trial.purpose is Purpose.NOISE else "trial"
    style = "trial sealed" if trial.split == "sealed" else style
    if limit is not None and sign * value > sign * limit:
        style += " missed"
    tip = (
        f"{STEPS[trial.purpose]} of {story.whose(trial)}: {story.metric.show(trial.metric)} "
        f"{story.metric.unit}, {name} {value:.4g}; {_technique(story, trial.proposal)[:120]}"
    )
    low, high = frame.y
    frame.circle(trial.metric, min(max(value, low), high), 3.6, style, tip)


def _shown(story: Story, name: str) -> list[Trial]:
    return [
        t
        for t in story.trials.values()
        if t.metric is not None and name in t.observed and t.fidelity == "full"
        if t.purpose is not Purpose.SMOKE
    ]


def _wide(values: list[float], *, from_zero: bool = False) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return (min(0.0, low) if from_zero else low - pad), high + pad


def _clipped(values: list[float], limits: list[float]) -> tuple[float, float]:
    if not limits:
        return _wide(values)
    near = max(limits)
    spread = max(near - min([*values, near]), 0.02 * abs(near), 1e-9)
    kept = [min(v, near + CLIP * spread) for v in values]
    return _wide([*kept, *limits])
