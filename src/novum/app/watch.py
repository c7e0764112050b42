"""Do research and show it: the view reads the ledger beside the work and never touches it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from novum.app.lines import json_lines, plain_lines
from novum.app.live import Screen, picture_height
from novum.app.notify import Notifier
from novum.app.numbers import MetricName
from novum.app.outcome import outcome_of
from novum.app.story import Story
from novum.lab.counted import counted
from novum.lab.ledger import Ledger
from novum.lab.records import Event
from novum.lab.run import RunFolder
from novum.settings import Settings

if TYPE_CHECKING:
    from novum.agents.summary import Summary

Shown = Literal["live", "plain", "json", "chat"]
EVERY_S = 0.5
"""How often the view looks: a picture takes about 10 ms, so it costs 2 % of one core."""


async def watched(run: RunFolder, settings: Settings, how: Shown) -> tuple[Summary, Story]:
    """Work on a run while it is shown; returns its summary and story."""
    from novum.agents.research import research

    story = Story(MetricName.of(run.info), run.info)
    with run.ledger(read_only=True) as ledger:
        earlier = story.follow(ledger)
        notifier = Notifier(settings.notify, run.name, run.info["benchmark"])
        show = _live(run, settings, story) if how == "live" else _printing(story, how)
        if how == "plain" and earlier:
            print(f"going on after {counted(len(story.ideas), 'idea')}", file=sys.stderr)
        work = asyncio.ensure_future(research(run, settings))
        talk = asyncio.ensure_future(_talk(run)) if how == "chat" else None
        try:
            while not work.done():
                await asyncio.wait([work], timeout=EVERY_S)
                _pass_on(show, notifier, story, ledger)
            summary = work.result()
            _pass_on(show, notifier, story, ledger)
            end = outcome_of(run, story)
            text = f"{run.name} ends, {end.state}: {summary.reason}"
            notifier.tell("stop", text, reason=summary.reason, outcome=end.json())
        except BaseException as error:
            said = " ".join(f"{type(error).__name__}: {error}".splitlines()[:1])
            notifier.tell("failure", f"{run.name} failed: {said}", error=str(error))
            raise
        finally:
            show.close()
            if talk is not None:
                talk.cancel()
                (ended,) = await asyncio.gather(talk, return_exceptions=True)
                if isinstance(ended, Exception):
                    print(f"the chat ended: {type(ended).__name__}: {ended}", file=sys.stderr)
            if not work.done():
                work.cancel()
            elif not work.cancelled():
                work.exception()  # seen; the view may have failed of the same cause before
            await asyncio.to_thread(notifier.close)
    return summary, story


async def _talk(run: RunFolder) -> None:
    """A chat beside the work; it may end before the work does."""
    from novum.app.chat import Chat
    from novum.app.chat_commands import make_assistant
    from novum.app.terminal import converse

    with run.ledger() as ledger:
        chat = Chat(run, ledger, run.archive(read_only=True))
        await converse(chat, make_assistant(chat, None, yes=False), beside=True)


class _View:
    def __init__(self, update: Callable[[list[Event]], None], close: Callable[[], None]) -> None:
        self.update = update
        self.close = close


def _pass_on(show: _View, notifier: Notifier, story: Story, ledger: Ledger) -> None:
    new = story.follow(ledger)
    show.update(new)
    notifier.see(new, story)


def _printing(story: Story, how: Shown) -> _View:
    def update(events: list[Event]) -> None:
        for line in json_lines(events) if how == "json" else plain_lines(story, events):
            print(line, flush=True)

    return _View(update, lambda: None)


def _live(run: RunFolder, settings: Settings, story: Story) -> _View:
    from rich.live import Live

    from novum.app.printing import console as new_console

    info = run.info
    screen = Screen(
        story,
        title=f"{info.get('benchmark')} {info.get('profile')} · {run.name} · "
        f"{settings.brain.default} · {info.get('sandbox')}",
        n_threads=settings.threads,
        n_slots=settings.slots or info.get("slots", 0),
        trial_budget_s=info.get("trial_budget_s"),
        limits=settings.budget.model_dump(),
    )
    console = new_console()
    live = Live(screen, console=console, auto_refresh=False, screen=True)
    live.start()

    def update(_: list[Event]) -> None:
        if live.is_started:
            live.refresh()

    def close() -> None:
        """Leave the last picture where the terminal keeps it: the screen of the work is gone."""
        live.stop()
        screen.is_busy, screen.hint = False, ""
        if story.trials:
            console.print(screen, height=picture_height(console.height))

    return _View(update, close)
