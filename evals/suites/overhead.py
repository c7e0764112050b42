"""What Novum itself costs: the time of an iteration whose trials cost nothing, and what takes it.

Real graph, ledger, archive, audit and harness on a pack whose grader only draws noise. The brain
proposes another value of a constant each time, the playbook codes it. Beside it, as a reference, a
bare loop of edit, `git commit`, subprocess and `git reset`.

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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

NULL = Path(__file__).parent / "null"
N_CHUNKS = 10
N_EVENTS = 1_000
N_BARE = 20
GOAL_MS, GOAL_BYTES, GOAL_RESUME_S = 10.0, 200e6, 2.0


@dataclass(frozen=True, slots=True)
class Overhead:
    """The measurements. Milliseconds are wall time unless a name says CPU."""

    n_candidates: int
    iteration_ms: tuple[float, ...]
    """Mean time of an iteration in each tenth of the run: flat, if all is well."""
    iteration_cpu_ms: tuple[float, ...]
    parts_ms: dict[str, float]
    """Time of an iteration spent in each part."""
    events_per_s: float
    events_per_candidate: float
    peak_bytes: float
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
        value = getattr(self._inner, attribute)
        if not callable(value) or attribute == "batch":
            return value

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return value(*args, **kwargs)
            finally:
                self._totals[self._name] += time.perf_counter() - began

        return timed


def run(arguments: Sequence[str]) -> int:
    """The command: print the table, or one JSON object."""
    parser = argparse.ArgumentParser(prog="novum eval overhead", description=__doc__)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args(arguments)
    overhead = measure(said.candidates, lambda line: print(line, file=sys.stderr))
    print(json.dumps(asdict(overhead)) if said.json else render(overhead))
    return 0


def measure(n_candidates: int = 10_000, say: Callable[[str], None] = lambda line: None) -> Overhead:
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
    wall, cpu = [], []
    per_chunk = max(1, n // N_CHUNKS)
    with ExitStack() as stack:
        lab = stack.enter_context(open_lab(run, settings))
        lab.brains = {**lab.brains, "planner": counting_planner()}
        _watch(lab, totals)
        for chunk in range(N_CHUNKS):
            lab.begin(BudgetLimits(experiments=(chunk + 1) * per_chunk))
            began, began_cpu = time.perf_counter(), time.process_time()
            asyncio.run(work(lab, 1))
            wall.append((time.perf_counter() - began) / per_chunk * 1e3)
            cpu.append((time.process_time() - began_cpu) / per_chunk * 1e3)
            say(f"{(chunk + 1) * per_chunk} candidates: {wall[-1]:.1f} ms, {cpu[-1]:.1f} ms CPU")
        n_done = lab.findings.n_closed
        n_events = lab.ledger.counts()["events"]
    peak = float(psutil.Process().memory_info().rss)
    began = time.perf_counter()
    with open_lab(run, settings):
        resume_s = time.perf_counter() - began
    parts = {name: total / n_done * 1e3 for name, total in sorted(totals.items())}
    parts["LangGraph with checkpoints"] = asyncio.run(_graph_ms(folder / "graph.db"))
    return Overhead(
        n_candidates=n_done,
        iteration_ms=tuple(wall),
        iteration_cpu_ms=tuple(cpu),
        parts_ms=parts,
        events_per_s=_events_per_s(folder / "events.db"),
        events_per_candidate=n_events / n_done,
        peak_bytes=peak,
        resume_s=resume_s,
        folder_bytes=sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file()) / n_done,
        bare_loop_ms=_bare_loop_ms(folder / "bare"),
    )


def counting_planner() -> Any:
    """A brain that proposes another value of a constant each time."""
    from langchain_core.messages import AIMessage, BaseMessage

    from novum.agents.brains.scripted import ScriptedModel, calls

    def answer(messages: list[BaseMessage]) -> AIMessage:
        number = messages[0].additional_kwargs["situation"]["iteration"]
        value = str(5 + number)
        move = {"set": {"WIDTH": value}}
        args = {"hypothesis": f"WIDTH = {value} is better", "kind": "constants", "move": move}
        return calls(("propose", args))

    return ScriptedModel(answers=[answer], repeat=True, keeps=False)


def _watch(lab: Any, totals: dict[str, float]) -> None:
    """Put stopwatches before the parts of a lab."""
    lab.ledger = Stopwatch(lab.ledger, "ledger (SQLite, hash chain)", totals)
    lab.archive = Stopwatch(lab.archive, "archive (git)", totals)
    lab.run.blobs = Stopwatch(lab.run.blobs, "blobs", totals)


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


def _bare_loop_ms(folder: Path) -> float:
    """Median of edit, `git commit`, a Python subprocess and `git reset`: the least anyone pays."""
    folder.mkdir()

    def git(*words: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=n@localhost", "-c", "gc.auto=0")
        subprocess.run(("git", *identity, *words), cwd=folder, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "start")
    times = []
    for i in range(N_BARE):
        began = time.perf_counter()
        (folder / "solve.py").write_text(f"RATE = {i}\n")
        git("add", "-A")
        git("commit", "-m", "try")
        subprocess.run((sys.executable, "-I", "-S", "solve.py"), cwd=folder, check=True)
        git("reset", "--hard", "HEAD~1")
        times.append(time.perf_counter() - began)
    return median(times) * 1e3


def render(overhead: Overhead) -> str:
    """The measurements as a table with the goals beside them."""
    o = overhead
    first, last = o.iteration_ms[0], o.iteration_ms[-1]
    rows = [
        ("candidates", f"{o.n_candidates}", ""),
        ("iteration, median of tenths", f"{median(o.iteration_ms):.1f} ms", f"{GOAL_MS:.0f} ms"),
        ("  CPU time of it", f"{median(o.iteration_cpu_ms):.1f} ms", ""),
        ("  first tenth, last tenth", f"{first:.1f} ms, {last:.1f} ms", "flat"),
        *((f"  {name}", f"{ms:.1f} ms", "") for name, ms in o.parts_ms.items()),
        ("bare loop", f"{o.bare_loop_ms:.1f} ms", ""),
        ("events a second", f"{o.events_per_s:.0f}", ""),
        ("events a candidate", f"{o.events_per_candidate:.1f}", ""),
        ("memory", f"{o.peak_bytes / 1e6:.0f} MB", f"{GOAL_BYTES / 1e6:.0f} MB"),
        ("resume", f"{o.resume_s:.2f} s", f"{GOAL_RESUME_S:.0f} s"),
        ("run folder a candidate", f"{o.folder_bytes / 1e3:.1f} kB", ""),
    ]
    return "\n".join(f"{name:<36}{value:>22}{goal:>10}" for name, value, goal in rows)
