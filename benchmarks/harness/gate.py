"""The gate: no data before `start()`, one clock, and the end at the deadline.

The candidate asks over a unix socket. The first `start()` of any of its processes starts the
clock, here, and only then are the data handed over as sealed memory. Whatever the candidate says
or does not say, the budget and the allowance are held on clocks that it cannot reach.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from novum.benchmarks.harness import wire
from novum.benchmarks.harness.shared_memory import SealedArray, seal_array
from novum.benchmarks.harness.stream import Refused, Stream, as_error
from novum.benchmarks.protocol import Consumed, RunPlan
from novum.errors import SandboxLost
from novum.sandboxes.protocol import Exit, SandboxedProcess

SOCKET = "gate"
MAX_CONNECTIONS = 64  # ranks and data loaders of one trial
MAX_CLAIMS = 64
CPU_POLL_S = 0.05  # most that passes between two looks at a CPU budget
DEATH_S = 30.0  # a killed tree is gone in milliseconds; a loaded machine may take seconds
_CLAIM = re.compile(r"[\w./-]{1,64}", re.ASCII)

Note = Callable[..., None]


@dataclass
class GateRecord:
    """What happened at the gate, by the harness's clocks."""

    exit: Exit
    started: bool
    used_s: float
    wall_s: float
    hit_deadline: bool
    deadline_epoch_s: float | None
    """Wall-clock time of the deadline where the budget is in wall seconds."""
    startup_s: float
    startup_cpu_s: float = 0.0
    """CPU seconds before the clock started, counted or not."""
    claimed: dict[str, float] = field(default_factory=dict)
    consumed: Consumed | None = None


class Gate:
    """One trial's gate; `run` watches one process tree from its start to its end."""

    def __init__(
        self,
        listener: socket.socket,
        plan: RunPlan,
        *,
        info: Mapping[str, Any],
        seed: int,
        output: Path,
        arrays: Mapping[str, SealedArray],
        note: Note,
    ) -> None:
        self._listener = listener
        self._plan = plan
        self._info = dict(info)
        self._seed = seed
        self._output = output
        self._arrays = arrays
        self._note = note
        self._quota = wire.Quota()
        self._started_s: float | None = None
        self._startup_cpu_s = 0.0
        self._cpu_at_start_s = 0.0
        self._ready: set[int] = set()
        self._waiting: list[socket.socket] = []
        self._claimed: dict[str, float] = {}
        self._stream = Stream(plan.stream) if plan.stream is not None else None

    def run(self, process: SandboxedProcess) -> GateRecord:
        """Serve the candidate until its tree has ended, by itself or at a limit.

        Raises:
            SandboxLost: the sandbox did not end its processes.
        """
        self._process = process
        self._born_s = time.monotonic()
        hit_deadline = False
        with selectors.DefaultSelector() as selector, _end_of(process) as ended:
            self._listener.setblocking(False)
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            try:
                while True:
                    left_s = self._left_s()
                    if left_s <= 0:
                        hit_deadline = self._started_s is not None
                        self._note("deadline" if hit_deadline else "allowance-spent")
                        process.kill()
                        break
                    ready = [key.fileobj for key, _ in selector.select(self._pause_s(left_s))]
                    if ended in ready:
                        break
                    for one in ready:
                        self._serve(selector, one)
            finally:
                for key in list(selector.get_map().values()):
                    if isinstance(key.fileobj, socket.socket) and key.fileobj is not self._listener:
                        key.fileobj.close()
        exit_ = process.wait(DEATH_S)
        if exit_ is None:
            raise SandboxLost(f"the sandbox did not end its processes within {DEATH_S:.0f} s")
        return self._record(exit_, hit_deadline)

    def _left_s(self) -> float:
        """Seconds left of the allowance or, once started, of the budget on its clock."""
        if self._started_s is None:
            return self._plan.allowance_s - (time.monotonic() - self._born_s)
        if self._plan.clock == "wall":
            return self._plan.budget_s - (time.monotonic() - self._started_s)
        return self._plan.budget_s - (self._process.cpu_s() - self._cpu_at_start_s)

    def _pause_s(self, left_s: float) -> float:
        if self._started_s is None or self._plan.clock == "wall":
            return left_s
        # a tree on all cores spends the rest in `left_s / cores` at the soonest
        return max(0.002, min(CPU_POLL_S, left_s / (os.cpu_count() or 1)))

    def _serve(self, selector: selectors.BaseSelector, one: Any) -> None:
        if one is self._listener:
            with contextlib.suppress(BlockingIOError):
                connection = self._listener.accept()[0]
                if len(selector.get_map()) > MAX_CONNECTIONS:
                    connection.close()
                    return
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ)
            return
        try:
            message = wire.receive(one)
            if message is not None:
                self._quota.take()
                self._answer(one, message)
                return
        except BlockingIOError:
            return
        except wire.ProtocolError as error:
            self._note("protocol-error", error=str(error))
        except OSError:
            pass  # it went away, or asks without reading the answers
        selector.unregister(one)
        one.close()

    def _answer(self, connection: socket.socket, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "info":
            wire.send(connection, {"info": self._info})
        elif op == "start":
            self._start(connection, message.get("rank"))
        elif op == "remaining":
            remaining_s = self._plan.budget_s if self._started_s is None else self._left_s()
            wire.send(connection, {"remaining_s": max(0.0, remaining_s)})
        elif op == "claim":
            self._take_claim(message.get("name"), message.get("value"))
            wire.send(connection, {})
        elif op in ("declare", "batch") and self._stream is not None:
            self._answer_stream(connection, op, message, self._stream)
        else:
            raise wire.ProtocolError(f"it asks for {str(op)[:40]!r}")

    def _answer_stream(
        self, connection: socket.socket, op: str, message: dict[str, Any], stream: Stream
    ) -> None:
        try:
            if op == "declare":
                if self._started_s is not None:
                    raise Refused("steps are declared before harness.start()")
                wire.send(connection, {"steps": stream.declare(message.get("steps"))})
                return
            shape = (message.get("rows"), message.get("context"))
            batch = seal_array(stream.take(message.get("rank"), *shape))
        except Refused as error:
            wire.send(connection, as_error(error))
            return
        try:
            wire.send(connection, {"batch": batch.describe("batch")}, [batch.fd])
        finally:
            batch.close()

    def _start(self, connection: socket.socket, rank: object) -> None:
        """Start the clock with the last of the workers to ask, and answer all who waited."""
        self._waiting.append(connection)
        if self._started_s is None:
            if isinstance(rank, int):
                self._ready.add(rank)
            if not self._ready >= set(range(self._plan.n_workers)) and self._plan.n_workers > 1:
                return
            if self._stream is not None:
                try:
                    self._stream.start()
                except Refused as error:
                    self._answer_all(as_error(error), (), connection)
                    return
            self._note("start")
            self._startup_cpu_s = self._process.cpu_s()
            free_s = self._plan.free_cpu_s
            self._cpu_at_start_s = min(self._startup_cpu_s, math.inf if free_s is None else free_s)
            self._started_s = time.monotonic()
        answer = {
            "seed": self._seed,
            "budget_s": self._plan.budget_s,
            "clock": self._plan.clock,
            "output": str(self._output),
            "arrays": [array.describe(name) for name, array in self._arrays.items()],
            "remaining_s": max(0.0, self._left_s()),
        }
        self._answer_all(answer, [array.fd for array in self._arrays.values()], connection)

    def _answer_all(
        self, answer: dict[str, Any], fds: Sequence[int], asking: socket.socket
    ) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            try:
                wire.send(connection, answer, fds)
            except OSError:
                if connection is asking:
                    raise  # the caller drops who asks and is gone

    def _take_claim(self, name: object, value: object) -> None:
        """Keep it if it is a number with a plain name; what it says is nobody's business here."""
        if not isinstance(name, str) or not _CLAIM.fullmatch(name):
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        with contextlib.suppress(OverflowError):
            number = float(value)
            if math.isfinite(number) and (name in self._claimed or len(self._claimed) < MAX_CLAIMS):
                self._claimed[name] = number

    def _record(self, exit_: Exit, hit_deadline: bool) -> GateRecord:
        consumed = self._stream.consumed() if self._stream is not None else None
        # the sandbox was born before `_born_s`, so that this end is never too early
        ended_s = min(time.monotonic(), self._born_s + exit_.wall_s)
        self._note("end", cause=str(exit_.cause), code=exit_.code, n_survivors=exit_.n_survivors)
        if self._started_s is None:
            startup_s = ended_s - self._born_s
            return GateRecord(exit_, False, 0.0, 0.0, False, None, startup_s, claimed=self._claimed)
        wall_s = ended_s - self._started_s
        is_wall = self._plan.clock == "wall"
        used_s = wall_s if is_wall else exit_.cpu_s - self._cpu_at_start_s
        deadline = time.time() - time.monotonic() + self._started_s + self._plan.budget_s
        return GateRecord(
            exit=exit_,
            started=True,
            used_s=max(0.0, used_s),
            wall_s=max(0.0, wall_s),
            # also when it ended by itself, but late, on a machine too busy to kill it in time
            hit_deadline=hit_deadline or used_s > self._plan.budget_s,
            deadline_epoch_s=deadline if is_wall else None,
            startup_s=self._started_s - self._born_s,
            startup_cpu_s=self._startup_cpu_s,
            claimed=self._claimed,
            consumed=consumed,
        )


@contextlib.contextmanager
def _end_of(process: SandboxedProcess) -> Iterator[int]:
    """A descriptor that becomes readable when the process tree has ended."""
    ended, tell = os.pipe2(os.O_CLOEXEC)

    def wait() -> None:
        with contextlib.suppress(Exception):  # `wait` raises the same again for who asks for it
            process.wait()
        os.close(tell)

    threading.Thread(target=wait, name="novum-end", daemon=True).start()
    try:
        yield ended
    finally:
        os.close(ended)
