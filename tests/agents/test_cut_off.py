"""What a kill leaves between a node's answer and its checkpoint, made on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from novum.agents.brains.scripted import ScriptedModel, calls
from novum.agents.checkpoints import InlineSqliteSaver
from novum.agents.research import work


class Killed(BaseException):
    """The process is no more."""


async def work_until(
    lab: Any, monkeypatch: pytest.MonkeyPatch, is_time: Callable[[], bool]
) -> None:
    """Work, and die instead of saving the first checkpoint after which `is_time` holds."""
    put = InlineSqliteSaver.aput

    async def die(saver: InlineSqliteSaver, config: Any, *rest: Any) -> Any:
        if is_time():
            raise Killed
        return await put(saver, config, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(InlineSqliteSaver, "aput", die)
        with pytest.raises(BaseExceptionGroup) as caught:
            await work(lab, 1)
    assert caught.group_contains(Killed)


def propose(name: str) -> Any:
    args = {"hypothesis": f"{name} helps", "kind": "architecture", "move": {"apply": [name]}}
    return calls(("propose", args))


async def test_what_a_finished_iteration_left_does_not_steer_the_next(
    make_lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    coder = ScriptedModel(answers=[calls(("give_up", {"reason": "no"}))])
    lab = make_lab(
        planner=ScriptedModel(answers=[propose("alpha")]), coder=coder, budget={"experiments": 1}
    )

    async def keep(saver: InlineSqliteSaver, thread_id: str) -> None:
        """The kill came before the checkpoints of the finished iteration were removed."""

    with monkeypatch.context() as patch:
        patch.setattr(InlineSqliteSaver, "adelete_thread", keep)
        await work(lab, 1)
    assert lab.ledger.event("dropped:p0-0")
    lab = make_lab(planner=ScriptedModel(answers=[propose("beta")]), budget={"experiments": 2})
    await work(lab, 1)
    assert lab.ledger.verdicts(proposal="p0-1")
    assert not lab.ledger.event("dropped:p0-1")


async def test_a_node_whose_answer_was_saved_before_the_kill_is_not_taken_for_the_end(
    make_lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = ScriptedModel(answers=[propose("alpha")])
    lab = make_lab(planner=planner, budget={"experiments": 1})
    await work_until(
        lab,
        monkeypatch,
        lambda: bool(lab.ledger.verdicts(proposal="p0-0") and not lab.ledger.lessons()),
    )
    lab = make_lab(planner=ScriptedModel(answers=[propose("beta")]), budget={"experiments": 2})
    await work(lab, 1)
    assert [x.proposal for x in lab.ledger.lessons()] == ["p0-0", "p0-1"]
    lab.ledger.verify()
