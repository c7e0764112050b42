"""A conversation of one role with its brain: turns of tool calls until the role is done.

It can be rebuilt from the ledger at any point: recorded answers are played back, and their tool
calls are carried out again in a fresh workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from novum.agents.ask import ask
from novum.tools.desk import Desk
from novum.tools.registry import Tool, carry_out
from novum.tools.text import bounded

if TYPE_CHECKING:
    from novum.agents.lab import Lab

SKIPPED = "skipped: a call before it in the same answer failed"
DONE = "skipped: the work was already handed in"
MAX_ALIKE = 3
"""Times in a row that the same call is carried out; its result would not change."""
ALIKE = (
    "error: you made exactly this call {n} times in a row and its result does not change; "
    "do something else"
)
NO_CALL = "Answer with a call of one of the tools; text alone does nothing."


class Conversation:
    """Messages so far, and the desk on which their tool calls act."""

    def __init__(
        self, lab: Lab, role: str, key: str, tools: Sequence[Tool], desk: Desk, opening: BaseMessage
    ) -> None:
        self.lab = lab
        self.role = role
        self.key = key
        self.tools = tools
        self.desk = desk
        self.messages: list[BaseMessage] = [opening]
        self.n_turns = 0
        self._n_sent = 0
        self._last: tuple[str, Any] = ("", None)
        self._n_alike = 0

    def say(self, text: str, **extra: object) -> None:
        """Add a message of the lab."""
        self.messages.append(HumanMessage(text, additional_kwargs=dict(extra)))

    async def run(self, max_turns: int) -> bool:
        """Take turns until the desk has an outcome; whether it has one after `max_turns`."""
        while self.desk.outcome is None and self.n_turns < max_turns:
            await self.turn()
        return self.desk.outcome is not None

    async def turn(self) -> None:
        """Ask once and carry out the calls of the answer."""
        new = len(self.messages) - self._n_sent
        key = f"{self.key}/{self.n_turns}"
        answer = await ask(self.lab, self.role, key, self.messages, self.tools, new)
        self.messages.append(answer)
        self._n_sent = len(self.messages)
        self.n_turns += 1
        await self._carry_out(answer)

    async def _carry_out(self, answer: AIMessage) -> None:
        failed = False
        for call in answer.tool_calls:
            if self.desk.outcome is not None:
                text = DONE
            elif failed:
                text = SKIPPED
            else:
                text = await self._carry_out_one(call["name"], call["args"])
                failed = text.startswith("error:")
            self.messages.append(ToolMessage(text, tool_call_id=call["id"] or ""))
        for wrong in answer.invalid_tool_calls:
            what = f"the arguments of {wrong['name']} are" if wrong["name"] else "the answer is"
            text = f"error: {what} not a call in JSON: {wrong['error']}"
            self.messages.append(ToolMessage(bounded(text, 500), tool_call_id=wrong["id"] or ""))
        if not answer.tool_calls and not answer.invalid_tool_calls:
            self.say(NO_CALL)

    async def _carry_out_one(self, name: str, args: dict[str, Any]) -> str:
        self._n_alike = self._n_alike + 1 if (name, args) == self._last else 1
        self._last = (name, args)
        if self._n_alike > MAX_ALIKE:
            return ALIKE.format(n=self._n_alike)
        return await carry_out(name, args, self.tools, self.desk)
