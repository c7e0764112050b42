"""The suite that measures how large prompts are as a run grows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novum.agents.prompting import latest
from novum.evals.suites import prompts


@pytest.mark.slow
def test_prompts_of_real_research_are_measured_by_section() -> None:
    said: list[str] = []
    found = prompts.measure(12, said.append)
    assert [o.iteration for o in found.openings] == [10, 12] and len(said) == 2
    last = found.openings[-1]
    assert {"Where the search stands", "How kinds of change paid"} <= set(last.sections)
    assert 0 < sum(last.sections.values()) <= last.planner_bytes <= found.largest
    assert last.coder_bytes > 500 and not last.is_cut
    assert "MISSED" not in prompts.render(found)
    cut = replace(found, openings=(replace(last, is_cut=True),))
    assert prompts.render(cut).count("MISSED") == 1


def test_a_conversation_of_any_length_is_sent_within_the_limit() -> None:
    whole, sent = prompts.talk_of(2_000)[1:]
    assert sent <= 120_000 < whole


def test_of_a_long_list_the_latest_are_named_and_the_rest_counted() -> None:
    assert latest(("a", "b"), 2) == "a, b"
    assert latest(("a", "b", "c"), 2, "; ") == "1 earlier ones; b; c"
