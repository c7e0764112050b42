"""Ask a brain once, whatever happens: every answer is recorded under a key before it is used.

A node that runs again after a crash finds its answers in the ledger and does not ask twice; replay
reads the same records. The event holds the usage and the digest of a blob with the messages that
were new in this turn and the answer, so that a long conversation is stored once, not once a turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from langchain_core.messages import AIMessage, BaseMessage, messages_from_dict, messages_to_dict

from novum.lab.records import Json
from novum.tools.registry import Tool, schemas

if TYPE_CHECKING:
    from novum.agents.lab import Lab

EVENT = "answer"


async def ask(
    lab: Lab, role: str, key: str, messages: Sequence[BaseMessage], tools: Sequence[Tool], new: int
) -> AIMessage:
    """The answer of a role's brain to `messages`, of which the last `new` are new.

    Raises:
        BudgetExhausted: no tokens or money are left to ask.
    """
    if (recorded := lab.recorded(EVENT, key)) is not None:
        blob = json.loads(lab.run.blobs.get(recorded["blob"]))
        return cast(AIMessage, messages_from_dict([blob["answer"]])[0])
    lab.budget.require_model()
    brain = lab.brains[role]
    started = lab.clock()
    answer = await brain.bind_tools(schemas(tools)).ainvoke(list(messages))
    usage = usage_of(answer)
    content: Json = {
        "key": key,
        "role": role,
        "brain": lab.brain_names[role],
        "tools": [tool.name for tool in tools],
        "asked": messages_to_dict(list(messages[-new:] if new else [])),
        "answer": messages_to_dict([answer])[0],
    }
    blob = lab.run.blobs.put(json.dumps(content, ensure_ascii=False))
    event: Json = {"blob": blob, "role": role, "brain": lab.brain_names[role], **usage}
    event["seconds"] = round(lab.clock() - started, 4)
    event["spent"] = {"tokens": usage["tokens"], "cost_usd": usage["cost_usd"]}
    lab.note(EVENT, key, event)
    lab.budget.spend(tokens=usage["tokens"], cost_usd=usage["cost_usd"])
    return answer


def usage_of(answer: AIMessage) -> Json:
    """Tokens and money of one answer; zero where the brain reports none."""
    usage = answer.usage_metadata
    metadata = answer.response_metadata or {}
    return {
        "tokens_in": usage["input_tokens"] if usage else 0,
        "tokens_out": usage["output_tokens"] if usage else 0,
        "tokens": usage["total_tokens"] if usage else 0,
        "cost_usd": float(metadata.get("cost_usd") or 0.0),
    }
