"""A landscape behind HTTP on loopback, for searchers that bring their own loop.

`/v1/chat/completions` plays the language model: it reads the current program in the prompt and
answers with that program and one new idea, drawn as for the plain loop. `/measure` is one trial of
a program. A program is a Python file that lists its ideas.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Lock, Thread
from typing import Any

from novum.evals.suites.simulated.landscapes import CRASH_COST, Ideas, Truth

CRASHED = -1000.0
"""Score of a program that does not run: far below every score of one that does."""
BLOCK = ("# EVOLVE-BLOCK-START", "# EVOLVE-BLOCK-END")
CURRENT = re.compile(r"^# Current Program\n```\w*\n(.*?)```", re.DOTALL | re.MULTILINE)
IDEA = re.compile(r'^    "([^"\n]+)",$', re.MULTILINE)


class Bench:
    """Trials of one landscape until the budget is spent, and what came of them."""

    def __init__(self, landscape: Truth, budget: int, rng: Random) -> None:
        self.landscape = landscape
        self.budget = budget
        self.rng = rng
        self.cost = 0.0
        self.n_measured = 0
        self.n_kept = 0
        """How often the best score rose."""
        self.n_false_kept = 0
        """How often it rose although what was measured is no better than the best before."""
        self.start: float | None = None
        """The first score: of the program that the search starts from."""
        self.busy_s = 0.0
        """Time spent here and not in the searcher."""
        self.busy_cpu_s = 0.0
        self._best: tuple[float, Ideas] = (CRASHED, frozenset())
        self._n_rewrites = 0
        self._lock = Lock()

    @property
    def is_spent(self) -> bool:
        """Whether the budget is spent; what is measured from then on counts as crashed."""
        return self.cost >= self.budget

    def measure(self, program: str) -> float:
        """Score of one trial of a program; `CRASHED` when it does not run."""
        with self._lock, self._clock():
            if self.is_spent:
                return CRASHED
            ideas = read(program)
            score = self.landscape.measure(ideas, self.cost, self.rng)
            self.cost += CRASH_COST if score is None else 1.0
            self.n_measured += 1
            if score is None:
                return CRASHED
            best, kept = self._best
            if self.start is None:
                self.start = score
            elif score > best:
                self.n_kept += 1
                self.n_false_kept += self.landscape.value(ideas) <= self.landscape.value(kept)
            if score > best:
                self._best = score, ideas
            return score

    def rewrite(self, prompt: str) -> str:
        """The current program of a prompt with one more idea, in a code block.

        Raises:
            ValueError: The prompt shows no current program.
        """
        with self._lock, self._clock():
            found = CURRENT.search(prompt)
            if found is None:
                raise ValueError("the prompt shows no current program")
            self._n_rewrites += 1
            ideas = read(found[1])
            new = self.landscape.draw(None, ideas, self.rng)
            if new is None:  # nothing is left to add: the same is measured again
                text = f"{write(ideas)}# once more, {self._n_rewrites}\n"
            else:
                text = write(ideas | {new})
            return f"```python\n{text}```\n"

    @contextmanager
    def _clock(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.busy_s += time.perf_counter() - wall
        self.busy_cpu_s += time.thread_time() - cpu


def write(ideas: Ideas) -> str:
    """The program that has these ideas."""
    lines = [f'    "{idea}",' for idea in sorted(ideas)]
    return "\n".join((BLOCK[0], "IDEAS = [", *lines, "]", BLOCK[1])) + "\n"


def read(program: str) -> Ideas:
    """The ideas of a program."""
    return frozenset(IDEA.findall(program))


@contextmanager
def served(bench: Bench) -> Iterator[str]:
    """Serve a bench on a free port of loopback; gives the base URL."""

    class Handler(_Handler):
        routes = {
            "/measure": lambda asked: {"combined_score": bench.measure(asked["program"])},
            "/v1/chat/completions": lambda asked: _completion(
                asked["model"], bench.rewrite(asked["messages"][-1]["content"])
            ),
        }

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    routes: dict[str, Callable[[Any], dict[str, Any]]] = {}

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status, reply = 200, self.routes[self.path](json.loads(asked))
        except (KeyError, ValueError) as error:
            status, reply = 400, {"error": {"message": repr(error)}}
        body = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def _completion(model: str, text: str) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    return {
        "id": "stub",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [choice],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
