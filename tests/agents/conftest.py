"""A lab on the `climb` pack, whose grader computes the loss, and a server that speaks OpenAI's
protocol from a script: everything else is real."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from copy import copy
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from novum.agents.brains.ensemble import Casting
from novum.agents.directives import Directives
from novum.agents.lab import RECENT, Lab
from novum.agents.loading import load
from novum.agents.opening import open_lab
from novum.agents.screens import Screens
from novum.agents.search.findings import Findings
from novum.agents.window import TrialWindow
from novum.lab.run import RunFolder
from novum.memory.recall import RunMemory
from novum.settings import restore_settings

PACK = Path(__file__).parent.parent / "packs" / "climb"
MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """Opens the lab of a run folder; called again with its name, resumes it as a new process."""
    stacks: dict[str, ExitStack] = {}

    def make(name: str = "run", *, planner: Any = None, coder: Any = None, **given: Any) -> Lab:
        if name in stacks:
            stacks.pop(name).close()
        values = {
            "benchmark": str(PACK),
            "policy": "greedy",
            "sandbox": {"kind": "process"},
            "budget": {"experiments": 6},
            "paths": {"cache": str(tmp_path / "cache")},
            **given,
        }
        settings = restore_settings(values)
        folder = tmp_path / "runs" / name
        if folder.exists():
            run = RunFolder.open(folder)
        else:
            run = RunFolder.create(
                tmp_path / "runs",
                name,
                benchmark="climb",
                profile="tiny",
                settings={},
            )
        stacks[name] = ExitStack()
        lab = stacks[name].enter_context(open_lab(run, settings))
        brains = {"planner": planner, "coder": coder}
        lab.brains = {**lab.brains, **{k: v for k, v in brains.items() if v is not None}}
        return lab

    yield make
    for stack in stacks.values():
        stack.close()


DERIVED = frozenset({"_gains", "is_due"})
"""Fields that are made of the others when they are needed, or told by whoever opens the lab."""


def plain(value: Any) -> Any:
    """Nested dicts and lists of words that are equal when two values are: floats to the last bit,
    dicts in their order."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in DERIVED}
        return {name: plain(part) for name, part in found.items()}
    match value:
        case Enum():
            return str(value)
        case bool() | None | str() | int():
            return value
        case float() | np.generic():
            return float(value).hex()
        case np.ndarray():
            return [list(value.shape), [float(x).hex() for x in value.ravel()]]
        case Mapping():
            return {
                "keys": [plain(k) for k in value],
                **{str(k): plain(v) for k, v in value.items()},
            }
        case list() | tuple() | deque():
            return [plain(part) for part in value]
        case set() | frozenset():
            return sorted(plain(part) for part in value)
        case BaseModel():
            return plain(dict(value))
        case TrialWindow() | RunMemory() | Directives():
            return {name: plain(part) for name, part in vars(value).items()}
    raise TypeError(f"{type(value)} has no plain form")


def known_by(lab: Lab) -> dict[str, Any]:
    """What a lab's decisions rest on, besides the ledger itself."""
    budget = lab.budget
    memory: Any = getattr(lab.memory, "_own", lab.memory)
    return {
        "findings": plain(lab.findings),
        "window": plain(lab.window),
        "screens": plain(lab.screens),
        "casting": plain(lab.casting),
        "directives": plain(lab.directives),
        "iterations": plain(dict(sorted(lab.iterations.items()))),
        "recent": plain(lab.recent),
        "lessons": plain([memory._lessons, memory._postings, memory._counts]),
        "budget": plain([budget.trial_s, budget._n_timed, budget.gpu_s]),
        "spent": plain([budget.tokens, budget.cost_usd]),
    }


def read_back(lab: Lab) -> Lab:
    """Another lab that knows what the ledger of this one says, and nothing else."""
    again = copy(lab)  # not made anew: that would read the pack again at every step
    again.memory, again.window, again.casting = RunMemory(), TrialWindow(), Casting()
    again.screens, again.directives = Screens(fidelity=lab.screens.fidelity), Directives()
    again.findings = Findings(lab.findings.better, move_kinds=lab.findings.move_kinds)
    again.sessions, again.iterations, again.candidates, again.static = {}, {}, {}, {}
    again.recent = deque(maxlen=RECENT)
    again.budget = replace(lab.budget, trial_s=0.0, gpu_s=0.0, tokens=0, cost_usd=0.0, _n_timed=0)
    with lab.run.ledger(read_only=True) as again.ledger:
        again.directives.read(again.ledger.directives(standing=True))
        load(again)
        spent = again.ledger.spent()
        again.budget.tokens = int(spent.get("tokens", 0))
        again.budget.cost_usd = spent.get("cost_usd", 0.0)
    return again


def unlike(a: Any, b: Any, where: str = "") -> Iterator[str]:
    """Where two plain values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys((*a, *b)):
            yield from unlike(a.get(key), b.get(key), f"{where}.{key}")
    elif a != b:
        yield f"{where}: {a!r:.300} is read back as {b!r:.300}"


def differences(lab: Lab) -> list[str]:
    """What a lab knows and its ledger does not, or the other way round."""
    return list(unlike(known_by(lab), known_by(read_back(lab))))


@pytest.fixture
def as_recorded() -> Callable[[Lab], list[str]]:
    """Compares what a lab knows with what another one reads from its ledger."""
    return differences


Reply = Callable[["StubHandler"], None]


class StubHandler(BaseHTTPRequestHandler):
    """Answers OpenAI's chat protocol from a script, and refuses what breaks the protocol."""

    server: StubServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        stub = self.server
        body = json.loads(raw)
        stub.asked.append(body)
        stub.keys.append(self.headers.get("authorization", ""))
        if wrong := broken_rule(self.path, body):
            stub.violations.append(wrong)
            return self.send(400, {"error": {"message": wrong}})
        reply = stub.replies[min(stub.n_replied, len(stub.replies) - 1)]
        stub.n_replied += 1
        reply(self)

    def send(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        named = {"content-type": "application/json", "content-length": str(len(content))}
        for name, value in (named | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        return


def broken_rule(path: str, body: dict[str, Any]) -> str:
    """What of a request breaks the protocol; empty when nothing does."""
    if path != "/v1/chat/completions":
        return f"no such path {path}"
    waiting: set[str] = set()
    for message in body["messages"]:
        extra = message.keys() - {"role", "content", "tool_calls", "tool_call_id", "name"}
        if extra:
            return f"unknown fields {extra}"
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return f"a tool message answers no call: {message['tool_call_id']}"
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return f"calls without a result: {waiting}"
        for call in message.get("tool_calls") or ():
            if call["id"] in waiting or call["type"] != "function":
                return "calls must be functions with ids of their own"
            waiting.add(call["id"])
    return f"calls without a result: {waiting}" if waiting else ""


def completion(message: Mapping[str, Any], usage: tuple[int, int] | None = (100, 20)) -> Any:
    """A whole answer of the protocol."""
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    body: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    body["choices"] = [choice]
    if usage is not None:
        a, b = usage
        body["usage"] = {"prompt_tokens": a, "completion_tokens": b, "total_tokens": a + b}
    return body


class StubServer(ThreadingHTTPServer):
    """A loopback server with a script; the last reply repeats."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StubHandler)
        self.replies: list[Reply] = []
        self.n_replied = 0
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.violations: list[str] = []
        self.gone = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def say(self, text: str, usage: tuple[int, int] | None = (100, 20)) -> StubServer:
        self.replies.append(lambda h: h.send(200, completion({"content": text}, usage)))
        return self

    def call(self, *steps: tuple[str, Any], usage: tuple[int, int] = (100, 20)) -> StubServer:
        """Tool calls; arguments that are text are sent as they are."""
        calls = [
            {
                "id": f"call_{len(self.replies)}_{i}",
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": args if isinstance(args, str) else json.dumps(args),
                },
            }
            for i, (name, args) in enumerate(steps)
        ]
        body = completion({"content": None, "tool_calls": calls}, usage)
        self.replies.append(lambda h: h.send(200, body))
        return self

    def fail(self, status: int, message: str = "busy", **headers: str) -> StubServer:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        body = {"error": {"message": message, "type": "x", "code": "x"}}
        self.replies.append(lambda h: h.send(status, body, named))
        return self

    def raw(self, content: bytes) -> StubServer:
        self.replies.append(lambda h: h.send(200, content))
        return self

    def cut(self) -> StubServer:
        """An answer whose connection ends in the middle."""

        def reply(handler: StubHandler) -> None:
            handler.send(200, b'{"id": "x", "cho', {"content-length": "5000"})
            handler.close_connection = True

        self.replies.append(reply)
        return self

    def hang(self) -> StubServer:
        def reply(handler: StubHandler) -> None:
            self.gone.wait(300)
            handler.close_connection = True

        self.replies.append(reply)
        return self


@pytest.fixture
def server() -> Iterator[StubServer]:
    """The scripted server; at its end no request may have broken the protocol."""
    stub = StubServer()
    thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield stub
    stub.gone.set()
    stub.shutdown()
    thread.join()
    stub.server_close()
    assert not stub.violations
