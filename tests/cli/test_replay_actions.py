"""Fork, counterfactual, hybrid, diff and export from the command line."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from typer.testing import CliRunner, Result

from novum.app.cli import app
from novum.lab.run import RunFolder

PACK = Path(__file__).parent.parent / "packs" / "climb"


def novum(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of four ideas; returns the folder of the runs.

    On one slot: of two trials side by side either may end first, live as well as measured again.
    """
    runs = tmp_path_factory.mktemp("runs")
    said = novum(
        "run", str(PACK), "--experiments", "4", "--threads", "1", "--slots", "1",
        "--sandbox", "process", "--name", "first", "--runs", str(runs), "--plain",
    )  # fmt: skip
    assert said.exit_code in (0, 3, 4), said.output
    return runs


def test_a_fork_is_made_resumed_and_compared_with_its_parent(recorded: Path) -> None:
    where = ("--runs", str(recorded))
    said = novum(
        "replay", "first", *where, "--fork", "p0-1", "--policy", "greedy", "--directive", "Hurry.",
        "--name", "child",
    )  # fmt: skip
    assert said.exit_code == 0 and f"novum resume {recorded / 'child'}" in said.stdout
    assert novum("resume", "child", *where, "--plain").exit_code in (0, 3, 4)
    told = json.loads(novum("diff", "first", "child", *where, "--json").stdout)
    assert told["shared_events"] > 20 and ["policy", "frontier", "greedy"] in told["settings"]
    assert len(told["both"]) >= 1
    text = novum("diff", "first", "child", *where).stdout
    assert "ideas in both" in text and "time in trials" in text
    assert novum("replay", "child", *where, "--verify").exit_code == 0
    page = Path(novum("report", "child", *where).stdout.strip()).read_text()
    assert "Forked from" in page and "run first, event" in page


def test_verify_prints_a_table_of_the_events_by_kind(recorded: Path) -> None:
    said = novum("replay", "first", "--runs", str(recorded), "--verify")
    assert said.exit_code == 0
    assert re.search(r"verdict +(\d+) +\1 +–", said.stdout)
    assert "all the same, and so is the chain of digests" in said.stdout


def test_a_counterfactual_says_what_differs_and_where_it_ends(recorded: Path) -> None:
    where = ("first", "--runs", str(recorded))
    said = novum("replay", *where, "--policy", "frontier").stdout
    assert "no verdict differs" in said and "It ends here: all 4 recorded ideas" in said
    said = novum("replay", *where, "--policy", "tree", "--audit", "alpha_list=0.001").stdout
    assert "policy tree and audit alpha_list = 0.001" in said and "It ends here" in said
    told = json.loads(novum("replay", *where, "--policy", "greedy", "--json").stdout)
    assert told["policy"] == "greedy" and told["end"]
    assert novum("replay", *where, "--audit", "nonsense").exit_code == 2
    assert novum("replay", *where, "--audit", "nonsense=1").exit_code == 2


def test_live_models_meet_recorded_trials(recorded: Path) -> None:
    said = novum("replay", "first", "--runs", str(recorded), "--hybrid", "model")
    assert said.exit_code == 0, said.output
    assert "Nothing here is a claim" in said.stdout and "p0-0" in said.stdout


def test_recorded_models_meet_live_trials(recorded: Path) -> None:
    where = ("--runs", str(recorded))
    said = novum("replay", "first", *where, "--hybrid", "trials", "--name", "again")
    assert said.exit_code in (0, 3, 4), said.output
    told = json.loads(novum("diff", "first", "again", *where, "--json").stdout)
    assert told["only"] == [[], []] and len(told["both"]) == 4


def test_two_modes_at_once_are_refused(recorded: Path) -> None:
    said = novum("replay", "first", "--runs", str(recorded), "--verify", "--fork", "3")
    assert said.exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("replay", "--verify"),
        ("replay", "--fork", "3"),
        ("replay", "--policy", "greedy"),
        ("replay", "--hybrid", "model"),
        ("replay", "--hybrid", "trials"),
        ("export",),
    ],
)
def test_a_tampered_trace_is_refused_with_the_place_where_it_breaks(
    made_run: RunFolder, words: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(made_run.ledger_path)) as db, db:
        db.execute("update events set payload = '{}' where seq = 9")
    said = novum(words[0], "demo", *words[1:])
    assert said.exit_code != 0 and "event 9 " in said.stderr
    assert not list(Path("runs").glob("demo-*"))


def request_of(text: str) -> ExportTraceServiceRequest:
    """Parsed as a collector does: OTLP writes ids in hex where protobuf's JSON has base64."""

    def as_base64(found: re.Match[str]) -> str:
        return f'"{found[1]}": "{base64.b64encode(bytes.fromhex(found[2])).decode()}"'

    text = re.sub(r'"(traceId|spanId|parentSpanId)": "([0-9a-f]+)"', as_base64, text)
    request = ExportTraceServiceRequest()
    Parse(text, request)
    return request


def values(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_spans_are_what_a_collector_reads_and_hold_no_prompt(recorded: Path) -> None:
    where = ("first", "--runs", str(recorded), "--format", "otlp")
    text = novum("export", *where).stdout
    spans = [s for r in request_of(text).resource_spans for x in r.scope_spans for s in x.spans]
    known = {v for k, v in vars(gen_ai_attributes).items() if k.startswith("GEN_AI_")}
    ids = {s.span_id for s in spans}
    roots = [s for s in spans if not s.parent_span_id]
    assert len(roots) == 1 and len(ids) == len(spans) > 20
    assert all(s.parent_span_id in ids for s in spans if s.parent_span_id)
    assert all(s.start_time_unix_nano <= s.end_time_unix_nano for s in spans)
    names = {key for s in spans for key in values(s) if key.startswith("gen_ai.")}
    assert names <= known
    chats = [values(s) for s in spans if s.name.startswith("chat ")]
    assert {c["gen_ai.operation.name"] for c in chats} == {"chat"}
    assert all("gen_ai.usage.input_tokens" in c for c in chats)
    assert {"execute_tool propose", "execute_tool run_trial"} <= {s.name for s in spans}
    assert any(e.name == "gen_ai.evaluation.result" for s in spans for e in s.events)
    assert "gen_ai.input.messages" not in text and "hypothesis" not in text
    assert "gen_ai.input.messages" in novum("export", *where, "--content").stdout
    assert novum("export", *where).stdout == text


def test_events_are_exported_a_line_each_with_contents_only_on_request(recorded: Path) -> None:
    where = ("export", "first", "--runs", str(recorded))
    lines = [json.loads(line) for line in novum(*where).stdout.splitlines()]
    assert [e["seq"] for e in lines] == list(range(1, len(lines) + 1))
    assert not any("content" in e for e in lines)
    more = [json.loads(line) for line in novum(*where, "--content").stdout.splitlines()]
    assert all(e["content"]["answer"] for e in more if e["kind"] == "answer")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_are_sent_to_a_collector(
    recorded: Path, collector: tuple[str, list[tuple[str, bytes]]]
) -> None:
    url, got = collector
    said = novum("export", "first", "--runs", str(recorded), "--otlp", url)
    assert said.exit_code == 0 and "sent" in said.stderr
    assert {path for path, _ in got} == {"/v1/traces"}
    assert request_of(got[0][1].decode()).resource_spans
    wrong = novum("export", "first", "--runs", str(recorded), "--otlp", "http://127.0.0.1:9")
    assert wrong.exit_code != 0 and "does not take the spans" in wrong.stderr
