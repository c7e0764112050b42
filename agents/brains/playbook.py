"""The built-in researcher: no network, no key, deterministic given what it is told.

It reads the situation that every planner gets, chooses by Thompson sampling over the pack's
techniques (prior from the playbook, evidence from this run), turns constants when techniques run
dry and combines branches when the policy asks for it. As a coder it calls the same tools as a
model. It is also the control that a language model has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from novum.agents.brains.choose import choose
from novum.agents.situation import Situation
from novum.lab.records import Json

Step = tuple[str, dict[str, Any]]
SKIPPED = "skipped"
"""How the answer to a call begins that was not carried out because one before it failed."""


class PlaybookModel(BaseChatModel):
    """Plans and codes from the pack's playbook.

    The role is told by what the conversation carries: `situation` makes it plan, `proposal` makes
    it code.
    """

    reads_text: bool = False
    """It goes by the facts; what is told in words is lost on it."""

    @property
    def _llm_type(self) -> str:
        return "playbook"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """It knows the tools of its two roles by heart."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        carried = [m.additional_kwargs for m in messages if m.additional_kwargs]
        if facts := [c["situation"] for c in carried if "situation" in c]:
            refused = [m.text for m in messages if isinstance(m, ToolMessage)]
            steps = [choose(Situation.model_validate(facts[-1]), n_refused=len(refused))]
        elif work := [c["proposal"] for c in carried if "proposal" in c]:
            steps = code(work[-1], messages)
        else:
            raise ValueError("the playbook was asked something without a situation or a proposal")
        turn = sum(isinstance(m, AIMessage) for m in messages)
        answer = AIMessage(
            content="",
            tool_calls=[
                {"name": name, "args": args, "id": f"t{turn}c{i}", "type": "tool_call"}
                for i, (name, args) in enumerate(steps)
            ],
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, None, **kwargs)


def code(proposal: Json, messages: Sequence[BaseMessage]) -> list[Step]:
    """The next tool calls of a coder: make the move, leave out what does not fit, or give up."""
    move = proposal.get("move") or {}
    todo = steps_of(move, proposal.get("parents", ()))
    submit: Step = ("submit", {"summary": proposal["hypothesis"][:600]})
    if not todo:
        return [("give_up", {"reason": "the proposal names no move of the playbook"})]
    asked = [m for m in messages if isinstance(m, AIMessage)]
    if not asked:
        return [*todo, submit]
    if any("feedback" in m.additional_kwargs for m in messages):
        return [("give_up", {"reason": "the change does not run"})]
    replies = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    done: list[Step] = []
    failed: list[tuple[Step, str]] = []
    for call in (c for message in asked for c in message.tool_calls):
        reply = replies.get(call["id"] or "", "")
        if reply.startswith("error:"):
            failed.append(((call["name"], call["args"]), reply))
        elif not reply.startswith((SKIPPED, "nothing changed")):
            done.append((call["name"], call["args"]))
    tried = [*done, *(step for step, _ in failed)]
    left = [step for step in todo if step not in tried]
    if move.get("merge") and failed and failed[0][0][0] == "merge_candidates":
        # The lines clash, but the techniques may still stack.
        left = [s for s in steps_of({"apply": move.get("apply", ())}, ()) if s not in tried]
    if any(step == submit for step, _ in failed) or not (done or left):
        return [("give_up", {"reason": failed[-1][1][:500] if failed else "nothing changed"})]
    return [*left, submit]


def steps_of(move: Json, parents: Sequence[str]) -> list[Step]:
    """A move as tool calls. A merge names the techniques to fall back on, and is one call."""
    if move.get("merge"):
        return [("merge_candidates", {"trees": list(parents)})]
    steps: list[Step] = [("apply_move", {"name": name}) for name in move.get("apply", ())]
    for name, value in move.get("set", {}).items():
        steps.append(("set_constant", {"name": name, "value": str(value)}))
    return steps
