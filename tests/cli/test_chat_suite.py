"""The suite that measures chat and steering measures what it says; how fast is not asked here."""

from __future__ import annotations

import pytest

from novum.app.latency import chat


@pytest.mark.slow
def test_the_suite_asks_every_command_and_sees_every_directive_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat, "N_TOLD", 2)
    monkeypatch.setattr(chat, "N_TIMES", 1)
    found = chat.measure(40)
    assert found.n_candidates == 40 and found.n_events > 400
    assert {"/status", "/why", "/recall", "words to an assistant"} <= {
        r[0] for r in found.content_ms
    }
    assert [r[0] for r in found.steering_s] == [
        "directive to a busy thread",
        "end of a pause",
        "idea to a waiting thread",
        "answer to a question",
    ]
    assert all(0 < mid <= worst for _, mid, worst in [*found.content_ms, *found.steering_s])
    assert "MISSED" not in chat.render(found).splitlines()[0]
