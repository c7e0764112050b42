"""Language models over HTTP: a real client, a real run, a scripted server on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="needs the extra `llm`")

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from novum.agents.brains import folding, portable
from novum.agents.brains.language import MAX_ANSWER, LanguageModel
from novum.agents.brains.registry import make_brain
from novum.agents.research import work
from novum.errors import BrainUnavailable, UnknownName, UsageError
from novum.lab.records import Directive, Label
from novum.settings import BrainSettings
from novum.tools.registry import CODER_TOOLS, PLANNER_TOOLS, schemas

KEY = "sk-planted-0123456789abcdef"
PROPOSAL = {"hypothesis": "a rate of 1 is better", "kind": "constants"}
EDIT = {"path": "solve.py", "old": "RATE = 0.5", "new": "RATE = 1.0"}
WORK = (("edit_file", EDIT), ("submit", {"summary": "RATE is 1"}))
MakeModel = Callable[..., LanguageModel]


@pytest.fixture
def make_model(server: Any) -> MakeModel:
    def make(**given: Any) -> LanguageModel:
        values = {"base_url": server.url, "api_key": KEY, "patience_s": 5, **given}
        model = make_brain("openai:m", BrainSettings.model_validate(values))
        assert isinstance(model, LanguageModel)
        model.first_wait_s = 0.01
        return model

    return make


async def ask(model: LanguageModel, *texts: str) -> AIMessage:
    messages = [HumanMessage(t) for t in texts or ("Plan.",)]
    return await model.bind_tools(schemas(PLANNER_TOOLS)).ainvoke(messages)


@pytest.fixture
def run_with(server: Any, make_lab: Any) -> Any:
    """A run whose two roles are the scripted server."""

    def make(name: str = "run", **given: Any) -> Any:
        brain = {"default": "openai:m", "base_url": server.url, "api_key": KEY, "patience_s": 2}
        brain |= given.pop("brain", {})
        lab = make_lab(name, brain=brain, **{"budget": {"experiments": 1}, **given})
        for model in lab.brains.values():
            model.first_wait_s = 0.01
        return lab

    return make


async def test_a_model_over_http_plans_codes_and_wins(server: Any, run_with: Any) -> None:
    server.call(("propose", PROPOSAL)).call(*WORK)
    lab = run_with(brain={"prices": {"openai:m": (2.0, 10.0)}})
    summary = await work(lab, 1)
    assert summary.n_ideas == 1 and len(lab.ledger.verdicts()) >= 1
    (candidate,) = lab.ledger.candidates(proposal="p0-0")
    assert candidate.summary == "RATE is 1"
    assert summary.tokens == 240
    assert summary.cost_usd == pytest.approx(2 * (100 * 2.0 + 20 * 10.0) / 1e6)
    assert lab.ledger.spent()["tokens"] == 240 and "unpriced_tokens" not in lab.ledger.spent()
    names = [t["function"]["name"] for t in server.asked[1]["tools"]]
    assert names == [t.name for t in CODER_TOOLS]
    assert "How kinds of change paid" in server.asked[0]["messages"][0]["content"]


async def test_an_unknown_price_is_stated_and_a_limit_on_money_refuses_it(
    server: Any, run_with: Any
) -> None:
    server.call(("propose", PROPOSAL)).call(*WORK)
    lab = run_with()
    await work(lab, 1)
    answers = [e.payload for e in lab.ledger.events(kinds=["answer"])]
    assert [a["cost_usd"] for a in answers] == [None, None]
    assert lab.ledger.spent()["unpriced_tokens"] == 240
    with pytest.raises(UsageError, match="the price of openai:m is not known"):
        run_with("other", budget={"cost_usd": 1.0})


async def test_tokens_end_a_run_at_their_limit(server: Any, run_with: Any) -> None:
    server.call(("recall", {"question": "x"}), usage=(900, 100))
    lab = run_with(budget={"tokens": 1_500})
    summary = await work(lab, 1)
    assert summary.tokens == 2_000 and "2000 model tokens are spent" in summary.reason


async def test_a_server_without_usage_is_counted_by_estimate(
    server: Any, make_model: MakeModel
) -> None:
    server.say("no usage", usage=None)
    answer = await ask(make_model(), "x" * 700)
    assert answer.usage_metadata is not None and answer.usage_metadata["input_tokens"] == 200
    assert answer.response_metadata["usage_is_estimated"]


async def test_retry_after_is_honoured_and_every_fault_is_kept(
    server: Any, make_model: MakeModel
) -> None:
    server.fail(429, retry_after="0.3").fail(500).raw(b"<html>").cut().call(("propose", PROPOSAL))
    answer = await ask(make_model())
    assert [c["name"] for c in answer.tool_calls] == ["propose"]
    faults = answer.response_metadata["faults"]
    assert len(faults) == 4
    assert "HTTP 429" in faults[0] and "after 0.3 s" in faults[0] and "HTTP 500" in faults[1]


async def test_a_retry_after_beyond_the_patience_is_not_waited_for(
    server: Any, make_model: MakeModel
) -> None:
    server.fail(429, retry_after="3600")
    with pytest.raises(BrainUnavailable, match="HTTP 429"):
        await ask(make_model())
    assert len(server.asked) == 1


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(("down_s", "answers"), [(600, True), (86_400, False)])
async def test_a_provider_that_is_down_for_ten_minutes_is_waited_for_and_one_down_for_a_day_is_not(
    server: Any,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    down_s: float,
    answers: bool,
) -> None:
    clock = Clock()
    monkeypatch.setattr("tenacity.time", clock)
    server.fail(503).call(("propose", PROPOSAL))
    down, up = server.replies
    server.replies[:] = [lambda h: (up if clock.now_s >= down_s else down)(h)]
    default = BrainSettings()
    model = make_model(patience_s=default.patience_s)
    model.first_wait_s, model._sleep = 1.0, clock.sleep
    if answers:
        found = await ask(model)
        assert found.tool_calls and 600 <= clock.now_s < 700
        assert len(found.response_metadata["faults"]) == len(server.asked) - 1
    else:
        with pytest.raises(BrainUnavailable, match="HTTP 503"):
            await ask(model)
        assert 800 < clock.now_s <= default.patience_s
    assert 10 < len(server.asked) < 50, "it is asked again and again, but not hammered"


async def test_a_server_that_hangs_is_given_up_on(server: Any, make_model: MakeModel) -> None:
    server.hang()
    with pytest.raises(BrainUnavailable, match="Time"):
        await ask(make_model(timeout_s=0.2, patience_s=0.1))


async def test_a_wrong_key_is_said_at_once_and_never_shown(
    server: Any, make_model: MakeModel
) -> None:
    server.fail(401, f"Incorrect API key provided: {KEY}")
    with pytest.raises(BrainUnavailable, match="OPENAI_API_KEY") as caught:
        await ask(make_model())
    assert len(server.asked) == 1 and server.keys == [f"Bearer {KEY}"]
    assert KEY not in repr(caught.getrepr(chain=True)) + str(caught.value.faults)
    assert caught.value.__suppress_context__


async def test_a_model_without_tools_is_asked_for_json(server: Any, make_model: MakeModel) -> None:
    server.fail(400, "this model does not support tools").say('{"tool": "propose", "args": {}}')
    model = make_model()
    answer = await ask(model)
    assert [c["name"] for c in answer.tool_calls] == ["propose"] and not answer.text
    assert "tools" in server.asked[0] and "tools" not in server.asked[1]
    options = server.asked[1]["response_format"]["json_schema"]["schema"]["anyOf"]
    assert [o["properties"]["tool"]["const"] for o in options] == [t.name for t in PLANNER_TOOLS]


async def test_a_model_that_only_talks_is_changed_to_json_and_repairs_its_call(
    server: Any, run_with: Any
) -> None:
    server.say("I would turn RATE.").say("Surely I would.").say("{broken")
    server.say(f"Here: {json.dumps({'tool': 'propose', 'args': PROPOSAL})}")
    server.say(json.dumps({"tool": "edit_file", "args": EDIT}))
    server.say(json.dumps({"tool": "submit", "args": {"summary": "RATE is 1"}}))
    lab = run_with()
    await work(lab, 1)
    assert len(lab.ledger.candidates(proposal="p0-0")) == 1
    assert "not a call in JSON" in server.asked[3]["messages"][-1]["content"]
    assert {m["role"] for m in server.asked[5]["messages"]} == {"system", "user", "assistant"}


async def test_malformed_arguments_come_back_and_can_be_repaired(
    server: Any, run_with: Any
) -> None:
    server.call(("propose", '{"hypothesis": ')).call(("propose", PROPOSAL)).call(*WORK)
    lab = run_with()
    await work(lab, 1)
    assert "not a call in JSON" in server.asked[1]["messages"][-1]["content"]
    assert len(lab.ledger.candidates(proposal="p0-0")) == 1


@pytest.mark.parametrize(
    "nonsense",
    ["talk", "refusal", "no such tool", "one tool for ever", "endless", "hack"],
)
async def test_a_model_that_talks_nonsense_ends_the_run_with_nothing_confirmed(
    server: Any, run_with: Any, nonsense: str
) -> None:
    match nonsense:
        case "talk":
            server.say("blorb " * 50)
        case "refusal":
            server.say("I cannot help with that.")
        case "no such tool":
            server.call(("launch_rocket", {}))
        case "one tool for ever":
            server.call(("recall", {"question": "the same"}))
        case "endless":
            server.say("{" * 800_000, usage=(100, 200_000))
        case "hack":
            server.call(("propose", {"hypothesis": "x", "kind": "magic"}))
    lab = run_with(budget={"experiments": 5})
    summary = await work(lab, 1)
    assert "no acceptable proposal" in summary.reason
    assert summary.champion == "" and summary.verdict is None
    assert not [v for v in lab.ledger.verdicts() if v.label is Label.CONFIRMED]
    answers = lab.ledger.events(kinds=["answer"])
    assert len(answers) == 18  # three iterations of six turns: each question is recorded
    for event in answers:
        assert len(lab.run.blobs.text(event.payload["blob"])) < 2 * MAX_ANSWER + 40_000
    if nonsense == "one tool for ever":
        assert "does not change" in server.asked[4]["messages"][-1]["content"]
    lab.ledger.verify()


@pytest.mark.parametrize("nonsense", ["refusal", "no such tool", "one tool for ever", "endless"])
async def test_a_coder_that_talks_nonsense_drops_the_idea_and_the_run_goes_on(
    server: Any, run_with: Any, nonsense: str
) -> None:
    server.call(("propose", PROPOSAL))
    match nonsense:
        case "refusal":
            server.say("I cannot help with that.")
        case "no such tool":
            server.call(("launch_rocket", {}))
        case "one tool for ever":
            server.call(("read_file", {"path": "solve.py"}))
        case "endless":
            server.say("x" * 800_000, usage=(100, 200_000))
    server.replies += [server.replies[-1]] * 3
    server.call(("nothing_left", {"reason": "that was all"}))
    lab = run_with(brain={"coder_turns": 4}, budget={"experiments": 2})
    summary = await work(lab, 1)
    (dropped,) = lab.ledger.events(kinds=["dropped"])
    assert dropped.key == "dropped:p0-0" and "turns" in dropped.payload["reason"]
    assert "that was all" in summary.reason and summary.n_ideas == 1
    assert not lab.ledger.candidates(proposal="p0-0")


async def test_a_provider_that_is_gone_ends_the_run_and_resume_goes_on(
    server: Any, run_with: Any
) -> None:
    server.fail(503)
    lab = run_with(brain={"patience_s": 0.2})
    summary = await work(lab, 1)
    assert "cannot be asked" in summary.reason and "HTTP 503" in summary.reason
    (failed,) = lab.ledger.events(kinds=["answer.failed"])
    assert len(failed.payload["faults"]) >= 2 and failed.payload["role"] == "planner"
    server.replies.clear()
    server.call(("propose", PROPOSAL)).call(*WORK)
    server.n_replied = 0
    lab = run_with()
    await work(lab, 1)
    assert len(lab.ledger.proposals(thread=0)) == 1


async def test_a_run_ends_while_the_model_still_thinks(server: Any, run_with: Any) -> None:
    server.hang()
    lab = run_with()
    running = asyncio.create_task(work(lab, 1))
    while not server.asked:
        await asyncio.sleep(0.02)
    lab.control.interrupt()
    assert (await running).is_interrupted
    lab = run_with("late", budget={"wall_s": 1.5})
    assert (await work(lab, 1)).n_ideas == 0


async def test_a_planted_key_is_nowhere_in_what_a_run_leaves_behind(
    server: Any, run_with: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    show = f"{sys.executable} -c 'import os; print(dict(os.environ))'"
    server.fail(500, f"the key {KEY} is fine")
    server.call(("propose", {**PROPOSAL, "hypothesis": f"the key {KEY} helps"}))
    server.call(("run_command", {"command": show})).call(*WORK)
    lab = run_with(brain={"api_key": None})
    lab.ledger.add_directive(Directive("d1", "Be quick."))
    await work(lab, 1)
    assert server.keys[0] == f"Bearer {KEY}"
    said = server.asked[-1]["messages"][-1]["content"]
    assert "PATH" in said and KEY not in said  # the command ran, without the key
    assert "the key [key] helps" in lab.ledger.proposal("p0-0").hypothesis
    for event in lab.ledger.events():
        assert KEY not in json.dumps(event.payload)
    blobs = [p.name for p in lab.run.blobs.folder.rglob("*") if p.is_file()]
    kept = [lab.run.blobs.get(e.payload["blob"]) for e in lab.ledger.events(kinds=["answer"])]
    assert blobs and all(KEY.encode() not in k for k in kept)
    files = [p for p in lab.run.path.rglob("*") if p.is_file()]
    assert not [p for p in files if KEY.encode() in p.read_bytes()]


def test_the_oldest_tool_output_is_folded_first_and_the_opening_stays() -> None:
    talk: list[Any] = [HumanMessage("task " * 100, additional_kwargs={"situation": {"a": 1}})]
    for i in range(50):
        calls = [{"name": "read_file", "args": {"path": "a"}, "id": f"c{i}", "type": "tool_call"}]
        talk += [AIMessage("", tool_calls=calls), ToolMessage("x" * 5_000, tool_call_id=f"c{i}")]
    sent = folding.fold(talk, 40_000)
    assert sum(map(folding.size, sent)) <= 40_000
    assert sent[0].text == talk[0].text and not sent[0].additional_kwargs
    assert "folded" in sent[2].text and sent[-1].text == talk[-1].text
    assert len(sent) == len(talk) and talk[2].text == "x" * 5_000
    assert sum(map(folding.size, folding.fold(talk, 4_000))) < 5_000


def test_where_folding_is_not_enough_the_oldest_turns_are_left_out_with_their_results() -> None:
    talk: list[Any] = [SystemMessage("rules"), HumanMessage("task")]
    for i in range(300):
        calls = [{"name": "read_file", "args": {"path": "a"}, "id": f"c{i}", "type": "tool_call"}]
        talk += [AIMessage("", tool_calls=calls), ToolMessage("x" * 900, tool_call_id=f"c{i}")]
    sent = folding.fold(talk, 9_000)
    assert sum(map(folding.size, sent)) <= 9_100 and sent[0].text == "rules"
    n_left_out = (len(talk) - len(sent)) // 2
    assert f"{n_left_out} earlier turns" in sent[1].text and n_left_out > 200
    called = [c["id"] for m in sent if isinstance(m, AIMessage) for c in m.tool_calls]
    assert called == [m.tool_call_id for m in sent if isinstance(m, ToolMessage)]
    assert called[-1] == "c299" and folding.fold(talk, 9_000) == sent


def test_a_conversation_too_long_for_the_model_is_sent_again_shorter(
    server: Any, make_model: MakeModel
) -> None:
    server.fail(400, "maximum context length is 4096 tokens").call(("propose", PROPOSAL))
    answer = asyncio.run(ask(make_model(context_chars=60_000), "x" * 50_000))
    assert answer.tool_calls
    sizes = [len(a["messages"][0]["content"]) for a in server.asked]
    assert sizes[0] == 50_000 and 29_000 < sizes[1] < 31_000


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"tool": "submit", "args": {"summary": "x"}}', "submit"),
        ('```json\n{"name": "submit", "arguments": {}}\n```', "submit"),
        ('I think {so}. {"tool": "a", "args": {}}', "a"),
        ('{"tool": 3}', ""),
        ("[1, 2", ""),
        ("{" * 100_000, ""),
    ],
)
def test_a_call_is_found_in_words_or_said_to_be_missing(text: str, name: str) -> None:
    answer = portable.read(AIMessage(text), "j0", is_asked=True)
    assert [c["name"] for c in answer.tool_calls] == ([name] if name else [])
    assert len(answer.invalid_tool_calls) == (not name)
    assert portable.read(AIMessage("words"), "j0", is_asked=False).text == "words"


def test_a_missing_key_model_or_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match="needs a key: set OPENAI_API_KEY"):
        make_brain("openai:m")
    with pytest.raises(UnknownName, match="write openai:MODEL"):
        make_brain("openai")
    with pytest.raises(UnknownName, match="there is anthropic, "):
        make_brain("nobody:m")


@pytest.mark.parametrize("spec", ["anthropic:m", "ollama:m"])
def test_other_providers_are_built_without_a_network(spec: str) -> None:
    package = f"langchain_{spec.partition(':')[0]}"
    pytest.importorskip(package, reason="needs the extra `llm`")
    model = make_brain(spec, BrainSettings.model_validate({"api_key": KEY}))
    assert isinstance(model, LanguageModel) and KEY not in repr(model)
