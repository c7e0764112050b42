"""How a run is told to stop: politely (finish what is in flight) or at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


class Interrupted(Exception):
    """Trials were killed because the run was told to stop; the iteration waits to be resumed."""


@asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks that ends as one of them would when the run is told to stop.

    Raises:
        Interrupted: a task was interrupted, and none failed otherwise.
    """
    is_interrupted = False
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except* Interrupted:
        is_interrupted = True
    if is_interrupted:  # raised above, Pythons before 3.11.4 would wrap it into a group
        raise Interrupted


@dataclass
class Control:
    """One a run. Signals and directives set it; threads and trials watch it."""

    reason: str = ""
    """Why no new iteration begins; empty while the search goes on."""
    is_interrupted: bool = False
    """Whether the user wants the process to end now, and the run to be resumable."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a finding or a wish may have changed something."""
    kill: Callable[[], None] = lambda: None
    """Kills the trials in flight."""

    def stop(self, reason: str) -> None:
        """Begin no new iteration. The first reason stands."""
        self.reason = self.reason or reason
        self.news()

    def interrupt(self) -> None:
        """End now: trials in flight are killed and recorded as such."""
        self.is_interrupted = True
        self.stop("interrupted")
        self.kill()

    def news(self) -> None:
        """Wake whoever waits for something to change."""
        self.changed.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until something may have changed, or for a while."""
        self.changed.clear()
        try:
            await asyncio.wait_for(self.changed.wait(), timeout_s)
        except TimeoutError:
            return
