"""`novum report`: a run as one HTML file that needs nothing else, for whoever was not there."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from novum.app import plots, proposers, required
from novum.app.ideas import Idea
from novum.app.numbers import better_by, duration, moment, percent, percent_range
from novum.app.outcome import Outcome, outcome_of
from novum.app.reading import Reading
from novum.app.wording import MARKS, benchmark_of, one_line, readable
from novum.errors import NovumError
from novum.lab.counted import counted
from novum.lab.records import Json
from novum.lab.units import size

MAX_IDEAS = 500
DIFF_CHARS = 6_000


def write_report(reading: Reading, path: Path) -> None:
    """Write the report of a run; an existing file is replaced."""
    here = files("novum.app")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((here / "report.html.jinja").read_text())
    style = Markup((here / "report.css").read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(readable(template.render(style=style, **_facts(reading))))


def _facts(reading: Reading) -> dict[str, Any]:
    story, info = reading.story, reading.run.info
    outcome = outcome_of(reading.run, story)
    metric = story.metric
    ideas = list(story.ideas.values())
    ended = Counter(str(t.status) for t in story.trials.values())
    anchor = reading.ledger.anchor()
    return {
        "run": reading.run.name,
        "benchmark": benchmark_of(info),
        "headline": headline(reading, outcome),
        "state": outcome.state,
        "interval": percent_range(outcome.interval),
        "p_value": f"{outcome.p_value:.2g}" if outcome.p_value is not None else "",
        "metric": metric,
        "n_ideas": len(ideas),
        "n_trials": len(story.trials),
        "ended": ", ".join(f"{n} {status}" for status, n in sorted(ended.items())),
        "wall": duration(outcome.wall_s),
        "trial_time": duration(outcome.trial_s),
        "baseline": metric.show(fmean(story.baseline)) if story.baseline else "",
        "n_baseline": len(story.baseline),
        "noise": metric.show(story.noise_sd),
        "noise_percent": _noise_percent(reading),
        "labels": Counter(idea.label or "open" for idea in ideas).most_common(),
        "best_plot": plots.best_so_far(story),
        "required": required.pictures(story),
        "records": required.records(story),
        "parts": [_part(reading, part) for part in story.parts],
        "gains_plot": plots.gains(story),
        "lineage_plot": plots.lineage(story),
        "rows": [_row(reading, idea) for idea in [*ideas[-MAX_IDEAS:], *story.tests.values()]],
        "left_out": max(0, len(ideas) - MAX_IDEAS),
        "proposers": _proposers(reading),
        "begun": moment(info.get("created_s", story.began_s)),
        "provenance": _provenance(info, anchor.seq, anchor.digest),
        "settings": list(_flat(info.get("settings", {}))),
    }


def headline(reading: Reading, outcome: Outcome) -> str:
    """The result of a run in one sentence."""
    show, name = reading.story.metric.show, reading.story.metric.title()
    if outcome.state == "confirmed":
        return (
            f"{name}: {show(outcome.reference_mean)} → {show(outcome.champion_mean)}, "
            f"{better_by(outcome.gain)}"
        )
    if outcome.state == "not confirmed":
        return "The best candidate did not hold up when it was measured again"
    if outcome.state == "nothing better" and not outcome.n_ideas:
        return "No idea was tried: the budget went for measuring the start"
    if outcome.state == "nothing better":
        return "No better candidate than the start was found"
    return f"{name}: the run is not finished"


def _proposers(reading: Reading) -> list[tuple[str, ...]]:
    """The table of who had the ideas, its head first; empty when that says nothing."""
    found = proposers.proposers(reading.story)
    if not proposers.worth_telling(found):
        return []
    return [proposers.HEAD, *(p.cells() for p in found)]


def _noise_percent(reading: Reading) -> str:
    story = reading.story
    if story.noise_sd is None or not (mean := fmean(story.baseline)):
        return ""
    return f"{100 * story.noise_sd / abs(mean):.2g} %"


def _part(reading: Reading, part: Json) -> Json:
    """One change of the champion and what it is worth."""
    idea = reading.story.ideas.get(part["idea"])
    name = f"#{idea.number}: {one_line(idea.proposal.hypothesis)}" if idea else part["idea"]
    if part.get("needed"):
        return {"name": name, "gain": "", "words": "other changes stand on it"}
    if part.get("broken"):
        return {"name": name, "gain": "", "words": "without it the rest does not run"}
    low, high = part["interval"]
    words = f"{percent_range((low, high))}, {counted(part['n'], 'trial')} without it"
    return {"name": name, "gain": percent(part["gain"]), "words": words}


def _row(reading: Reading, idea: Idea) -> Json:
    story = reading.story
    verdict = idea.verdict
    gain, interval = story.relative(verdict) if verdict is not None else (None, None)
    cost_s = sum(
        story.trials[id].ended_s - story.trials[id].launched_s
        for id in idea.trials
        if story.trials[id].ended_s
    )
    listed = set(verdict.evidence) if verdict is not None else set()
    evidence = [e for e in reading.ledger.evidence(proposal=idea.proposal.id) if e.id in listed]
    return {
        "number": idea.name if idea.number else "test",
        "label": idea.label or "open",
        "mark": MARKS.get(idea.label, ("…", ""))[0],
        "gain": percent(gain) if gain is not None else "",
        "interval": percent_range(interval),
        "kind": str(idea.proposal.kind) if idea.number else "confirmation",
        "hypothesis": story.in_words(one_line(idea.proposal.hypothesis)),
        "reason": one_line(verdict.reason if verdict is not None else idea.dropped),
        "parents": ", ".join(story.name_of(tree) for tree in idea.proposal.parents),
        "n_trials": len(idea.trials),
        "cost": duration(cost_s) if idea.trials else "",
        "evidence": [(str(e.outcome), e.step, one_line(e.summary)) for e in evidence],
        "diff": _diff(reading, idea) if idea.number else "",
    }


def _diff(reading: Reading, idea: Idea) -> Markup:
    candidate = reading.story.candidates.get(idea.tree)
    if candidate is None or not candidate.parents or candidate.proposal != idea.proposal.id:
        return Markup("")
    try:
        text = reading.archive.diff(candidate.parents[0], candidate.tree, max_chars=DIFF_CHARS)
    except NovumError as error:
        return escape(f"[no diff: {error}]")
    return coloured(text)


def coloured(diff: str) -> Markup:
    """A diff as markup, each line with a class for what it is."""
    return Markup("\n").join(
        Markup('<span class="{}">{}</span>').format(_line_style(line), line)
        for line in diff.splitlines()
    )


def _line_style(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ")):
        return "meta"
    return {"+": "added", "-": "removed", "@": "meta"}.get(line[:1], "same")


def _provenance(info: Json, seq: int, digest: str) -> list[tuple[str, str]]:
    hardware = info.get("hardware", {})
    gpus = ", ".join(hardware.get("gpus", [])) or "none"
    versions = ", ".join(f"{k} {v}" for k, v in info.get("versions", {}).items())
    return [
        ("Machine", f"{hardware.get('cpu', '?')}, {hardware.get('cores', '?')} cores, "
                    f"{size(hardware.get('memory_bytes', 0))} memory, GPUs: {gpus}"),
        ("Software", versions),
        ("Data", str(info.get("data_fingerprint", ""))),
        ("Harness and grader", str(info.get("harness", ""))),
        ("Seeds", f"drawn from a nonce whose SHA-256 is {info.get('seed_commitment', '')}, "
                  "fixed before the first trial"),
        *_origin(info),
        ("Trace", f"{counted(seq, 'event')}, chained by hash; the last one is {digest}"),
    ]  # fmt: skip


def _origin(info: Json) -> list[tuple[str, str]]:
    if found := info.get("fork"):
        words = f"run {found['run']}, event {found['event']}, digest {found['digest']}"
        return [("Forked from", words)]
    if found := info.get("again"):
        return [("Models", f"recorded in run {found['run']}; its trials were run again here")]
    return []


def _flat(values: Json, prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, str(value)))
    return found
