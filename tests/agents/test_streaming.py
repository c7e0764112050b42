"""A language model's words come as they are made, over a real connection; a key never does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pydantic import SecretStr

from novum.agents.brains.language import MAX_ANSWER
from novum.agents.brains.registry import make_brain
from novum.agents.brains.secret import split_safe
from novum.settings import BrainSettings

MADE: list[Any] = []
"""Brains of the present test."""
KEY = "sk-planted-key-123456"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "status",
            "description": "Where it stands.",
            "parameters": {"type": "object", "properties": {}},
        },
    }
]


def stream(*deltas: dict[str, Any], finish: str = "stop") -> bytes:
    """Server-sent events of one answer."""
    base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    lines = [
        {**base, "choices": [{"index": 0, "delta": {"role": "assistant", **d}}]} for d in deltas
    ]
    lines.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    text = "".join(f"data: {json.dumps(x)}\n\n" for x in lines) + "data: [DONE]\n\n"
    return text.encode()


def brain(server: Any, **more: Any) -> Any:
    given = {"base_url": server.url, "api_key": KEY, "patience_s": 5, **more}
    made = make_brain("openai:m", BrainSettings.model_validate(given))
    MADE.append(made)
    return made


@pytest.fixture(autouse=True)
async def connections_end() -> AsyncIterator[None]:
    """Close the connections of a test before its loop ends."""
    yield
    for made in MADE:
        await made.inner.root_async_client.close()
    MADE.clear()


def send(server: Any, *deltas: dict[str, Any], finish: str = "stop") -> None:
    headers = {"content-type": "text/event-stream"}
    body = stream(*deltas, finish=finish)
    server.replies.append(lambda h: h.send(200, body, headers))


async def test_words_are_handed_on_and_the_answer_is_whole(server: Any) -> None:
    send(server, {"content": "All "}, {"content": "is "}, {"content": "well."})
    heard: list[str] = []
    bound = brain(server).bind_tools(TOOLS)
    answer = await bound.ainvoke([HumanMessage("How is it?")], on_text=heard.append)
    assert "".join(heard) == answer.text == "All is well." and len(heard) == 3
    assert answer.usage_metadata["total_tokens"] > 0
    assert server.asked[0]["stream"] is True


async def test_a_call_in_pieces_is_put_together(server: Any) -> None:
    first = {"index": 0, "id": "c1", "type": "function"}
    send(
        server,
        {"tool_calls": [{**first, "function": {"name": "status", "arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        finish="tool_calls",
    )
    bound = brain(server).bind_tools(TOOLS)
    answer = await bound.ainvoke([HumanMessage("x")], on_text=lambda text: None)
    assert [(c["name"], c["args"]) for c in answer.tool_calls] == [("status", {})]


async def test_words_without_calls_do_not_change_the_protocol_of_a_talk(server: Any) -> None:
    bound = brain(server).bind_tools(TOOLS)
    for _ in range(3):
        send(server, {"content": "Hm."})
    for _ in range(3):
        answer = await bound.ainvoke([HumanMessage("x")], on_text=lambda text: None)
        assert answer.text == "Hm." and not answer.invalid_tool_calls


async def test_a_busy_server_is_asked_again_and_a_key_that_is_echoed_is_hidden(
    server: Any,
) -> None:
    server.fail(503, retry_after="0")
    send(server, {"content": f"your key is {KEY[:9]}"}, {"content": f"{KEY[9:]}, is it?"})
    heard: list[str] = []
    model = brain(server)
    model.first_wait_s = 0.01
    answer = await model.ainvoke([HumanMessage("x")], on_text=heard.append)
    assert "".join(heard) == answer.text == "your key is [key], is it?"


async def test_a_stream_without_end_is_left(server: Any) -> None:
    send(server, *({"content": "blah " * 400} for _ in range(100)))
    heard: list[str] = []
    answer = await brain(server).ainvoke([HumanMessage("x")], on_text=heard.append)
    assert MAX_ANSWER < len("".join(heard)) <= MAX_ANSWER + 2_000
    assert len(answer.text) < MAX_ANSWER and "cut here" in answer.text


async def test_a_model_that_is_asked_for_json_answers_at_once(server: Any) -> None:
    server.say('{"tool": "status", "args": {}}')
    heard: list[str] = []
    bound = brain(server, protocol="json").bind_tools(TOOLS)
    answer = await bound.ainvoke([HumanMessage("x")], on_text=heard.append)
    assert [c["name"] for c in answer.tool_calls] == ["status"] and not heard


def test_the_end_of_a_stream_is_held_back_only_where_a_key_may_begin() -> None:
    key = SecretStr("secret-1")
    assert split_safe("all well", key) == ("all well", "")
    assert split_safe("my sec", key) == ("my ", "sec")
    assert split_safe("my secret-1 end", key) == ("my [key] end", "")
    assert split_safe("anything", None) == ("anything", "")
