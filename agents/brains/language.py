"""A provider's model as a brain: retried, bounded, priced, and silent about its key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from random import Random
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    BaseMessageChunk,
    message_chunk_to_message,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import Field, PrivateAttr, SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay

from novum.agents.brains import faults, portable
from novum.agents.brains.folding import fold, size
from novum.agents.brains.secret import VARIABLES, hide, hide_in, split_safe
from novum.errors import BrainUnavailable
from novum.lab.records import Json
from novum.tools.text import bounded

log = logging.getLogger(__name__)
MAX_ANSWER = 60_000
"""Characters of one answer that are kept. Nothing a role has to say is longer."""
CHARS_A_TOKEN = 3.5
"""Where a server reports no usage, tokens are estimated, on the high side."""
WORDLESS_LIMIT = 2
"""Answers in a row without a tool call after which `auto` asks for JSON."""
MIN_CONTEXT = 4_000
OnText = Callable[[str], None]
"""Is handed the words of an answer as they come."""


class LanguageModel(BaseChatModel):
    """Asks `inner` for one answer a turn.

    Raises `BrainUnavailable` when the provider refuses, or does not answer within `patience_s`.
    What went wrong on the way is in `response_metadata["faults"]` of the answer.
    """

    inner: BaseChatModel
    provider: str
    model: str
    key: SecretStr | None = Field(default=None, exclude=True)
    prices: tuple[float, float] | None = None
    """USD for a million tokens in and out; `None` when unknown."""
    timeout_s: float = 120.0
    patience_s: float = 900.0
    context_chars: int = 120_000
    protocol: str = "auto"
    first_wait_s: float = 1.0
    _uses_json: bool = PrivateAttr(default=False)
    _n_wordless: int = PrivateAttr(default=0)
    _rng: Random = PrivateAttr(default_factory=Random)
    _sleep: Callable[[float], Awaitable[None]] = PrivateAttr(default_factory=lambda: asyncio.sleep)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self._uses_json = self.protocol == "json"

    @property
    def _llm_type(self) -> str:
        return f"novum-{self.provider}"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools, as the schemas that the registry makes."""
        return self.bind(tools=list(tools))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return asyncio.run(self._agenerate(messages, stop, None, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        tools: Sequence[Json] = (),
        on_text: OnText | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Answer once. With `on_text` this is a talk with a person: words are handed on as they
        come, and an answer without a tool call is one."""
        passed: list[str] = []
        limit = self.context_chars
        while True:
            sent = fold(messages, limit)
            try:
                answer = await self._patiently(sent, tools, passed, on_text)
                break
            except Exception as error:
                if faults.is_too_long(error) and limit > 2 * MIN_CONTEXT:
                    limit //= 2
                elif faults.refuses_tools(error) and tools and self._may_change():
                    self._uses_json = True
                else:
                    raise self._unavailable(error, passed) from None
                passed.append(hide(faults.describe(error), self.key))
        answer = self._finished(answer, sent, len(messages), passed, bool(tools), on_text)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _patiently(
        self,
        messages: list[BaseMessage],
        tools: Sequence[Json],
        passed: list[str],
        on_text: OnText | None,
    ) -> AIMessage:
        """Ask, and again while the fault is one that passes; the last fault is raised."""
        n_malformed = 0

        def passes(error: BaseException) -> bool:
            nonlocal n_malformed
            n_malformed += faults.is_malformed(error)
            return faults.is_passing(error) and n_malformed < faults.MAX_MALFORMED

        def note(state: RetryCallState) -> None:
            assert state.outcome is not None
            error = state.outcome.exception()
            assert error is not None
            wait_s = state.upcoming_sleep
            line = f"{hide(faults.describe(error), self.key)}; asked again after {wait_s:.1f} s"
            log.warning("%s:%s: %s", self.provider, self.model, line)
            passed.append(line)

        retrying = AsyncRetrying(
            stop=stop_before_delay(self.patience_s),
            wait=faults.waits(self.first_wait_s, self._rng),
            retry=retry_if_exception(passes),
            before_sleep=note,
            sleep=self._sleep,
            reraise=True,
        )
        answer: AIMessage = await retrying(self._once, messages, tools, on_text)
        return answer

    async def _once(
        self, messages: list[BaseMessage], tools: Sequence[Json], on_text: OnText | None
    ) -> AIMessage:
        options: dict[str, Any] = {}
        if tools and self._uses_json:
            messages = portable.render(messages, tools)
            if self.provider in ("openai", "ollama"):
                options["response_format"] = portable.response_format(tools)
        elif tools:
            options["tools"] = list(tools)
        # Clients limit the time between two bytes; a server that drips would hold us for ever.
        async with asyncio.timeout(self.timeout_s):
            if on_text is not None and not self._uses_json:
                answer: BaseMessage = await self._streamed(messages, options, on_text)
            else:
                answer = await self.inner.ainvoke(messages, **options)
        if not isinstance(answer, AIMessage):
            raise TypeError(f"the provider answered with a {type(answer).__name__}")
        return answer

    async def _streamed(
        self, messages: list[BaseMessage], options: Json, on_text: OnText
    ) -> BaseMessage:
        """The whole answer; its words are handed on meanwhile, a key never.

        A stream that does not end is left: nobody reads on, and nobody pays for more.
        """
        whole: BaseMessageChunk | None = None
        held, n_chars = "", 0
        async with aclosing(self._chunks(messages, options)) as stream:
            async for chunk in stream:
                whole = chunk if whole is None else whole + chunk
                ready, held = split_safe(held + chunk.text, self.key)
                if ready:
                    on_text(ready)
                n_chars += len(chunk.text)
                if n_chars > MAX_ANSWER:
                    break
        if held:
            on_text(held)
        if whole is None:
            raise ValueError("the provider's stream ended before it began")
        return message_chunk_to_message(whole)

    async def _chunks(
        self, messages: list[BaseMessage], options: Json
    ) -> AsyncGenerator[BaseMessageChunk, None]:
        async for chunk in self.inner.astream(messages, **options):
            yield chunk

    def _may_change(self) -> bool:
        return self.protocol == "auto" and not self._uses_json

    def _finished(
        self,
        answer: AIMessage,
        sent: list[BaseMessage],
        n: int,
        passed: list[str],
        asked: bool,
        on_text: OnText | None,
    ) -> AIMessage:
        """The answer as the lab reads and records it."""
        n_chars = size(answer)
        answer = hide_in(answer, self.key)
        answer = shortened(answer)
        if asked:
            answer = portable.read(answer, f"j{n}", is_asked=self._uses_json)
        answer = with_ids(answer, f"c{n}")
        called = bool(answer.tool_calls or answer.invalid_tool_calls or on_text)
        self._n_wordless = 0 if called else self._n_wordless + 1
        if self._n_wordless >= WORDLESS_LIMIT and asked and self._may_change():
            log.warning("%s:%s calls no tools; asking for JSON", self.provider, self.model)
            self._uses_json = True
        finish = answer.response_metadata.get("finish_reason") or answer.response_metadata.get(
            "stop_reason"
        )
        metadata: Json = {"model": self.model, "finish_reason": finish, "faults": passed}
        usage = answer.usage_metadata
        if usage is None or not usage["total_tokens"]:
            tokens_in = int(sum(map(size, sent)) / CHARS_A_TOKEN)
            tokens_out = int(n_chars / CHARS_A_TOKEN)
            metadata["usage_is_estimated"] = True
        else:
            tokens_in, tokens_out = usage["input_tokens"], usage["output_tokens"]
        counted = {
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "total_tokens": max(tokens_in + tokens_out, usage["total_tokens"] if usage else 0),
        }
        metadata["cost_usd"] = None
        if self.prices is not None:
            paid = tokens_in * self.prices[0] + tokens_out * self.prices[1]
            metadata["cost_usd"] = paid / 1e6
        changes = {"usage_metadata": counted, "response_metadata": metadata}
        return answer.model_copy(update={**changes, "additional_kwargs": {}, "id": None})

    def _unavailable(self, error: BaseException, passed: list[str]) -> BrainUnavailable:
        """What the user reads; the original is not chained, for its text may hold the key."""
        what = hide(faults.describe(error), self.key)
        status = faults.status_of(error)
        todo = faults.advice(self.provider, status, VARIABLES.get(self.provider, ""))
        tried = f" ({len(passed) + 1} tries)" if passed else ""
        text = f"the model {self.provider}:{self.model} cannot be asked{tried}: {what}\n{todo}"
        return BrainUnavailable(text, (*passed, what))


def shortened(answer: AIMessage) -> AIMessage:
    """An answer that a role can have meant: endless text is cut, and says so."""
    if size(answer) <= MAX_ANSWER:
        return answer
    note = "the answer was too long and was cut; call again with less"
    changes: Json = {"content": bounded(answer.text, MAX_ANSWER // 2)}
    cut = []
    for call in answer.tool_calls:
        if len(str(call["args"])) > MAX_ANSWER // 2:
            args = bounded(str(call["args"]), 1_000)
            cut.append({"name": call["name"], "args": args, "id": call["id"], "error": note})
    names = {c["id"] for c in cut}
    kept = [c for c in answer.tool_calls if c["id"] not in names]
    wrong = [{**c, "args": bounded(c["args"] or "", 1_000)} for c in answer.invalid_tool_calls]
    changes |= {"tool_calls": kept, "invalid_tool_calls": [*wrong, *cut]}
    return answer.model_copy(update=changes)


def with_ids(answer: AIMessage, prefix: str) -> AIMessage:
    """Every call with an id of its own: results are told apart by it."""
    seen: set[str] = set()

    def id_of(call: Any, i: int) -> str:
        id = call["id"] if call["id"] and call["id"] not in seen else f"{prefix}-{i}"
        seen.add(id)
        return id

    calls = [{**c, "id": id_of(c, i)} for i, c in enumerate(answer.tool_calls)]
    wrong = [{**c, "id": id_of(c, i)} for i, c in enumerate(answer.invalid_tool_calls, len(calls))]
    return answer.model_copy(update={"tool_calls": calls, "invalid_tool_calls": wrong})
