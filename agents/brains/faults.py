"""Faults of providers: which ones pass, how long to wait, and what to tell the user.

Providers' packages are not imported here; their errors are told apart by status and by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from random import Random

from tenacity import RetryCallState

PASSING_STATUS = frozenset({408, 409, 425, 429})
PASSING_NAMES = frozenset(
    {
        "APIConnectionError",  # of openai and anthropic; timeouts are a kind of it
        "TransportError",  # of httpx
        "ConnectionError",
        "TimeoutError",
    }
)
MALFORMED_NAMES = frozenset(
    {"JSONDecodeError", "APIResponseValidationError", "ValidationError", "ValueError", "TypeError"}
)
"""What clients raise when a server answers with something that is no answer."""
MAX_MALFORMED = 3
MAX_WAIT_S = 60.0
MAX_QUOTED = 400


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries, if it does."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and status > 0 else None


def is_malformed(error: BaseException) -> bool:
    """Whether the server answered, but not in its protocol."""
    return status_of(error) is None and _is_one_of(error, MALFORMED_NAMES)


def is_passing(error: BaseException) -> bool:
    """Whether asking again may help: busy, down, out of reach, or garbled."""
    if "insufficient_quota" in str(error):
        return False
    if (status := status_of(error)) is not None:
        return status in PASSING_STATUS or status >= 500
    return _is_one_of(error, PASSING_NAMES | MALFORMED_NAMES)


def is_too_long(error: BaseException) -> bool:
    """Whether the provider says that the conversation is longer than the model can read."""
    text = str(error).lower()
    return status_of(error) in (400, 413) and ("context" in text or "too long" in text)


def refuses_tools(error: BaseException) -> bool:
    """Whether the provider says that this model cannot be offered tools."""
    return status_of(error) in (400, 404, 422, 501) and "tool" in str(error).lower()


def retry_after_s(error: BaseException) -> float | None:
    """Seconds that the provider asks to wait: `Retry-After` as a number or a date."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def waits(base_s: float, rng: Random) -> Callable[[RetryCallState], float]:
    """How long tenacity waits: what the provider says, else exponentially longer, with jitter."""

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = retry_after_s(error) if error is not None else None
        grown = min(MAX_WAIT_S, base_s * 2.0 ** min(state.attempt_number - 1, 16))
        # Clients that were turned away together must not come back together.
        jittered = grown * rng.uniform(0.5, 1.0)
        return jittered if asked is None else max(asked, jittered if asked == 0 else 0.0)

    return wait


def describe(error: BaseException) -> str:
    """An error in one line."""
    status = status_of(error)
    head = f"HTTP {status}" if status is not None else type(error).__name__
    text = " ".join(str(error).split())
    return f"{head}: {text[:MAX_QUOTED]}" if text else head


def advice(provider: str, status: int | None, variable: str) -> str:
    """What the user can do about an error that does not pass."""
    match status:
        case 401 | 403:
            where = f"the variable {variable} or " if variable else ""
            return f"Check {where}`api_key` in the section [brain] of novum.toml."
        case 404:
            return "Check the name of the model, and `base_url` in the section [brain]."
        case 429:
            return "The provider's quota is used up; wait, or take another brain with --brain."
        case 400 | 422:
            return "The provider does not accept the request; its words are above."
    return f"Check that {provider} can be reached, then go on with `novum resume`."


def _is_one_of(error: BaseException, names: frozenset[str]) -> bool:
    return any(c.__name__ in names for c in type(error).__mro__)
