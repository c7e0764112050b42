"""A coding agent, played by the SDK's own client, does one whole experiment over MCP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("mcp", reason="needs the extra `mcp`")

from mcp.shared.memory import create_connected_server_and_client_session as connect

from novum.agents.research import work
from novum.app.handing import outcome
from novum.app.mcp_server import make_server
from novum.lab.records import Label


async def test_a_client_reads_the_task_hands_in_a_change_and_gets_a_verdict(
    make_lab: Any,
) -> None:
    lab = make_lab(brain={"default": "external"}, budget={"experiments": 1})
    from novum.lab.toml import dumps

    info = {**lab.run.info, "settings": {"benchmark": str(lab.pack.folder)}}
    (lab.run.path / "run.toml").write_text(dumps(info))
    lab.run.__dict__.pop("info")
    running = asyncio.create_task(work(lab, 1))
    while not lab.findings.nodes:
        await asyncio.sleep(0.02)
    with lab.run.ledger() as ledger:
        server = make_server(lab.run, ledger)
        async with connect(server._mcp_server) as client:

            async def call(name: str, **args: Any) -> Any:
                result = await client.call_tool(name, args)
                return result, "".join(getattr(c, "text", "") for c in result.content)

            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"task", "status", "files", "submit", "wait_for"} <= names
            assert "Lower the loss" in (await call("task"))[1]
            code = json.loads((await call("files"))[1])["solve.py"]
            wrong, text = await call("submit", hypothesis="x", files={"grade.py": "cheat"})
            assert wrong.isError and "grade.py is not editable" in text
            wrong, text = await call("submit", hypothesis="x", files={"solve.py": code})
            assert wrong.isError and "changes nothing" in text
            wrong, text = await call("show", id="p9-9")
            assert wrong.isError and "p9-9" in text
            better = code.replace("RATE = 0.5", "RATE = 1.0") + 'F = "alpha"\n'
            done, id = await call(
                "submit", hypothesis="A rate of 1 and alpha", files={"solve.py": better}
            )
            assert not done.isError
            told = json.loads((await call("wait_for", id=id.split(";")[0]))[1])
            assert told["verdict"] == Label.PROMISING and told["proposal"] == "p0-0"
            assert "+F = " in (await call("show", id="p0-0"))[1]
        summary = await running
        assert summary.is_confirmed
        told = outcome(ledger, id.split(";")[0])
        assert told["verdict"] == Label.PROMISING
        assert told["later"].startswith("confirmed (sealed data): ")
    assert lab.ledger.proposal("p0-0").brain == "mcp"


async def test_over_http_only_this_machine_is_answered(make_lab: Any) -> None:
    """A page of another site may resolve its own name to 127.0.0.1 (DNS rebinding)."""
    httpx = pytest.importorskip("httpx")
    lab = make_lab()
    with lab.run.ledger() as ledger:
        server = make_server(lab.run, ledger)
        app = server.streamable_http_app()
        ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        kinds = {"accept": "application/json, text/event-stream"}
        async with server.session_manager.run():
            for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
                where = httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8765"
                )
                async with where as client:
                    answer = await client.post("/mcp", json=ask, headers=kinds | headers)
                assert answer.status_code in (403, 421), headers
