"""Trials of candidates that use torch, on the CPU and on a GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from novum.benchmarks.harness import run_trial, tree_hash
from novum.benchmarks.pack import load_pack
from novum.benchmarks.protocol import Graded, RunOutcome, ScoreSession, TrialContext, TrialRequest
from novum.errors import SandboxUnavailable
from novum.lab.records import TrialStatus
from novum.sandboxes import find_sandbox
from novum.sandboxes.slots import Slot

torch = pytest.importorskip("torch", reason="pip install novum[train] brings torch")

PACK = load_pack(Path(__file__).parent / "packs" / "toy")
CANDIDATE = b"""
import torch
import harness

def load(folder, device):
    saved = torch.load(folder / "model.pt", map_location=device, weights_only=True)
    def answer(questions):
        assert questions.device.type == torch.device(device).type
        return (questions.float() + saved["mean"]).to(torch.bfloat16)
    return answer

if __name__ == "__main__":
    device = harness.info()["device"]
    torch.ones(8, device=device).sum().item()
    assert torch.get_num_threads() == harness.info()["cores"]
    run = harness.start()
    data = torch.from_numpy(run.data["train"]).to(device)
    torch.save({"mean": data.mean().float().cpu()}, run.output / "model.pt")
    harness.claim("gpus", torch.cuda.device_count())
"""


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("cpu", "process"),
        pytest.param("cuda:0", "process", marks=pytest.mark.gpu),
        pytest.param("cuda:0", "bubblewrap", marks=pytest.mark.gpu),
    ],
)
def test_a_torch_candidate_trains_and_answers_on_its_device(
    device: str, name: str, tmp_path: Path
) -> None:
    if device != "cpu" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    try:
        sandbox = find_sandbox(name)
    except SandboxUnavailable as error:
        pytest.skip(f"{name} cannot run here: {error}")

    class Torch(type(PACK.grader(PACK.profile(), tmp_path))):  # type: ignore[misc]
        tensors = "torch"

        def measure(self, context: TrialContext, session: ScoreSession, run: RunOutcome) -> Graded:
            answers = np.empty((2, 3), np.float32)
            questions = np.arange(6.0).reshape(2, 3)
            seconds = [session.call("", [questions], answers, timeout_s=60) for _ in range(3)]
            on_device = torch.full((2, 3), float("nan"), dtype=torch.float16, device=device)
            session.call("", [questions], on_device, timeout_s=60)
            assert np.abs(on_device.float().cpu().numpy() - answers).max() < 0.01
            session.call("", [np.full((2, 3), -1e9)], on_device, timeout_s=60)
            assert (on_device == -65504).all(), "a mask fits into float16 at its end"
            error = float(np.abs(answers - questions - 7.0).max())
            return Graded(error, {"call_s": min(seconds)})

    changes: dict[str, Any] = {
        "gpus": 0 if device == "cpu" else 1,
        "allowance_s": 60,
        "score_s": 60,
        "budget_s": 20,
        "memory_bytes": 16 << 30,
        "pids": 512,
        "file_bytes": 1 << 30,
    }
    profile = PACK.profile().model_copy(update=changes)
    files = {"train.py": CANDIDATE}
    result = run_trial(
        TrialRequest(files, tree_hash(files), seed=2),
        pack=PACK,
        profile=profile,
        grader=Torch(PACK.folder, profile, tmp_path),
        sandbox=sandbox,
        slot=Slot(cores=(max(os.sched_getaffinity(0)),), gpus=("0",) * changes["gpus"]),
        scratch=tmp_path / "scratch",
    )
    assert result.status is TrialStatus.FINISHED, result.error + result.log
    assert result.metric is not None and result.metric < 0.3
    assert result.claimed == {"gpus": float(changes["gpus"])}
