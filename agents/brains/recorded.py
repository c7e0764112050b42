"""A brain that answers from the trace of an earlier run; what is not there is an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from novum.errors import RecordingMiss

KEY = "novum_key"
"""Under this name the key of a question is in the metadata of the call."""


class RecordedModel(BaseChatModel):
    """Finds the answer to a question by its key, never by its words."""

    find: Callable[[str], Awaitable[AIMessage]]
    reads_text: bool = False
    """It answers by key, so nobody need look up lessons for its prompt."""

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """The answers are known, whatever the tools."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return asyncio.run(self._answer(run_manager))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await self._answer(run_manager)

    async def _answer(self, manager: Any) -> ChatResult:
        key = (manager.metadata or {}).get(KEY) if manager is not None else None
        if key is None:
            raise RecordingMiss("a question without a key cannot be looked up in a recording")
        return ChatResult(generations=[ChatGeneration(message=await self.find(key))])


def from_run(name: str) -> RecordedModel:
    """The answers of a run, by its name or folder.

    Raises:
        UnknownName: there is no such run.
    """
    from novum.agents.replay.parts import answer_of
    from novum.lab.run import find_run
    from novum.settings import load_settings

    run = find_run(load_settings().paths.runs, str(Path(name)) if name else None)

    async def find(key: str) -> AIMessage:
        with run.ledger(read_only=True) as ledger:
            event = ledger.event(f"answer:{key}")
        if event is None:
            raise RecordingMiss(f"run {run.name} holds no answer to {key}; the recording ends here")
        answer = answer_of(run.blobs, event)
        return answer.model_copy(update={"usage_metadata": None, "response_metadata": {}})

    return RecordedModel(find=find)
