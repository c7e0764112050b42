"""One candidate, trial or event of a run, for its page of the dashboard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from novum.app.ideas import STEPS, Idea
from novum.app.numbers import duration, moment, percent, percent_range
from novum.app.reading import Reading
from novum.app.report import coloured
from novum.app.steps import words_of
from novum.app.web.pages import trial_row
from novum.app.web.watched import mark_of, search
from novum.app.wording import one_line
from novum.errors import NovumError
from novum.lab.records import Candidate, Event, Json, Trial, Verdict

PAGE = 100
LOG_CHARS = 20_000
TEXT_CHARS = 12_000
WORDS_CHARS = 400
MAX_TRIALS = 200


def candidate(reading: Reading, found: Idea | Candidate) -> Json:
    """A proposal with its candidate: change, trials, verdicts and what they rest on."""
    idea = reading.owner(found) if isinstance(found, Candidate) else found
    tree = found.tree
    story = reading.story
    kept = story.candidates.get(tree)
    tests = [t for t in story.tests.values() if t is not idea and t.tree == tree != ""]
    verdicts = [i.verdict for i in [idea, *tests] if i is not None and i.verdict is not None]
    ids = dict.fromkeys(t.id for t in story.trials_of(tree)) if tree else {}
    ids |= dict.fromkeys(idea.trials if idea is not None else ())
    trials = [story.trials[id] for id in ids]
    children = [
        i for i in story.ideas.values() if tree and tree in i.proposal.parents and i is not idea
    ]
    return {
        "idea": idea,
        "title": idea.name if idea is not None else "start",
        "words": story.in_words(idea.proposal.hypothesis) if idea is not None else "",
        "label": idea.label if idea is not None else "start",
        "mark": mark_of(idea.label) if idea is not None else "●",
        "candidate": kept,
        "parents": [(t, reading.story.name_of(t)) for t in (idea.proposal.parents if idea else ())],
        "children": [(i.proposal.id, i.name, i.label or "open") for i in children[:60]],
        "verdicts": [verdict(reading, v) for v in verdicts],
        "trials": [trial_row(reading, t) for t in trials[:MAX_TRIALS]],
        "n_more": max(0, len(trials) - MAX_TRIALS),
        "diff": coloured(diff(reading, kept)) if kept is not None else "",
        "move": json.dumps(idea.proposal.move) if idea is not None and idea.proposal.move else "",
    }


def verdict(reading: Reading, found: Verdict) -> Json:
    """A verdict and the evidence it rests on."""
    gain, interval = reading.story.relative(found)
    listed = set(found.evidence)
    records = [e for e in reading.ledger.evidence(proposal=found.proposal) if e.id in listed]
    return {
        "record": found,
        "mark": mark_of(str(found.label)),
        "gain": percent(gain) if gain is not None else "",
        "interval": percent_range(interval),
        "p": f"{found.p_value:.2g}" if found.p_value is not None else "",
        "against": reading.story.name_of(found.reference),
        "evidence": [(str(e.outcome), e.step, one_line(e.summary)) for e in records],
    }


def diff(reading: Reading, kept: Candidate) -> str:
    """What a candidate changed of its first parent."""
    if not kept.parents:
        return ""
    try:
        return reading.archive.diff(kept.parents[0], kept.tree)
    except NovumError as error:
        return f"[no diff: {error}]"


def trial(reading: Reading, found: Trial) -> Json:
    """A trial with what was measured and what it printed."""
    log = reading.run.blobs.text(found.log_blob)
    return {
        "trial": found,
        "row": trial_row(reading, found),
        "step": STEPS[found.purpose],
        "of": reading.story.name_of(found.tree),
        "observed": sorted(found.observed.items()),
        "claimed": sorted(found.claimed.items()),
        "log": log[-LOG_CHARS:],
        "is_cut": len(log) > LOG_CHARS,
    }


def timeline(reading: Reading, kind: str, words: str, after: int) -> Json:
    """A page of events; without a place to begin at, the latest."""
    seq, began_s = reading.story.seq, reading.story.began_s
    is_latest = after < 0
    if is_latest:
        after = max(0, seq - PAGE) if not (kind or words) else 0
    events = search(reading, kind, words, after, PAGE)
    return {
        "kind": kind,
        "words": words,
        "rows": [event_row(e, began_s) for e in events],
        "before": max(0, after - PAGE) if after else None,
        "next": events[-1].seq if len(events) == PAGE and events[-1].seq < seq else None,
        "kinds": KINDS,
    }


def shortened(words: str) -> str:
    """Words of a line of the timeline; the page of the event has all of them."""
    return words if len(words) <= WORDS_CHARS else words[: WORDS_CHARS - 1] + "…"


def event_row(event: Event, began_s: float) -> Json:
    """An event in a line."""
    return {
        "seq": event.seq,
        "at": duration(max(0.0, event.at_s - began_s)),
        "kind": event.kind,
        "words": shortened(words_of(event)),
        "label": str(event.payload.get("label", "")) if event.kind == "verdict" else "",
    }


def event(reading: Reading, seq: int) -> Json | None:
    """One event with everything it holds; `None` when there is none of this number."""
    events = reading.ledger.events(seq - 1, limit=1) if seq >= 1 else ()
    if not events:
        return None
    (found,) = events
    told = json.dumps(found.payload, indent=2, ensure_ascii=False)
    return {
        "event": found,
        "when": moment(found.at_s),
        "row": event_row(found, reading.story.began_s),
        "payload": told[:TEXT_CHARS],
        "is_cut": len(told) > TEXT_CHARS,
        "turns": turns(reading, found) if found.kind == "answer" else [],
        "link": link_of(found),
        "last": reading.story.seq,
    }


def turns(reading: Reading, answer: Event) -> list[tuple[str, str, str]]:
    """The messages of one turn: who, a title, the text."""
    blob: Json = json.loads(reading.run.blobs.get(answer.payload["blob"]))
    found = [
        (str(m["type"]), f"{m['type']} to {blob['role']}", _cut(m["data"]["content"]))
        for m in blob["asked"]
    ]
    data = blob["answer"]["data"]
    if data["content"]:
        found.append(("answer", f"{blob['role']} ({blob['brain']})", _cut(data["content"])))
    for call in data.get("tool_calls", ()):
        found.append(("call", f"calls {call['name']}", _cut(json.dumps(call["args"], indent=2))))
    for wrong in data.get("invalid_tool_calls", ()):
        found.append(("wrong", f"calls {wrong['name']} wrongly", _cut(wrong["args"])))
    return found


def link_of(event: Event) -> str:
    """The page of the thing that an event tells of; empty when it has none."""
    payload = event.payload
    match event.kind:
        case "proposal":
            return f"/show/{payload['id']}"
        case "verdict":
            return f"/show/{payload['proposal']}"
        case "candidate" | "champion":
            return f"/show/{payload['tree']}"
        case "trial.launched" | "trial.ended":
            return f"/show/{payload['id']}"
    return ""


def _cut(content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return text if len(text) <= TEXT_CHARS else text[:TEXT_CHARS] + "\n[...]"


KINDS: Sequence[str] = (
    "proposal", "choice", "answer", "candidate", "trial.launched", "trial.ended", "evidence",
    "verdict", "dropped", "lesson", "champion", "directive", "step", "iteration", "session",
)  # fmt: skip
