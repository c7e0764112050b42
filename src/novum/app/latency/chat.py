"""How soon chat answers beside a long run, and how soon a thread heeds what it is told.

The answers are those of every command of the chat, on a ledger of many candidates that was written
for the purpose. Steering is measured on real research whose trials cost nothing: the time from the
event of a directive to the event that shows that a thread acted on it, both of the ledger.

    novum eval chat --candidates 10000
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

from novum.evals.goals import all_met, table
from novum.evals.suites.options import parser_of

if TYPE_CHECKING:
    from novum.agents.lab import Lab
    from novum.app.assistant import Assistant
    from novum.lab.ledger import Ledger
    from novum.lab.run import RunFolder

N_CANDIDATES = 10_000
N_TIMES = 5
N_TOLD = 20
GOAL_CONTENT_MS, GOAL_STEERING_S = 200.0, 1.0
NULL = Path(__file__).resolve().parents[2] / "evals" / "suites" / "null"
SLEEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Latencies:
    """The measurements. Each list is (what, median, worst)."""

    n_candidates: int
    n_events: int
    content_ms: list[tuple[str, float, float]]
    """From a line that was entered to the answer of the records."""
    opening_ms: float
    """From the start of a process `novum chat` to its first line: mostly Python's imports."""
    steering_s: list[tuple[str, float, float]]


def measure(n_candidates: int, say: Callable[[str], None] = lambda line: None) -> Latencies:
    """Run the suite in a temporary folder."""
    from novum.app.latency.synthetic import make_run

    with tempfile.TemporaryDirectory(prefix="novum-chat-") as name:
        folder = Path(name)
        say(f"writing a ledger of {n_candidates} candidates ...")
        run = make_run(folder / "runs", n_candidates)
        say("asking it ...")
        content, n_events = asyncio.run(answers(run))
        opening = median(_opening_ms(run) for _ in range(N_TIMES))
        say("steering real research ...")
        steering = [
            *asyncio.run(steer_busy(folder)),
            *asyncio.run(steer_waiting(folder)),
        ]
    return Latencies(n_candidates, n_events, content, opening, steering)


# --- answers ---


async def answers(run: RunFolder) -> tuple[list[tuple[str, float, float]], int]:
    """How long each command takes in a chat that was just opened, and how many events there are."""
    from langchain_core.messages import AIMessage

    from novum.agents.brains.scripted import ScriptedModel
    from novum.app import assistant as talking
    from novum.app.chat import Chat

    found = []
    with run.ledger() as ledger:
        n = ledger.counts()["proposals"]
        tree = ledger.candidates(last=1)[0].tree
        middle = f"p1-{n // 8}"
        lines = {
            "status": "", "leaderboard": "", "show": tree[:12], "why": middle, "log": "t7",
            "events": "", "recall": "more warmup for the cache", "directives": "",
            "approvals": "", "spent": "", "pin": tree[:12], "directive": "Look at the data.",
        }  # fmt: skip
        for name, words in lines.items():
            times = []
            for _ in range(N_TIMES):  # each by a chat of its own: nothing is at hand
                with run.ledger() as own:
                    chat = Chat(run, own, run.archive(read_only=True))
                    began = time.perf_counter()
                    chat.answer(f"/{name} {words}".strip())
                    times.append((time.perf_counter() - began) * 1e3)
            found.append((f"/{name}", median(times), max(times)))
        times = []
        for _ in range(N_TIMES):
            silent = ScriptedModel(answers=[AIMessage(content="See above.")])
            assistant = talking.Assistant(
                Chat(run, ledger, run.archive(read_only=True)), silent, "scripted:x"
            )
            times.append(await _first_words_ms(assistant, f"Why did {middle} fail?"))
        found.append(("words to an assistant", median(times), max(times)))
        return found, ledger.counts()["events"]


async def _first_words_ms(assistant: Assistant, words: str) -> float:
    heard: list[float] = []
    began = time.perf_counter()
    await assistant.answer(words, lambda text: heard.append(time.perf_counter()))
    return (heard[0] - began) * 1e3


def _opening_ms(run: RunFolder) -> float:
    argv = (sys.executable, "-m", "novum", "chat", str(run.path))
    began = time.perf_counter()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as chat:
        assert chat.stdin is not None and chat.stdout is not None
        chat.stdin.write("/status\n/quit\n")
        chat.stdin.flush()
        chat.stdout.readline()  # the echo
        chat.stdout.readline()
        took = (time.perf_counter() - began) * 1e3
        chat.stdin.close()
        chat.stdout.read()
    return took


# --- steering ---


async def steer_busy(folder: Path) -> list[tuple[str, float, float]]:
    """Directives to two threads that plan and test without pause; pauses and ends of pauses."""
    from novum.agents.research import work
    from novum.app.steering import Steering

    rng = Random(0)
    with _lab(folder, "busy") as lab, lab.run.ledger() as outside:
        person = Steering(outside)

        def tell() -> None:
            for i in range(N_TOLD):
                time.sleep(rng.uniform(0.1, 0.3))
                person.say(f"Mind {i}.")
            for _ in range(N_TOLD // 2):
                person.pause()
                time.sleep(rng.uniform(0.7, 1.2))
                person.resume()
                time.sleep(rng.uniform(0.2, 0.4))
            person.stop()

        await asyncio.gather(work(lab, 2), asyncio.to_thread(tell))
        events = outside.events(kinds=("directive", "directive.closed", "choice"))
    pauses = {e.payload["id"] for e in events if e.payload.get("action", {}).get("pause")}
    told, resumed = [], []
    for i, event in enumerate(events):
        later = [e for e in events[i:] if e.kind == "choice"]
        if event.kind == "directive" and event.payload["text"].startswith("Mind"):
            id = event.payload["id"]
            heard = [e.at_s for e in later if id in e.payload.get("directives", ())]
            told.append(heard[0] - event.at_s)
        elif event.kind == "directive.closed" and event.payload["id"] in pauses and later:
            resumed.append(later[0].at_s - event.at_s)
    return [_row("directive to a busy thread", told), _row("end of a pause", resumed)]


async def steer_waiting(folder: Path) -> list[tuple[str, float, float]]:
    """Ideas to a thread that waits for them; answers to one that waits for approval."""
    from novum.agents.approvals import answer_to, give, open_questions
    from novum.agents.research import work
    from novum.app.steering import Steering

    more: dict[str, Any] = {"brain": {"default": "external"}, "approval": {"ask": "plan"}}
    with _lab(folder, "waiting", **more) as lab, lab.run.ledger() as outside:
        person = Steering(outside)
        asked: list[float] = []
        taken: list[float] = []

        def tell() -> None:
            rng = Random(1)
            for i in range(N_TOLD):
                time.sleep(rng.uniform(0.1, 0.8))
                person.propose(f"WIDTH={100 + i}")
                told_s = time.time()
                while not (waiting := open_questions(outside)):
                    time.sleep(SLEEP_S)
                taken.append(waiting[0].asked_s - told_s)
                time.sleep(rng.uniform(0.1, 0.8))
                give(outside, waiting[0].id, is_approved=True, who="suite")
                answer = answer_to(outside, waiting[0].id)
                assert answer is not None
                asked.append(_first_after(outside, waiting[0].proposal) - answer.at_s)
            person.stop()

        await asyncio.gather(work(lab, 1), asyncio.to_thread(tell))
    return [_row("idea to a waiting thread", taken), _row("answer to a question", asked)]


def _first_after(ledger: Ledger, proposal: str) -> float:
    """When the approver's step ended."""
    thread, iteration = proposal.removeprefix("p").split("-")
    while (event := ledger.event(f"step:{thread}/{iteration}/1")) is None:
        time.sleep(SLEEP_S)
    return event.at_s


@contextmanager
def _lab(folder: Path, name: str, **more: Any) -> Iterator[Lab]:
    """A lab whose trials cost nothing."""
    from novum.agents.opening import open_lab
    from novum.evals.suites.overhead import counting_planner
    from novum.lab.run import RunFolder
    from novum.settings import Settings

    given = {
        "benchmark": str(NULL),
        "sandbox": {"kind": "process"},
        "paths": {"cache": folder / "cache", "scratch": folder},
        "policy": "greedy",
        **more,
    }
    run = RunFolder.create(folder / "live", name, benchmark="null", profile="cpu", settings={})
    with open_lab(run, Settings.model_validate(given)) as lab:
        if not more:
            lab.brains = {**lab.brains, "planner": counting_planner()}
        yield lab


def _row(what: str, values: list[float]) -> tuple[str, float, float]:
    return what, median(values), max(values)


# --- the table ---


def rows(found: Latencies) -> list[tuple[str, str, str, bool | None]]:
    """What, how much, the goal, and whether it is met; `None` where there is no goal."""
    size = f"{found.n_candidates} candidates, {found.n_events} events"
    made: list[tuple[str, str, str, bool | None]] = [("ledger", size, "", None)]
    for what, mid, worst in found.content_ms:
        is_met = worst <= GOAL_CONTENT_MS
        made.append(
            (what, f"{mid:.1f} ms, worst {worst:.1f} ms", f"{GOAL_CONTENT_MS:g} ms", is_met)
        )
    made.append(("a new process, to its first line", f"{found.opening_ms:.0f} ms", "", None))
    for what, mid, worst in found.steering_s:
        is_met = worst <= GOAL_STEERING_S
        made.append((what, f"{mid:.3f} s, worst {worst:.3f} s", f"{GOAL_STEERING_S:g} s", is_met))
    return made


def render(found: Latencies) -> str:
    """The measurements as a table with the goals beside them."""
    return table(rows(found), 34, 40)


def run(arguments: Sequence[str]) -> int:
    """The command: print the table, or one JSON object; exit code 1 when a goal is missed."""
    parser = parser_of("chat", __doc__)
    parser.add_argument("--candidates", type=int, default=N_CANDIDATES, metavar="N")
    parser.add_argument("--json", action="store_true", help="one object in place of the table")
    asked = parser.parse_args(arguments)
    found = measure(asked.candidates, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(asdict(found)) if asked.json else render(found))
    return 0 if all_met(rows(found)) else 1
