"""The dashboard as a Starlette application: pages, live updates, and the few things it can change.

Pages are drawn here, whole; a browser without scripts sees everything. The one script listens for
new events and fetches the page again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from novum.app.questions import answer
from novum.app.reading import Reading
from novum.app.web import details, pages
from novum.app.web.guard import LocalOnly, Token
from novum.app.web.watched import Watched
from novum.app.wording import readable
from novum.errors import NovumError, UnknownName
from novum.lab.records import Json, Trial

EVERY_S = 1.0
"""How often an open page looks for new events."""
QUIET_S = 15.0
"""After so long without news a line is sent all the same, so that nobody hangs up."""
MAX_FORM = 10_000
STATIC = {"report.css": "novum.app", "web.css": "novum.app.web", "live.js": "novum.app.web"}
TYPES = {"css": "text/css", "js": "text/javascript"}

Draw = Callable[[Reading], Json]


class Dashboard:
    """The pages of one run."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.token = Token()
        self.templates = Environment(
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=FunctionLoader(lambda name: (files("novum.app.web") / name).read_text()),
        )

    def overview(self, request: Request) -> Response:
        """How far the run is."""
        return self._page("overview", request, pages.overview)

    def frontier(self, request: Request) -> Response:
        """The leaderboard and the lineage."""
        return self._page("frontier", request, pages.frontier)

    def timeline(self, request: Request) -> Response:
        """Events, a page at a time."""
        asked = request.query_params
        after = asked.get("after", "")
        start = int(after) if after.isdigit() else -1
        kind, words = asked.get("kind", ""), asked.get("q", "")[:200]
        return self._page(
            "timeline", request, lambda r: details.timeline(r, kind, words.strip(), start)
        )

    def event(self, request: Request) -> Response:
        """One event."""

        def draw(reading: Reading) -> Json:
            found = details.event(reading, request.path_params["seq"])
            if found is None:
                raise UnknownName("there is no event of this number.")
            return found

        return self._page("event", request, draw)

    def show(self, request: Request) -> Response:
        """A candidate, proposal or trial by any of its names."""
        name = request.path_params["name"]
        with self.watched.look() as reading:
            try:
                found = reading.find(name)
            except NovumError as error:
                return self._sorry(reading, error, 404)
            if isinstance(found, Trial):
                return self._drawn("trial", reading, details.trial(reading, found))
            return self._drawn("candidate", reading, details.candidate(reading, found))

    async def news(self, request: Request) -> Response:
        """The number of the latest event, whenever it changes."""
        return StreamingResponse(self._news(request), media_type="text/event-stream")

    async def _news(self, request: Request) -> AsyncIterator[str]:
        last, quiet_s = -1, 0.0
        while not await request.is_disconnected():
            seq = await run_in_threadpool(self.watched.seq)
            if seq != last:
                last, quiet_s = seq, 0.0
                yield f"data: {seq}\n\n"
            elif quiet_s >= QUIET_S:
                quiet_s = 0.0
                yield ": still here\n\n"
            quiet_s += EVERY_S
            await asyncio.sleep(EVERY_S)

    async def act(self, request: Request) -> Response:
        """Change something: one of the forms of the overview."""
        if int(request.headers.get("content-length") or MAX_FORM + 1) > MAX_FORM:
            return PlainTextResponse("the form is too long", 413)
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        if not self.token.fits(form.get("token")):
            return PlainTextResponse("this form is not ours, or from before a restart", 403)
        what, words = request.path_params["what"], form.get("words", "")
        return await run_in_threadpool(self._act, what, words)

    def _act(self, what: str, words: str) -> Response:
        try:
            with self.watched.steer() as steering:
                match what:
                    case "directive":
                        steering.say(words)
                    case "withdraw":
                        steering.withdraw(words)
                    case "pause":
                        steering.pause()
                    case "resume":
                        steering.resume()
                    case "stop":
                        steering.stop()
                    case "approve" | "refuse":
                        answer(steering.ledger, words, is_approved=what == "approve")
                    case _:
                        raise UnknownName(f"there is nothing to do called {what!r}.")
        except NovumError as error:
            with self.watched.look() as reading:
                return self._sorry(reading, error, 400)
        return RedirectResponse("/", status_code=303)

    def static(self, request: Request) -> Response:
        """A style sheet or the script."""
        name = request.path_params["name"]
        if name not in STATIC:
            return PlainTextResponse("not found", 404)
        text = (files(STATIC[name]) / name).read_text()
        return Response(text, media_type=TYPES[name.rpartition(".")[2]])

    def _page(self, name: str, request: Request, draw: Draw) -> Response:
        with self.watched.look() as reading:
            try:
                return self._drawn(name, reading, draw(reading))
            except UnknownName as error:
                return self._sorry(reading, error, 404)

    def _drawn(self, name: str, reading: Reading, facts: Json, status: int = 200) -> Response:
        frame: dict[str, Any] = pages.frame(
            reading, name, token=self.token.value, is_demo=self.watched.is_demo
        )
        text = self.templates.get_template(f"{name}.html.jinja").render(**frame, **facts)
        return HTMLResponse(readable(text), status)

    def _sorry(self, reading: Reading, error: Exception, status: int) -> Response:
        return self._drawn("sorry", reading, {"error": str(error)}, status)


def make_app(watched: Watched) -> Starlette:
    """The application that serves one run."""
    board = Dashboard(watched)
    return Starlette(
        routes=[
            Route("/", board.overview),
            Route("/frontier", board.frontier),
            Route("/timeline", board.timeline),
            Route("/event/{seq:int}", board.event),
            Route("/show/{name}", board.show),
            Route("/news", board.news),
            Route("/act/{what}", board.act, methods=["POST"]),
            Route("/static/{name}", board.static),
        ],
        middleware=[Middleware(LocalOnly)],
    )
