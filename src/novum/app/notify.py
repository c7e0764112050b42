"""Tell somebody far away: a webhook or a command at champion, stop, failure and question.

Messages wait in a queue and are sent by a thread of their own, so that a server which is slow or
gone never holds up a run. What cannot be sent is given up with one line in the log. The address is
a secret (webhooks carry their key in it): it is in no record, trace or error.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shlex
import subprocess
import threading
import time
from collections.abc import Iterable
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)
from tenacity.nap import sleep_using_event

from novum.app.story import Story
from novum.lab.records import Event, Json
from novum.settings import NotifySettings

log = logging.getLogger(__name__)
MAX_WAITING = 100
CLOSE_S = 15.0
"""How long the end of a run waits for its last messages."""


class Notifier:
    """Sends what the settings ask for; one a process."""

    def __init__(self, settings: NotifySettings, run: str, benchmark: str) -> None:
        self.settings = settings
        self.about = {"run": run, "benchmark": benchmark}
        self._queue: queue.Queue[Json | None] = queue.Queue(MAX_WAITING)
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        if settings.url is not None or settings.command:
            self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
            self._thread.start()

    def see(self, events: Iterable[Event], story: Story) -> None:
        """Take in what happened, and tell what is worth telling."""
        for event in events:
            payload = event.payload
            if event.kind == "champion":
                tree = payload["tree"]
                text = f"{self.about['run']}: champion {tree[:10]}"
                self.tell("champion", text, tree=tree, verdict=payload["verdict"])
            elif event.kind == "approval" and payload["id"] in story.waiting:
                text = f"{self.about['run']}: {payload['id']} waits for approval"
                self.tell("approval", text, id=payload["id"], proposal=payload["proposal"])

    def tell(self, event: str, text: str, **detail: object) -> None:
        """Send a message, if the settings want this kind of event. Returns at once."""
        if self._thread is None or event not in self.settings.on:
            return
        at_s = round(time.time(), 3)
        message: Json = {"event": event, "text": text, **self.about, "at_s": at_s, **detail}
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            log.warning("a notification (%s) was left out: too many wait", event)

    def close(self) -> None:
        """Send what waits, for a while; a second call does nothing more."""
        if self._thread is None:
            return
        try:
            self._queue.put(None, timeout=CLOSE_S)
        except queue.Full:
            log.warning("notifications were given up: too many wait")
        self._thread.join(CLOSE_S)
        self._hurry.set()
        self._thread = None

    def _work(self) -> None:
        while (message := self._queue.get()) is not None and not self._hurry.is_set():
            if self.settings.url is not None:
                self._retrying("webhook", message, self._post)
            if self.settings.command:
                self._retrying("command", message, self._run)

    def _retrying(self, how: str, message: Json, send: object) -> None:
        assert callable(send)
        retrying = Retrying(
            stop=stop_after_attempt(self.settings.tries),
            wait=wait_random_exponential(multiplier=0.5, max=30),
            retry=retry_if_exception(_passes),
            before_sleep=_log_try,
            sleep=sleep_using_event(self._hurry),
            reraise=True,
        )
        try:
            retrying(send, message)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            log.warning("the %s was not told of %s: %s", how, message["event"], describe(error))

    def _post(self, message: Json) -> None:
        assert self.settings.url is not None
        body = json.dumps(message).encode()
        headers = {"content-type": "application/json", "user-agent": "novum"}
        request = Request(self.settings.url.get_secret_value(), body, headers, method="POST")
        try:
            with urlopen(request, timeout=self.settings.timeout_s) as reply:
                reply.read(1_000)
        except HTTPError as error:
            error.close()  # it is an open reply as well
            raise

    def _run(self, message: Json) -> None:
        # Not `NOVUM_*`: those are settings, and a `novum` that is called would refuse them.
        named = {f"MESSAGE_{k.upper()}": str(v) for k, v in message.items()}
        subprocess.run(
            shlex.split(self.settings.command),
            input=json.dumps(message),
            text=True,
            env=os.environ | named,
            timeout=self.settings.timeout_s,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def describe(error: BaseException) -> str:
    """What went wrong, without the address."""
    if isinstance(error, HTTPError):
        return f"it answered {error.code}"
    if isinstance(error, subprocess.CalledProcessError):
        return f"it returned {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {error.timeout:g} s"
    reason = getattr(error, "reason", None)
    return type(reason if isinstance(reason, BaseException) else error).__name__


def _passes(error: BaseException) -> bool:
    """Whether trying again may help."""
    if isinstance(error, HTTPError):
        return error.code in (408, 429) or error.code >= 500
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError)


def _log_try(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    if error is not None:
        log.info("a notification is sent again: %s", describe(error))
