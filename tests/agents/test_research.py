"""The whole loop on computed trials: real graph, ledger, archive, audit, harness."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from novum.agents.baseline import add_start, measure_noise
from novum.agents.brains.scripted import ScriptedModel, calls
from novum.agents.certify import level_of_each, name_of_test
from novum.agents.lab import Lab
from novum.agents.outside import packed
from novum.agents.research import work
from novum.agents.trials import Order, run_order
from novum.errors import SandboxLost, SandboxNotStarted, UsageError
from novum.lab.records import Directive, Label, Purpose, Split, TrialStatus
from novum.tools.registry import CODER_TOOLS

SLOW = {"profile": "slow", "budget": {}}


def propose(name: str, kind: str = "architecture", **more: Any) -> Any:
    move = {"apply": [name]}
    args = {"hypothesis": f"{name} helps", "kind": kind, "move": move, **more}
    return calls(("propose", args))


def check_whole(lab: Lab) -> None:
    """What holds of every run, however it went."""
    lab.ledger.verify()
    assert not lab.ledger.trials(status=TrialStatus.LAUNCHED)
    trials = lab.ledger.trials()
    assert max(Counter(t.effect for t in trials).values()) == 1
    for verdict in lab.ledger.verdicts():
        selecting = {t.seed for t in trials if t.purpose is Purpose.SEARCH}
        sealed = [t for t in trials if t.proposal == verdict.proposal and t.split == "sealed"]
        assert not selecting & {t.seed for t in sealed}


async def test_the_playbook_climbs_to_a_confirmed_champion(make_lab: Any) -> None:
    lab = make_lab()
    summary = await work(lab, 2)
    assert summary.is_confirmed and summary.reason == "6 experiments were done"
    assert summary.relative_gain is not None and summary.relative_gain > 0.15
    assert summary.n_ideas == 6
    assert summary.verdict is not None
    assert lab.ledger.champion() == (summary.champion, summary.verdict.id)
    noise = lab.ledger.trials(purpose=Purpose.NOISE, tree=lab.findings.start)
    assert len(noise) >= 5 and noise[0].launched_s == min(t.launched_s for t in lab.ledger.trials())
    check_whole(lab)


async def test_the_same_seed_and_results_give_the_same_decisions(make_lab: Any) -> None:
    told = []
    for name in ("one", "two"):
        lab = make_lab(name)
        lab.run.nonce = "fixed"  # a run draws its own; here both shall draw the same seeds
        await work(lab, 1)
        told.append(
            [(p.id, p.hypothesis, p.move, p.parents) for p in lab.ledger.proposals()]
            + [(v.tree, v.label, v.gain) for v in lab.ledger.verdicts()]
        )
    assert told[0] == told[1]


async def test_threads_that_need_the_noise_of_one_reference_measure_it_once(make_lab: Any) -> None:
    lab = make_lab(
        brain={"default": "external"}, noise="needed", profile="slow", budget={"experiments": 2}
    )
    for name in ("alpha", "beta"):
        files = {"solve.py": f'RATE = 1.0\nF = "{name}"\n'.encode()}
        move = {"files": lab.run.blobs.put(packed(files))}
        idea = {"hypothesis": f"better with {name}", "kind": "systems", "move": move}
        lab.ledger.add_directive(Directive(name, "Try it.", action={"idea": idea}))
    summary = await work(lab, 2)
    assert summary.n_ideas == 2
    assert len(lab.ledger.trials(purpose=Purpose.SEARCH)) == 2
    noise = lab.ledger.trials(purpose=Purpose.NOISE, tree=lab.findings.start)
    # a thread that asks while the last one runs may add that one once more
    assert 1 < len(noise) <= lab.profile.noise_trials + 1
    check_whole(lab)


async def test_a_useless_idea_is_not_promising_and_never_becomes_the_champion(
    make_lab: Any,
) -> None:
    lab = make_lab(planner=ScriptedModel(answers=[propose("useless")]), budget={"experiments": 1})
    summary = await work(lab, 1)
    (verdict,) = lab.ledger.verdicts()
    assert verdict.label in (Label.NOISE, Label.INCONCLUSIVE, Label.REGRESSION)
    assert summary.champion == "" and summary.verdict is None
    assert summary.head == lab.findings.start
    check_whole(lab)


async def test_bad_tool_calls_come_back_as_text_and_the_coder_goes_on(make_lab: Any) -> None:
    coder = ScriptedModel(
        answers=[
            "I shall think first.",
            calls(("fly", {})),
            calls(
                ("edit_file", {"path": "solve.py", "old": "nowhere", "new": "x"}), ("submit", {})
            ),
            calls(("write_file", {"path": "../escape.py", "text": "x"})),
            calls(("submit", {"summary": "nothing"})),
            calls(
                ("edit_file", {"path": "solve.py", "old": "RATE = 0.5", "new": "RATE = 1.0"}),
                ("submit", {"summary": "A better rate"}),
            ),
        ]
    )
    planner = ScriptedModel(
        answers=[calls(("propose", {"hypothesis": "a better rate", "kind": "constants"}))]
    )
    lab = make_lab(planner=planner, coder=coder, budget={"experiments": 1})
    await work(lab, 1)
    said = "\n".join(m.text for m in coder.asked[-1])
    assert "call of one of the tools" in said
    assert "there is no tool 'fly'" in said
    assert "occurs 0 times" in said and "skipped: a call before it" in said
    assert "../escape.py is not editable" in said
    assert "nothing was changed" in said
    assert coder.offered[0] == [tool.name for tool in CODER_TOOLS]
    (candidate,) = lab.ledger.candidates(proposal="p0-0")
    assert candidate.summary == "A better rate" and candidate.changed_lines == 2
    assert len(lab.ledger.verdicts(proposal="p0-0")) == 1


async def test_a_crash_of_the_smoke_test_comes_back_three_times_at_most(make_lab: Any) -> None:
    def broken(n: int) -> Any:
        edit = {"path": "solve.py", "text": f"RATE = {n}\nraise RuntimeError\n"}
        return calls(("write_file", edit), ("submit", {"summary": f"attempt {n}"}))

    coder = ScriptedModel(answers=[broken(n) for n in range(10)])
    planner = ScriptedModel(
        answers=[calls(("propose", {"hypothesis": "it may run", "kind": "systems"}))]
    )
    lab = make_lab(planner=planner, coder=coder, budget={"experiments": 1})
    await work(lab, 1)
    assert len(coder.asked) == 4
    assert "attempt 3 of 3" in coder.asked[-1][-1].text
    assert "it does not work" in coder.asked[-1][-1].text
    (verdict,) = lab.ledger.verdicts()
    assert verdict.label is Label.INVALID
    assert [t.purpose for t in lab.ledger.trials(status=TrialStatus.CRASHED)] == [Purpose.SMOKE] * 4
    check_whole(lab)


async def test_a_repaired_candidate_is_measured(make_lab: Any) -> None:
    coder = ScriptedModel(
        answers=[
            calls(
                ("write_file", {"path": "solve.py", "text": "raise RuntimeError\n"}),
                ("submit", {"summary": "broken"}),
            ),
            calls(
                ("write_file", {"path": "solve.py", "text": 'RATE = 1.0\nF = "alpha"\n'}),
                ("smoke_test", {}),
                ("submit", {"summary": "repaired"}),
            ),
        ]
    )
    planner = ScriptedModel(
        answers=[calls(("propose", {"hypothesis": "rewrite it", "kind": "systems"}))]
    )
    lab = make_lab(planner=planner, coder=coder, budget={"experiments": 1})
    summary = await work(lab, 1)
    assert summary.is_confirmed
    smoke = lab.ledger.trials(purpose=Purpose.SMOKE)
    assert [t.status for t in smoke] == ["crashed", "finished"]  # the tool's test is the lab's too


async def test_what_was_tried_is_refused_with_a_pointer_unless_a_directive_says_repeat(
    make_lab: Any,
) -> None:
    def planner() -> ScriptedModel:
        return ScriptedModel(answers=[propose("useless")] * 19 + [propose("gamma", "schedule")])

    first = planner()
    lab = make_lab("no", planner=first, budget={"experiments": 2})
    await work(lab, 1)
    assert "tried on these parents as p0-0" in first.asked[2][-1].text
    assert [p.move["apply"] for p in lab.ledger.proposals(thread=0)].count(["useless"]) == 1
    lab = make_lab("yes", planner=planner(), budget={"experiments": 2})
    lab.ledger.add_directive(Directive("d1", "Do it again.", action={"repeat": True}))
    await work(lab, 1)
    assert [p.move["apply"] for p in lab.ledger.proposals(thread=0)] == [["useless"]] * 2


async def test_a_start_that_does_not_run_is_an_error_that_names_the_log(
    make_lab: Any, tmp_path: Any
) -> None:
    lab = make_lab()
    lab.start_files = {"solve.py": b"raise RuntimeError\n"}
    with pytest.raises(UsageError, match="does not run here: crashed: RuntimeError"):
        await work(lab, 1)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"experiments": 3}, "3 experiments were done"),
        ({"plateau": 2}, "experiments in a row brought no progress"),
        ({"target": 0.95}, "the target 0.95 is reached"),
        ({"wall_s": 3.0}, "the time for search is over"),
    ],
)
async def test_each_limit_ends_the_search(make_lab: Any, budget: Any, reason: str) -> None:
    profile = "slow" if "wall_s" in budget else "tiny"
    lab = make_lab(budget=budget, profile=profile)
    summary = await work(lab, 2)
    assert reason in summary.reason
    if "wall_s" in budget:
        assert lab.budget.reserve_s > 0
    check_whole(lab)


async def test_the_first_idea_may_take_of_the_time_for_a_final_test_that_would_have_nothing_to_test(
    make_lab: Any,
) -> None:
    lab = make_lab(budget={"experiments": 3, "wall_s": 10_000.0})
    await measure_noise(lab)
    budget = lab.budget
    budget.trial_s, budget.reserve_s = 1_000.0, 8_000.0
    budget.used_wall_s = 10_000 - 8_000 - 500.0  # no trial fits before the reserve
    assert not budget.has_time_for(1)
    assert lab.has_time_for(2)
    assert not lab.has_time_for(20), "the shortest final test keeps its time"
    budget.trial_s, budget.reserve_s, budget.used_wall_s = 0.0, 0.0, 0.0
    await work(lab, 1)
    assert lab.findings.sure_gain > 0
    budget.trial_s, budget.reserve_s = 1_000.0, 8_000.0
    budget.used_wall_s = 10_000 - 8_000 - 500.0
    assert not lab.has_time_for(2), "what was gained is to be tested"
    assert "s are kept for the final test" in budget.spent(0)


async def test_tokens_and_money_of_models_are_counted_and_end_the_search(make_lab: Any) -> None:
    def answer(messages: Any) -> Any:
        said = propose(f"nothing-{len(messages)}")
        said.usage_metadata = {"input_tokens": 90, "output_tokens": 10, "total_tokens": 100}
        said.response_metadata = {"cost_usd": 0.5}
        return said

    lab = make_lab(planner=ScriptedModel(answers=[answer], repeat=True), budget={"tokens": 250})
    summary = await work(lab, 1)
    assert "300 model tokens are spent" in summary.reason
    assert lab.ledger.spent()["tokens"] == 300 and lab.ledger.spent()["cost_usd"] == 1.5
    again = make_lab(budget={"cost_usd": 1.0})
    assert again.budget.tokens == 300
    assert "USD are spent" in again.stop_reason()


async def test_gpu_hours_end_the_search(make_lab: Any) -> None:
    lab = make_lab(budget={"gpu_hours": 1.0})
    lab.budget.gpus_per_trial = 8
    lab.budget.spend_trial(449.0, is_full=True)
    assert not lab.stop_reason()
    lab.budget.spend_trial(2.0, is_full=True)
    assert "GPU hours are spent" in lab.stop_reason()


async def test_a_trial_that_was_cut_off_does_not_tell_how_long_one_takes(make_lab: Any) -> None:
    lab = make_lab()
    start = add_start(lab)
    order = Order(start.tree, start.proposal, Purpose.SEARCH, "one")
    known = await run_order(lab, order)
    before = lab.budget.trial_s
    assert before == pytest.approx(known.ended_s - known.launched_s)
    for status in (TrialStatus.LOST, TrialStatus.KILLED):
        lab.note_trial(replace(known, id=status, status=status, ended_s=known.launched_s + 9_000))
    assert lab.budget.trial_s == before


async def test_a_directive_is_read_by_the_planner_obeyed_and_stops_the_run(make_lab: Any) -> None:
    planner = ScriptedModel(answers=[propose("alpha"), propose("useless"), propose("alpha")])
    lab = make_lab(planner=planner, budget={"experiments": 5})
    lab.ledger.add_directive(Directive("d1", "Leave alpha alone.", action={"ban": "alpha"}))
    told = False

    async def watch() -> None:
        nonlocal told
        while not lab.ledger.verdicts():
            await asyncio.sleep(0.01)
        lab.ledger.add_directive(Directive("d2", "Enough.", action={"stop": True}))
        told = True

    watcher = asyncio.create_task(watch())
    planner.answers += [propose(f"unknown{i}") for i in range(50)]
    summary = await work(lab, 1)
    await watcher
    assert "Leave alpha alone." in planner.asked[0][0].text
    assert "the user does not want alpha" in planner.asked[1][-1].text
    assert told and summary.reason in ("directive d2 asked to stop", "5 experiments were done")


async def test_a_pause_holds_the_thread_until_the_directive_is_withdrawn(make_lab: Any) -> None:
    lab = make_lab(budget={"experiments": 1})
    lab.ledger.add_directive(Directive("d1", "Wait for me.", action={"pause": True}))
    running = asyncio.create_task(work(lab, 1))
    async with asyncio.timeout(200):
        while len(lab.ledger.trials(purpose=Purpose.NOISE, status=TrialStatus.FINISHED)) < 5:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)  # time to go on, were it not held
    assert not running.done() and not lab.ledger.proposals()
    assert len(lab.ledger.trials(purpose=Purpose.NOISE)) == 5
    lab.ledger.withdraw_directive("d1")
    lab.control.news()
    await running
    assert len(lab.ledger.proposals(thread=0)) == 1


async def test_an_interrupted_run_goes_on_where_it_was_and_counts_nothing_twice(
    make_lab: Any,
) -> None:
    lab = make_lab(**SLOW | {"budget": {"experiments": 3}})
    running = asyncio.create_task(work(lab, 2))
    while len(lab.ledger.trials(purpose=Purpose.SEARCH)) < 1:
        await asyncio.sleep(0.02)
    lab.control.interrupt()
    summary = await running
    assert summary.is_interrupted and summary.verdict is None
    assert not lab.ledger.trials(status=TrialStatus.LAUNCHED)
    before = {p.id for p in lab.ledger.proposals()}
    lab = make_lab(**SLOW | {"budget": {"experiments": 3}})
    assert lab.session == 1 and lab.budget.used_wall_s > 0
    summary = await work(lab, 2)
    assert not summary.is_interrupted
    after = [p.id for p in lab.ledger.proposals() if p.thread >= 0]
    assert before <= set(after) and len(after) == len(set(after)) == 3
    assert lab.findings.n_closed == 3
    check_whole(lab)


async def test_findings_read_back_from_the_ledger_equal_those_that_followed_the_run(
    make_lab: Any,
) -> None:
    lab = make_lab(budget={"experiments": 8}, policy="frontier")
    await work(lab, 2)
    recalled = {lesson.id for lesson in lab.memory.recall("alpha helps", 9)}
    again = make_lab(budget={"experiments": 8}, policy="frontier")
    for name in ("nodes", "moves", "kinds", "attempts", "directions", "_frontier", "proposals"):
        assert getattr(again.findings, name) == getattr(lab.findings, name), name
    for name in (
        "n_proposals",
        "n_closed",
        "since_progress",
        "n_tried",
        "n_unfit",
        "sources",
        "start",
    ):
        assert getattr(again.findings, name) == getattr(lab.findings, name), name
    start = lab.findings.start
    assert again.window.for_proposal("none", start) == lab.window.for_proposal("none", start)
    assert again.window.history == lab.window.history
    assert recalled and {x.id for x in again.memory.recall("alpha helps", 9)} == recalled
    closed = Counter(e.payload["thread"] for e in again.ledger.events(kinds=["iteration"]))
    assert again.iterations == closed


async def test_a_lesson_that_is_learned_again_after_a_crash_stays_as_it_was(
    make_lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(budget={"experiments": 3})
    await work(lab, 1)
    before = lab.ledger.lessons()
    judged = {v.proposal: v for v in lab.ledger.verdicts()}
    lesson = next(x for x in before if x.proposal in judged)
    verdict = judged[lesson.proposal]
    monkeypatch.setattr(type(lab.window), "cost_s", lambda window, id: lesson.cost_s + 1)
    lab.learn(lab.ledger.proposal(lesson.proposal), verdict.id)
    assert lab.ledger.lessons() == before


async def test_answers_are_recorded_with_what_was_asked(make_lab: Any) -> None:
    planner = ScriptedModel(answers=[propose("alpha")])
    lab = make_lab(planner=planner, budget={"experiments": 1})
    await work(lab, 1)
    kept = [
        json.loads(lab.run.blobs.text(e.payload["blob"]))
        for e in lab.ledger.events(kinds=["answer"])
    ]
    assert [k["key"] for k in kept] == ["p0-0/planner/0", "p0-0/coder/0"]
    assert "situation" in kept[0]["asked"][0]["data"]["additional_kwargs"]
    assert kept[0]["answer"]["data"]["tool_calls"][0]["name"] == "propose"


async def test_an_idea_of_the_user_is_tried_next_and_one_that_was_tried_is_refused(
    make_lab: Any,
) -> None:
    lab = make_lab(budget={"experiments": 2})
    idea = {"hypothesis": "gamma helps", "kind": "schedule", "move": {"apply": ["gamma"]}}
    for id in ("d1", "d2"):
        lab.ledger.add_directive(Directive(id, "Try gamma.", action={"idea": idea}, author="ann"))
    await work(lab, 1)
    first, second = lab.ledger.proposals(thread=0)
    assert first.brain == "ann" and first.move["apply"] == ["gamma"]
    assert second.brain == "playbook"
    assert [d.status for d in lab.ledger.directives()] == ["done", "done"]
    refused = {e.key: e.payload["refused"] for e in lab.ledger.events(kinds=["idea"])}
    assert refused["idea:d1"] == ""
    assert refused["idea:d2"]


async def test_a_stop_is_obeyed_before_the_next_iteration_begins(make_lab: Any) -> None:
    lab = make_lab(budget={"experiments": 50}, **{"profile": "slow"})

    async def watch() -> int:
        while not lab.ledger.verdicts():
            await asyncio.sleep(0.01)
        lab.ledger.add_directive(Directive("d1", "Enough.", action={"stop": True}))
        return int(lab.findings.n_proposals)

    watcher = asyncio.create_task(watch())
    summary = await work(lab, 1)
    begun = await watcher
    assert summary.reason == "directive d1 asked to stop"
    assert lab.findings.n_proposals <= begun + 1  # one may be planning when it is said


async def test_a_claim_goes_to_the_final_test_with_the_trials_that_were_declared(
    make_lab: Any,
) -> None:
    given = {"brain": {"default": "external"}, "budget": {"experiments": 1}}
    lab = make_lab(**given, noise="needed", confirm_trials=3)
    move = {
        "files": lab.run.blobs.put(packed({"solve.py": b'RATE = 1.0\nF = "alpha"\n'})),
        "claim": True,
    }
    idea = {"hypothesis": "a better rate", "kind": "systems", "move": move}
    lab.ledger.add_directive(Directive("d1", "Try it.", action={"idea": idea}))
    summary = await work(lab, 1)
    assert summary.is_confirmed
    ran = Counter(t.purpose for t in lab.ledger.trials())
    assert ran == {Purpose.SMOKE: 1, Purpose.CERTIFY: 6}
    headline = lab.headline()
    assert headline is not None
    (test,) = (e for e in lab.ledger.evidence(proposal=headline.proposal) if e.step == "confirm")
    assert test.detail["n"] == 3
    dropped = lab.ledger.event("dropped:p0-0")
    assert dropped is not None and "without a search" in dropped.payload["reason"]
    check_whole(lab)
    resumed = make_lab(**given, noise="needed", confirm_trials=8)
    assert (await work(resumed, 1)).is_confirmed
    assert len(resumed.ledger.trials()) == 7, "a test that was begun keeps its number"


@pytest.mark.parametrize(
    ("split", "error", "statuses"),
    [
        ("sealed", SandboxLost("died"), [TrialStatus.CRASHED]),
        ("search", SandboxLost("died"), [TrialStatus.LOST, TrialStatus.FINISHED]),
        ("sealed", SandboxNotStarted("no room"), [TrialStatus.LOST, TrialStatus.FINISHED]),
    ],
)
async def test_a_candidate_that_ends_its_sandbox_draws_no_new_seed_in_the_final_test(
    make_lab: Any,
    monkeypatch: pytest.MonkeyPatch,
    split: Split,
    error: SandboxLost,
    statuses: list[TrialStatus],
) -> None:
    lab = make_lab()
    run, errors = lab.runner.run, [error]

    async def fails_once(prepare: Any, label: str) -> Any:
        if errors:
            prepare(0)
            raise errors.pop()
        return await run(prepare, label)

    monkeypatch.setattr(lab.runner, "run", fails_once)
    start = add_start(lab)
    order = Order(start.tree, start.proposal, Purpose.CERTIFY, "e", split=split)
    last = await run_order(lab, order)
    assert [t.status for t in lab.ledger.trials(purpose=Purpose.CERTIFY)] == statuses
    assert last.status is statuses[-1]


async def test_claiming_again_and_again_never_spends_more_than_twice_the_level(
    make_lab: Any,
) -> None:
    lab = make_lab()
    full, start = lab.terms.win.alpha_headline, lab.findings.start

    def claims_fail(*trees: str) -> float:
        """A call of the final test at whose end all these were tested."""
        each = level_of_each(lab, trees)
        for tree in trees:
            lab.note("level", name_of_test("certify", tree, start), {"alpha": each})
        return each

    first = [f"{i << 150:040x}" for i in (1, 2, 3)]
    assert claims_fail(*first) == pytest.approx(full / 3), "nothing was spent before"
    spent = full
    for i in range(4, 40):  # the failed ones were banned, so that the new claim stands alone
        assert (level := claims_fail(f"{i << 150:040x}")) > 0
        spent += level
    assert spent < 2 * full
    resumed = make_lab()
    assert level_of_each(resumed, ["f" * 40]) < full * 1e-6, "the ledger remembers"


async def test_a_final_test_that_was_cut_off_runs_only_the_trials_that_are_missing(
    make_lab: Any,
) -> None:
    given = {"brain": {"default": "external"}, "budget": {"experiments": 1}, "profile": "slow"}
    given |= {"noise": "needed", "confirm_trials": 4, "slots": 1}
    lab = make_lab(**given)
    files = {"solve.py": b'RATE = 1.0\nF = "alpha"\n'}
    move = {"files": lab.run.blobs.put(packed(files)), "claim": True}
    idea = {"hypothesis": "a better rate", "kind": "systems", "move": move}
    lab.ledger.add_directive(Directive("d1", "Try it.", action={"idea": idea}))
    running = asyncio.create_task(work(lab, 1))

    def done() -> Counter[str]:
        trials = lab.ledger.trials(purpose=Purpose.CERTIFY)
        return Counter(t.tree for t in trials if t.status is TrialStatus.FINISHED)

    while done().total() < 3:
        await asyncio.sleep(0.01)
    lab.control.interrupt()
    assert (await running).is_interrupted
    assert done().total() < 8
    lab = make_lab(**given)
    assert (await work(lab, 1)).is_confirmed
    assert sorted(done().values()) == [4, 4]


async def test_what_passed_the_gate_is_certified_when_the_budget_ends_before_a_race(
    make_lab: Any,
) -> None:
    lab = make_lab(brain={"default": "external"}, budget={"experiments": 1})
    lab.policy.race_at = 1e9
    move = {"files": lab.run.blobs.put(packed({"solve.py": b'RATE = 1.0\nF = "alpha"\n'}))}
    idea = {"hypothesis": "a better rate", "kind": "systems", "move": move}
    lab.ledger.add_directive(Directive("d1", "Try it.", action={"idea": idea}))
    summary = await work(lab, 1)
    assert {t.purpose for t in lab.ledger.trials()} >= {Purpose.SEARCH, Purpose.CERTIFY}
    assert not lab.ledger.trials(purpose=Purpose.RACE)
    assert summary.is_confirmed


async def test_ideas_from_outside_are_tested_like_any_other_and_threads_wait_for_them(
    make_lab: Any,
) -> None:
    lab = make_lab(brain={"default": "external"}, budget={"experiments": 50})
    running = asyncio.create_task(work(lab, 2))

    def hand_in(id: str, text: str, **more: Any) -> None:
        files = {"solve.py": text.encode(), **more}
        move = {"files": lab.run.blobs.put(packed(files))}
        start = lab.findings.start
        idea = {"hypothesis": id, "kind": "systems", "move": move, "parents": [start]}
        lab.ledger.add_directive(Directive(id, "Try it.", action={"idea": idea}, author="bob"))

    await asyncio.sleep(0.6)
    assert not running.done() and not lab.ledger.proposals(thread=0)
    hand_in("good", 'RATE = 1.0\nF = "alpha"\n')
    hand_in("crashes", "raise RuntimeError\n")
    hand_in("forbidden", 'RATE = 1.0\nF = "beta"\n', **{"grade.py": b"cheat"})
    while lab.findings.n_closed < 3:
        await asyncio.sleep(0.02)
    lab.ledger.add_directive(Directive("stop", "Enough.", action={"stop": True}))
    summary = await running
    assert summary.reason == "directive stop asked to stop" and summary.is_confirmed
    made = {p.hypothesis: p for t in (0, 1) for p in lab.ledger.proposals(thread=t)}
    assert {p.brain for p in made.values()} == {"bob"}
    verdict = lab.ledger.verdicts(proposal=made["good"].id)[0]
    assert verdict.label is Label.PROMISING
    dropped = lab.ledger.event(f"dropped:{made['crashes'].id}")
    assert dropped is not None and "it does not run: crashed" in dropped.payload["reason"]
    dropped = lab.ledger.event(f"dropped:{made['forbidden'].id}")
    assert dropped is not None and "may not be changed: grade.py" in dropped.payload["reason"]
    check_whole(lab)
