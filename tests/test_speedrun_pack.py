"""The speedrun pack: its data, its grader, its starts and moves, its cheats."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import shutil
import tomllib
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from novum.benchmarks import speedrun
from novum.benchmarks.contract import shipped_cheats, unmet
from novum.benchmarks.harness import run_trial, tree_hash
from novum.benchmarks.moves import apply_move, load_playbook, set_constant
from novum.benchmarks.pack import Pack, Profile, Requirement, load_pack
from novum.benchmarks.protocol import Consumed, RunOutcome, TrialRequest, TrialResult
from novum.benchmarks.speedrun import calibrate, data
from novum.benchmarks.speedrun.grade import Grader, probe_pace, probe_target
from novum.benchmarks.speedrun.measure import Calibrating, limit_of, with_steps
from novum.errors import DataMissing, DoesNotApply, PackError
from novum.evals.rules.catalogue import RULES
from novum.evals.rules.scan import pack_rules, scan
from novum.lab.records import Outcome, TrialStatus
from novum.sandboxes.protocol import Exit, ExitCause
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

PACK = load_pack(Path(speedrun.__file__).parent)
V = 300
TINY = {"CONTEXT": 16, "WIDTH": 32, "N_HEAD": 2, "N_LAYER": 2, "BATCH_SIZE": 8, "MICRO_SIZE": 2}


def texts(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    folder.mkdir()
    for i in range(300):
        (folder / f"{i}.txt").write_text(" ".join(f"w{n}" for n in rng.integers(0, 400, 120)))
    return folder


def tiny(**changes: Any) -> Profile:
    fields: dict[str, Any] = {
        "name": "cpu", "budget_s": 60, "allowance_s": 60, "clock": "cpu",
        "requirements": {"loss": Requirement(search=5.0, sealed=5.0)},
    }  # fmt: skip
    return Profile(**fields | changes)


@pytest.fixture(scope="module")
def grader(tmp_path_factory: pytest.TempPathFactory) -> Grader:
    """A grader over a small corpus."""
    folder = tmp_path_factory.mktemp("speedrun")
    options = {
        "context": 16, "max_epochs": 50.0,
        "data": {"corpus": f"text:{texts(folder / 'texts')}", "vocab_size": V}
        | {"held_out_fraction": 0.1, "held_out_bytes": 4000, "max_document_bytes": 400},
    }  # fmt: skip
    return Grader(PACK.folder, tiny(options=options), folder / "cache")


def shrunk(files: dict[str, bytes], steps: int = 12, **more: int) -> dict[str, bytes]:
    """A candidate that is small enough for a test."""
    text = files["train.py"].decode()
    for name, value in (TINY | {"STEPS": steps} | more).items():
        with contextlib.suppress(DoesNotApply):  # not every start has all of them
            text = set_constant(text, name, value)
    return {"train.py": text.encode()}


def trial(grader: Grader, files: dict[str, bytes], scratch: Path, **request: Any) -> TrialResult:
    return run_trial(
        TrialRequest(files, tree_hash(files), 7, **request),
        pack=PACK,
        profile=grader.profile,
        grader=grader,
        sandbox=find_sandbox("process"),
        slot=Slot(),
        scratch=scratch,
    )


# --- the public format ---


def test_a_shard_is_read_as_it_was_written(tmp_path: Path) -> None:
    tokens = np.arange(5000, dtype=np.uint16) * 7
    data.write_shard(tmp_path / "x_train_000001.bin", tokens)
    assert (data.read_shard(tmp_path / "x_train_000001.bin") == tokens).all()
    raw = (tmp_path / "x_train_000001.bin").read_bytes()
    assert np.frombuffer(raw[:12], "<i4").tolist() == [20240520, 1, 5000]
    assert len(raw) == 1024 + 2 * 5000


@pytest.mark.parametrize("cut", [100, 1024, 1500])
def test_a_broken_shard_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x_val_000000.bin"
    data.write_shard(path, np.arange(500, dtype=np.uint16))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataMissing):
        data.read_shard(path)
    path.write_bytes(b"\0" * 4096)
    with pytest.raises(DataMissing, match="20240520"):
        data.read_shard(path)


def test_shards_are_one_stream_that_begins_again() -> None:
    parts = [np.arange(0, 7), np.arange(7, 7), np.arange(7, 20)]
    stream = data.TokenArrays([p.astype(np.uint16) for p in parts])
    for first in range(45):
        assert stream.read(first, 15).tolist() == [(first + i) % 20 for i in range(15)]


def test_missing_shards_say_where_they_belong(tmp_path: Path) -> None:
    options = {"shards": str(tmp_path)}
    with pytest.raises(DataMissing, match="fineweb_train_000001.bin"):
        Grader(PACK.folder, tiny(options=options), tmp_path).prepare()


# --- the grader ---


def test_every_profile_is_understood_and_names_its_starts(tmp_path: Path) -> None:
    for name in PACK.manifest.profiles:
        profile = PACK.profile(name)
        assert Grader(PACK.folder, profile, tmp_path).vocab_size > 256
        assert PACK.starts_of(profile) and profile.requirements["loss"].alpha == 0.01
    with pytest.raises(PackError, match="contxt"):
        Grader(PACK.folder, tiny(options={"contxt": 1}), tmp_path)


def test_a_target_that_was_not_measured_refuses_to_run_and_names_the_command(
    tmp_path: Path,
) -> None:
    profile = tiny(requirements={"loss": Requirement()})
    with pytest.raises(DataMissing, match="speedrun.measure target"):
        Grader(PACK.folder, profile, tmp_path).prepare()


def outcome_of(at_s: list[float], wall_s: float) -> tuple[RunOutcome, Consumed]:
    taken = Consumed(len(at_s), len(at_s), 1000, 10_000, tuple(at_s))
    ended = Exit(ExitCause.EXITED, 0, wall_s, wall_s, 1 << 20, "", "", False, 0)
    phases = ()
    return (
        RunOutcome(ended, True, wall_s, wall_s, False, 1.0, Path(), "d", 1, 1, {}, phases, taken),
        taken,
    )


@pytest.mark.parametrize(
    ("at_s", "wall_s", "expected"),
    [
        ([0.1 * i for i in range(100)], 10.2, Outcome.PASS),
        ([0.1 * i for i in range(60)] + [6.0 + 1e-4 * i for i in range(40)], 6.1, Outcome.CONFIRM),
        ([1e-4 * i for i in range(100)], 10.0, Outcome.CONFIRM),
        ([0.1 * i for i in range(5)], 0.6, Outcome.PASS),
    ],
    ids=["steady", "drained at the end", "taken at once", "few"],
)
def test_batches_that_are_drained_cost_an_extra_check(
    at_s: list[float], wall_s: float, expected: Outcome
) -> None:
    assert probe_pace(*outcome_of(at_s, wall_s)).outcome is expected


def test_one_trial_above_the_target_is_noted_with_the_distance() -> None:
    probe = probe_target({"loss": 5.25, "target": 5.2})
    assert probe.outcome is Outcome.NOTE and "0.0500 above" in probe.summary
    assert probe_target({"loss": 5.1, "target": 5.2}).outcome is Outcome.PASS


# --- starts, moves and rules ---


def test_every_technique_applies_to_every_naive_start_and_says_where_it_is_from() -> None:
    playbook = load_playbook(PACK.folder / "playbook")
    assert len(playbook) >= 30 and all(t.source and t.knowledge for t in playbook.values())
    for start in ("naive", "naive_gpu", "naive_ddp"):
        for name, technique in playbook.items():
            files = PACK.start_files(start)
            for needed in {"normuon": ["muon"], "more_ngram_rows": ["ngram_values"]}.get(name, []):
                files = apply_move(playbook[needed], files)
            assert apply_move(technique, files) != files, (start, name)
            if technique.markers:
                with pytest.raises(DoesNotApply):
                    apply_move(technique, apply_move(technique, files))


def test_compiler_flags_are_blocked_and_plain_compilation_is_free() -> None:
    rules, start = pack_rules(PACK), PACK.start_files("naive")

    def blocked(line: str) -> bool:
        hits = scan({"train.py": f"import os\nimport torch\n{line}\n".encode()}, start, rules)
        return any(h.tier is Outcome.FAIL for h in hits)

    assert blocked("f = torch.compile(print, mode='max-autotune')")
    assert blocked("f = torch.compile(print, options={'a': 1})")
    assert blocked("f = torch.compile(print, **{'mode': 'x'})")
    assert blocked("torch._inductor.config.coordinate_descent_tuning = True")
    assert blocked("os.environ['TORCHINDUCTOR_MAX_AUTOTUNE'] = '1'")
    assert not blocked("f = torch.compile(print, dynamic=False, fullgraph=True)")
    assert not blocked("torch._dynamo.config.recompile_limit = 64")


def test_what_the_task_asks_for_is_no_reason_for_an_extra_check() -> None:
    rules = (*RULES, *pack_rules(PACK))
    for name in PACK.starts:
        hits = scan(PACK.start_files(name), {}, rules)
        assert not [h for h in hits if h.tier in (Outcome.FAIL, Outcome.CONFIRM)], (name, hits)
    odd = scan({"train.py": b"import harness\nharness.connect()\n"}, {}, rules)
    assert [h.tier for h in odd if h.rule == "harness-insides"] == [Outcome.CONFIRM]


def test_every_shipped_program_parses_and_only_cheats_that_can_be_read_are_blocked() -> None:
    rules, start = pack_rules(PACK), PACK.start_files("naive")
    programs = {kind: shipped_cheats(PACK, start, kind) for kind in ("cheats", "honest")}
    assert len(programs["cheats"]) >= 5 and len(programs["honest"]) >= 2
    for kind in programs:
        for name, files in programs[kind].items():
            bad = [h for h in scan(files, start, rules) if h.tier is Outcome.FAIL]
            assert bool(bad) == (name in ("max_autotune", "learns_before_the_clock")), (name, bad)


# --- whole trials ---


torch = pytest.importorskip("torch", reason="pip install 'novum[train]' runs this")


@pytest.mark.slow
def test_a_trial_is_timed_and_its_loss_is_measured_outside(grader: Grader, tmp_path: Path) -> None:
    result = trial(grader, shrunk(PACK.start_files("naive"), steps=40), tmp_path)
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    seen = result.observed
    assert result.metric == seen["used_s"] > 0 and seen["steps"] == 40
    assert seen["tokens"] == 40 * 8 * 16 and 1 < seen["loss"] < math.log(V) + 0.3
    assert not [p for p in result.probes if p.outcome is Outcome.FAIL]
    assert bool(unmet(grader.profile, result)) == (seen["loss"] > 5.0)


@pytest.mark.slow
def test_what_was_known_before_the_clock_is_worth_nothing(grader: Grader, tmp_path: Path) -> None:
    """A program that brings the bigrams of the very text that it is graded on, in its source."""
    grader.prepare()
    assert grader.data is not None
    tokens = np.concatenate([grader.data.tokens(n) for n in ("train", "validation")]).astype(int)
    pairs = np.bincount(tokens[:-1] * V + tokens[1:], minlength=V * V).reshape(V, V)
    packed = base64.b64encode(zlib.compress(pairs.astype(np.uint16).tobytes()))
    code = f"""
import base64, zlib
import numpy as np

PAIRS = {packed!r}

def load(folder, device):
    import torch
    counts = np.frombuffer(zlib.decompress(base64.b64decode(PAIRS)), np.uint16).reshape({V}, {V})
    table = torch.log(torch.tensor(counts.astype(np.float32)) + 0.1)
    return lambda tokens: table[tokens.long()]

if __name__ == "__main__":
    import harness
    harness.declare(1)
    run = harness.start()
    run.batch(16)
    (run.output / "known").write_text("it knew")
"""
    files = {"train.py": code.encode()}
    knowing = trial(grader, files, tmp_path)
    assert knowing.status is TrialStatus.FINISHED, knowing.error
    own = np.log(pairs + 0.1) - np.log((pairs + 0.1).sum(1, keepdims=True))
    text = grader.texts["validation"]
    honest = -(own[text.inputs, text.targets] * text.weights).sum() / text.weights.sum()
    assert honest < 5 < math.log(V) < knowing.observed["loss"]
    assert unmet(grader.profile, knowing)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stops_when_lucky", "one_more_step"])
def test_a_run_that_does_not_keep_to_its_steps_is_invalid(
    grader: Grader, tmp_path: Path, name: str
) -> None:
    files = shipped_cheats(PACK, PACK.start_files("naive"))[name]
    lucky = files["train.py"].decode().replace("GOOD_ENOUGH = 6.4", "GOOD_ENOUGH = 90.0")
    result = trial(grader, shrunk({"train.py": lucky.encode()}), tmp_path)
    assert result.status is TrialStatus.CRASHED
    assert "declared" in result.error


@pytest.mark.slow
def test_the_fast_start_trains_on_a_cpu_too(grader: Grader, tmp_path: Path) -> None:
    small = {"HEAD_DIM": 16, "GATE_CHANNELS": 8, "NGRAM_ROWS": 64, "MICRO_ROWS": 4}
    small |= {"BATCH_TOKENS": 64, "SHORT_WINDOW": 8}
    result = trial(grader, shrunk(PACK.start_files("fast_gpu"), 3, **small), tmp_path, smoke=True)
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    assert result.observed["steps"] == 3 and result.observed["loss"] < 20


def shard_grader(folder: Path, **profile: Any) -> Grader:
    """A grader over shards in the public format."""
    shards = folder / "shards"
    if not shards.exists():
        shards.mkdir()
        rng = np.random.default_rng(2)
        for name in ("train_000001", "train_000002", "val_000000"):
            tokens = rng.zipf(1.3, 20_000) % data.GPT2_VOCAB
            data.write_shard(shards / f"fineweb_{name}.bin", tokens.astype(np.uint16))
    options = {
        "shards": str(shards), "context": 16, "score_rows": 2, "probe_rows": 2,
        "held_out_tokens": 64, "sealed_tokens": 10_000,
    }  # fmt: skip
    return Grader(PACK.folder, tiny(options=options, **profile), folder)


@pytest.mark.slow
def test_two_workers_train_together_on_shards(tmp_path: Path) -> None:
    grader = shard_grader(tmp_path, workers=2)
    files = shrunk(PACK.start_files("naive_ddp"), BATCH_SIZE=8)
    result = trial(grader, files, tmp_path / "scratch", smoke=True)
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    assert result.observed["steps"] == 3 and result.observed["tokens"] == 3 * 8 * 16
    assert abs(result.observed["loss"] - math.log(data.GPT2_VOCAB)) < 0.5


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_whole_trial(tmp_path: Path) -> None:
    grader = shard_grader(tmp_path, workers=2)
    text = PACK.start_files("naive_ddp")["train.py"].decode()
    passage = "    model.train()\n    for step in range(steps):\n"
    assert text.count(passage) == 1
    killed = text.replace(
        passage, "    if run.rank == 1:\n        os.kill(os.getpid(), 9)\n" + passage
    )
    files = shrunk({"train.py": killed.encode()})
    result = trial(grader, files, tmp_path / "scratch", smoke=True)
    assert result.status is TrialStatus.CRASHED
    assert "worker 1 of 2 was lost: killed by SIGKILL" in result.error
    assert not list((tmp_path / "scratch").iterdir())


def test_the_pack_is_found_by_its_name() -> None:
    assert isinstance(PACK, Pack) and PACK.id == "speedrun"


def test_the_public_history_is_whole_and_falls_but_for_the_change_of_its_rules() -> None:
    text = (PACK.folder / "history.toml").read_text()
    records = tomllib.loads(text)["records"]
    assert [r["number"] for r in records] == list(range(1, 61)) and "modded-nanogpt" in text
    slower = [a["number"] for a, b in pairwise(records) if b["minutes"] >= a["minutes"]]
    assert slower == [21]
    assert all(r["technique"] and r["date"].year >= 2024 for r in records)


TOGETHER = (
    "muon normuon rotary qk_norm squared_relu rmsnorm zero_init untied_head value_embeddings "
    "embedding_lr ngram_values more_ngram_rows soft_cap warmdown embedding_shortcut unet_skips "
    "batch_schedule context_schedule token_shift smear small_batch tensor_float counted_bigrams"
).split()


@pytest.mark.slow
@pytest.mark.parametrize("start", ["naive", "naive_gpu"])
def test_techniques_that_are_merged_still_train(grader: Grader, tmp_path: Path, start: str) -> None:
    playbook = load_playbook(PACK.folder / "playbook")
    files = PACK.start_files(start)
    for name in TOGETHER:
        files = apply_move(playbook[name], files)
    small = {"NGRAM_ROWS": 64, "COUNTED_ROWS": 64, "VALUE_GATE_CHANNELS": 16}
    result = trial(grader, shrunk(files, **small), tmp_path, smoke=True)
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    assert result.observed["steps"] == 3 and result.observed["loss"] < math.log(V) + 1


@pytest.mark.slow
def test_a_target_is_measured_on_both_splits_after_one_training(
    grader: Grader, tmp_path: Path
) -> None:
    profile = grader.profile.model_copy(update={"requirements": {"loss": Requirement()}})
    measuring = Calibrating(PACK.folder, profile, grader.cache)
    result = trial(measuring, shrunk(PACK.start_files("naive")), tmp_path)
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    assert result.observed["loss"] != result.observed["loss_sealed"] > 1
    assert measuring.outcome is not None and "target" not in result.observed


def test_a_candidate_declares_the_steps_that_it_is_told_to() -> None:
    files = with_steps(PACK.start_files("naive_gpu"), 77)
    assert b"\nSTEPS = 77\n" in files["train.py"]


def a_trial(loss: float, sealed: float, steps: int = 60, status: str = "finished") -> str:
    seen = {"loss": loss, "loss_sealed": sealed, "steps": float(steps)}
    return json.dumps({"seed": 1, "status": status, "metric": 9.0, "observed": seen})


def test_a_measured_target_is_written_into_the_pack_with_its_trials(tmp_path: Path) -> None:
    shutil.copytree(PACK.folder, tmp_path / "pack", ignore=shutil.ignore_patterns("targets"))
    lines = tmp_path / "target.jsonl"
    lines.write_text("\n".join([a_trial(5.0, 4.9), a_trial(5.1, 4.8), ""]))
    for profile, start in (("cpu", "naive"), ("gpu1", "naive_gpu")):
        words = [str(lines), "--profile", profile, "--pack", str(tmp_path / "pack")]
        assert calibrate.main([*words, "--about", "a test"]) == 0
        pack = load_pack(tmp_path / "pack")
        required = pack.profile(profile).requirements["loss"]
        assert required.search == limit_of([5.0, 5.1]) > 5.05
        assert required.sealed == limit_of([4.9, 4.8])
        assert (required.trials, required.alpha) == (5, 0.01)
        assert b"\nSTEPS = 60\n" in pack.start_files(start)["train.py"]
        kept = json.loads((tmp_path / "pack" / "targets" / f"{profile}.json").read_text())
        assert len(kept["trials"]) == 2 and kept["about"] == "a test"
    before = (tmp_path / "pack" / "pack.toml").read_text()
    assert calibrate.main(words) == 0
    assert (tmp_path / "pack" / "pack.toml").read_text() == before
    assert limit_of([5.0]) == 5.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        a_trial(5.0, 4.9) + "\n" + a_trial(5.0, 4.9, steps=61),
        a_trial(5.0, 4.9) + "\n" + a_trial(5.0, 4.9, status="crashed"),
        '{"seed": 3, "status": "finished", "observed": {"loss": 5.0}}',
        "no json",
    ],
)
def test_a_target_is_not_written_from_trials_that_do_not_make_one(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(PACK.folder, tmp_path / "pack", ignore=shutil.ignore_patterns("targets"))
    (tmp_path / "target.jsonl").write_text(text)
    words = [str(tmp_path / "target.jsonl"), "--profile", "gpu1", "--pack", str(tmp_path / "pack")]
    assert calibrate.main(words) != 0
    assert capsys.readouterr().err
    assert not (tmp_path / "pack" / "targets").exists()
    same = (tmp_path / "pack" / "pack.toml").read_bytes()
    assert same == (PACK.folder / "pack.toml").read_bytes()
