"""What each page of the dashboard shows, as plain values for its template."""

from __future__ import annotations

import time
from collections import Counter
from statistics import fmean
from typing import Any

from novum.agents.approvals import open_questions
from novum.app import plots
from novum.app.ideas import GOOD, STEPS, Idea
from novum.app.numbers import duration, moment, percent, percent_range
from novum.app.outcome import outcome_of
from novum.app.reading import Reading
from novum.app.report import headline
from novum.app.web.watched import mark_of
from novum.app.wording import NAMES, one_line, used_of
from novum.lab.counted import counted
from novum.lab.records import Json, Label, Purpose, Trial, TrialStatus
from novum.lab.units import size

N_VERDICTS = 8
N_BOARD = 100
LIMITS = ("experiments", "wall_s", "gpu_hours", "tokens", "cost_usd")


def overview(reading: Reading) -> Json:
    """The first page: how far it is, what is done now, what was found last."""
    story = reading.story
    outcome = outcome_of(reading.run, story)
    ended = [i for i in [*story.ideas.values(), *story.tests.values()] if i.label]
    ended.sort(key=lambda idea: idea.ended_s, reverse=True)
    statuses = Counter(str(t.status) for t in story.trials.values())
    return {
        "headline": headline(reading, outcome),
        "outcome": outcome,
        "interval": percent_range(outcome.interval),
        "cards": cards(reading),
        "trials": ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())),
        "plot": plots.best_so_far(story),
        "threads": threads(reading),
        "slots": slots(reading),
        "budgets": budgets(reading),
        "verdicts": [verdict_row(reading, idea) for idea in ended[:N_VERDICTS]],
        "questions": questions(reading),
        "directives": list(story.directives.values())[::-1],
        "kinds": kinds(reading),
    }


def cards(reading: Reading) -> list[tuple[str, str]]:
    """The numbers at the top: a value and what it is."""
    story, show = reading.story, reading.story.metric.show
    best = story.best[-1] if story.best else None
    base = fmean(story.baseline) if story.baseline else None
    gain = ""
    if best is not None and base:
        gain = f", {percent(story.metric.sign * (best.mean - base) / abs(base))}"
    seeds = counted(len(story.baseline), "seed")
    spent = story.spent
    tokens = spent.get("tokens", 0)
    cost = f"; {tokens:,.0f} tokens, {spent.get('cost_usd', 0.0):.2f} USD" if tokens else ""
    return [
        (show(base), f"start, {story.metric.title()}; {story.metric.better} is better"),
        (f"± {show(story.noise_sd)}", f"sd over {seeds} of the start"),
        (show(best.mean) if best else "–", f"best of a race{gain}"),
        (str(len(story.ideas)), "idea" if len(story.ideas) == 1 else "ideas"),
        (str(len(story.trials)), f"trials, {duration(spent.get('trial_s', 0.0))} of them"),
        (duration(story.wall_s), f"of work{cost}"),
    ]


def threads(reading: Reading) -> list[Json]:
    """What each thread does now."""
    story = reading.story
    if reading.run.holder() is None:
        return []
    found = []
    for thread in range(int(reading.run.info.get("settings", {}).get("threads", 1))):
        idea = story.ideas.get(story.threads.get(thread, ""))
        is_open = idea is not None and idea.is_open
        found.append(
            {
                "thread": thread,
                "idea": idea if is_open else None,
                "stage": story.stage(idea) if idea is not None and is_open else "planning",
                "words": reading.story.in_words(one_line(idea.proposal.hypothesis))
                if idea is not None and is_open
                else "",
            }
        )
    return found


def slots(reading: Reading) -> list[Json]:
    """Trials that run now, with how much of their budget they have used."""
    budget_s = float(reading.run.info.get("trial_budget_s") or 0.0)
    now = time.time()
    return [
        {
            "trial": trial,
            "step": STEPS[trial.purpose],
            "of": reading.story.name_of(trial.tree),
            "spent": duration(max(0.0, now - trial.launched_s)),
            "part": min(100, round(100 * (now - trial.launched_s) / budget_s)) if budget_s else 0,
        }
        for trial in reading.story.running.values()
        if reading.run.holder() is not None
    ]


def questions(reading: Reading) -> list[Json]:
    """What waits for a person's yes."""
    found = []
    for question in open_questions(reading.ledger):
        idea = reading.story.ideas.get(question.proposal)
        found.append(
            {
                "id": question.id,
                "show": question.tree or question.proposal,
                "of": "its code is written" if question.of == "plan" else "its trials are run",
                "title": idea.name if idea is not None else question.proposal,
                "words": reading.story.in_words(one_line(idea.proposal.hypothesis))
                if idea is not None
                else "",
            }
        )
    return found


def budgets(reading: Reading) -> list[Json]:
    """Limits that were set, and how much of each is used."""
    story = reading.story
    limits = dict(reading.run.info.get("settings", {}).get("budget", {}))
    for directive in story.directives.values():
        limits |= directive.action.get("budget") or {}
    used = {
        "experiments": float(len(story.ideas)),
        "wall_s": story.wall_s,
        "gpu_hours": story.spent.get("gpu_s", 0.0) / 3600,
        "tokens": story.spent.get("tokens", 0.0),
        "cost_usd": story.spent.get("cost_usd", 0.0),
    }
    return [
        {
            "name": NAMES[name],
            "words": used_of(name, used[name], float(limits[name])),
            "part": min(100, round(100 * used[name] / limits[name])),
        }
        for name in LIMITS
        if limits.get(name)
    ]


def verdict_row(reading: Reading, idea: Idea) -> Json:
    """An idea that ended, in a line."""
    gain, interval = (
        reading.story.relative(idea.verdict) if idea.verdict is not None else (None, None)
    )
    return {
        "id": idea.proposal.id,
        "title": idea.name,
        "label": idea.label,
        "mark": mark_of(idea.label),
        "gain": percent(gain) if gain is not None else "",
        "interval": percent_range(interval),
        "words": reading.story.in_words(one_line(idea.proposal.hypothesis)),
        "reason": one_line(idea.verdict.reason if idea.verdict is not None else idea.dropped),
        "kind": str(idea.proposal.kind) if idea.number else "confirmation",
        "when": moment(idea.ended_s)[11:16],
    }


def kinds(reading: Reading) -> list[tuple[str, int, int]]:
    """How often each kind of change was tried, and how often it won."""
    tried: Counter[str] = Counter()
    won: Counter[str] = Counter()
    for idea in reading.story.ideas.values():
        tried[str(idea.proposal.kind)] += 1
        won[str(idea.proposal.kind)] += idea.verdict is not None and idea.verdict.label in GOOD
    return [(kind, n, won[kind]) for kind, n in tried.most_common()]


def frontier(reading: Reading) -> Json:
    """Candidates worth building on, best first, and how they descend from one another."""
    story = reading.story
    base = fmean(story.baseline) if story.baseline else None
    good = [i for i in story.ideas.values() if i.is_confirmed or _has_won(i)]
    champion = story.champion[0] if story.champion else ""
    ranked = sorted(good, key=lambda i: (i.tree == champion, _worth(reading, i)), reverse=True)
    return {
        "rows": [board_row(reading, idea, base) for idea in ranked[:N_BOARD]],
        "n_left_out": max(0, len(ranked) - N_BOARD),
        "gains": plots.gains(story),
        "lineage": plots.lineage(story),
        "all": [verdict_row(reading, idea) for idea in reversed(story.ideas.values())][:500],
    }


def board_row(reading: Reading, idea: Idea, base: float | None) -> Json:
    """One candidate of the leaderboard."""
    story = reading.story
    values = story.measured(idea.tree)
    mean = fmean(values) if values else None
    sealed = [
        t.verdict
        for t in story.tests.values()
        if t.verdict is not None and t.tree == idea.tree and t.verdict.label is Label.CONFIRMED
    ]
    gain = story.metric.sign * (mean - base) / abs(base) if base and mean is not None else None
    return verdict_row(reading, idea) | {
        "mean": story.metric.show(mean),
        "error": story.metric.show(story.error_of(len(values))),
        "n": len(values),
        "from_start": percent(gain) if gain is not None else "",
        "sealed": percent(story.relative(sealed[-1])[0]) if sealed else "",
        "is_champion": story.champion is not None and story.champion[0] == idea.tree,
    }


def trial_row(reading: Reading, trial: Trial) -> Json:
    """One trial in a line."""
    memory = trial.observed.get("peak_bytes")
    seconds = trial.observed.get("wall_s", trial.ended_s - trial.launched_s)
    return {
        "id": trial.id,
        "of": reading.story.name_of(trial.tree),
        "step": STEPS[trial.purpose],
        "split": trial.split,
        "metric": reading.story.metric.show(trial.metric),
        "claimed": ", ".join(f"{v:.4g}" for v in trial.claimed.values()),
        "time": duration(max(0.0, seconds)) if trial.ended_s else "…",
        "memory": size(memory) if memory else "",
        "status": str(trial.status),
        "is_bad": trial.status not in (TrialStatus.FINISHED, TrialStatus.LAUNCHED),
        "error": one_line(trial.error)[:200],
        "is_smoke": trial.purpose is Purpose.SMOKE,
    }


def origin(info: Json) -> str:
    """Where a run comes from that did not begin by itself; empty when it did."""
    if found := info.get("fork"):
        return f"forked from {found['run']} at event {found['event']} ({found['digest'][:12]})"
    if found := info.get("again"):
        return f"measures what the models of {found['run']} proposed again"
    return ""


def frame(reading: Reading, page: str, **more: Any) -> Json:
    """What the frame around every page needs."""
    info = reading.run.info
    holder = reading.run.holder()
    outcome = outcome_of(reading.run, reading.story)
    return {
        "page": page,
        "run": reading.run.name,
        "benchmark": f"{info.get('benchmark')} {info.get('profile')}",
        "origin": origin(info),
        "state": "working" if holder else outcome.state,
        "seq": reading.story.seq,
        "metric": reading.story.metric,
        **more,
    }


def _has_won(idea: Idea) -> bool:
    return idea.verdict is not None and idea.verdict.label in GOOD


def _worth(reading: Reading, idea: Idea) -> float:
    values = reading.story.measured(idea.tree)
    return reading.story.metric.sign * fmean(values) if values else float("-inf")
