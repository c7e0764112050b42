"""The server as agents reach it: a process over stdio, and HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="needs the extra `mcp`")
pytestmark = pytest.mark.slow

from mcp import ClientSession, StdioServerParameters  # noqa: E402
from mcp.client.stdio import stdio_client  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

PACK = Path(__file__).parent.parent / "packs" / "climb"
NOVUM = (sys.executable, "-m", "novum")


def text_of(result: Any) -> str:
    return "".join(getattr(c, "text", "") for c in result.content)


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """A run that waits for what is handed in, as a process of its own."""
    command = [*NOVUM, "run", str(PACK), "--brain", "external", "--experiments", "1", "--name", "r"]
    command += ["--sandbox", "process", "--runs", str(folder / "runs"), "--plain"]
    env = {**os.environ, "NOVUM_PATHS__CACHE": str(folder / "cache")}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "runs" / "r" / "ledger.db").exists():
            assert process.poll() is None and time.monotonic() < deadline, "the run did not begin"
            time.sleep(0.1)
        yield
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0, out.decode()
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


async def experiment(session: ClientSession) -> dict[str, Any]:
    """One whole experiment, as an agent does it."""
    await session.initialize()
    assert "Lower the loss" in text_of(await session.call_tool("task", {}))
    async with asyncio.timeout(120):
        while (files := await session.call_tool("files", {})).isError:
            await asyncio.sleep(0.1)
    code = json.loads(text_of(files))["solve.py"]
    better = {"solve.py": code.replace("RATE = 0.5", "RATE = 1.0") + 'F = "alpha"\n'}
    said = {"hypothesis": "A rate of 1 and alpha are better", "files": better}
    handed = await session.call_tool("submit", said)
    assert not handed.isError, text_of(handed)
    id = text_of(handed).split(";")[0]
    told: dict[str, Any] = json.loads(text_of(await session.call_tool("wait_for", {"id": id})))
    return told


@pytest.mark.timeout(600)
async def test_an_agent_does_an_experiment_over_stdio(tmp_path: Path) -> None:
    with running(tmp_path):
        args = ["-m", "novum", "mcp", "r", "--runs", str(tmp_path / "runs")]
        env = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PATH": os.environ["PATH"]}
        server = StdioServerParameters(command=sys.executable, args=args, env=env)
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            told = await experiment(session)
    assert told["proposal"] in ("p0-0", "p1-0") and told["verdict"] in ("promising", "confirmed")


@pytest.mark.timeout(600)
async def test_an_agent_does_an_experiment_over_http(tmp_path: Path) -> None:
    with running(tmp_path):
        command = [*NOVUM, "mcp", "r", "--runs", str(tmp_path / "runs"), "--http", "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            words = server.stderr.readline().split()
            assert words[:2] == ["r", "at"], words
            url = words[2]
            async with (
                streamable_http_client(url) as (read, write, _),
                ClientSession(read, write) as session,
            ):
                told = await experiment(session)
        finally:
            server.kill()
            server.communicate()
    assert told["proposal"] in ("p0-0", "p1-0") and told["verdict"] in ("promising", "confirmed")
