"""`export`: a run as JSON Lines or as OpenTelemetry spans, into a file or to a collector."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from novum.app.options import Demo, Run, Runs
from novum.errors import OperatorError, UsageError

if TYPE_CHECKING:
    from novum.app.reading import Reading
    from novum.lab.records import Event, Json

BATCH = 500
"""Spans a request: collectors refuse very large ones."""
TIMEOUT_S = 30.0
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
"""The variable of OpenTelemetry's own exporters: `name=value,name=value`."""


def export(
    run: Run = None,
    runs: Runs = None,
    form: Annotated[
        Literal["jsonl", "otlp"], typer.Option("--format", help="Events, or spans in JSON.")
    ] = "jsonl",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: stdout.")] = None,
    otlp: Annotated[
        str | None, typer.Option(help="Send spans to a collector, as http://localhost:4318.")
    ] = None,
    content: Annotated[
        bool, typer.Option("--content", help="With prompts, answers and arguments of tools.")
    ] = False,
    demo: Demo = False,
) -> None:
    """Write a run for other programs: its events, or spans by OpenTelemetry's GenAI conventions.

    Example: novum export nanochat-1 --format otlp -o trace.json
    """
    from novum.app.serve_commands import opened

    with opened(run, runs, demo) as one:
        one.ledger.verify(one.run.anchor())
        events = one.ledger.events()
        if not events:
            raise UsageError(f"run {one.run.name} has no events yet.")
        if otlp is not None:
            n = sum(_send(otlp, request) for request in _requests(one, events, content))
            print(f"sent {n} spans to {otlp}", file=sys.stderr)
            return
        lines = _lines(one, events, form, content)
        if output is None:
            for line in lines:
                print(line)
        else:
            with output.open("w") as file:
                file.writelines(line + "\n" for line in lines)
            print(output, file=sys.stderr)


def _lines(one: Reading, events: Sequence[Event], form: str, content: bool) -> Iterator[str]:
    """One event a line; or one OTLP request a line, as collectors' file receivers read them."""
    from dataclasses import asdict

    if form == "otlp":
        yield from (json.dumps(request) for request in _requests(one, events, content))
        return
    for event in events:
        told = asdict(event)
        if content and event.kind == "answer":
            told["content"] = json.loads(one.run.blobs.get(event.payload["blob"]))
        yield json.dumps(told)


def _requests(one: Reading, events: Sequence[Event], content: bool) -> Iterator[Json]:
    from novum.app.spans import batches, spans_of

    spans = spans_of(one.run, events, content=content)
    return batches(one.run, events[0].digest, spans, BATCH)


def _send(endpoint: str, request: Json) -> int:
    """Send one request to a collector; returns how many spans it held.

    Raises:
        UsageError: the address is none.
        OperatorError: the collector refused it or is not there.
    """
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    if not endpoint.startswith(("http://", "https://")):
        raise UsageError(f"{endpoint!r} is no address; write http://HOST:4318.")
    url = endpoint.rstrip("/")
    url = url if url.endswith("/v1/traces") else url + "/v1/traces"
    headers = {"content-type": "application/json"}
    for pair in os.environ.get(HEADERS, "").split(","):
        name, sign, value = pair.partition("=")
        if sign:
            headers[name.strip()] = value.strip()
    try:
        with urlopen(Request(url, json.dumps(request).encode(), headers), timeout=TIMEOUT_S):
            pass
    except (URLError, OSError) as error:
        why = getattr(error, "reason", error)
        raise OperatorError(
            f"the collector at {url} does not take the spans: {why}\n"
            "Is it running, with OTLP over HTTP? `novum export RUN --format otlp -o trace.json` "
            "keeps them in a file meanwhile."
        ) from error
    return len(request["resourceSpans"][0]["scopeSpans"][0]["spans"])
