"""The starts and every technique of the playbook, run for a few steps on tiny settings."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from novum.benchmarks import nanochat
from novum.benchmarks.moves import Files, apply_move, constants, load_playbook, set_constant
from novum.benchmarks.nanochat.bpb import Logits, Tokens, bits_per_byte, cut_rows
from novum.benchmarks.nanochat.probes import probe_independence, probe_repeat, probe_suffix
from novum.errors import DoesNotApply
from novum.lab.records import Kind, Outcome

FOLDER = Path(nanochat.__file__).parent
PLAYBOOK = load_playbook(FOLDER / "playbook")
STARTS = ("vanilla", "modern")
VOCAB_SIZE = 64
GPU_STARTS = ("vanilla_gpu", "modern_gpu")
TINY = {"CONTEXT": 16, "WIDTH": 32, "BATCH_SIZE": 4, "BIGRAM_ROWS": 64, "NGRAM_ROWS": 64}
TINY_GPU = TINY | {
    **{"N_LAYER": 4, "HEAD_DIM": 16, "GATE_CHANNELS": 8, "SHORT_WINDOW": 6, "MICRO_ROWS": 2},
    **{"BATCH_TOKENS": 64, "SAVE_MARGIN_S": 1},
}
TABLES = {"BIGRAM_ROWS": 64, "NGRAM_ROWS": 64, "LARGE_TABLE": 2048, "ROW_TABLE": 2048}
TABLES |= {"MEMORY_SLOTS": 65536, "MEMORY_STRANDS": 4}
GROUND = ("ngram_tables", "match_copy")
"""What some techniques build on."""

torch = pytest.importorskip("torch", reason="pip install 'novum[train]' runs this")


@dataclass
class FakeRun:
    """A run whose clock ticks once for each look at it."""

    data: dict[str, Any]
    output: Path
    seed: int = 1
    budget_s: float = 8.5
    ticks: int = 0

    def remaining_s(self) -> float:
        self.ticks += 1
        return self.budget_s - self.ticks


def start_files(start: str) -> Files:
    """A start, tiny enough for a test."""
    text = (FOLDER / "start" / start / "train.py").read_text()
    for name, value in (TINY_GPU if start in GPU_STARTS else TINY).items():
        text = set_constant(text, name, value) if f"\n{name} = " in text else text
    return {"train.py": text.encode()}


def shrink(files: Files) -> str:
    """The text of a candidate with the tables that a technique brought made tiny as well."""
    text = files["train.py"].decode()
    for name, value in TABLES.items():
        text = set_constant(text, name, value) if f"\n{name} = " in text else text
    widths = [c.value for c in constants(files) if c.name == "WIDTH"]
    if any(width > 2 * TINY["WIDTH"] for width in widths):  # a width meant for a GPU takes minutes
        text = set_constant(text, "WIDTH", TINY["WIDTH"])
    if "MICRO_ROWS" in text:  # a technique that sets sizes of a GPU's batch sets them for a GPU
        for name in ("BATCH_TOKENS", "MICRO_ROWS", "SAVE_MARGIN_S"):
            text = set_constant(text, name, TINY_GPU[name])
    return text


@pytest.fixture(autouse=True)
def fake_harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stands where candidates import their client of the harness."""
    module = ModuleType("harness")
    monkeypatch.setitem(sys.modules, "harness", module)
    return module


@pytest.fixture
def train(
    tmp_path: Path, fake_harness: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Files], Any]:
    """Runs a candidate's `main()` for about three steps and loads what it saved."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 5, VOCAB_SIZE)
    lengths[0] = 0
    data = {
        "train": rng.integers(0, VOCAB_SIZE, 4000).astype(np.uint16),
        "token_bytes": rng.integers(0, 256, (VOCAB_SIZE, 4)).astype(np.uint8),
        "token_lengths": lengths,
    }
    run = FakeRun(data, tmp_path)
    facts = {"vocab_size": VOCAB_SIZE, "context": 16, "seed": 1, "device": "cpu"}
    monkeypatch.setattr(fake_harness, "info", lambda: facts, raising=False)
    monkeypatch.setattr(fake_harness, "start", lambda: run, raising=False)
    monkeypatch.setattr(fake_harness, "claim", lambda name, value: None, raising=False)
    torch.set_num_threads(1)

    def run_candidate(files: Files) -> Any:
        module = ModuleType("train")
        exec(compile(shrink(files), "train.py", "exec"), vars(module))
        module.main()
        assert run.ticks >= 6, "it stopped before three steps"
        assert [p.name for p in tmp_path.iterdir()] in (["model.pt"], ["weights"])
        logits = module.load(tmp_path, "cpu")
        return lambda tokens: logits(torch.from_numpy(tokens)).numpy()

    return run_candidate


@pytest.mark.parametrize("start", STARTS + GPU_STARTS)
def test_a_start_trains_saves_and_gives_a_causal_model(
    start: str, train: Callable[[Files], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = train(start_files(start))
    assert "parameters" in capsys.readouterr().out
    rng = np.random.default_rng(0)
    rows = rng.integers(0, VOCAB_SIZE, (4, 16))
    assert model(rows).shape == (4, 16, VOCAB_SIZE) and model(rows).dtype == np.float32
    for probe in (
        probe_suffix(model, rows, VOCAB_SIZE, rng),
        probe_repeat(model, rows, VOCAB_SIZE, lambda: model(rows[::-1].copy())),
        probe_independence(model, rows, VOCAB_SIZE, rng),
    ):
        assert probe.outcome is Outcome.PASS, probe


@pytest.mark.parametrize("name", PLAYBOOK)
def test_a_technique_applies_to_a_start_runs_and_stays_causal(
    name: str, train: Callable[[Files], Any]
) -> None:
    grounds = [start_files(start) for start in (*STARTS, "modern_gpu")]
    grounds.append(stack(GROUND, grounds[-1]))
    files = next(result for ground in grounds if (result := applied(name, ground)) is not None)
    model = train(files)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, VOCAB_SIZE, (4, 16))
    assert np.isfinite(model(rows)).all()
    assert probe_suffix(model, rows, VOCAB_SIZE, rng).outcome is Outcome.PASS
    with pytest.raises(DoesNotApply):
        for _ in range(30):  # a factor may go on until it meets its bound, an edit not even once
            files = apply_move(PLAYBOOK[name], files)
            assert not PLAYBOOK[name].edits


@pytest.mark.parametrize("start", (*STARTS, "modern_gpu"))
def test_any_two_techniques_apply_after_one_another_or_refuse_cleanly(start: str) -> None:
    files = start_files(start)
    first = {name: result for name in PLAYBOOK if (result := applied(name, files)) is not None}
    pairs = {(a, b): applied(b, first[a]) for a in first for b in first if a != b}
    refused = {pair for pair, result in pairs.items() if result is None}
    assert not refused, "techniques that fit the start should fit one another's results"


def test_all_techniques_that_fit_vanilla_stack_and_the_stack_runs(
    train: Callable[[Files], Any],
) -> None:
    files = start_files("vanilla")
    stacked = []
    for name in ("muon", *PLAYBOOK):
        if (result := applied(name, files)) is not None:
            files = result
            stacked.append(name)
    assert len(stacked) >= 36, set(PLAYBOOK) - set(stacked)
    rows = np.random.default_rng(0).integers(0, VOCAB_SIZE, (4, 16))
    model = train(files)
    assert probe_suffix(model, rows, VOCAB_SIZE, np.random.default_rng(0)).outcome is Outcome.PASS


def test_the_cheat_that_peeks_looks_brilliant_and_fails_the_suffix_probe(tmp_path: Path) -> None:
    cheat = ModuleType("train")
    exec(compile((FOLDER / "cheats" / "peek.py").read_text(), "peek.py", "exec"), vars(cheat))
    (tmp_path / "model.json").write_text(f'{{"vocab_size": {VOCAB_SIZE}}}')
    logits = cheat.load(tmp_path, "cpu")

    def model(tokens: Tokens) -> Logits:
        return np.asarray(logits(torch.from_numpy(tokens)))

    rng = np.random.default_rng(0)
    lengths = np.array([0] + [3] * (VOCAB_SIZE - 1))
    stream = rng.integers(1, VOCAB_SIZE, 500).astype(np.uint16)
    text = cut_rows(stream, lengths, 16, 1500)
    assert bits_per_byte(model, text, VOCAB_SIZE, 8) < math.log2(VOCAB_SIZE) / 3 / 3
    assert probe_suffix(model, text.inputs[:4], VOCAB_SIZE, rng).outcome is Outcome.FAIL


def test_the_playbook_is_broad_and_says_where_each_technique_comes_from() -> None:
    assert len(PLAYBOOK) >= 24
    kinds = {t.kind for t in PLAYBOOK.values()}
    assert kinds == set(Kind) - {Kind.COMBINATION, Kind.ABLATION}
    assert all(len(t.knowledge) > 80 and t.hypothesis and t.source for t in PLAYBOOK.values())


def test_what_fits_vanilla_fits_it_on_a_gpu() -> None:
    fitting = {name for name in PLAYBOOK if applied(name, start_files("vanilla")) is not None}
    on_gpu = {name for name in PLAYBOOK if applied(name, start_files("vanilla_gpu")) is not None}
    assert fitting <= on_gpu


def test_the_techniques_for_a_gpu_stack_and_the_stack_runs(train: Callable[[Files], Any]) -> None:
    files = start_files("modern_gpu")
    names = [n for n in PLAYBOOK if PLAYBOOK[n].edits and applied(n, files) is not None]
    assert {"ngram_tables", "match_copy", "key_shift", "normuon_gpu"} <= set(names)
    model = train(stack([*names, "corpus_memory", "longer_matches", "fourgrams"], files))
    rows = np.random.default_rng(0).integers(0, VOCAB_SIZE, (4, 16))
    assert probe_suffix(model, rows, VOCAB_SIZE, np.random.default_rng(0)).outcome is Outcome.PASS


@pytest.fixture
def memory_module(fake_harness: ModuleType) -> ModuleType:
    """A candidate with a memory, tiny."""
    module = ModuleType("train")
    files = stack(["match_copy", "corpus_memory"], start_files("modern_gpu"))
    exec(compile(shrink(files), "train.py", "exec"), vars(module))
    return module


def test_the_memory_says_what_followed_the_longest_context_it_knows(
    memory_module: ModuleType,
) -> None:
    memory = memory_module.Memory(VOCAB_SIZE)
    stream = torch.from_numpy(np.random.default_rng(5).integers(0, VOCAB_SIZE, 2000))
    asked, targets = stream[None, 100:140], stream[101:141]

    def level() -> Any:
        return memory(asked)[1][0]

    assert (level() == 0).all()
    for confidence in (1, 2, 3, 4, 4):
        memory.write(stream)
        assert level()[20:].tolist() == [8 + confidence] * 20, "of sixteen tokens"
        assert (memory(asked)[0][0, 20:] == targets[20:]).all()
    assert set(level()[8:15].tolist()) == {8}, "as much past as the row has"
    assert (level()[:4] == 0).all()


def test_what_the_memory_was_sure_of_gives_way_only_after_as_many_misses(
    memory_module: ModuleType,
) -> None:
    memory = memory_module.Memory(VOCAB_SIZE)
    rng = np.random.default_rng(6)
    said, other = (torch.from_numpy(rng.integers(0, VOCAB_SIZE, 400)) for _ in range(2))
    context, follows = said[None, 50:70], said[70].item()
    instead = (follows + 1) % VOCAB_SIZE
    contradicted = torch.cat([other[:200], said[40:70], torch.tensor([instead]), other[200:]])
    for _ in range(3):
        memory.write(said)
    answers = []
    for _ in range(4):
        answers.append(memory(context)[0][0, -1].item())
        memory.write(contradicted)
    assert answers == [follows] * 3 + [instead]


def test_documents_are_trained_on_or_looked_up_and_never_both(memory_module: ModuleType) -> None:
    lengths = np.random.default_rng(7).integers(2, 40, 300)
    documents = [torch.tensor([0, *[1 + i] * n]) for i, n in enumerate(lengths)]
    stream = torch.cat(documents)
    trained, looked_up = memory_module.divided(stream, 3)
    assert len(trained) + len(looked_up) == len(stream)
    assert 0.3 < len(trained) / len(stream) < 0.7
    assert set(trained.tolist()) & set(looked_up.tolist()) == {0}
    assert torch.equal(trained, memory_module.divided(stream, 3)[0])
    assert not torch.equal(trained, memory_module.divided(stream, 4)[0])


@pytest.mark.parametrize("start", STARTS + GPU_STARTS)
def test_every_constant_of_a_start_is_used(start: str) -> None:
    files = start_files(start)
    text = files["train.py"].decode()
    assert [c.name for c in constants(files) if text.count(c.name) < 2] == []


def stack(names: Iterable[str], files: Files) -> Files:
    """The files with several techniques."""
    for name in names:
        files = apply_move(PLAYBOOK[name], files)
    return files


def applied(name: str, files: Files) -> Files | None:
    """The files with a technique, `None` when it refuses; anything else is a bug."""
    try:
        return apply_move(PLAYBOOK[name], files)
    except DoesNotApply:
        return None
