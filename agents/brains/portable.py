"""The portable protocol: one JSON object a turn, for models that cannot call tools.

The tools are described in words, earlier calls and their results become plain messages, and the
answer `{"tool": NAME, "args": {...}}` becomes a tool call again. Servers that can hold a model to a
schema get one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call

from novum.lab.records import Json

INTRODUCTION = """Answer with one JSON object, {"tool": NAME, "args": {...}}, and nothing else.
It calls one of these tools; you then read its result and answer again.

"""


def render(messages: Sequence[BaseMessage], tools: Sequence[Json]) -> list[BaseMessage]:
    """A conversation with tool calls as one in plain words."""
    lines = []
    for tool in tools:
        function = tool["function"]
        fields = json.dumps(function["parameters"].get("properties", {}), ensure_ascii=False)
        needed = ", ".join(function["parameters"].get("required", [])) or "none"
        lines.append(f"- {function['name']}: {function['description']}\n  args: {fields}")
        lines.append(f"  required: {needed}")
    said: list[BaseMessage] = [SystemMessage(INTRODUCTION + "\n".join(lines))]
    for message in messages:
        if isinstance(message, AIMessage):
            calls = [{"tool": c["name"], "args": c["args"]} for c in message.tool_calls]
            text = "\n".join(json.dumps(c, ensure_ascii=False) for c in calls)
            wrong = "\n".join(c["args"] or "" for c in message.invalid_tool_calls)
            said.append(AIMessage(text or wrong or message.text or "(nothing)"))
        else:
            text = f"Result:\n{message.text}" if isinstance(message, ToolMessage) else message.text
            if isinstance(said[-1], HumanMessage):  # many templates want turns to alternate
                said[-1] = HumanMessage(f"{said[-1].text}\n\n{text}")
            else:
                said.append(HumanMessage(text))
    return said


def response_format(tools: Sequence[Json]) -> Json:
    """The schema of an answer, as OpenAI's protocol wants it."""
    options = [
        {
            "type": "object",
            "properties": {
                "tool": {"type": "string", "const": tool["function"]["name"]},
                "args": tool["function"]["parameters"],
            },
            "required": ["tool", "args"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    schema = {"name": "call", "schema": {"anyOf": options}}
    return {"type": "json_schema", "json_schema": schema}


def read(answer: AIMessage, id: str, *, is_asked: bool) -> AIMessage:
    """An answer in words as the tool call that it holds.

    Where JSON was asked for and none came, the answer is a malformed call, so that the model is
    told and can repair it; otherwise words stay words.
    """
    if answer.tool_calls or answer.invalid_tool_calls:
        return answer
    found, error = _call_in(answer.text)
    if found is not None:
        call = tool_call(name=found["tool"], args=found["args"], id=id)
        return answer.model_copy(update={"content": "", "tool_calls": [call]})
    if not is_asked:
        return answer
    wrong = invalid_tool_call(name="", args=answer.text, id=id, error=error)
    return answer.model_copy(update={"content": "", "invalid_tool_calls": [wrong]})


def _call_in(text: str) -> tuple[dict[str, Any] | None, str]:
    """The first object of a text that calls a tool, or what is wrong with the text."""
    decoder = json.JSONDecoder()
    error = 'there is no object {"tool": ..., "args": {...}} in the answer'
    at = text.find("{")
    while at >= 0:
        try:
            value, _ = decoder.raw_decode(text, at)
        except ValueError as wrong:
            error = str(wrong)
        except RecursionError:
            return None, "the answer is nested too deep"
        else:
            name = value.get("tool") or value.get("name")
            args = value.get("args", value.get("arguments", value.get("parameters", {})))
            if isinstance(name, str) and isinstance(args, dict):
                return {"tool": name, "args": args}, ""
            error = 'the object has no "tool" with a name and "args" with an object'
            return None, error
        at = text.find("{", at + 1)
        if at > 20_000:  # an endless row of braces is no answer
            break
    return None, error
