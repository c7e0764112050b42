"""What the report shows of requirements, such as a target loss: each trial against its limit, and
the history of records with the technique that each came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

from markupsafe import Markup

from novum.agents.carrying import OWNER
from novum.agents.situation import moves_of
from novum.app.ideas import STEPS
from novum.app.numbers import duration, percent
from novum.app.story import Story
from novum.app.svg import Frame, plain
from novum.app.wording import one_line
from novum.lab.records import Label, Proposal, Purpose, Trial

WIDTH, HEIGHT = 960, 340
CLIP = 4.0
"""Values that miss a limit by more than this many times the spread of those that meet it are drawn
at the edge: a run that learned nothing says no more than that."""


PLACES = (
    (11, -9, "note strong"),
    (11, 20, "note strong"),
    (-11, -9, "note strong end"),
    (-11, 20, "note strong end"),
    (11, 38, "note strong"),
    (11, -27, "note strong"),
)
"""Where the name of a record may stand beside its ring, in pixels, best place first."""


@dataclass(frozen=True)
class Record:
    """One row of the history, as it is shown."""

    name: str
    mean: float
    value: str
    required: str
    techniques: str
    number: str = ""
    when: str = ""
    stands_on: str = ""
    words: str = ""
    gain: str = ""
    factor: str = ""
    bar: float = 0.0
    """Length in percent of the longest."""
    is_confirmed: bool = False


def pictures(story: Story) -> list[tuple[str, Markup]]:
    """A title and a picture for each requirement of the run; none where nothing is required."""
    required = story.info.get("requirements") or {}
    return [(name, _against_limit(story, name, one)) for name, one in sorted(required.items())]


def records(story: Story) -> list[Record]:
    """The start, each best of its time, and the champion by its final test; oldest first."""
    names = sorted(story.info.get("requirements") or {})
    base = fmean(story.baseline) if story.baseline else None
    rows = [] if base is None else [_start(story, base, names)]
    for number, best in enumerate(story.best, 1):
        techniques, stands_on, words = _source(story, best.tree)
        rows.append(
            Record(
                number=str(number),
                name=story.name_of(best.tree),
                when=duration(story.worked_at(best.at_s)),
                mean=best.mean,
                value=f"{story.metric.show(best.mean)} ± {story.metric.show(best.error)}",
                required=_required(_searched(story, best.tree), names),
                techniques=techniques,
                stands_on=stands_on,
                words=words,
            )
        )
    if (last := _champion(story, names)) is not None:
        rows.append(last)
    is_more_than_the_start = any(row.number for row in rows)
    return _compared(story, rows, base) if is_more_than_the_start else []


def _start(story: Story, base: float, names: Sequence[str]) -> Record:
    trials = [t for t in story.trials.values() if t.purpose is Purpose.NOISE]
    return Record(
        name="start",
        mean=base,
        value=story.metric.show(base),
        required=_required(trials, names),
        techniques="where the search began",
    )


def _champion(story: Story, names: Sequence[str]) -> Record | None:
    """The champion on text that no search has seen, beside the start there."""
    test = story.certification
    verdict = test.verdict if test is not None else None
    if test is None or verdict is None or verdict.label is not Label.CONFIRMED:
        return None
    arms = [story.arm(test, tree) for tree in (verdict.reference, verdict.tree)]
    if not all(arms):
        return None
    reference, mean = (fmean(values) for values in arms)
    trials = [story.trials[id] for id in test.trials if story.trials[id].tree == verdict.tree]
    techniques, stands_on, words = _source(story, verdict.tree)
    show = story.metric.show
    return Record(
        number="✔",
        name=story.name_of(verdict.tree),
        when=duration(story.worked_at(test.ended_s)) if test.ended_s else "",
        mean=mean,
        value=show(mean),
        gain=percent(story.relative(verdict)[0]),
        factor=_times(story, reference, mean),
        required=_required(trials, names),
        techniques=techniques,
        stands_on=stands_on,
        words=f"Confirmed: the start took part in the same test with {show(reference)}. {words}",
        is_confirmed=True,
    )


def _compared(story: Story, rows: list[Record], base: float | None) -> list[Record]:
    """The rows with the step from each to the next, the distance to the start, and their bars."""
    longest = max((abs(row.mean) for row in rows), default=0.0) or 1.0
    before = None
    done = []
    for row in rows:
        gain, factor = row.gain, row.factor
        if before and not row.is_confirmed:
            gain = percent(story.metric.sign * (row.mean - before) / abs(before))
            factor = _times(story, base, row.mean)
        done.append(replace(row, gain=gain, factor=factor, bar=100 * abs(row.mean) / longest))
        before = row.mean
    return done


def _times(story: Story, base: float | None, value: float) -> str:
    """`4.9 x` as good as the start, where that is a ratio."""
    if base is None or base <= 0 or value <= 0:
        return ""
    ratio = base / value if story.metric.better == "lower" else value / base
    return f"{ratio:.2f} ×"


def _source(story: Story, tree: str) -> tuple[str, str, str]:
    """What a candidate added, what it stands on, and why that should help."""
    candidate = story.candidates.get(tree)
    idea = story.idea(candidate.proposal) if candidate is not None else None
    own = _own_moves(story, tree)
    below = [name for name in _moves_below(story, tree) if name not in own]
    words = _hypothesis(idea.proposal) if idea is not None else ""
    return ", ".join(own), ", ".join(below), words


def _moves_below(story: Story, tree: str) -> list[str]:
    """Techniques of all ancestors of a candidate, each once, the oldest first."""
    found: dict[str, None] = {}
    seen, level = {tree}, [tree]
    while level:
        known = [story.candidates[t] for t in level if t in story.candidates]
        level = [p for c in known for p in c.parents if p not in seen]
        seen |= set(level)
        for parent in level:
            found = dict.fromkeys(_own_moves(story, parent)) | found
    return list(found)


def _own_moves(story: Story, tree: str) -> tuple[str, ...]:
    """Techniques of the idea that made a candidate, or of all that were put together in it."""
    candidate = story.candidates.get(tree)
    if candidate is None:
        return ()
    if candidate.proposal.startswith(OWNER):
        return tuple(candidate.summary.partition(": ")[2].split(", "))
    idea = story.idea(candidate.proposal)
    return moves_of(idea.proposal.move) if idea is not None else ()


def _hypothesis(proposal: Proposal) -> str:
    """The hypothesis without the list of techniques that stands before it anyway."""
    words = one_line(proposal.hypothesis)
    names = ", ".join(moves_of(proposal.move))
    return words.removeprefix(f"Each of {names} helps: ") if names else words


def _technique(story: Story, proposal: str) -> str:
    idea = story.idea(proposal)
    if idea is None:
        return ""
    names = ", ".join(moves_of(idea.proposal.move))
    words = _hypothesis(idea.proposal)
    return f"{names}: {words}" if names else words


def _required(trials: Sequence[Trial], names: Sequence[str]) -> str:
    """`loss 3.279`, the mean over trials that count."""
    said = []
    for name in names:
        values = [t.observed[name] for t in trials if _counts(t, name)]
        said.append(f"{name} {fmean(values):.4g}" if values else f"{name} –")
    return ", ".join(said)


def _searched(story: Story, tree: str) -> list[Trial]:
    """Trials of a candidate on the split that steers the search."""
    return [t for t in story.trials.values() if t.tree == tree and t.split != "sealed"]


def _against_limit(story: Story, name: str, one: dict[str, Any]) -> Markup:
    shown = [t for t in story.trials.values() if _counts(t, name)]
    if not shown:
        return Markup('<p class="quiet">No trial has ended yet.</p>')
    limits = {split: one[split] for split in ("search", "sealed") if one.get(split) is not None}
    x = _wide([t.metric for t in shown if t.metric is not None], from_zero=True)
    y = _clipped([t.observed[name] for t in shown], list(limits.values()))
    frame = Frame(WIDTH, HEIGHT, x, y, left=74)
    frame.axes(story.metric.title(), name, plain)
    for limit in limits.values():
        frame.line(x[0], limit, x[1], limit, "base")
    for trial in shown:
        _dot(frame, story, trial, name, one)
    _path(frame, _stations(story, name))
    # at the left end, where no trial can be: none takes no time at all
    for split, limit in limits.items():
        others = [other for of, other in limits.items() if of != split]
        above = all(limit > other or (limit == other and split == "search") for other in others)
        words = f"{split} target {limit:g}"
        frame.text(x[0], limit, words, "note", dx=4, dy=-5 if above else 14)
    return frame.svg(f"{name} against {story.metric.name}, each trial and the target")


def _stations(story: Story, name: str) -> list[tuple[str, float, float]]:
    """Name, mean metric and mean observed value of the start and of each record on the way."""
    groups = [("start", [t for t in story.trials.values() if t.purpose is Purpose.NOISE])]
    groups += [(story.name_of(b.tree), _searched(story, b.tree)) for b in story.best]
    test = story.certification
    if test is not None and test.verdict is not None and test.verdict.label is Label.CONFIRMED:
        trials = [story.trials[id] for id in test.trials]
        won = [t for t in trials if t.tree == test.verdict.tree]
        groups.append((f"champion {story.name_of(test.verdict.tree)}", won))
    stations = []
    for words, trials in groups:
        seen = [(t.metric, t.observed[name]) for t in trials if _counts(t, name)]
        points = [(metric, value) for metric, value in seen if metric is not None]
        if points:
            stations.append((words, fmean(m for m, _ in points), fmean(v for _, v in points)))
    return stations


def _path(frame: Frame, stations: Sequence[tuple[str, float, float]]) -> None:
    """A line from record to record, a ring around each and its name where there is room."""
    low, high = frame.y
    inside = [(words, x, min(max(y, low), high)) for words, x, y in stations]
    for (_, *begin), (_, *end) in pairwise(inside):
        frame.line(begin[0], begin[1], end[0], end[1], "way")
    taken: list[tuple[float, float, float]] = []
    for words, x, y in inside:
        frame.circle(x, y, 7, "record", words)
        width = 7.0 * len(words)
        for dx, dy, style in PLACES:
            left = frame.px(x) + dx - (width if "end" in style else 0)
            at = (left, left + width, frame.py(y) + dy)
            if not any(at[0] < b and a < at[1] and abs(at[2] - h) < 14 for a, b, h in taken):
                break
        taken.append(at)
        frame.text(x, y, words, style, dx=dx, dy=dy)


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


def _counts(trial: Trial, name: str) -> bool:
    """Whether a trial ended with the value, at full budget and not only to see that it runs."""
    is_whole = trial.fidelity == "full" and trial.purpose is not Purpose.SMOKE
    return is_whole and trial.metric is not None and name in trial.observed


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
