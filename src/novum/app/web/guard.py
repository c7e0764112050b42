"""Who may ask and what may be loaded: the dashboard is for the browser of whoever started it.

A page of another site can send requests to a local port. It is kept out three times: the `Host`
header must name this machine (DNS rebinding), a form must carry the token that only our own pages
hold, and `Origin`, where the browser sends it, must be ours. What a run's code or a model wrote
stays text: templates escape it, and the policy below forbids every script that is not ours.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Token:
    """The secret that forms of this process carry."""

    value: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def fits(self, given: object) -> bool:
        """Whether a form carries it."""
        return isinstance(given, str) and secrets.compare_digest(
            given.encode(), self.value.encode()
        )


class LocalOnly:
    """Refuses requests that were not meant for this machine, and adds the headers to answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        if refusal := refused(headers.get("host", ""), headers.get("origin")):
            return await PlainTextResponse(refusal, 403)(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def refused(host: str, origin: str | None) -> str:
    """Why a request is refused; empty when it is not."""
    if name_of(f"//{host}") not in HOSTS:
        return "this dashboard answers only to 127.0.0.1 and localhost"
    if origin is not None and urlsplit(origin).netloc != host:
        return "this request comes from another site"
    return ""


def name_of(url: str) -> str:
    """The name in an address, without its port."""
    try:
        name = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return f"[{name}]" if ":" in name else name
