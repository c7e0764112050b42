"""Providers of language models: each a partner package of langchain, imported when it is asked for.

Their own retries are off: a fault is retried in one place (`language.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from novum.agents.brains.secret import VARIABLES, key_of
from novum.errors import UnknownName, UsageError
from novum.settings import BrainSettings

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.rate_limiters import BaseRateLimiter

LOCAL_KEY = SecretStr("none")
"""What a server that needs no key is sent: the client insists on one."""


def make_language_model(provider: str, model: str, settings: BrainSettings) -> BaseChatModel:
    """A provider's model as a brain.

    Raises:
        UnknownName: no model is named.
        UsageError: the provider's package is not installed, or there is no key.
    """
    from novum.agents.brains.language import LanguageModel

    if not model:
        raise UnknownName(f"brain {provider!r} names no model; write {provider}:MODEL.")
    key = key_of(provider, settings.api_key)
    if key is None and provider != "ollama":
        if not settings.base_url:
            raise UsageError(
                f"{provider}:{model} needs a key: set {VARIABLES[provider]}, or `api_key` in the "
                "section [brain] of novum.toml.\nWithout one there is --brain playbook."
            )
        key = LOCAL_KEY
    limiter = _limiter(settings.requests_per_minute)
    try:
        inner = CLIENTS[provider](model, settings, key, limiter)
    except ImportError as error:
        raise UsageError(
            f"{provider}:{model} needs a package that is not installed ({error.name}).\n"
            "Install it with: pip install 'novum[llm]'"
        ) from error
    spec = f"{provider}:{model}"
    return LanguageModel(
        inner=inner,
        provider=provider,
        model=model,
        key=key,
        prices=settings.prices.get(spec),
        timeout_s=settings.timeout_s,
        patience_s=settings.patience_s,
        context_chars=settings.context_chars,
        protocol=settings.protocol,
    )


def _limiter(per_minute: float | None) -> BaseRateLimiter | None:
    if per_minute is None:
        return None
    from langchain_core.rate_limiters import InMemoryRateLimiter

    return InMemoryRateLimiter(requests_per_second=per_minute / 60, max_bucket_size=1)


def _openai(
    model: str, settings: BrainSettings, key: SecretStr | None, limiter: Any
) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model=model,
        base_url=settings.base_url,
        api_key=key,
        timeout=settings.timeout_s,
        max_retries=0,
        # Servers that only speak the older protocol know only the older name of this limit.
        **(
            {"extra_body": {"max_tokens": settings.max_answer_tokens}}
            if settings.base_url
            else {"max_tokens": settings.max_answer_tokens}
        ),
        rate_limiter=limiter,
        use_responses_api=False,
    )


def _anthropic(
    model: str, settings: BrainSettings, key: SecretStr | None, limiter: Any
) -> BaseChatModel:
    from langchain_anthropic import ChatAnthropic

    given: dict[str, Any] = {"anthropic_api_url": settings.base_url} if settings.base_url else {}
    return ChatAnthropic(
        model_name=model,
        api_key=key or LOCAL_KEY,
        timeout=settings.timeout_s,
        max_retries=0,
        max_tokens_to_sample=settings.max_answer_tokens,
        stop=None,
        rate_limiter=limiter,
        **given,
    )


def _ollama(
    model: str, settings: BrainSettings, key: SecretStr | None, limiter: Any
) -> BaseChatModel:
    from langchain_ollama import ChatOllama

    return ChatOllama(
        model=model,
        base_url=settings.base_url,
        num_predict=settings.max_answer_tokens,
        client_kwargs={"timeout": settings.timeout_s},
        rate_limiter=limiter,
    )


Client = Callable[[str, BrainSettings, "SecretStr | None", Any], "BaseChatModel"]
CLIENTS: dict[str, Client] = {"openai": _openai, "anthropic": _anthropic, "ollama": _ollama}
