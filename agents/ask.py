"""Ask a brain once, whatever happens: every answer is recorded under a key before it is used.

A node that runs again after a crash finds its answers in the ledger and does not ask twice; replay
reads the same records. The event holds the usage and the digest of a blob with the messages that
were new in this turn and the answer, so that a long conversation is stored once, not once a turn.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, cast

from langchain_core.messages import AIMessage, BaseMessage, messages_from_dict, messages_to_dict

from novum.agents.brains.recorded import KEY
from novum.agents.control import Interrupted
from novum.errors import BrainUnavailable, BudgetExhausted, RecordingMiss
from novum.lab.records import Json
from novum.tools.registry import Tool, schemas

if TYPE_CHECKING:
    from novum.agents.lab import Lab

EVENT = "answer"
FAILED = "answer.failed"
NO_ANSWER = (BudgetExhausted, BrainUnavailable, RecordingMiss)
"""What ends the work of a role without being a fault of the lab."""
POLL_S = 0.5
"""How often a waiting question looks whether the run is to end."""


async def ask(
    lab: Lab, role: str, key: str, messages: Sequence[BaseMessage], tools: Sequence[Tool], new: int
) -> AIMessage:
    """The answer of a role's brain to `messages`, of which the last `new` are new.

    Raises:
        BudgetExhausted: no tokens, money or time are left to ask.
        BrainUnavailable: the model cannot be asked; recorded with all that was tried.
        Interrupted: the run was told to stop while the model thought.
    """
    if (recorded := lab.recorded(EVENT, key)) is not None:
        blob = json.loads(lab.run.blobs.get(recorded["blob"]))
        return cast(AIMessage, messages_from_dict([blob["answer"]])[0])
    lab.budget.require_model()
    spec, brain = lab.player(role, key.partition("/")[0])
    started = lab.clock()
    bound = brain.bind_tools(schemas(tools)) if tools else brain
    asked = bound.ainvoke(list(messages), config={"metadata": {KEY: key}})
    try:
        answer = await unless_stopped(lab, asked)
    except BrainUnavailable as error:
        failed: Json = {"role": role, "brain": spec, "error": str(error)}
        lab.note(FAILED, f"{key}/{lab.session}", failed | {"faults": list(error.faults)})
        raise
    usage = usage_of(answer)
    blob = keep(lab, role, spec, key, messages[-new:] if new else [], tools, answer)
    event: Json = {"blob": blob, "role": role, "brain": spec, **usage}
    event["seconds"] = round(lab.clock() - started, 4)
    if faults := (answer.response_metadata or {}).get("faults"):
        event["faults"] = faults
    cost_usd = usage["cost_usd"] or 0.0
    event["spent"] = {"tokens": usage["tokens"], "cost_usd": cost_usd}
    if usage["cost_usd"] is None:
        event["spent"]["unpriced_tokens"] = usage["tokens"]
    lab.note(EVENT, key, event)
    if lab.has_ensembles:
        lab.casting.note_cost(spec, usage["tokens"], usage["cost_usd"])
    lab.budget.spend(tokens=usage["tokens"], cost_usd=cost_usd)
    return answer


def keep(
    lab: Lab,
    role: str,
    spec: str,
    key: str,
    new: Sequence[BaseMessage],
    tools: Sequence[Tool],
    answer: AIMessage,
) -> str:
    """Keep what was new to a role and what it answered; the digest of the blob.

    A replay keeps nothing: its events name the recorded blob.
    """
    if lab.is_replay:
        return ""
    content: Json = {
        "key": key,
        "role": role,
        "brain": spec,
        "tools": [tool.name for tool in tools],
        "asked": messages_to_dict(list(new)),
        "answer": messages_to_dict([answer])[0],
    }
    return lab.run.blobs.put(json.dumps(content, ensure_ascii=False))


async def unless_stopped(lab: Lab, asked: Awaitable[AIMessage]) -> AIMessage:
    """Wait for an answer, but not beyond the end of the run.

    Raises:
        Interrupted: the run was told to stop.
        BudgetExhausted: the time for search is over.
    """
    task = asyncio.ensure_future(asked)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=POLL_S)
            if task.done():
                break
            if lab.control.is_interrupted:
                raise Interrupted
            if (left := lab.budget.search_s()) is not None and left <= 0:
                raise BudgetExhausted("the time for search ended while the model thought")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=POLL_S)


def usage_of(answer: AIMessage) -> Json:
    """Tokens and money of one answer; `None` where a model's price is unknown.

    A brain that reports no usage at all (the playbook, a script) asks nobody, and costs nothing.
    """
    usage = answer.usage_metadata
    metadata = answer.response_metadata or {}
    cost = metadata.get("cost_usd", 0.0)
    found: Json = {
        "tokens_in": usage["input_tokens"] if usage else 0,
        "tokens_out": usage["output_tokens"] if usage else 0,
        "tokens": usage["total_tokens"] if usage else 0,
        "cost_usd": None if cost is None else float(cost),
    }
    if metadata.get("usage_is_estimated"):
        found["usage_is_estimated"] = True
    return found
