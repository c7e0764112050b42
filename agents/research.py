"""Research: N threads over one executor, until a budget is spent or somebody says stop.

    measure the noise of the start -> search -> certify the best against the start -> summary

Calling it on a run that was cut off resumes it: trials that were under way are marked lost, each
thread goes on at its last checkpoint, and what was done is not done again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langgraph.types import Command

from novum.agents.approvals import NOVUM, answer_to, asked_s, give
from novum.agents.baseline import measure_noise
from novum.agents.beliefs import keep_if_due
from novum.agents.certify import certify, confirm_head
from novum.agents.checkpoints import InlineSqliteSaver, open_checkpoints
from novum.agents.control import Interrupted, side_by_side
from novum.agents.design import is_long
from novum.agents.experience import take_experience, teach
from novum.agents.graph import RECURSION_LIMIT, build_graph
from novum.agents.lab import Lab
from novum.agents.opening import SESSION, open_lab
from novum.agents.outside import EXTERNAL
from novum.agents.state import State
from novum.agents.summary import Summary, summarise
from novum.lab.records import Label
from novum.lab.run import RunFolder
from novum.settings import Settings

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

log = logging.getLogger(__name__)
MAX_CONFUSED = 3
"""Iterations in a row without an acceptable proposal after which a thread waits for others."""
POLL_S = 0.2
"""How often a paused or idle thread looks whether something changed: a look takes 0.3 ms."""


async def research(run: RunFolder, settings: Settings) -> Summary:
    """Do the research that the settings ask for in a run's folder; also resumes it.

    The first SIGINT kills the trials in flight and leaves the run ready to be resumed; a second
    one ends the process at once, and the run can be resumed all the same. Whoever wants to watch
    reads the ledger.

    Raises:
        NovumError: see `open_lab`; what was recorded until then stays.
    """
    with open_lab(run, settings) as lab:
        return await work(lab, settings.threads)


async def work(lab: Lab, n_threads: int) -> Summary:
    """Measure the noise, search, certify; returns what came of it."""
    session = str(lab.session)
    lab.note(SESSION, f"{session}/begin", {"pid": os.getpid()})
    take_experience(lab)
    teach(lab)
    with open_checkpoints(lab.run.checkpoints) as saver, signals(lab):
        try:
            await measure_noise(lab)
            lab.update_reserve()
            await search(lab, saver, n_threads)
            await certify(lab)
        except Interrupted:
            log.info("interrupted; the run can be resumed")
        finally:
            ended = {
                "wall_s": lab.budget.wall_s,
                "reason": lab.control.reason,
                "is_interrupted": lab.control.is_interrupted,
            }
            lab.note(SESSION, f"{session}/end", ended)
    return summarise(lab)


async def search(lab: Lab, saver: InlineSqliteSaver, n_threads: int) -> None:
    """Run the threads until all have stopped.

    Raises:
        Interrupted: the user wants to go on later.
    """
    graph = build_graph(saver)
    idle: set[int] = set()
    async with side_by_side() as group:
        for thread in range(n_threads):
            group.create_task(Thread(lab, graph, saver, thread, n_threads, idle).work())


class Thread:
    """One line of research: iterations of the graph, one after another."""

    def __init__(
        self,
        lab: Lab,
        graph: CompiledStateGraph[State, Lab, State, State],
        saver: InlineSqliteSaver,
        thread: int,
        n_threads: int,
        idle: set[int],
    ) -> None:
        self.lab = lab
        self.graph = graph
        self.saver = saver
        self.thread = thread
        self.n_threads = n_threads
        self.idle = idle
        self.n_confused = 0
        self.name = f"thread-{thread}"
        self.config: Any = {
            "configurable": {"thread_id": self.name},
            "recursion_limit": RECURSION_LIMIT,
        }

    async def work(self) -> None:
        """Iterate until there is a reason to stop; first of all, finish what was cut off."""
        lab = self.lab
        snapshot = await self.graph.aget_state(self.config)
        iteration = lab.next_iteration(self.thread)
        # Not `snapshot.next`: that leaves out a node whose answer was saved just before the kill.
        unfinished = bool(snapshot.tasks)
        if unfinished:
            # Under its own number: the ledger may have closed it just before the kill.
            iteration = snapshot.values.get("iteration", iteration)
        else:
            # What a finished iteration left (a drop, its fixes) must not steer the next one.
            await self.saver.adelete_thread(self.name)
        while unfinished or not lab.stop_reason():
            begin: State = {"thread": self.thread, "iteration": iteration}
            out = await self.iterate(None if unfinished else begin)
            unfinished = False
            iteration += 1
            if out is None:  # the search stopped while the thread was paused
                return
            self.n_confused = self.n_confused + 1 if out.get("confused") else 0
            if out.get("idle"):
                if lab.brain_names["planner"] == EXTERNAL:
                    continue  # the planner itself waits for ideas
                if not 0 < self.n_confused < MAX_CONFUSED:
                    await self.wait_for_findings(out["idle"])
            elif out.get("label") == Label.PROMISING:
                lab.update_reserve()
                if (
                    is_long(lab.budget.left(lab.findings.n_proposals))
                    and lab.findings.head.tree == out["candidate"]
                ):
                    await confirm_head(lab)

    async def iterate(self, begin: State | Command[Any] | None) -> dict[str, Any] | None:
        """One iteration to its end, through pauses; `None` if it was stopped during one."""
        lab = self.lab
        while True:
            out = await self.graph.ainvoke(begin, self.config, context=lab, durability="sync")
            if "__interrupt__" not in out:
                # A finished iteration is in the ledger; its checkpoints would only grow the file.
                await self.saver.adelete_thread(self.name)
                keep_if_due(lab)
                lab.control.news()
                return dict(out)
            reason: dict[str, Any] = out["__interrupt__"][0].value
            if id := reason.get("approval"):
                await wait_for_answer(lab, id)
            while not id and lab.pause():
                if lab.stop_reason():
                    return None
                await lab.control.wait(POLL_S)
            begin = Command(resume=True)

    async def wait_for_findings(self, reason: str) -> None:
        """Wait until another thread has found something or the user says something.

        The search stops when all threads are idle.
        """
        lab = self.lab
        self.idle.add(self.thread)
        seen = lab.findings.n_closed, lab.directives.ids
        while not lab.stop_reason() and (lab.findings.n_closed, lab.directives.ids) == seen:
            if len(self.idle) == self.n_threads:
                lab.control.stop(f"nothing is left to try: {reason}")
            else:
                await lab.control.wait(POLL_S)
        self.idle.discard(self.thread)


async def wait_for_answer(lab: Lab, id: str) -> None:
    """Wait until a question is answered; it is, at the latest, when the search ends.

    Raises:
        Interrupted: the user wants to go on later; then the question is still open.
    """
    wait_s = lab.approval.wait_s
    until_s = None if wait_s is None else asked_s(lab.ledger, id) + wait_s

    def refuse(why: str) -> None:
        give(lab.ledger, id, is_approved=False, who=NOVUM, why=why)

    while answer_to(lab.ledger, id) is None:
        if lab.control.is_interrupted:
            raise Interrupted
        if lab.approval.yes:
            give(lab.ledger, id, is_approved=True, who=NOVUM, why="--yes")
        elif until_s is not None and lab.clock() >= until_s:
            refuse(f"nobody answered within {wait_s:g} s")
        elif reason := lab.is_over():
            refuse(f"the search ended before anybody answered: {reason}")
        else:
            await lab.control.wait(POLL_S)


@contextmanager
def signals(lab: Lab) -> Iterator[None]:
    """Ctrl-C and SIGTERM interrupt the run; the second one falls through to Python."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        release()
        lab.control.interrupt()

    def release() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    try:
        for number in numbers:
            loop.add_signal_handler(number, first)
    except (RuntimeError, ValueError):
        yield  # not the main thread (a server): whoever owns the signals calls `interrupt`
        return
    try:
        yield
    finally:
        release()
