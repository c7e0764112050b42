"""The coder: from a proposal to a frozen candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_core.messages import HumanMessage
from langgraph.runtime import Runtime

from novum.agents.ask import NO_ANSWER
from novum.agents.carrying import describe_clash
from novum.agents.conversation import Conversation
from novum.agents.lab import Lab
from novum.agents.outside import FILES, hand_in
from novum.agents.prompting import MAX_TASK, render
from novum.agents.search.findings import CARRY
from novum.agents.services import ArchiveCandidates, SandboxShell, smoke_service
from novum.agents.state import Fix, State
from novum.errors import ToolError
from novum.lab.counted import counted
from novum.lab.paths import check_names
from novum.lab.records import Proposal
from novum.tools.desk import Desk, GaveUp, Submitted
from novum.tools.text import bounded
from novum.tools.workspace import Workspace

MAX_FIXES = 3
"""Failed smoke tests that come back to the coder before the proposal is invalid."""
MAX_FEEDBACK = 6_000
MAX_LIKE = 3
"""Earlier errors that are shown beside a new one."""


@dataclass
class Session:
    """A coder at work. It is kept between the turns of one iteration, and rebuilt after a crash."""

    talk: Conversation
    desk: Desk
    n_fixes: int = 0

    def close(self) -> None:
        """Leave the workspace to the thread's next proposal."""
        self.desk.need_workspace().leave()


async def code(state: State, runtime: Runtime[Lab]) -> State:
    """Work until a candidate is submitted or given up.

    Reads `proposal` and `fixes`; writes `candidate` and `turns`, or `dropped`.
    """
    lab = runtime.context
    proposal = lab.findings.proposals[state["proposal"]]
    if tree := proposal.move.get("retest"):
        summary = lab.findings.nodes[tree].summary
        lab.freeze(proposal, lab.archive.files(tree), summary, ())
        return {"candidate": tree, "turns": 0, "wanted": None}
    if FILES in proposal.move:
        return take_files(lab, proposal, state.get("fixes", []))
    session = lab.sessions.get(proposal.id)
    if session is None:
        session = lab.sessions[proposal.id] = open_session(lab, proposal)
    try:
        is_done = await work(session, state.get("fixes", []), lab.coder_turns)
    except NO_ANSWER as error:
        return {"dropped": str(error), "broken": False}
    turns = session.talk.n_turns
    if not is_done:
        return {"dropped": f"nothing was submitted in {counted(turns, 'turn')}", "broken": True}
    outcome = session.desk.outcome
    if isinstance(outcome, GaveUp):
        return {"dropped": f"given up: {outcome.reason}", "broken": True, "turns": turns}
    assert isinstance(outcome, Submitted)
    await lab.turn(proposal.id)
    tree = lab.freeze(proposal, outcome.files, outcome.summary, tuple(session.desk.applied))
    return {"candidate": tree, "turns": turns, "wanted": None}


def take_files(lab: Lab, proposal: Proposal, fixes: Sequence[Fix]) -> State:
    """Freeze what was handed in from outside. Nobody is there to repair it."""
    if fixes:
        return {"dropped": f"it does not run: {bounded(fixes[-1]['error'], 1_000)}", "broken": True}
    try:
        return {"candidate": hand_in(lab, proposal), "turns": 0, "wanted": None}
    except ToolError as error:
        return {"dropped": f"refused: {error}", "broken": True}


async def work(session: Session, fixes: Sequence[Fix], max_turns: int) -> bool:
    """Take turns until there is an outcome; failed smoke tests come in where they came before."""
    for number, fix in enumerate(fixes, 1):
        if number <= session.n_fixes:
            continue
        await session.talk.run(fix["turn"])  # in a rebuilt session: plays back what was recorded
        session.desk.outcome = None
        error = bounded(fix["error"], MAX_FEEDBACK)
        like = session.talk.lab.memory.recall_failures(error, MAX_LIKE)
        text = render("feedback", n=number, limit=MAX_FIXES, error=error, like=like)
        session.talk.say(text, feedback=number)
        session.n_fixes = number
    return await session.talk.run(max_turns + sum(f["turn"] for f in fixes[-1:]))


def open_session(lab: Lab, proposal: Proposal) -> Session:
    """A workspace with the files of the first parent, a desk, and the opening message."""
    files = lab.archive.files(proposal.parents[0])
    idea = proposal.move.get(CARRY, "")
    workspace = Workspace(lab.scratch / f"thread-{proposal.thread}", files, lab.pack.is_editable)
    desk = Desk(
        workspace=workspace,
        shell=SandboxShell(lab.sandbox, lab.profile),
        smoke=smoke_service(lab, proposal),
        moves=lab.moves,
        precedents=lab.memory,
        candidates=ArchiveCandidates(lab.archive, lab.findings.nodes),
        bench=lab.runner.use_tool,
        check_files=lambda files: check_files(lab, proposal, files),
    )
    opening = HumanMessage(
        render(
            "coder",
            benchmark=lab.pack.id,
            task=bounded(lab.pack.task, MAX_TASK),
            proposal=proposal,
            files=[f"{n} ({len(c)} bytes)" for n, c in files.items()][:200],
            clash=describe_clash(lab, proposal.parents[0], idea) if idea else "",
        ),
        additional_kwargs={
            "proposal": {
                "hypothesis": proposal.hypothesis,
                "move": proposal.move,
                "parents": list(proposal.parents),
            }
        },
    )
    talk = Conversation(lab, "coder", f"{proposal.id}/coder", lab.coder_tools, desk, opening)
    return Session(talk, desk)


def check_files(lab: Lab, proposal: Proposal, files: Mapping[str, bytes]) -> None:
    """Refuse files that were measured already, unless they are this proposal's own.

    Raises:
        ToolError: naming the proposal that tried them, or the file whose name is not allowed.
    """
    check_names(files)
    node = lab.findings.nodes.get(lab.archive.tree_of(files))
    if node is None or node.proposal == proposal.id or lab.directives.allow_repeat:
        return
    raise ToolError(f"exactly these files were tried as {node.proposal}; change more, or give up")
