"""What every memory promises, and what the one in Chroma adds: it lasts, and survives faults."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from novum.app.memory import rebuild
from novum.benchmarks.moves import load_playbook
from novum.errors import MemoryCorrupt, MemoryMismatch, MemoryUnavailable, RunBusy, UsageError
from novum.evals.suites import memory as suite
from novum.evals.suites.memory import labelled
from novum.lab.ledger import Ledger
from novum.lab.records import Kind, Label, Lesson
from novum.memory import keywords
from novum.memory.choose import open_memory
from novum.memory.chroma import ChromaMemory
from novum.memory.documents import Document, Failure, Knowledge
from novum.memory.embeddings import NgramEmbedder, Vectors
from novum.memory.keywords import KeywordIndex
from novum.memory.novelty import Attempt, find_duplicate
from novum.memory.protocol import Memory
from novum.memory.ranking import Found, rank
from novum.memory.recall import MAX_LESSONS, RunMemory
from novum.memory.store import Store

TEXTS = {
    "muon": "Orthogonalised momentum moves all directions of a matrix alike",
    "rotary": "Rotating queries and keys by position generalises over offsets",
    "warmdown": "Staying at the full rate longer and then falling to zero",
    "smear": "A gated share of the previous token's embedding gives every layer bigrams",
}


def test_what_fell_out_of_a_memory_weighs_no_words_any_more() -> None:
    texts = ("rare zeal", "common calm", "common zest", "common rare words")
    made = [lesson(f"n{i}", texts[i * 7 % 4]) for i in range(MAX_LESSONS + 700)]
    whole, latest = RunMemory(), RunMemory()
    for one in [*(lesson(f"o{i}", "bygone common rare") for i in range(500)), *made]:
        whole.add(one)
    for one in made[-MAX_LESSONS:]:  # as a resumed run reads them
        latest.add(one)
    assert whole._counts == latest._counts and "bygone" not in whole._postings
    for asked in ("common rare zeal", "bygone zest", "calm words"):
        assert whole.recall(asked, 20) == latest.recall(asked, 20)


def lesson(name: str, text: str = "", label: Label = Label.NOISE, run: str = "first") -> Lesson:
    return Lesson(
        id=f"lesson-{name}",
        benchmark="nanochat",
        hypothesis=text or TEXTS[name],
        kind=Kind.ARCHITECTURE,
        diff_summary=f"adds {name}",
        label=label,
        gain=0.01,
        interval=(-0.01, 0.03),
        cost_s=30.0,
        proposal=name,
        tree=name * 4,
        run=run,
        created_s=1e9,
    )


class OtherEmbedder(NgramEmbedder):
    name = "other-v9"


@pytest.fixture(params=["run", "chroma"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory]:
    made: Memory = RunMemory() if request.param == "run" else ChromaMemory.open(tmp_path / "m")
    yield made
    made.close()


def test_a_lesson_is_found_at_once_by_its_own_words(memory: Memory) -> None:
    for name in TEXTS:
        memory.add(lesson(name))
        assert memory.recall(TEXTS[name], 1) == [lesson(name)]
    assert [x.proposal for x in memory.recall("rotating keys by offsets", 1)] == ["rotary"]


def test_a_lesson_with_the_same_run_and_id_replaces_the_old(memory: Memory) -> None:
    memory.add(lesson("muon"))
    memory.add(lesson("muon", label=Label.PROMISING))
    assert [x.label for x in memory.recall(TEXTS["muon"], 5)] == [Label.PROMISING]


def test_lessons_of_other_runs_with_the_same_id_are_kept_apart(memory: Memory) -> None:
    memory.add(lesson("muon", run="first"))
    memory.add(lesson("muon", run="second"))
    assert {x.run for x in memory.recall(TEXTS["muon"], 5)} == {"first", "second"}


def test_an_empty_memory_recalls_nothing_and_a_limit_holds(memory: Memory) -> None:
    assert list(memory.recall("anything", 3)) == []
    for i in range(6):
        memory.add(lesson("muon", TEXTS["muon"] + f" case {i}", run=f"r{i}"))
    assert len(memory.recall(TEXTS["muon"], 3)) == 3


def test_closing_twice_is_closing_once(memory: Memory) -> None:
    memory.close()
    memory.close()


def test_a_second_run_finds_what_the_first_learned_with_its_label(tmp_path: Path) -> None:
    first = ChromaMemory.open(tmp_path / "m")
    first.add(lesson("muon", label=Label.INCONCLUSIVE))
    first.close()
    second = ChromaMemory.open(tmp_path / "m", benchmark="nanochat")
    (found,) = second.recall("orthogonalised momentum for matrices", 3)
    second.close()
    assert (found.run, found.label) == ("first", Label.INCONCLUSIVE)


def test_failures_with_a_fix_come_first_and_knowledge_is_the_benchmarks_own(tmp_path: Path) -> None:
    memory = ChromaMemory.open(tmp_path / "m", benchmark="nanochat")
    memory.add_failure(Failure("r", "nanochat", "RuntimeError: size mismatch in head"))
    memory.add_failure(Failure("r", "nanochat", "RuntimeError: size mismatch", "transpose it"))
    memory.add_knowledge(
        Knowledge(b, "muon", "Muon", "orthogonalised momentum") for b in ("nanochat", "kernels")
    )
    assert memory.flush()
    assert [f.fix for f in memory.recall_failures("size mismatch", 2)] == ["transpose it", ""]
    assert [k.benchmark for k in memory.recall_knowledge("momentum", 5)] == ["nanochat"]
    memory.close()


def test_a_resumed_run_writes_only_what_the_memory_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = ChromaMemory.open(tmp_path)
    for name in ("muon", "rotary"):
        memory.add(lesson(name))
    memory.close()
    written: list[str] = []
    upsert = Store.upsert

    def noted(store: Store, collection: str, documents: Sequence[Document]) -> None:
        written.extend(d.id for d in documents)
        upsert(store, collection, documents)

    monkeypatch.setattr(Store, "upsert", noted)
    memory = ChromaMemory.open(tmp_path)
    memory.add(lesson("muon"))
    memory.add(lesson("rotary", label=Label.CONFIRMED))
    memory.add(lesson("smear"))
    assert memory.flush()
    assert sorted(written) == ["first/lesson-rotary", "first/lesson-smear"]
    (best,) = memory.recall(TEXTS["rotary"], 1)
    assert best.label is Label.CONFIRMED
    memory.close()


def test_common_words_of_a_query_do_not_hide_its_rare_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keywords, "COMMON", 5)
    index = KeywordIndex(tmp_path / "words.db")
    index.upsert((f"d{i}", f"the best value is {i + 10}{' muon' * (i == 7)}") for i in range(20))
    assert [id for id, _ in index.query("the best muon value", 20)] == ["d7"]
    assert [id for id, _ in index.query("is value 13", 20)] == ["d3"]
    assert len(index.query("the best", 20)) == 20, "where all are common, the rarest is asked"
    assert index.query("nothing alike", 20) == []
    index.close()


def test_a_memory_of_another_embedder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    ChromaMemory.open(tmp_path / "m").close()
    with pytest.raises(MemoryMismatch, match="made by ngrams-512-v1.*novum memory rebuild"):
        try:
            ChromaMemory.open(tmp_path / "m", embedder=OtherEmbedder())
        except MemoryMismatch as error:
            raise MemoryMismatch(str(error).replace("\n", " ")) from error


def test_an_embedded_memory_has_one_owner(tmp_path: Path) -> None:
    memory = ChromaMemory.open(tmp_path / "m")
    with pytest.raises(RunBusy, match="another process"):
        ChromaMemory.open(tmp_path / "m")
    memory.close()
    ChromaMemory.open(tmp_path / "m").close()


def test_a_damaged_memory_is_rebuilt_from_the_ledger_by_another_embedder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with Ledger.create(run / "ledger.db") as ledger:
        for name in TEXTS:
            ledger.add_lesson(lesson(name))
    (run / "memory").mkdir()
    (run / "memory" / "chroma.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(MemoryCorrupt, match="novum memory rebuild"):
        ChromaMemory.open(run / "memory")
    fallback = open_memory(run / "memory", None, "ngrams", "nanochat")
    assert isinstance(fallback, RunMemory)  # the run itself goes on
    assert rebuild([run]) == len(TEXTS)
    assert rebuild([run]) == len(TEXTS)
    memory = ChromaMemory.open(run / "memory")
    assert memory.recall(TEXTS["smear"], 1) == [lesson("smear")]
    memory.close()


WRITER = """
import sys
from pathlib import Path
from test_memory import lesson
from novum.memory.chroma import ChromaMemory
memory = ChromaMemory.open(Path(sys.argv[1]))
for i in range(100_000):
    memory.add(lesson("muon", f"idea number {i} of many", run=f"r{i}"))
    if i % 40 == 39:
        memory.flush()
        print(i, flush=True)
"""


def test_what_was_written_survives_kill_in_mid_write(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "m")]
    environment = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent / 'src'}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout is not None
        written = -1
        for line in writer.stdout:
            written = int(line)
            if written >= 199:
                break
        time.sleep(0.05)  # into the next batch
        writer.kill()
    memory = ChromaMemory.open(tmp_path / "m")
    for i in (0, 57, written):
        (found,) = memory.recall(f"idea number {i} of many", 1)
        assert found.run == f"r{i}"
    memory.close()
    store = Store.open(tmp_path / "m", NgramEmbedder())
    store.check("lessons")
    assert store.count("lessons") > written
    store.close()


class Flaky:
    """A store whose server goes away and comes back."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.is_up = True

    def __getattr__(self, name: str) -> Callable[..., object]:
        if not self.is_up:
            raise MemoryUnavailable("the Chroma server is gone")
        found: Callable[..., object] = getattr(self.store, name)
        return found


def test_while_the_server_is_away_lessons_are_found_and_later_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flaky = Flaky(Store.open(tmp_path / "m", NgramEmbedder()))
    memory = ChromaMemory(flaky)  # type: ignore[arg-type]
    flaky.is_up = False
    memory.add(lesson("muon"))
    assert memory.recall(TEXTS["muon"], 1) == [lesson("muon")]
    assert not memory.flush(0.7) and memory.n_waiting == 1
    assert "The run goes on" in caplog.text and caplog.text.count("server is gone") == 1
    flaky.is_up = True
    assert memory.flush() and flaky.store.count("lessons") == 1
    memory.close()


def test_a_server_that_never_answered_is_named(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(MemoryUnavailable, match="chroma run --path"):
        ChromaMemory.open(address)


def test_standing_and_age_order_what_is_equally_near_but_show_no_more_than_was_found() -> None:
    old = replace(lesson("muon"), created_s=0.0)
    found = [
        Found(old, 0.5),
        Found(replace(old, run="new", created_s=1e9), 0.5),
        Found(replace(old, run="won", label=Label.CONFIRMED), 0.5),
        Found(replace(old, run="near", label=Label.REGRESSION), 0.9),
    ]
    ranked = rank(found, benchmark="nanochat", now_s=1e9)
    assert [r.lesson.run for r in ranked] == ["near", "won", "new", "first"]
    assert ranked[0].lesson.label is Label.REGRESSION


def attempt(name: str, hypothesis: str = "", **changes: object) -> Attempt:
    made = Attempt(name, hypothesis, ("base",), {})
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_near_duplicate_is_refused_with_the_earlier_experiment() -> None:
    past = [
        attempt("p1", "Halve the learning rate of the embedding to 0.1"),
        attempt("p2", move={"apply": ["muon"]}),
        attempt("p3", tree="abc", move={"apply": ["smear"]}),
    ]
    again = find_duplicate(attempt("n", "halve learning rate of the embedding, to 0.1"), past)
    assert again is not None and (again.earlier, again.reason) == ("p1", "hypothesis")
    move = find_duplicate(attempt("n", move={"apply": ["muon"], "direction": {}}), past)
    assert move is not None and (move.earlier, move.reason) == ("p2", "move")
    files = find_duplicate(attempt("n", tree="abc", parents=("other",)), past)
    assert files is not None and files.earlier == "p3"


def test_another_value_the_contrary_or_another_parent_is_new() -> None:
    past = [attempt("p1", "Increase the learning rate of the embedding to 0.1", tree="t1")]
    for text in (
        "Increase the learning rate of the embedding to 0.3",
        "Reduce the learning rate of the embedding to 0.1",
    ):
        assert find_duplicate(attempt("n", text), past) is None
    elsewhere = attempt("n", past[0].hypothesis, parents=("other",))
    assert find_duplicate(elsewhere, past) is None


def test_vectors_are_stable_of_length_one_and_near_for_like_spelling() -> None:
    embed: Callable[[list[str]], Vectors] = NgramEmbedder().embed
    vectors = embed(["learning rates", "learning rate", "tokenizer", "", "ü"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.7 > 0.2 > vectors[0] @ vectors[2]
    assert np.array_equal(embed(["learning rates"])[0], vectors[0])


def test_every_labelled_query_is_answered_by_a_technique_of_the_playbook() -> None:
    queries = labelled()
    techniques = load_playbook(
        Path(suite.__file__).resolve().parents[2] / "benchmarks/nanochat/playbook"
    )
    assert len({query for query, _ in queries}) == len(queries) >= 200
    for query, name in queries:
        assert query.lower() not in techniques[name].hypothesis.lower()


def test_without_chromadb_a_run_goes_on_and_a_shared_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "chromadb", None)
    assert isinstance(open_memory(tmp_path / "own", None, "ngrams", "nanochat"), RunMemory)
    with pytest.raises(UsageError, match="needs chromadb"):
        open_memory(tmp_path / "own", str(tmp_path / "shared"), "ngrams", "nanochat")
