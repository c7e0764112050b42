"""What Novum itself costs: the time of an iteration whose trials cost nothing, and what takes it.

Real graph, ledger, archive, memory, audit and harness on a pack whose grader only draws noise. The
brain proposes another value of a constant each time, the playbook codes it. Beside it, as a
reference, a bare loop of edit, `git commit`, subprocess and `git reset`, run in turn with the
tenths of the search so that the machine's moods meet both alike.

With `--lessons` the run shares a memory that holds so many from earlier runs, recalls from it
before each proposal as a language model is served, and writes its own lessons to it.

    novum eval overhead --candidates 10000 --lessons 100000 --threads 8
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

# A suite looks at the house from outside, so it imports from all of it, where it is run.
from novum.evals.goals import Row, all_met, table
from novum.evals.suites.bare_loop import BareLoop
from novum.evals.suites.options import at_least, parser_of
from novum.evals.suites.stopwatch import Times, watch

if TYPE_CHECKING:
    from novum.agents.lab import Lab
    from novum.lab.run import RunFolder
    from novum.settings import Settings

NULL = Path(__file__).parent / "null"
GRAPH = "LangGraph with checkpoints"
N_CANDIDATES = 1_000
N_TENTHS = 10
N_EVENTS = 1_000
N_BARE = 3
"""Bare loops beside each tenth of the search."""
MAX_THREADS = 64
GOAL_MS, GOAL_BYTES, GOAL_RESUME_S = 10.0, 200e6, 2.0
GOAL_GROWTH = 1.25
"""The last tenth may take so many times the first: flat, as far as a busy machine can show it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to measure."""

    candidates: int = N_CANDIDATES
    lessons: int = 0
    """Lessons of earlier runs in the memory; without any, the run has a memory of its own."""
    threads: int = 1
    policy: str = "greedy"
    memory: Path | None = None
    """Where the lessons are planted, to be copied by this and later measurements."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """The measurements. Milliseconds are wall time unless a name says CPU."""

    n_candidates: int
    n_lessons: int
    n_threads: int
    policy: str
    iteration_ms: float
    """Median time from the end of an iteration to the next; with more threads, to the so manieth
    next, divided by their number."""
    tenths_ms: tuple[float, ...]
    """Median in each tenth of the run: flat, if all is well."""
    tenths_cpu_ms: tuple[float, ...]
    """Mean CPU time of the process for an iteration, all threads, by tenths."""
    parts_ms: dict[str, float]
    """Mean time of an iteration spent in each part; `rest` is what no part accounts for."""
    recall_ms: tuple[float, float] | None
    """Median and 95th percentile of a recall within the run; `None` where none was made."""
    begin_s: float
    """From the folder of a new run to its first iteration: packages, memory, experience, noise."""
    events_per_s: float
    events_per_candidate: float
    resident_bytes: tuple[float, ...]
    """Resident memory of the process before the first candidate and after each tenth."""
    memory_bytes: float
    """Of it, what a process that does nothing else needs to open the memory and recall."""
    resume_s: float
    folder_bytes: float
    """Of the run folder, per candidate."""
    index_bytes: float
    """Of the folder of the memory, lessons of earlier runs included."""
    bare_loop_ms: float


def measure(asked: Asked, say: Callable[[str], None] = lambda line: None) -> Overhead:
    """Run the suite in a temporary folder; `say` hears of its progress."""
    with tempfile.TemporaryDirectory(prefix="novum-overhead-") as name:
        return _Measurement(Path(name), asked, say).take()


class _Measurement:
    """One run of the suite in a folder of its own."""

    def __init__(self, folder: Path, asked: Asked, say: Callable[[str], None]) -> None:
        self.folder, self.asked, self.say = folder, asked, say
        self.times = Times()
        self.gaps: list[list[float]] = []
        self.cpu: list[float] = []
        self.resident: list[float] = []
        self.bare: list[float] = []
        self.loop = BareLoop(folder / "bare")

    def take(self) -> Overhead:
        """Measure everything."""
        from novum.lab.run import RunFolder

        began = time.perf_counter()
        shared = self._plant()
        planted_s = time.perf_counter() - began
        settings = self._settings(shared)
        run = RunFolder.create(self.folder, "run", benchmark="null", profile="cpu", settings={})
        n, n_events, begin_s = self._run(run, settings, began + planted_s)
        resume_s = _resume_s(run, settings)
        every = [ms for tenth in self.gaps for ms in tenth]
        parts = {name: total / n * 1e3 for name, total in self.times.totals.items()}
        parts[GRAPH] = asyncio.run(_graph_ms(self.folder / "graph.db"))
        parts["rest"] = max(0.0, fmean(every) - sum(parts.values()))
        index = shared or run.memory
        return Overhead(
            n_candidates=n,
            n_lessons=self.asked.lessons,
            n_threads=self.asked.threads,
            policy=self.asked.policy,
            iteration_ms=median(every),
            tenths_ms=tuple(median(tenth) for tenth in self.gaps),
            tenths_cpu_ms=tuple(self.cpu),
            parts_ms=parts,
            recall_ms=_percentiles(self.times.recalls),
            begin_s=begin_s,
            events_per_s=_events_per_s(self.folder / "events.db"),
            events_per_candidate=n_events / n,
            resident_bytes=tuple(self.resident),
            memory_bytes=memory_alone(index),
            resume_s=resume_s,
            folder_bytes=(size_of(run.path) - (0 if shared else size_of(index))) / n,
            index_bytes=size_of(index),
            bare_loop_ms=median(self.bare) * 1e3,
        )

    def _plant(self) -> Path | None:
        """The folder of a memory with the lessons, which this run may change."""
        from novum.evals.suites.planted import plant

        if not self.asked.lessons:
            return None
        shared = self.folder / "memory"
        planted = self.asked.memory or shared
        plant(planted, self.asked.lessons, "null", self.say)
        if planted != shared:
            shutil.copytree(planted, shared)
        return shared

    def _settings(self, shared: Path | None) -> Settings:
        from novum.settings import Settings

        return Settings.model_validate(
            {
                "benchmark": str(NULL),
                "sandbox": {"kind": "process"},
                "paths": {"cache": self.folder / "cache", "scratch": self.folder},
                "policy": self.asked.policy,
                "memory": {"where": None if shared is None else str(shared)},
            }
        )

    def _run(self, run: RunFolder, settings: Settings, began: float) -> tuple[int, int, float]:
        """Number of candidates, number of events, and seconds until all was ready to search."""
        from novum.agents.budget import BudgetLimits
        from novum.agents.opening import open_lab
        from novum.agents.research import work

        per_tenth = max(2, self.asked.candidates // N_TENTHS)
        with open_lab(run, settings) as lab:
            lab.brains = {**lab.brains, "planner": counting_planner(reads=self.asked.lessons > 0)}
            lab.begin(BudgetLimits(experiments=0))
            asyncio.run(work(lab, 1))  # noise of the start, what earlier runs found
            begin_s = time.perf_counter() - began
            watch(lab, self.times)
            self.resident.append(_resident_bytes())
            for tenth in range(1, N_TENTHS + 1):
                lab.begin(BudgetLimits(experiments=tenth * per_tenth))
                self._tenth(lab, per_tenth)
                said = f"{median(self.gaps[-1]):.1f} ms, {self.cpu[-1]:.1f} ms CPU"
                self.say(f"{tenth * per_tenth} candidates: {said}")
            return lab.findings.n_closed, lab.ledger.counts()["events"], begin_s

    def _tenth(self, lab: Lab, n: int) -> None:
        from novum.agents.research import work

        ends, width = self.times.ends, self.asked.threads
        ends.clear()
        began_cpu = time.process_time()
        asyncio.run(work(lab, width))
        self.cpu.append((time.process_time() - began_cpu) / n * 1e3)
        pairs = zip(ends, ends[width:], strict=False)
        self.gaps.append([(b - a) / width * 1e3 for a, b in pairs])
        self.resident.append(_resident_bytes())
        self.bare += [self.loop.once() for _ in range(N_BARE)]


def counting_planner(*, reads: bool = False) -> Any:
    """A brain that proposes another value of a constant each time; it costs what the playbook does.

    One that reads is told lessons besides, as a language model is.
    """
    from langchain_core.messages import AIMessage, BaseMessage

    from novum.agents.brains.scripted import ScriptedModel, calls

    def answer(messages: list[BaseMessage]) -> AIMessage:
        situation = messages[0].additional_kwargs["situation"]
        value = str(5 + MAX_THREADS * situation["iteration"] + situation["thread"])
        move = {"set": {"WIDTH": value}}
        args = {"hypothesis": f"WIDTH = {value} is better", "kind": "constants", "move": move}
        return calls(("propose", args))

    return ScriptedModel(answers=[answer], repeat=True, keeps=False, reads_text=reads)


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


def _resume_s(run: RunFolder, settings: Settings) -> float:
    """Seconds from an ended run's folder to a lab that can go on; packages are loaded already."""
    from novum.agents.opening import open_lab

    began = time.perf_counter()
    with open_lab(run, settings):
        return time.perf_counter() - began


def _resident_bytes() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss)


def memory_alone(folder: Path) -> float:
    """Bytes that a process grows by when it opens a memory and recalls from it."""
    import subprocess

    command = (sys.executable, "-m", "novum.evals.suites.memory_alone", str(folder))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def size_of(folder: Path) -> float:
    """Bytes of all files below a folder."""
    return float(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()))


def _percentiles(seconds: Sequence[float]) -> tuple[float, float] | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return tuple(ordered[int(p * (len(ordered) - 1))] * 1e3 for p in (0.5, 0.95))  # type: ignore[return-value]


def rows(o: Overhead) -> list[Row]:
    """What, how much, the goal, and whether it is met; `None` where there is no goal."""
    growth = o.tenths_ms[-1] / o.tenths_ms[0]
    total = sum(o.parts_ms.values())
    resident = o.resident_bytes[-1]
    recall = "none" if o.recall_ms is None else "{:.1f} ms, {:.1f} ms".format(*o.recall_ms)
    return [
        ("candidates, threads, policy", f"{o.n_candidates}, {o.n_threads}, {o.policy}", "", None),
        ("lessons of earlier runs", f"{o.n_lessons}", "", None),
        ("iteration, median", f"{o.iteration_ms:.1f} ms", "10 ms", o.iteration_ms <= GOAL_MS),
        ("  by tenths, ms", _listed(o.tenths_ms), "", None),
        ("  CPU of all threads, ms", _listed(o.tenths_cpu_ms), "", None),
        ("  last tenth / first", f"{growth:.2f}", f"{GOAL_GROWTH:g}", growth <= GOAL_GROWTH),
        *(
            (f"  {name}", f"{ms:.1f} ms, {ms / total:.0%}", "", None)
            for name, ms in o.parts_ms.items()
        ),
        ("bare loop beside it", f"{o.bare_loop_ms:.1f} ms", "", None),
        ("recall in the run, p50, p95", recall, "", None),
        ("events a second", f"{o.events_per_s:.0f}", "", None),
        ("events a candidate", f"{o.events_per_candidate:.1f}", "", None),
        ("memory of the process", f"{resident / 1e6:.0f} MB", "200 MB", resident <= GOAL_BYTES),
        ("  by tenths, MB", _listed([b / 1e6 for b in o.resident_bytes], 0), "", None),
        ("  to open Chroma and recall", f"{o.memory_bytes / 1e6:.0f} MB", "", None),
        ("begin, until the search", f"{o.begin_s:.1f} s", "", None),
        ("resume", f"{o.resume_s:.2f} s", "2 s", o.resume_s <= GOAL_RESUME_S),
        ("run folder a candidate", f"{o.folder_bytes / 1e3:.1f} kB", "", None),
        ("folder of the memory", f"{o.index_bytes / 1e6:.0f} MB", "", None),
    ]


def _listed(values: Sequence[float], digits: int = 1) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def render(overhead: Overhead) -> str:
    """The measurements as a table with the goals beside them."""
    return table(rows(overhead), 30, 55)


def run(arguments: Sequence[str]) -> int:
    """The command: print the table, or one JSON object; exit code 1 when a goal is missed."""
    parser = parser_of("overhead", __doc__)
    parser.add_argument("--candidates", type=at_least(1), default=N_CANDIDATES, metavar="N")
    parser.add_argument(
        "--lessons", type=at_least(0), default=0, metavar="N", help="in a shared memory"
    )
    parser.add_argument("--threads", type=at_least(1), default=1, metavar="N", help="of research")
    parser.add_argument("--policy", default="greedy", help="greedy (default), frontier, ...")
    parser.add_argument(
        "--memory", type=Path, metavar="FOLDER", help="keep the lessons here for another time"
    )
    parser.add_argument("--json", action="store_true", help="one object in place of the table")
    given = vars(parser.parse_args(arguments))
    as_json = given.pop("json")
    asked = Asked(**given)
    if asked.candidates < 2 * N_TENTHS * asked.threads:
        parser.error(f"--candidates must be {2 * N_TENTHS} or more for each thread")
    if asked.threads > MAX_THREADS:
        parser.error(f"--threads goes from 1 to {MAX_THREADS}")
    overhead = measure(asked, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(asdict(overhead)) if as_json else render(overhead))
    return 0 if all_met(rows(overhead)) else 1
