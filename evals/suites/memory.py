"""How well and how fast the memory finds what was learned, and whether it survives `kill -9`.

Each of the labelled queries is a question in other words about one technique of the nanochat
playbook; its lesson lies among others that a campaign would leave. Found is a lesson that is among
the first five.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from novum.benchmarks.moves import Technique, load_playbook
from novum.evals.suites.options import at_least, parser_of
from novum.lab.records import Kind, Label, Lesson
from novum.memory.chroma import LESSONS, ChromaMemory
from novum.memory.documents import of_lesson
from novum.memory.embeddings import NgramEmbedder, make_embedder
from novum.memory.store import Store

QUERIES = Path(__file__).parent / "memory_queries.toml"
MODULE = "novum.evals.suites.memory"
N_OTHERS = 400
CONSTANTS = ("LR", "EMBED_LR", "DEPTH", "WIDTH", "BATCH", "WARMUP", "DECAY", "BETA2", "HEADS")
LABELS = (Label.NOISE, Label.REGRESSION, Label.INCONCLUSIVE, Label.PROMISING)


def labelled() -> list[tuple[str, str]]:
    """All queries with the technique that answers them."""
    table = tomllib.loads(QUERIES.read_text())
    return [(query, name) for name, queries in table.items() for query in queries]


def lesson_of(name: str, technique: Technique) -> Lesson:
    """The lesson that an experiment with a technique would leave."""
    return _lesson(name, technique.hypothesis, technique.kind, technique.title)


def others(n: int, rng: Random) -> list[Lesson]:
    """Lessons on constants: alike one another, as a long campaign leaves them."""
    found = []
    for i in range(n):
        name = rng.choice(CONSTANTS)
        old, new = (f"{rng.lognormvariate(-3, 2):.3g}" for _ in range(2))
        text = f"{name} = {old} is not the best value; {new} lowers the loss"
        found.append(_lesson(f"constant-{i}", text, Kind.CONSTANTS, f"{name} = {new}", rng))
    return found


def recall_at_5(embedder: str) -> tuple[float, float, int]:
    """Share found among the first five, share found first, number of queries."""
    techniques = load_playbook(Path(__file__).resolve().parents[2] / "benchmarks/nanochat/playbook")
    queries = labelled()
    with tempfile.TemporaryDirectory() as folder:
        memory = ChromaMemory.open(Path(folder), embedder=make_embedder(embedder))
        try:
            for name, technique in techniques.items():
                memory.add(lesson_of(name, technique))
            for lesson in others(N_OTHERS, Random(0)):
                memory.add(lesson)
            if not memory.flush(600):
                raise TimeoutError(f"the memory was not written: {memory.trouble}")
            ranks = []
            for query, name in queries:
                ids = [x.id for x in memory.recall(query, 5)]
                ranks.append(ids.index(name) if name in ids else 5)
        finally:
            memory.close()
    return (
        sum(r < 5 for r in ranks) / len(ranks),
        sum(r == 0 for r in ranks) / len(ranks),
        len(queries),
    )


def latency(n: int, n_queries: int = 200) -> dict[str, float]:
    """Milliseconds of `add` and `recall` with n lessons kept, and what keeping them cost."""
    with tempfile.TemporaryDirectory() as folder:
        memory = ChromaMemory.open(Path(folder))
        began = time.perf_counter()
        lessons = others(n, Random(1))
        added = []
        for lesson in lessons:
            start = time.perf_counter()
            memory.add(lesson)
            added.append(time.perf_counter() - start)
        if not memory.flush(3600):
            raise TimeoutError(f"the memory was not written: {memory.trouble}")
        wrote_s = time.perf_counter() - began
        asked, hits = [], 0
        for lesson in Random(2).sample(lessons, n_queries):
            start = time.perf_counter()
            first = memory.recall(lesson.hypothesis, 5)
            asked.append(time.perf_counter() - start)
            hits += any(x.hypothesis == lesson.hypothesis for x in first)
        memory.close()
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    p50, p95 = (float(np.percentile(asked, p)) * 1e3 for p in (50, 95))
    return {
        "add_ms": float(np.median(added)) * 1e3,
        "write_ms": wrote_s / n * 1e3,
        "recall_p50_ms": p50,
        "recall_p95_ms": p95,
        "own_found": hits / n_queries,
        "disk_mb": size / 1e6,
    }


def survives_kill(times: int) -> tuple[int, int]:
    """Kill a writer in mid-write again and again; lessons it had written, and those lost."""
    rng = Random(3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written: set[str] = set()
        for turn in range(times):
            command = [sys.executable, "-m", MODULE, "--write", name, "--turn", str(turn)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
                assert writer.stdout is not None
                enough = rng.randint(2, 5)
                for n_lines, line in enumerate(writer.stdout):
                    written.update(line.split())
                    if n_lines == enough:
                        time.sleep(rng.random() * 0.2)
                        writer.send_signal(signal.SIGKILL)
                        break
        if not written:
            raise RuntimeError("the writer wrote nothing, so nothing was shown")
        ChromaMemory.open(folder).close()
        store = Store.open(folder, NgramEmbedder())
        store.check(LESSONS)
        kept = set().union(*(set(page) for page in store.pages(LESSONS)))
        store.close()
    return len(written), len(written - kept)


def write(folder: Path, turn: int) -> None:
    """Write batch after batch, and print the ids of each that is written."""
    memory = ChromaMemory.open(folder)
    rng = Random(turn)
    for batch in range(1_000):
        lessons = [
            _lesson(f"{turn}-{batch}-{i}", x.hypothesis, x.kind, x.diff_summary)
            for i, x in enumerate(others(20, rng))
        ]
        for lesson in lessons:
            memory.add(lesson)
        if memory.flush():
            print(*(of_lesson(x).id for x in lessons), flush=True)


def run(arguments: Sequence[str]) -> int:
    """Print what was measured."""
    parser = parser_of("memory", __doc__)
    parser.add_argument("--embedders", nargs="*", default=["ngrams"])
    parser.add_argument(
        "--lessons", type=at_least(0), default=100_000, help="for latency; 0 leaves it out"
    )
    parser.add_argument("--kills", type=at_least(0), default=12)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--turn", type=int, default=0, help=argparse.SUPPRESS)
    said = parser.parse_args(arguments)
    if said.write:
        write(said.write, said.turn)
        return 0
    for embedder in said.embedders:
        five, first, n = recall_at_5(embedder)
        print(f"{embedder}: recall@5 {five:.3f}, first {first:.3f}, of {n} queries", flush=True)
    if said.kills:
        n_written, n_lost = survives_kill(said.kills)
        print(f"kill -9, {said.kills} times: {n_lost} of {n_written} written lessons lost")
    if said.lessons:
        found = latency(said.lessons)
        print(f"{said.lessons} lessons: " + ", ".join(f"{k} {v:.3g}" for k, v in found.items()))
    return 0


def _lesson(name: str, text: str, kind: Kind, summary: str, rng: Random | None = None) -> Lesson:
    return Lesson(
        id=name,
        benchmark="nanochat",
        hypothesis=text,
        kind=kind,
        diff_summary=summary,
        label=rng.choice(LABELS) if rng else Label.NOISE,
        gain=None,
        interval=None,
        cost_s=30.0,
        proposal=name,
        tree=name,
        run="eval",
    )


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
