"""`novum show`: one candidate, proposal or trial with everything that is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from novum.app.ideas import STEPS, Idea
from novum.app.numbers import duration, percent, percent_range
from novum.app.reading import Reading
from novum.app.wording import MARKS, one_line, readable
from novum.errors import NovumError
from novum.lab.codec import encode
from novum.lab.counted import counted
from novum.lab.records import Candidate, Evidence, Json, Outcome, Trial, TrialStatus, Verdict
from novum.lab.units import measured, size

OUTCOMES = {
    Outcome.PASS: ("pass", "green"),
    Outcome.NOTE: ("note", "cyan"),
    Outcome.CONFIRM: ("check", "yellow"),
    Outcome.FAIL: ("FAIL", "bold red"),
}
LOG_LINES = 40
MAX_TRIALS = 60


def as_text(reading: Reading, found: Idea | Candidate | Trial) -> RenderableType:
    """For a person."""
    if isinstance(found, Trial):
        return Group(*_trial(reading, found))
    if isinstance(found, Candidate):
        idea = reading.owner(found)
        return Group(*(_start(reading, found) if idea is None else _idea(reading, idea)))
    return Group(*_idea(reading, found))


def as_json(reading: Reading, found: Idea | Candidate | Trial) -> Json:
    """For a program: the same facts as one object."""
    if isinstance(found, Trial):
        return {"trial": encode(found), "log": reading.run.blobs.text(found.log_blob)}
    idea = reading.owner(found) if isinstance(found, Candidate) else found
    tree = found.tree
    verdicts = reading.ledger.verdicts(tree=tree) if tree else ()
    records = {e.id: e for e in reading.ledger.evidence(tree=tree)} if tree else {}
    return {
        "proposal": encode(idea.proposal) if idea is not None else None,
        "candidate": encode(reading.story.candidates[tree]) if tree else None,
        "dropped": idea.dropped if idea is not None else "",
        "diff": _diff_text(reading, tree) if tree else "",
        "trials": [encode(t) for t in _trials_of(reading, idea, tree)],
        "verdicts": [encode(v) for v in verdicts],
        "evidence": [encode(e) for e in records.values()],
    }


def _start(reading: Reading, candidate: Candidate) -> Iterable[RenderableType]:
    values = reading.story.baseline
    yield _title("Start", candidate.tree[:10], one_line(candidate.summary))
    if values:
        show, sd = reading.story.metric.show, reading.story.noise_sd
        yield Text(
            f"{reading.story.metric.title()} {show(fmean(values))}, "
            f"sd over {counted(len(values), 'seed')} {show(sd)}"
        )
    yield _trial_table(reading, _trials_of(reading, None, candidate.tree))


def _idea(reading: Reading, idea: Idea) -> Iterable[RenderableType]:
    proposal = idea.proposal
    name = f"{idea.name} ({proposal.id})" if idea.number else f"Final test {proposal.id}"
    words = reading.story.in_words(one_line(proposal.hypothesis))
    yield _title(str(proposal.kind).capitalize() if idea.number else "", name, words)
    parents = ", ".join(reading.story.name_of(tree) for tree in proposal.parents)
    yield Text(f"by {proposal.brain}, thread {proposal.thread}, from {parents or 'nothing'}", "dim")
    if idea.dropped:
        yield Text.assemble(("dropped: ", "bold"), one_line(idea.dropped))
    if idea.verdict is not None:
        yield Text()
        yield from _verdict(reading, idea.verdict)
    for test in reading.story.tests.values():
        if test is not idea and test.verdict is not None and test.tree == idea.tree != "":
            yield Text(f"\nFinal test {test.proposal.id}", "bold")
            yield from _verdict(reading, test.verdict)
    if idea.is_open:
        yield Text(f"open: {reading.story.stage(idea)}", "yellow")
    trials = _trials_of(reading, idea, idea.tree)
    if trials:
        yield Text("\nTrials", "bold")
        yield _trial_table(reading, trials)
    if idea.tree and (diff := _diff_text(reading, idea.tree)):
        candidate = reading.story.candidates.get(idea.tree)
        summary = one_line(candidate.summary) if candidate is not None else ""
        yield Text(f"\nChange  {idea.tree[:10]}  {summary}", "bold")
        yield Syntax(diff, "diff", theme="ansi_dark", background_color="default", word_wrap=True)


def _verdict(reading: Reading, verdict: Verdict) -> Iterable[RenderableType]:
    mark, style = MARKS.get(str(verdict.label), ("?", ""))
    gain, interval = reading.story.relative(verdict)
    line = Text.assemble((f"{mark} {verdict.label}", style), f"  {one_line(verdict.reason)}")
    yield line
    if gain is not None:
        text = f"gain {percent(gain)} against {reading.story.name_of(verdict.reference)}"
        text += f" ({percent_range(interval)})" if interval is not None else ""
        text += f", p = {verdict.p_value:.3g}" if verdict.p_value is not None else ""
        text += f", on the {verdict.split} split; {counted(verdict.n_ideas, 'idea')} tried by then"
        yield Text(text)
    listed = set(verdict.evidence)
    records = [e for e in reading.ledger.evidence(proposal=verdict.proposal) if e.id in listed]
    if records:
        yield _evidence_table(records)


def _evidence_table(records: Sequence[Evidence]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for record in records:
        word, style = OUTCOMES[record.outcome]
        table.add_row(Text(f"  {word}", style), record.step, one_line(record.summary))
    return table


def _trial_table(reading: Reading, trials: Sequence[Trial]) -> Table:
    metric = reading.story.metric
    table = Table(box=None, pad_edge=False, header_style="dim")
    has_claims = any(trial.claimed for trial in trials)
    for name in ("trial", "of", "purpose", "split"):
        table.add_column(name, no_wrap=True)
    # Text, for brackets in a column's name would be read as markup.
    table.add_column(Text(metric.label()), justify="right", no_wrap=True)
    for name in (*(["claimed"] if has_claims else []), "took", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status")
    for trial in trials[:MAX_TRIALS]:
        claimed = ", ".join(f"{v:.4g}" for v in trial.claimed.values())
        seconds = trial.observed.get("wall_s", trial.ended_s - trial.launched_s)
        memory = trial.observed.get("peak_bytes")
        style = "" if trial.status is TrialStatus.FINISHED else "yellow"
        table.add_row(
            trial.id,
            reading.story.name_of(trial.tree),
            STEPS[trial.purpose],
            trial.split,
            Text(metric.show(trial.metric), "bold"),
            *([Text(claimed or "–", "dim")] if has_claims else []),
            duration(seconds) if trial.ended_s else "…",
            size(memory) if memory else "–",
            Text(f"{trial.status} {one_line(trial.error)[:60]}".strip(), style),
        )
    if len(trials) > MAX_TRIALS:
        table.add_row(f"… {len(trials) - MAX_TRIALS} more")
    return table


def _trial(reading: Reading, trial: Trial) -> Iterable[RenderableType]:
    what = f"{STEPS[trial.purpose]} of {reading.story.whose(trial)}"
    yield _title("Trial", trial.id, what)
    yield _trial_table(reading, [trial])
    if trial.error:
        yield Text(f"\n{readable(trial.error)}", "yellow")
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in sorted(trial.observed.items()):
        table.add_row(Text("observed", "dim"), name, measured(name, value))
    for name, value in sorted(trial.claimed.items()):
        table.add_row(Text("claimed", "dim"), name, f"{value:,.6g}")
    for probe in trial.probes:
        word, style = OUTCOMES[probe.outcome]
        table.add_row(
            Text("probe", "dim"), Text(f"{probe.name} {word}", style), one_line(probe.summary)
        )
    yield Text()
    yield table
    log = reading.run.blobs.text(trial.log_blob).strip().splitlines()
    if log:
        yield Text(f"\nLast {min(LOG_LINES, len(log))} of {len(log)} lines printed", "bold")
        yield Text("\n".join(one_line(line) for line in log[-LOG_LINES:]), "dim")
    yield Text(
        f"\nseed {trial.seed} (draw {trial.seed_index})  harness {trial.harness[:12]}  "
        f"hardware {trial.hardware}",
        "dim",
    )


def _trials_of(reading: Reading, idea: Idea | None, tree: str) -> list[Trial]:
    story = reading.story
    ids = dict.fromkeys([t.id for t in story.trials_of(tree)] if tree else [])
    ids |= dict.fromkeys(idea.trials if idea is not None else [])
    return [story.trials[id] for id in ids]


def _diff_text(reading: Reading, tree: str) -> str:
    candidate = reading.story.candidates.get(tree)
    if candidate is None or not candidate.parents:
        return ""
    try:
        return readable(reading.archive.diff(candidate.parents[0], tree))
    except NovumError as error:
        return f"[no diff: {error}]"


def _title(kind: str, name: str, words: str) -> Text:
    return Text.assemble((f"{kind} ".lstrip(), "dim"), (name, "bold cyan"), f"  {words}")
