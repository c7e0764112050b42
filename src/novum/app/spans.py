"""A run as OpenTelemetry spans by the conventions for generative AI: OTLP in JSON.

    invoke_workflow novum
      invoke_agent researcher            one idea, from its proposal to its verdict
        chat MODEL                       one question to a model, with its tokens
          execute_tool NAME              one call that its answer asked for
        execute_tool run_trial           one trial

Ids follow from the run's chain of digests, so that exporting twice gives the same spans. Prompts,
answers and arguments of tools are left out unless they are asked for.

Source: semantic conventions for generative AI, version 1.41 (status: development).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from novum.lab.blobs import Blobs
from novum.lab.records import Event, Json
from novum.lab.run import RunFolder

INTERNAL, CLIENT = 1, 3
OK, ERROR = 1, 2
SCHEMA = "https://opentelemetry.io/schemas/1.41.0"
PROVIDERS = {"openai": "openai", "anthropic": "anthropic"}
"""Names of the conventions; others go by the first part of their spec."""
EVALUATION = "gen_ai.evaluation.result"


@dataclass
class Span:
    """One span, before it is written down. Times are seconds since the epoch."""

    key: str
    name: str
    begin_s: float
    end_s: float
    parent: str = ""
    kind: int = INTERNAL
    attributes: Json = field(default_factory=dict)
    events: list[tuple[str, float, Json]] = field(default_factory=list)
    error: str = ""


def spans_of(run: RunFolder, events: Sequence[Event], *, content: bool = False) -> list[Span]:
    """The spans of a run; with `content`, also what was said to models and by them."""
    root = Span("run", "invoke_workflow novum", events[0].at_s, events[-1].at_s)
    root.attributes = {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "novum",
        "novum.run": run.name,
        "novum.benchmark": str(run.info.get("benchmark", "")),
        "novum.profile": str(run.info.get("profile", "")),
        "novum.events": len(events),
        "novum.digest": events[-1].digest,
    }
    builder = _Builder(run.blobs, root, content)
    for event in events:
        builder.take(event)
    return builder.spans


class _Builder:
    def __init__(self, blobs: Blobs, root: Span, content: bool) -> None:
        self.blobs = blobs
        self.content = content
        self.spans = [root]
        self.ideas: dict[str, Span] = {}
        self.trials: dict[str, Span] = {}

    def take(self, event: Event) -> None:
        """Take in one event, in order."""
        handler = getattr(self, "_on_" + event.kind.replace(".", "_"), None)
        if handler is not None:
            handler(event, event.payload)

    def _idea(self, id: str, at_s: float) -> Span:
        """The span of an idea; it begins with the first thing that belongs to it."""
        if id not in self.ideas:
            span = Span(f"idea:{id}", "invoke_agent researcher", at_s, at_s, "run")
            span.attributes = {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "researcher",
                "gen_ai.conversation.id": id,
            }
            self.ideas[id] = span
            self.spans.append(span)
        span = self.ideas[id]
        span.end_s = max(span.end_s, at_s)
        return span

    def _on_choice(self, event: Event, payload: Json) -> None:
        span = self._idea(event.key.partition(":")[2], event.at_s)
        span.attributes["novum.choice.mode"] = payload["mode"]

    def _on_proposal(self, event: Event, payload: Json) -> None:
        span = self._idea(payload["id"], event.at_s)
        span.attributes |= {
            "novum.proposal.kind": payload["kind"],
            "novum.proposal.brain": payload["brain"],
            "novum.thread": payload["thread"],
        }
        if self.content:
            span.attributes["novum.proposal.hypothesis"] = payload["hypothesis"]

    def _on_answer(self, event: Event, payload: Json) -> None:
        key = event.key.partition(":")[2]
        idea = self._idea(key.partition("/")[0], event.at_s)
        provider, _, model = payload["brain"].partition(":")
        span = Span(
            event.key,
            f"chat {model or provider}",
            event.at_s - float(payload.get("seconds", 0.0)),
            event.at_s,
            idea.key,
            CLIENT,
        )
        span.attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDERS.get(provider, provider),
            "gen_ai.request.model": model or provider,
            "gen_ai.usage.input_tokens": payload["tokens_in"],
            "gen_ai.usage.output_tokens": payload["tokens_out"],
            "gen_ai.conversation.id": idea.attributes["gen_ai.conversation.id"],
            "novum.role": payload["role"],
        }
        if payload.get("cost_usd") is not None:
            span.attributes["novum.cost_usd"] = payload["cost_usd"]
        idea.begin_s = min(idea.begin_s, span.begin_s)
        self.spans.append(span)
        self._calls(span, payload["blob"])

    def _calls(self, chat: Span, blob: str) -> None:
        """The tool calls of an answer; what a tool took is not recorded, so they are moments."""
        said = json.loads(self.blobs.get(blob))
        answer = said["answer"]["data"]
        if self.content:
            asked = [_message(m["type"], m["data"]) for m in said["asked"]]
            chat.attributes["gen_ai.input.messages"] = json.dumps(asked)
            chat.attributes["gen_ai.output.messages"] = json.dumps([_message("ai", answer)])
        for number, call in enumerate(answer.get("tool_calls", ())):
            name = str(call["name"])
            key = f"{chat.key}/{number}"
            span = Span(key, f"execute_tool {name}", chat.end_s, chat.end_s, chat.key)
            span.attributes = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": str(call.get("id") or key),
            }
            if self.content:
                span.attributes["gen_ai.tool.call.arguments"] = json.dumps(call["args"])
            self.spans.append(span)

    def _on_answer_failed(self, event: Event, payload: Json) -> None:
        idea = self._idea(event.key.partition(":")[2].partition("/")[0], event.at_s)
        provider, _, model = payload["brain"].partition(":")
        name = f"chat {model or provider}"
        span = Span(event.key, name, event.at_s, event.at_s, idea.key, CLIENT)
        span.attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDERS.get(provider, provider),
            "gen_ai.request.model": model or provider,
            "error.type": "BrainUnavailable",
        }
        span.error = str(payload["error"])[:300]
        self.spans.append(span)

    def _on_trial_launched(self, event: Event, payload: Json) -> None:
        owner = payload["effect"].partition("/")[0]
        is_idea = owner in self.ideas
        parent = self._idea(owner, event.at_s).key if is_idea else "run"
        span = Span(event.key, "execute_tool run_trial", event.at_s, event.at_s, parent)
        span.attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "run_trial",
            "gen_ai.tool.type": "extension",
            "gen_ai.tool.call.id": payload["id"],
            "novum.trial.purpose": payload["purpose"],
            "novum.trial.split": payload["split"],
            "novum.candidate": payload["tree"],
        }
        self.trials[payload["id"]] = span
        self.spans.append(span)

    def _on_trial_ended(self, event: Event, payload: Json) -> None:
        span = self.trials[payload["id"]]
        span.end_s = event.at_s
        span.attributes["novum.trial.status"] = payload["status"]
        if payload["metric"] is not None:
            span.attributes["novum.trial.metric"] = payload["metric"]
        if payload["status"] != "finished":
            span.attributes["error.type"] = payload["status"]
            span.error = str(payload["status"])

    def _on_verdict(self, event: Event, payload: Json) -> None:
        result: Json = {
            "gen_ai.evaluation.name": "novum.audit",
            "gen_ai.evaluation.score.label": payload["label"],
            "gen_ai.evaluation.explanation": payload["reason"],
        }
        if payload["gain"] is not None:
            result["gen_ai.evaluation.score.value"] = payload["gain"]
        idea = self._idea(payload["proposal"], event.at_s)
        idea.events.append((EVALUATION, event.at_s, result))
        idea.attributes["novum.verdict"] = payload["label"]

    def _on_dropped(self, event: Event, payload: Json) -> None:
        idea = self._idea(event.key.partition(":")[2], event.at_s)
        idea.attributes["novum.verdict"] = "dropped"


def _message(kind: str, data: Json) -> Json:
    """A message in the form of the conventions."""
    role = {"human": "user", "ai": "assistant", "tool": "tool", "system": "system"}.get(kind, kind)
    parts: list[Json] = []
    if data.get("content"):
        parts.append({"type": "text", "content": data["content"]})
    for call in data.get("tool_calls") or ():
        told = {"id": call.get("id"), "name": call["name"], "arguments": call["args"]}
        parts.append({"type": "tool_call"} | told)
    return {"role": role, "parts": parts}


def otlp(run: RunFolder, trace: str, spans: Sequence[Span]) -> Json:
    """One OTLP request (`ExportTraceServiceRequest` in JSON) with these spans of one trace."""
    resource = {"service.name": "novum", "novum.run": run.name}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [
                    {
                        "scope": {"name": "novum"},
                        "schemaUrl": SCHEMA,
                        "spans": [_written(trace, span) for span in spans],
                    }
                ],
            }
        ]
    }


def batches(run: RunFolder, first_digest: str, spans: Sequence[Span], size: int) -> Iterator[Json]:
    """The spans as requests of at most `size` spans each."""
    trace = sha256(f"{run.name}/{first_digest}".encode()).hexdigest()[:32]
    for i in range(0, len(spans), size):
        yield otlp(run, trace, spans[i : i + size])


def _written(trace: str, span: Span) -> Json:
    written: Json = {
        "traceId": trace,
        "spanId": _id(trace, span.key),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": _nanoseconds(span.begin_s),
        "endTimeUnixNano": _nanoseconds(span.end_s),
        "attributes": _attributes(span.attributes),
        "events": [
            {"name": name, "timeUnixNano": _nanoseconds(at_s), "attributes": _attributes(values)}
            for name, at_s, values in span.events
        ],
        "status": {"code": ERROR, "message": span.error} if span.error else {"code": OK},
    }
    if span.parent:
        written["parentSpanId"] = _id(trace, span.parent)
    return written


def _id(trace: str, key: str) -> str:
    return sha256(f"{trace}/{key}".encode()).hexdigest()[:16]


def _nanoseconds(at_s: float) -> str:
    return str(round(at_s * 1e9))


def _attributes(values: Json) -> list[Json]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Any) -> Json:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
    return {"stringValue": str(value)}
