"""What Novum itself costs: the time of an iteration whose trials cost nothing, and what takes it.

Real graph, ledger, archive, audit and harness on a pack whose grader only draws noise. The brain
proposes another value of a constant each time, the playbook codes it. Beside it, as a reference, a
bare loop of edit, `git commit`, subprocess and `git reset`, run in turn with the tenths of the
search so that the machine's moods meet both alike.

    novum eval overhead --candidates 10000

A suite looks at the house from outside, so it imports from all of it, where it is run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

from novum.evals.goals import all_met, table

NULL = Path(__file__).parent / "null"
GRAPH = "LangGraph with checkpoints"
N_CANDIDATES = 1_000
N_TENTHS = 10
N_EVENTS = 1_000
N_BARE = 3
"""Bare loops beside each tenth of the search."""
GOAL_MS, GOAL_BYTES, GOAL_RESUME_S = 10.0, 200e6, 2.0
GOAL_GROWTH = 1.25
"""The last tenth may take so many times the first: flat, as far as a busy machine can show it."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """The measurements. Milliseconds are wall time unless a name says CPU."""

    n_candidates: int
    iteration_ms: float
    """Median of all iterations."""
    tenths_ms: tuple[float, ...]
    """Median in each tenth of the run: flat, if all is well."""
    tenths_cpu_ms: tuple[float, ...]
    """Mean CPU time of the process for an iteration, all threads, by tenths."""
    parts_ms: dict[str, float]
    """Mean time of an iteration spent in each part; `rest` is what no part accounts for."""
    events_per_s: float
    events_per_candidate: float
    resident_bytes: float
    """Resident memory of the process after the last candidate."""
    resume_s: float
    folder_bytes: float
    """Of the run folder, per candidate."""
    bare_loop_ms: float


class Stopwatch:
    """Stands before an object and adds up the time spent in its methods."""

    def __init__(self, inner: Any, name: str, totals: dict[str, float]) -> None:
        self._inner, self._name, self._totals = inner, name, totals

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "batch":
            return self._batch
        value = getattr(self._inner, attribute)
        if not callable(value):
            return value

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return value(*args, **kwargs)
            finally:
                self._totals[self._name] += time.perf_counter() - began

        return timed

    @contextmanager
    def _batch(self) -> Iterator[None]:
        """Only the begin and the end count: what is recorded in between counts itself."""
        began = time.perf_counter()
        with self._inner.batch():
            self._totals[self._name] += time.perf_counter() - began
            yield
            began = time.perf_counter()
        self._totals[self._name] += time.perf_counter() - began


class BareLoop:
    """Edit, `git commit`, a Python subprocess and `git reset`: the least anyone pays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n = 0
        folder.mkdir()
        self._git("init")
        self._git("commit", "--allow-empty", "-m", "start")

    def once(self) -> float:
        """Seconds of one turn."""
        self._n += 1
        began = time.perf_counter()
        (self._folder / "solve.py").write_text(f"RATE = {self._n}\n")
        self._git("add", "-A")
        self._git("commit", "-m", "try")
        subprocess.run((sys.executable, "-I", "-S", "solve.py"), cwd=self._folder, check=True)
        self._git("reset", "--hard", "HEAD~1")
        return time.perf_counter() - began

    def _git(self, *words: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=n@localhost", "-c", "gc.auto=0")
        subprocess.run(
            ("git", *identity, *words), cwd=self._folder, check=True, capture_output=True
        )


def measure(
    n_candidates: int = N_CANDIDATES, say: Callable[[str], None] = lambda line: None
) -> Overhead:
    """Run the suite in a temporary folder; `say` hears of its progress."""
    with tempfile.TemporaryDirectory(prefix="novum-overhead-") as name:
        return _measure(Path(name), n_candidates, say)


def _measure(folder: Path, n: int, say: Callable[[str], None]) -> Overhead:
    import psutil

    from novum.agents.budget import BudgetLimits
    from novum.agents.opening import open_lab
    from novum.agents.research import work
    from novum.lab.run import RunFolder
    from novum.settings import Settings

    settings = Settings.model_validate(
        {
            "benchmark": str(NULL),
            "sandbox": {"kind": "process"},
            "paths": {"cache": folder / "cache", "scratch": folder},
            "policy": "greedy",
        }
    )
    run = RunFolder.create(folder, "run", benchmark="null", profile="cpu", settings={})
    totals: dict[str, float] = defaultdict(float)
    times: list[list[float]] = []
    bare: list[float] = []
    cpu = []
    per_tenth = max(2, n // N_TENTHS)
    loop = BareLoop(folder / "bare")
    with ExitStack() as stack:
        lab = stack.enter_context(open_lab(run, settings))
        lab.brains = {**lab.brains, "planner": counting_planner()}
        ends = _watch(lab, totals)
        for tenth in range(1, N_TENTHS + 1):
            lab.begin(BudgetLimits(experiments=tenth * per_tenth))
            ends.clear()
            began_cpu = time.process_time()
            asyncio.run(work(lab, 1))
            cpu.append((time.process_time() - began_cpu) / per_tenth * 1e3)
            times.append([(b - a) * 1e3 for a, b in pairwise(ends)])
            bare += [loop.once() for _ in range(N_BARE)]
            said = f"{median(times[-1]):.1f} ms, {cpu[-1]:.1f} ms CPU"
            say(f"{tenth * per_tenth} candidates: {said}")
        n_done = lab.findings.n_closed
        n_events = lab.ledger.counts()["events"]
    resident = float(psutil.Process().memory_info().rss)
    began = time.perf_counter()
    with open_lab(run, settings):
        resume_s = time.perf_counter() - began
    every = [ms for tenth in times for ms in tenth]
    parts = {name: total / n_done * 1e3 for name, total in totals.items()}
    parts[GRAPH] = asyncio.run(_graph_ms(folder / "graph.db"))
    parts["rest"] = max(0.0, fmean(every) - sum(parts.values()))
    return Overhead(
        n_candidates=n_done,
        iteration_ms=median(every),
        tenths_ms=tuple(median(tenth) for tenth in times),
        tenths_cpu_ms=tuple(cpu),
        parts_ms=parts,
        events_per_s=_events_per_s(folder / "events.db"),
        events_per_candidate=n_events / n_done,
        resident_bytes=resident,
        resume_s=resume_s,
        folder_bytes=sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file()) / n_done,
        bare_loop_ms=median(bare) * 1e3,
    )


def counting_planner() -> Any:
    """A brain that proposes another value of a constant each time; it costs what the playbook does.

    A language model is told lessons besides: a recall of some milliseconds, before an answer of
    some seconds.
    """
    from langchain_core.messages import AIMessage, BaseMessage

    from novum.agents.brains.scripted import ScriptedModel, calls

    def answer(messages: list[BaseMessage]) -> AIMessage:
        number = messages[0].additional_kwargs["situation"]["iteration"]
        value = str(5 + number)
        move = {"set": {"WIDTH": value}}
        args = {"hypothesis": f"WIDTH = {value} is better", "kind": "constants", "move": move}
        return calls(("propose", args))

    return ScriptedModel(answers=[answer], repeat=True, keeps=False, reads_text=False)


def _watch(lab: Any, totals: dict[str, float]) -> list[float]:
    """Put stopwatches before the parts of a lab; the list returned gets the ends of iterations."""
    lab.ledger = Stopwatch(lab.ledger, "ledger (SQLite, hash chain)", totals)
    lab.archive = Stopwatch(lab.archive, "archive (git)", totals)
    lab.run.blobs = Stopwatch(lab.run.blobs, "blobs", totals)
    lab.memory = Stopwatch(lab.memory, "memory (Chroma)", totals)
    ends: list[float] = []
    close = lab.close_session

    def closed(proposal: str) -> None:
        close(proposal)
        ends.append(time.perf_counter())

    lab.close_session = closed
    return ends


async def _graph_ms(path: Path) -> float:
    """One pass of a graph of five empty nodes, checkpoints and pruning included."""
    from langgraph.graph import END, START, StateGraph

    from novum.agents.checkpoints import open_checkpoints
    from novum.agents.state import State

    async def nothing(state: State) -> State:
        return {"turns": 1}

    graph = StateGraph(State)
    names = ("planner", "coder", "experimenter", "auditor", "record")
    for name, after in zip(names, (*names[1:], END), strict=True):
        graph.add_node(name, nothing)
        graph.add_edge(name, after)
    graph.add_edge(START, names[0])
    config: Any = {"configurable": {"thread_id": "0"}}
    times = []
    with open_checkpoints(path) as saver:
        compiled = graph.compile(checkpointer=saver)
        for _ in range(100):
            began = time.perf_counter()
            await compiled.ainvoke({"thread": 0}, config, durability="sync")
            await saver.adelete_thread("0")
            times.append(time.perf_counter() - began)
    return median(times) * 1e3


def _events_per_s(path: Path) -> float:
    """How many events a ledger takes, one transaction each."""
    from novum.lab.ledger import Ledger

    with Ledger.create(path) as ledger:
        began = time.perf_counter()
        for i in range(N_EVENTS):
            ledger.append("measure", {"number": i}, f"measure:{i}")
        return N_EVENTS / (time.perf_counter() - began)


def rows(o: Overhead) -> list[tuple[str, str, str, bool | None]]:
    """What, how much, the goal, and whether it is met; `None` where there is no goal."""
    growth = o.tenths_ms[-1] / o.tenths_ms[0]
    total = sum(o.parts_ms.values())
    tenths = " ".join(f"{ms:.1f}" for ms in o.tenths_ms)
    tenths_cpu = " ".join(f"{ms:.1f}" for ms in o.tenths_cpu_ms)
    return [
        ("candidates", f"{o.n_candidates}", "", None),
        ("iteration, median", f"{o.iteration_ms:.1f} ms", "10 ms", o.iteration_ms <= GOAL_MS),
        ("  by tenths, ms", tenths, "", None),
        ("  CPU of all threads, ms", tenths_cpu, "", None),
        ("  last tenth / first", f"{growth:.2f}", f"{GOAL_GROWTH:g}", growth <= GOAL_GROWTH),
        *(
            (f"  {name}", f"{ms:.1f} ms, {ms / total:.0%}", "", None)
            for name, ms in o.parts_ms.items()
        ),
        ("bare loop beside it", f"{o.bare_loop_ms:.1f} ms", "", None),
        ("events a second", f"{o.events_per_s:.0f}", "", None),
        ("events a candidate", f"{o.events_per_candidate:.1f}", "", None),
        ("memory", f"{o.resident_bytes / 1e6:.0f} MB", "200 MB", o.resident_bytes <= GOAL_BYTES),
        ("resume", f"{o.resume_s:.2f} s", "2 s", o.resume_s <= GOAL_RESUME_S),
        ("run folder a candidate", f"{o.folder_bytes / 1e3:.1f} kB", "", None),
    ]


def render(overhead: Overhead) -> str:
    """The measurements as a table with the goals beside them."""
    return table(rows(overhead), 30, 50)


def run(arguments: Sequence[str]) -> int:
    """The command: print the table, or one JSON object; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="novum eval overhead", description=__doc__)
    parser.add_argument("--candidates", type=int, default=N_CANDIDATES, metavar="N")
    parser.add_argument("--json", action="store_true", help="one object in place of the table")
    asked = parser.parse_args(arguments)
    if asked.candidates < 2 * N_TENTHS:
        parser.error(f"--candidates must be {2 * N_TENTHS} or more")
    overhead = measure(asked.candidates, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(asdict(overhead)) if asked.json else render(overhead))
    return 0 if all_met(rows(overhead)) else 1
