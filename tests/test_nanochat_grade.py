"""The grader: what it asks of the harness, what it makes of the answers, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from novum.benchmarks import nanochat
from novum.benchmarks.harness.trial import run_trial
from novum.benchmarks.nanochat.bpb import Logits, Model, Tokens
from novum.benchmarks.nanochat.grade import Grader
from novum.benchmarks.pack import Profile, load_pack
from novum.benchmarks.protocol import (
    Array,
    CandidateFailed,
    Graded,
    RunOutcome,
    RunPlan,
    ScoreSession,
    TrialRequest,
)
from novum.errors import PackError
from novum.lab.records import Outcome, TrialStatus
from novum.lab.trees import tree_hash
from novum.sandboxes.protocol import Confinement, Exit, ExitCause, Limits, SandboxedProcess
from novum.sandboxes.registry import find_sandbox
from novum.sandboxes.slots import Slot

if TYPE_CHECKING:
    from torch import Tensor

V = 300


def flat(tokens: Tokens) -> Logits:
    """Logits of a model that knows that boundaries are rare, and no more."""
    logits = np.zeros((*tokens.shape, V), np.float32)
    logits[..., 0] = -5
    logits += 0.1 * np.random.default_rng(0).normal(size=(V, V)).astype(np.float32)[tokens]
    return logits


class ModelSession:
    """A score session that a function answers."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def call(
        self, name: str, arrays: Sequence[Array], out: Array | Tensor, timeout_s: float
    ) -> float:
        assert isinstance(out, np.ndarray)
        assert np.isnan(out).all(), "an answer that is not written must not look like one"
        out[:] = self.model(arrays[0])
        return 0.01

    def exit(self) -> Exit | None:
        return None


class Context:
    """A trial whose run stage left `outcome` and whose score stage is `model`."""

    device = grader_device = "cpu"
    gpus: tuple[str, ...] = ()

    def __init__(self, request: TrialRequest, model: Model, scratch: Path) -> None:
        self.request = request
        self.model = model
        self.scratch = scratch
        self.plans: list[RunPlan] = []

    def run_stage(self, plan: RunPlan) -> RunOutcome:
        self.plans.append(plan)
        ended = Exit(ExitCause.EXITED, 0, 5.0, 5.0, 1 << 20, "", "", False, 0)
        return RunOutcome(ended, True, 4.9, 5.0, False, 2.0, self.scratch, "digest", 123, 1, {}, ())

    @contextmanager
    def score_stage(
        self,
        artifact: Path,
        *,
        entry: str,
        limits: Limits,
        tensors: Literal["numpy", "torch"] = "torch",
    ) -> Iterator[ScoreSession]:
        yield ModelSession(self.model)

    def launch(self, confinement: Confinement) -> SandboxedProcess:
        raise AssertionError("this grader has no stage of its own")

    def run_to_end(self, stage: str, confinement: Confinement) -> Exit:
        raise AssertionError("this grader has no stage of its own")

    def phase(self, name: str, **detail: Any) -> None:
        pass


@pytest.fixture(scope="module")
def grader(tmp_path_factory: pytest.TempPathFactory) -> Grader:
    """A grader over a small corpus."""
    texts = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(1)
    for i in range(300):
        (texts / f"{i}.txt").write_text(" ".join(f"w{n}" for n in rng.integers(0, 400, 120)))
    options = {
        "context": 16,
        "max_tokens": 10_000,
        "data": {"corpus": f"text:{texts}", "vocab_size": V, "held_out_fraction": 0.1}
        | {"held_out_bytes": 4000, "max_document_bytes": 400},
    }
    profile = Profile(name="cpu", budget_s=5, smoke_s=2, clock="cpu", options=options)
    return Grader(Path(nanochat.__file__).parent, profile, tmp_path_factory.mktemp("cache"))


def grade(grader: Grader, model: Model, scratch: Path, **request: Any) -> Graded:
    """One trial of a candidate that left this model."""
    return grader.trial(Context(TrialRequest({}, "tree", 7, **request), model, scratch))


def test_the_shipped_pack_is_valid_and_its_options_are_understood(tmp_path: Path) -> None:
    pack = load_pack(Path(nanochat.__file__).parent)
    for name in pack.manifest.profiles:
        assert Grader(pack.folder, pack.profile(name), tmp_path).vocab_size > 256
    assert {"vanilla", "modern"} <= set(pack.starts) and "load(folder, device)" in pack.task


def test_an_honest_model_gets_its_bits_per_byte_and_passes(grader: Grader, tmp_path: Path) -> None:
    graded = grade(grader, flat, tmp_path)
    assert 3 < graded.metric < 9
    names = {p.name for p in graded.probes if p.outcome is Outcome.PASS}
    assert names == {"repeat", "suffix", "independence", "floor"}
    assert graded.observed["answered_s"] > 0 and not graded.self_reported


def test_search_and_claims_read_different_text(grader: Grader, tmp_path: Path) -> None:
    search, sealed = (grade(grader, flat, tmp_path, split=s).metric for s in ("search", "sealed"))
    assert search != sealed and grade(grader, flat, tmp_path).metric == search


def test_a_claim_is_asked_again_in_a_process_of_its_own(grader: Grader, tmp_path: Path) -> None:
    probes = {p.name: p.outcome for p in grade(grader, flat, tmp_path, split="sealed").probes}
    assert probes["fresh-suffix"] is probes["fresh-process"] is Outcome.PASS
    assert "fresh-suffix" not in {p.name for p in grade(grader, flat, tmp_path).probes}


def test_a_peeking_model_scores_well_and_fails_its_probe(grader: Grader, tmp_path: Path) -> None:
    def peek(tokens: Tokens) -> Logits:
        logits = flat(tokens)
        np.put_along_axis(logits[:, :-1], tokens[:, 1:, None], 9.0, axis=2)
        return logits

    graded = grade(grader, peek, tmp_path)
    assert graded.metric < grade(grader, flat, tmp_path).metric / 2
    assert {p.name: p.outcome for p in graded.probes}["suffix"] is Outcome.FAIL


def test_the_candidate_gets_public_facts_before_the_clock_and_no_held_out_text(
    grader: Grader, tmp_path: Path
) -> None:
    context = Context(TrialRequest({}, "tree", 7), flat, tmp_path)
    grader.trial(context)
    (plan,) = context.plans
    assert dict(plan.info) == {"vocab_size": V, "context": 16}
    assert set(plan.arrays) == {"train", "token_bytes", "token_lengths"}
    assert plan.limits.wall_s > plan.allowance_s + plan.budget_s


def test_a_smoke_trial_is_short(grader: Grader, tmp_path: Path) -> None:
    context = Context(TrialRequest({}, "tree", 7, smoke=True), flat, tmp_path)
    grader.trial(context)
    assert context.plans[0].budget_s == 2.0


def test_logits_that_are_not_finite_fail_the_trial(grader: Grader, tmp_path: Path) -> None:
    with pytest.raises(CandidateFailed, match="NaN or infinite"):
        grade(grader, lambda tokens: flat(tokens) * np.float32(np.nan), tmp_path)


def test_an_unknown_option_is_an_error_of_the_pack(tmp_path: Path) -> None:
    profile = Profile(name="cpu", budget_s=5, options={"contxt": 16})
    with pytest.raises(PackError, match="contxt"):
        Grader(tmp_path, profile, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("candidate", ["start/vanilla/train.py", "cheats/peek.py"])
def test_a_real_trial_behind_the_gate_ends_with_a_grade(
    grader: Grader, tmp_path: Path, candidate: str
) -> None:
    pytest.importorskip("torch", reason="pip install 'novum[train]' runs this")
    pack = load_pack(Path(nanochat.__file__).parent)
    files = {"train.py": (pack.folder / candidate).read_bytes()}
    result = run_trial(
        TrialRequest(files, tree_hash(files), 7, smoke=True),
        pack=pack,
        profile=grader.profile,
        grader=grader,
        sandbox=find_sandbox("process"),
        slot=Slot(cores=(0,)),
        scratch=tmp_path,
    )
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    outcomes = {p.name: p.outcome for p in result.probes}
    assert (outcomes.pop("suffix") is Outcome.FAIL) == (candidate == "cheats/peek.py")
    if candidate != "cheats/peek.py":
        assert set(outcomes.values()) == {Outcome.PASS} and 1 < (result.metric or 0) < 9
