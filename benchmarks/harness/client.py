"""The module `harness` that a candidate imports: ask, start, claim.

    import harness

    info = harness.info()            # settings, before the clock starts; no data exists yet
    ...                              # imports, compilation, warm-up on dummy data
    run = harness.start()            # the harness's clock starts, then the data comes
    tokens = run.data["train"]       # numpy array; changes stay in this process
    while run.remaining_s() > 1.0:
        ...
    save(model, run.output / "model.pt")
    harness.claim("loss", 2.34)      # kept beside what the harness measures, never believed

Where the training data comes as a stream, one batch a step (`info()["stream"]`), the number of
steps is declared in advance and the seed comes with the start:

    steps = harness.declare(1000)    # before the clock starts; a smoke test grants fewer
    run = harness.start()
    for step in range(steps):
        tokens = run.rows(8, 128)    # numpy uint16 `(8, 129)`: inputs, and the last target

Of several processes that were started side by side each has its `rank`, and `batch` gives it its
own piece of the step. The clock starts when all of them have called `start()`.

At the deadline every process of the trial is killed, and what stands in `run.output` counts. This
file is copied into the sandbox as `harness.py`; it needs the standard library and numpy.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ADDRESS = "NOVUM_GATE"  # names the socket in the environment
MESSAGE_BYTES = 1 << 16
MAX_FDS = 64
ASK_EVERY_S = 0.05  # how old an answer about CPU time may be; in between our own time is counted


class Data(Mapping[str, "np.ndarray[Any, Any]"]):
    """The arrays of a run by name, mapped when first used."""

    def __init__(self, arrays: list[dict[str, Any]], fds: list[int]) -> None:
        self._sources = {array["name"]: (array, fd) for array, fd in zip(arrays, fds, strict=True)}
        self._mapped: dict[str, np.ndarray[Any, Any]] = {}

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        if name not in self._mapped:
            self._mapped[name] = self._map(*self._sources[name])
        return self._mapped[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    @staticmethod
    def _map(array: dict[str, Any], fd: int) -> np.ndarray[Any, Any]:
        import numpy as np  # late: a candidate without arrays starts 70 ms sooner

        shape = tuple(array["shape"])
        if 0 in shape:
            return np.empty(shape, array["dtype"])
        with os.fdopen(os.dup(fd), "rb") as file:
            # copy on write: the file is sealed, and torch wants arrays that can be written
            return np.memmap(file, array["dtype"], "c", array["offset"], shape)


class Run:
    """What is given once the clock runs."""

    def __init__(self, answer: dict[str, Any], fds: list[int]) -> None:
        self.seed: int = answer["seed"]
        self.budget_s: float = answer["budget_s"]
        self.clock: str = answer["clock"]
        self.output = Path(answer["output"])
        self.data = Data(answer["arrays"], fds)
        self.rank = _rank()
        self._note(answer["remaining_s"])

    def batch(self, n_tokens: int) -> np.ndarray[Any, Any]:
        """The next piece of the stream for this rank: `n_tokens` inputs and one more, uint16."""
        return self.rows(1, n_tokens).reshape(-1)

    def rows(self, n_rows: int, context: int) -> np.ndarray[Any, Any]:
        """The next step's rows for this rank, `(n_rows, context + 1)` uint16, windows at random."""
        message = {"op": "batch", "rank": self.rank, "rows": int(n_rows), "context": int(context)}
        answer, fds = _ask(message)
        try:
            return Data._map(answer["batch"], fds[0])
        finally:
            for fd in fds:
                os.close(fd)

    def remaining_s(self) -> float:
        """Seconds left on the harness's clock, at least 0."""
        if self.clock == "wall":
            return max(0.0, self._left_s - (time.monotonic() - self._asked_s))
        if time.monotonic() - self._asked_s > ASK_EVERY_S:
            self._note(_ask({"op": "remaining"})[0]["remaining_s"])
        return max(0.0, self._left_s - (time.process_time() - self._used_s))

    def _note(self, left_s: float) -> None:
        self._left_s = left_s
        self._asked_s = time.monotonic()
        self._used_s = time.process_time()


class _Gate:
    """The connection of this process, and what it has been given."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pid = 0
        self.connection: socket.socket | None = None
        self.info: dict[str, Any] | None = None
        self.run: Run | None = None

    def connect(self) -> socket.socket:
        if self.connection is None or self.pid != os.getpid():  # a fork needs its own
            self.connection, self.pid = _connect(), os.getpid()
        return self.connection


_gate = _Gate()


def info() -> dict[str, Any]:
    """Settings of this trial: `seed`, `device`, `budget_s`, `clock`, and those of the pack."""
    with _gate.lock:
        if _gate.info is None:
            _gate.info = _ask({"op": "info"})[0]["info"]
            if _gate.info["device"].startswith("cuda"):  # each rank has a GPU of its own
                _gate.info["device"] = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            _gate.info["rank"] = _rank()
        return dict(_gate.info or {})


def declare(steps: int) -> int:
    """Say how many steps will be taken, before the clock starts; returns how many to take."""
    granted: int = _ask({"op": "declare", "steps": int(steps)})[0]["steps"]
    return granted


def start() -> Run:
    """Start the clock, unless it runs, and get the data; a second call gives the same run."""
    with _gate.lock:
        if _gate.run is None:
            _gate.run = Run(*_ask({"op": "start", "rank": _rank()}))
        return _gate.run


def claim(name: str, value: float) -> None:
    """Say what you think you reached; it is shown beside what the harness measures."""
    _ask({"op": "claim", "name": str(name), "value": float(value)})


def _rank() -> int:
    """Number of this process among those that were started side by side."""
    return int(os.environ.get("RANK", "0"))


def _ask(message: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    with _gate.lock:
        connection = _gate.connect()
        connection.sendall(json.dumps(message).encode())
        data, fds, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, MAX_FDS)
    if not data:
        raise RuntimeError("the harness closed the gate")
    answer: dict[str, Any] = json.loads(data)
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer, list(fds)


def _connect() -> socket.socket:
    address = os.environ.get(ADDRESS)
    if not address:
        raise RuntimeError(
            "there is no gate here: `harness.start()` and `harness.info()` belong in the part of "
            "the program that trains (below `if __name__ == '__main__':`), not in what is imported "
            "for scoring"
        )
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # by way of its folder, since the path of a socket may not be longer than 107 bytes
    folder = os.open(os.path.dirname(address), os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{os.path.basename(address)}")
    finally:
        os.close(folder)
    return connection
