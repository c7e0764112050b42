"""A run told in lines, where there is no terminal to draw on: for logs and for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from statistics import fmean

from novum.app.ideas import STEPS
from novum.app.numbers import percent, percent_range
from novum.app.story import Story
from novum.app.wording import MARKS, one_line, readable
from novum.lab.records import Event, Json, Purpose, TrialStatus

TOLD = (
    "session",
    "proposal",
    "candidate",
    "trial.launched",
    "trial.ended",
    "verdict",
    "dropped",
    "champion",
    "directive",
    "directive.closed",
    "idea",
    "approval",
    "approval.answer",
)
"""Kinds of events that `--json` passes on; docs/headless.md describes them."""


def json_lines(events: list[Event]) -> Iterator[str]:
    """Each event of interest as one JSON object."""
    for event in events:
        if event.kind in TOLD:
            told = {"seq": event.seq, "at_s": event.at_s, "kind": event.kind}
            yield json.dumps(told | {"payload": event.payload})


def plain_lines(story: Story, events: list[Event]) -> Iterator[str]:
    """Each event of interest as one line; `story` has taken them in already."""
    for event in events:
        words = readable(_words(story, event)).replace("\n", " ")
        if words:
            yield f"{time.strftime('%H:%M:%S', time.localtime(event.at_s))}  {words}"


def _words(story: Story, event: Event) -> str:
    payload = event.payload
    if event.kind == "proposal" and payload["thread"] >= 0:
        idea = story.ideas[payload["id"]]
        words = story.in_words(one_line(payload["hypothesis"]))
        return f"#{idea.number} thread {payload['thread']}: {words}"
    if event.kind == "proposal":
        return f"final test: {story.in_words(one_line(payload['hypothesis']))}"
    if event.kind == "trial.ended":
        return _trial_words(story, payload["id"])
    if event.kind in ("verdict", "dropped"):
        id = payload["proposal"] if event.kind == "verdict" else event.key.partition(":")[2]
        return _verdict_words(story, id)
    if event.kind == "champion":
        return f"champion {story.name_of(payload['tree'])} ({payload['tree'][:10]})"
    if event.kind == "directive":
        return f"{payload['id']} from {payload['author']}: {one_line(payload['text'])}"
    if event.kind == "directive.closed":
        return f"{payload['id']} is {payload['status']}"
    if event.kind == "idea":
        id, refused = event.key.partition(":")[2], one_line(payload["refused"])
        return f"{id} is not tried: {refused}" if refused else f"{id} becomes {payload['proposal']}"
    if event.kind.startswith("approval"):
        return approval_words(story, payload)
    return ""


def approval_words(story: Story, payload: Json) -> str:
    """A question to a person, or the answer to one."""
    id = payload["id"]
    if "approved" in payload:
        why = f": {one_line(payload['why'])}" if payload["why"] else ""
        return f"{id} {'approved' if payload['approved'] else 'refused'} by {payload['who']}{why}"
    idea = story.idea(payload["proposal"])
    what = one_line(idea.proposal.hypothesis) if idea is not None else ""
    run = story.info.get("name", "RUN")
    return f"{id} waits: novum approve {run} {id}   ({payload['of']} of: {what})"


def _trial_words(story: Story, id: str) -> str:
    trial = story.trials[id]
    whose = story.whose(trial)
    if trial.status is not TrialStatus.FINISHED:
        return f"{id} {STEPS[trial.purpose]} of {whose}: {trial.status} {one_line(trial.error)}"
    words = f"{id} {STEPS[trial.purpose]} of {whose}: {story.metric.show(trial.metric)}"
    if trial.purpose is Purpose.NOISE and story.noise_sd is not None:
        words += f" (mean {story.metric.show(fmean(story.baseline))}, "
        words += f"sd {story.metric.show(story.noise_sd)})"
    return words


def _verdict_words(story: Story, id: str) -> str:
    idea = story.idea(id)
    if idea is None:
        return ""
    mark = MARKS.get(idea.label, ("", ""))[0]
    name = idea.name
    if idea.verdict is None:
        return f"{mark} {name} dropped: {one_line(idea.dropped)}"
    gain, interval = story.relative(idea.verdict)
    words = f"{mark} {name} {idea.label}"
    if gain is not None:
        words += f" {percent(gain)}" + (f" ({percent_range(interval)})" if interval else "")
    return f"{words}: {one_line(idea.verdict.reason)}"
