"""OpenEvolve searches our landscapes behind a played language model, and is charged as we are."""

from __future__ import annotations

import json
from random import Random
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from novum.errors import UsageError
from novum.evals.suites.rivals import evolve
from novum.evals.suites.rivals.bench import CRASHED, Bench, read, served, write
from novum.evals.suites.search import campaign, render, render_own
from novum.evals.suites.surrogate.named import truth

GOOD = "data:1"


def bench_of(budget: int, name: str = "additive") -> Bench:
    return Bench(truth(name, 0), budget, Random(0))


def post(url: str, asked: object) -> dict[str, object]:
    request = Request(url, json.dumps(asked).encode())
    with build_opener(ProxyHandler({})).open(request, timeout=10) as reply:
        found: dict[str, object] = json.load(reply)
        return found


def prompt_of(*ideas: str) -> str:
    other = write(frozenset({"data:99"}))
    return (
        f"# Current Program Information\n- Fitness: 1\n## Top\n```python\n{other}```\n\n"
        f"# Current Program\n```python\n{write(frozenset(ideas))}```\n\n# Task\nRewrite it.\n"
    )


def test_a_program_says_which_ideas_it_has() -> None:
    ideas = frozenset({"data:1", "optimiser:muon"})
    compile(write(ideas), "program.py", "exec")
    assert read(write(ideas)) == ideas
    assert read(write(frozenset())) == frozenset()


def test_the_played_model_adds_one_new_idea_to_the_current_program_of_the_prompt() -> None:
    bench = bench_of(10)
    answers = [read(bench.rewrite(prompt_of("data:1", "data:2"))) for _ in range(5)]
    for ideas in answers:
        assert {"data:1", "data:2"} < ideas
        assert len(ideas) == 3
        assert "data:99" not in ideas
    assert len(set(answers)) == 5
    with pytest.raises(ValueError, match="no current program"):
        bench.rewrite("# Task\nWrite something.")


def test_where_no_idea_is_left_the_same_program_comes_in_other_words() -> None:
    bench = bench_of(10, "nanochat-cpu")
    every: frozenset[str] = frozenset()
    while (new := bench.landscape.draw(None, every, bench.rng)) is not None:
        every |= {new}
    answers = [bench.rewrite(prompt_of(*every)) for _ in range(2)]
    assert answers[0] != answers[1]
    assert read(answers[0]) == read(answers[1]) == every


def test_trials_cost_until_the_budget_is_spent_and_then_nothing_counts() -> None:
    bench = bench_of(3)
    scores = [bench.measure(write(frozenset())) for _ in range(5)]
    assert all(score > CRASHED for score in scores[:3])
    assert scores[3:] == [CRASHED, CRASHED]
    assert (bench.cost, bench.n_measured, bench.start) == (3.0, 3, scores[0])


def test_a_best_score_that_rose_by_luck_alone_is_a_false_keep() -> None:
    bench = bench_of(200)
    for _ in range(200):  # the start, again and again: all that rises is noise
        bench.measure(write(frozenset()))
    assert bench.n_kept == bench.n_false_kept > 0


def test_over_http_it_answers_like_a_model_and_refuses_what_it_cannot_read() -> None:
    bench = bench_of(5)
    with served(bench) as url:
        message = {"role": "user", "content": prompt_of(GOOD)}
        reply = post(f"{url}/v1/chat/completions", {"model": "stub", "messages": [message]})
        text = reply["choices"][0]["message"]["content"]  # type: ignore[index]
        assert GOOD in read(text)
        measured = post(f"{url}/measure", {"program": write(frozenset())})
        assert measured == {"combined_score": bench.start}
        with pytest.raises(HTTPError) as refused:
            post(f"{url}/measure", {"something": "else"})
        refused.value.close()
        assert refused.value.code == 400


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'novum\[openevolve\]'"):
        campaign(("additive", evolve.NAME, 5, 0))


def test_openevolve_itself_spends_the_budget_and_reports_its_best_program() -> None:
    pytest.importorskip("openevolve", reason="needs the extra `openevolve`")
    outcome = campaign(("many-small", evolve.NAME, 6, 1))
    assert outcome.policy == evolve.NAME
    assert 6.0 <= outcome.cost < 7.0
    assert outcome.n_ideas >= 5
    assert 0 <= outcome.n_false_kept <= outcome.n_kept
    assert (outcome.claimed is None) == (outcome.n_kept == 0)
    assert outcome.claimed is None or outcome.claimed > 0.0
    assert outcome.own_cpu_ms > 0.0
    assert f"| 6 | many-small | {evolve.NAME} |" in render([outcome])
    assert f"| 6 | {evolve.NAME} |" in render_own([outcome])
