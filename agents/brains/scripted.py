"""A brain that answers from a list and records what it was asked; for tests and pack authors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import Field

Answer = AIMessage | str | Callable[[list[BaseMessage]], AIMessage]


def calls(*steps: tuple[str, dict[str, Any]], text: str = "") -> AIMessage:
    """An answer that calls tools: `calls(("edit_file", {...}), ("submit", {...}))`."""
    return AIMessage(
        content=text,
        tool_calls=[
            {"name": name, "args": args, "id": f"call-{i}", "type": "tool_call"}
            for i, (name, args) in enumerate(steps)
        ],
    )


class ScriptedModel(BaseChatModel):
    """Answers in order; the last answer repeats when `repeat` is set, else running out is an error.

    An answer may be a function of the messages. What was asked is in `asked`.
    """

    answers: list[Any] = Field(default_factory=list)
    """`AIMessage`, text, or a function from the messages to an `AIMessage`."""
    repeat: bool = False
    keeps: bool = True
    """Whether `asked` keeps the messages; without, a run of any length takes no memory."""
    asked: list[list[BaseMessage]] = Field(default_factory=list)
    reads_text: bool = True
    """Whether it is to be told what only a reader of text can use."""
    n_asked: int = 0
    offered: list[list[str]] = Field(default_factory=list)
    """Names of the tools that were bound, one list a binding."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Remember the names of the tools; answers come from the list whatever they are."""
        names = [t["function"]["name"] for t in tools if isinstance(t, dict)]
        if not self.offered or self.offered[-1] != names:
            self.offered.append(names)
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        n = self.n_asked
        self.n_asked += 1
        if self.keeps:
            self.asked.append(list(messages))
        if n >= len(self.answers) and not (self.repeat and self.answers):
            raise IndexError(
                f"the script has {len(self.answers)} answers; this is question {n + 1}"
            )
        answer = self.answers[min(n, len(self.answers) - 1)]
        if isinstance(answer, str):
            answer = AIMessage(content=answer)
        elif callable(answer):
            answer = answer(list(messages))
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, None, **kwargs)
