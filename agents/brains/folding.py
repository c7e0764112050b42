"""Keep a conversation within what a model reads: the oldest tool output is folded first.

What is folded is only not sent; the trace keeps all of it. Folding is a pure function of the
messages, so that a call that is made again sends the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from novum.tools.text import bounded

KEPT = 200
"""Characters of a folded text that stay."""
FOLDABLE = 600
"""Shorter texts are not worth folding."""


def fold(messages: Sequence[BaseMessage], limit: int) -> list[BaseMessage]:
    """The messages as they are sent: at most about `limit` characters, oldest output folded.

    The opening stays whole while it fits. Tool output goes first, then long arguments of earlier
    calls, then earlier words; the last turn is folded only when nothing else is left. Where even
    folded turns are too many, the oldest are left out, and the opening says how many.
    """
    sent = [plain(m) for m in messages]
    total = sum(map(size, sent))
    for part in (ToolMessage, AIMessage, HumanMessage):
        for i in range(1, len(sent)):
            if total <= limit:
                return sent
            if isinstance(sent[i], part):
                before = size(sent[i])
                sent[i] = folded(sent[i])
                total += size(sent[i]) - before
    sent = without_oldest(sent, limit)
    total = sum(map(size, sent))
    if total > limit and sent:
        room = max(1_000, limit - sum(map(size, sent[1:])))
        sent[0] = sent[0].model_copy(update={"content": bounded(sent[0].text, room)})
    return sent


def without_oldest(sent: list[BaseMessage], limit: int) -> list[BaseMessage]:
    """The messages without the oldest turns, as many as are too many; the last one stays.

    A turn goes whole: providers refuse a result whose call they do not see.
    """
    opening = next((i for i, m in enumerate(sent) if isinstance(m, HumanMessage)), None)
    if opening is None:
        return sent
    starts = [i for i in range(opening + 1, len(sent)) if not isinstance(sent[i], ToolMessage)]
    first, total = opening + 1, sum(map(size, sent))
    n_left_out = 0
    for start in starts[1:]:
        if total <= limit:
            break
        total -= sum(map(size, sent[first:start]))
        first = start
        n_left_out += 1
    if not n_left_out:
        return sent
    note = f"\n\n[{n_left_out} earlier turns of this conversation are left out to save room]"
    told = sent[opening].model_copy(update={"content": sent[opening].text + note})
    return [*sent[:opening], told, *sent[first:]]


def plain(message: BaseMessage) -> BaseMessage:
    """A message without what only the lab reads."""
    return message.model_copy(update={"additional_kwargs": {}, "response_metadata": {}})


def size(message: BaseMessage) -> int:
    """Characters of a message, arguments of its calls included."""
    n = len(message.text)
    if isinstance(message, AIMessage):
        n += sum(len(str(c["args"])) for c in message.tool_calls)
        n += sum(len(c["args"] or "") for c in message.invalid_tool_calls)
    return n


def folded(message: BaseMessage) -> BaseMessage:
    """The message with its long texts cut to their beginning and a note."""
    changes: dict[str, Any] = {"content": _short(message.text)}
    if isinstance(message, SystemMessage):
        return message
    if isinstance(message, AIMessage):
        changes["tool_calls"] = [
            {**c, "args": {k: _short(v) for k, v in c["args"].items()}} for c in message.tool_calls
        ]
        changes["invalid_tool_calls"] = [
            {**c, "args": _short(c["args"])} for c in message.invalid_tool_calls
        ]
    return message.model_copy(update=changes)


def _short(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= FOLDABLE:
        return value
    note = f"\n[... {len(value) - KEPT} characters folded to save room; ask again if you need them]"
    return value[:KEPT] + note
