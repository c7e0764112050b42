"""The executor: slots that never share a core, work that waits its turn, cancellation that kills.

Two programs of several threads on the same cores each lose most of their speed (measured: two
training runs of two threads on two cores lose 80 % each), so that a trial's time would say more
about its neighbour than about itself. Every slot owns whole cores, and every trial owns its slot.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeVar

from novum.errors import UsageError
from novum.lab.counted import counted
from novum.sandboxes import gpus as nvidia
from novum.sandboxes.slots import Slot, Stop
from novum.sandboxes.turns import take_turn

T = TypeVar("T")
TOPOLOGY = Path("/sys/devices/system/cpu")
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot and what runs in it; `label` is empty while it is free."""

    index: int
    cores: tuple[int, ...]
    gpus: tuple[str, ...]
    label: str
    busy_s: float


class Executor:
    """Runs blocking functions in threads, each with a slot of its own, first come first served.

    `async with` it, or `close()` it: both stop what still runs.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        if not slots:
            raise UsageError("an executor needs at least one slot")
        self._slots = tuple(slots)
        self._free = deque(self._slots)
        self._waiting: deque[asyncio.Future[Slot]] = deque()
        self._jobs: dict[int, _Job] = {}
        self._turns: dict[int, ExitStack] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._pool = ThreadPoolExecutor(len(self._slots), thread_name_prefix="novum-slot")

    @property
    def slots(self) -> tuple[SlotView, ...]:
        """What runs now."""
        return tuple(self._view(slot) for slot in self._slots)

    @property
    def n_waiting(self) -> int:
        """Jobs that wait for a slot."""
        return len(self._waiting)

    async def run(self, work: Callable[[Slot], T], label: str = "") -> T:
        """Run `work` in a thread with the next free slot.

        When the awaiting task is cancelled, the slot's processes are killed and `work` is waited
        for: the slot is free again only when nothing of it runs any more.
        """
        slot = await self._acquire()
        job = _Job(replace(slot, stop=Stop()), label or "work", time.monotonic())
        self._jobs[slot.index] = job
        try:
            return await self._finish(job, work)
        finally:
            del self._jobs[slot.index]
            self._release(slot)

    def stop(self) -> None:
        """Kill everything that runs; the jobs end as their functions see fit."""
        for job in list(self._jobs.values()):
            job.slot.stop.set()

    def close(self) -> None:
        """Stop what runs and give the threads back."""
        self.stop()
        self._pool.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await asyncio.to_thread(self._pool.shutdown)

    async def _finish(self, job: _Job, work: Callable[[Slot], T]) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._pool, work, job.slot)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            job.slot.stop.set()
            while not running.done():
                try:
                    await asyncio.wait([running])
                except asyncio.CancelledError:
                    continue  # told once more; the processes are dying already
            if not running.cancelled():
                running.exception()  # nobody is left to hear it
            raise

    async def _acquire(self) -> Slot:
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(turn.result())
            else:
                self._waiting.remove(turn)
            raise

    def _release(self, slot: Slot) -> None:
        """Give the slot back; whoever has waited longest gets it, nobody can slip in between."""
        self._turns.pop(slot.index).close()
        self._free.append(slot)
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free slots to those who wait, first come first served.

        A slot whose GPUs another process measures on is left alone and looked at again later.
        """
        for slot in tuple(self._free):
            waiting = next((turn for turn in self._waiting if not turn.done()), None)
            if waiting is None:
                return
            if (held := take_turn(slot.gpus)) is not None:
                self._turns[slot.index] = held
                self._free.remove(slot)
                self._waiting.remove(waiting)
                waiting.set_result(slot)
        if self._free and self._waiting and self._retry is None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(RETRY_S, self._look_again)

    def _look_again(self) -> None:
        self._retry = None
        self._hand_out()

    def _view(self, slot: Slot) -> SlotView:
        job = self._jobs.get(slot.index)
        busy_s = time.monotonic() - job.since_s if job else 0.0
        return SlotView(slot.index, slot.cores, slot.gpus, job.label if job else "", busy_s)


@dataclass(frozen=True, slots=True)
class _Job:
    slot: Slot
    label: str
    since_s: float


def make_slots(
    n_cores: int,
    n_gpus: int = 0,
    *,
    n_slots: int | None = None,
    cores: Sequence[int] | None = None,
    gpus: Sequence[str] | None = None,
) -> tuple[Slot, ...]:
    """Slots of `n_cores` cores and `n_gpus` GPUs each: `n_slots` of them, or as many as fit.

    Cores are those this process may use, one of each physical core, unless given.

    Raises:
        UsageError: they do not fit; two trials never share a core or a GPU.
    """
    cores = physical_cores() if cores is None else tuple(cores)
    if gpus is None:
        gpus = tuple(gpu.uuid for gpu in nvidia.visible()) if n_gpus else ()
    n_fit = len(cores) // n_cores
    if n_gpus:
        n_fit = min(n_fit, len(gpus) // n_gpus)
    wanted = n_slots if n_slots is not None else max(1, n_fit)
    if n_gpus > len(gpus):
        raise UsageError(
            f"this profile needs {n_gpus} GPU{'s' * (n_gpus > 1)} for each trial, and the driver "
            f"lists {len(gpus) or 'none'}.\n"
            "Check `nvidia-smi -L`, or ask for a profile without GPUs; most packs have "
            "`--profile cpu`."
        )
    if not 1 <= wanted <= n_fit:
        need = counted(n_cores, "core") + (f" and {counted(n_gpus, 'GPU')}" if n_gpus else "")
        have = counted(len(cores), "core") + (f" and {counted(len(gpus), 'GPU')}" if n_gpus else "")
        raise UsageError(
            f"{counted(wanted, 'slot')} of {need} each do not fit into {have}; {n_fit} do.\n"
            "Ask for fewer slots or a smaller profile: trials that share a core measure each other."
        )
    return tuple(Slot(i, _share(cores, i, n_cores), _share(gpus, i, n_gpus)) for i in range(wanted))


def physical_cores(topology: Path = TOPOLOGY) -> tuple[int, ...]:
    """Cores this process may use, one of each set of siblings that share a physical core."""
    allowed = sorted(os.sched_getaffinity(0))
    seen: set[str] = set()
    found = []
    for core in allowed:
        try:
            siblings = (topology / f"cpu{core}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(core)
        if siblings not in seen:
            seen.add(siblings)
            found.append(core)
    return tuple(found)


def _share(items: Sequence[T], index: int, n: int) -> tuple[T, ...]:
    return tuple(items[index * n : (index + 1) * n])
