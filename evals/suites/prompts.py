"""How large prompts are as a run grows: real research, and what every brain of it was sent.

Real graph, ledger, memory and audit on a pack whose trials cost nothing and whose wins go on for
long, so that lineages, lessons and what was tried grow. The planner is a script that writes as much
as models do; the sizes are those of the recorded questions. Beside them, one conversation with ever
more tool output, as it is sent.

    novum eval prompts --iterations 1000
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

# A suite looks at the house from outside, so it imports from all of it, where it is run.
from novum.evals.goals import all_met, table
from novum.evals.suites.options import at_least, parser_of

SLOPE = Path(__file__).parent / "slope"
N_ITERATIONS = 1_000
MARKS = (10, 100, 1_000)
N_DIRECTIVES = 20
TOOL_OUTPUT = 4_000
"""Characters of tool output in each turn of the long conversation."""
GOAL_BYTES = 40_000
"""An opening is never longer, and nothing of it is cut."""
CUT = "characters cut here"
SECTION = re.compile(r"^#+ (.+)$", re.MULTILINE)
WHY = "It follows from how the parts add up, and what was measured before points the same way. " * 4
Row = tuple[str, str, str, bool | None]


@dataclass(frozen=True, slots=True)
class Opening:
    """The first message of one iteration, by role. Bytes of UTF-8."""

    iteration: int
    planner_bytes: int
    coder_bytes: int
    sections: dict[str, int]
    """Of the planner's, by heading."""
    is_cut: bool
    """Whether something was left out for want of room."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The measurements."""

    openings: tuple[Opening, ...]
    largest: int
    """Bytes of the longest opening of any iteration."""
    n_kept: int
    """Candidates that won."""
    talk: tuple[tuple[int, int, int], ...]
    """Turns of a conversation, its bytes, and the bytes that are sent."""


def measure(
    n_iterations: int = N_ITERATIONS, say: Callable[[str], None] = lambda line: None
) -> Sizes:
    """Run the suite in a temporary folder; `say` hears of its progress."""
    with tempfile.TemporaryDirectory(prefix="novum-prompts-") as name:
        openings, largest, n_kept = asyncio.run(_research(Path(name), n_iterations, say))
    turns = sorted({min(mark, n_iterations) for mark in MARKS})
    return Sizes(openings, largest, n_kept, tuple(talk_of(n) for n in turns))


async def _research(
    folder: Path, n: int, say: Callable[[str], None]
) -> tuple[tuple[Opening, ...], int, int]:
    from novum.agents.budget import BudgetLimits
    from novum.agents.opening import open_lab
    from novum.agents.research import work
    from novum.lab.records import Directive
    from novum.lab.run import RunFolder
    from novum.settings import Settings

    given = {
        "benchmark": str(SLOPE),
        "sandbox": {"kind": "process"},
        "paths": {"cache": folder / "cache", "scratch": folder},
    }
    run = RunFolder.create(folder, "run", benchmark="slope", profile="cpu", settings={})
    with ExitStack() as stack:
        lab = stack.enter_context(open_lab(run, Settings.model_validate(given)))
        lab.brains = {**lab.brains, "planner": talkative_planner()}
        for i in range(N_DIRECTIVES):
            lab.ledger.add_directive(Directive(f"d{i + 1}", f"Mind part {i}. {WHY}"))
        found = []
        for mark in sorted({min(mark, n) for mark in MARKS}):
            lab.begin(BudgetLimits(experiments=mark))
            await work(lab, 1)
            found.append(opening_of(lab, mark))
            say(f"{mark} iterations: {found[-1].planner_bytes} bytes")
        asked = [e for e in lab.ledger.events(kinds=["answer"]) if e.payload["role"] == "planner"]
        largest = max(len(_first_message(lab, e.payload).encode()) for e in asked)
        return tuple(found), largest, sum(1 for _ in lab.findings.frontier)


def talkative_planner() -> Any:
    """A brain that gives another constant a value nobody tried, and says much about it."""
    from langchain_core.messages import AIMessage, BaseMessage

    from novum.agents.brains.scripted import ScriptedModel, calls
    from novum.lab.records import Kind

    def answer(messages: list[BaseMessage]) -> AIMessage:
        situation = messages[0].additional_kwargs["situation"]
        rng = Random(situation["random"])
        name = rng.choice(situation["constants"])["name"]
        # The number of the proposal makes the value new; a multiple of the period keeps it good.
        size = 7 * situation["n_proposals"] + rng.uniform(0.0, 7.0)
        value = f"{-size if rng.random() < 0.05 else size:.3f}"
        kind = rng.choice(tuple(Kind))
        said = f"{name} = {value} lowers the loss. {WHY}"
        return calls(
            ("propose", {"hypothesis": said, "kind": kind, "move": {"set": {name: value}}})
        )

    return ScriptedModel(answers=[answer], repeat=True, keeps=False)


def opening_of(lab: Any, mark: int) -> Opening:
    """What planner and coder of the latest iteration were told first."""
    latest: dict[str, str] = {}
    for event in lab.ledger.events(kinds=["answer"]):
        if text := _first_message(lab, event.payload):
            latest[event.payload["role"]] = text
    text = latest["planner"]
    starts = [(m.start(), m[1]) for m in SECTION.finditer(text)]
    ends = [*(start for start, _ in starts[1:]), len(text)]
    sections = {
        title: len(text[start:end].encode())
        for (start, title), end in zip(starts, ends, strict=True)
    }
    return Opening(
        mark, len(text.encode()), len(latest.get("coder", "").encode()), sections, CUT in text
    )


def _first_message(lab: Any, payload: dict[str, Any]) -> str:
    """The opening of a conversation, where this question was its first."""
    asked = json.loads(lab.run.blobs.get(payload["blob"]))["asked"]
    return str(asked[0]["data"]["content"]) if asked and asked[0]["type"] == "human" else ""


def talk_of(n_turns: int) -> tuple[int, int, int]:
    """A conversation of so many turns that each read a file, and what is sent of it."""
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

    from novum.agents.brains.folding import fold, size
    from novum.settings import BrainSettings

    talk: list[BaseMessage] = [HumanMessage("task " * 1_000)]
    for i in range(n_turns):
        call = {"name": "read_file", "args": {"path": "solve.py"}, "id": f"c{i}"}
        talk.append(AIMessage("", tool_calls=[call]))
        talk.append(ToolMessage("x" * TOOL_OUTPUT, tool_call_id=f"c{i}"))
    sent = fold(talk, BrainSettings().context_chars)
    return n_turns, sum(map(size, talk)), sum(map(size, sent))


def rows(sizes: Sizes) -> list[Row]:
    """What, how much, the goal, and whether it is met; `None` where there is no goal."""
    from novum.settings import BrainSettings

    limit = BrainSettings().context_chars
    made: list[Row] = []
    for o in sizes.openings:
        is_met = o.planner_bytes <= GOAL_BYTES and not o.is_cut
        value = f"{o.planner_bytes} bytes{' (cut)' if o.is_cut else ''}"
        made.append((f"planner, iteration {o.iteration}", value, f"{GOAL_BYTES}", is_met))
        made += [(f"  {title}", f"{n} bytes", "", None) for title, n in o.sections.items()]
        made.append((f"coder, iteration {o.iteration}", f"{o.coder_bytes} bytes", "", None))
    is_met = sizes.largest <= GOAL_BYTES
    made.append(("planner, longest of all", f"{sizes.largest} bytes", f"{GOAL_BYTES}", is_met))
    made.append(("candidates that won", f"{sizes.n_kept}", "", None))
    for n, whole, sent in sizes.talk:
        made.append(
            (f"conversation of {n} turns", f"{whole} bytes, sent {sent}", f"{limit}", sent <= limit)
        )
    return made


def render(sizes: Sizes) -> str:
    """The measurements as a table with the goals beside them."""
    return table(((what[:44], value, goal, met) for what, value, goal, met in rows(sizes)), 44, 32)


def run(arguments: Sequence[str]) -> int:
    """The command: print the table, or one JSON object; exit code 1 when a goal is missed."""
    parser = parser_of("prompts", __doc__)
    parser.add_argument("--iterations", type=at_least(1), default=N_ITERATIONS, metavar="N")
    parser.add_argument("--json", action="store_true", help="one object in place of the table")
    asked = parser.parse_args(arguments)
    sizes = measure(asked.iterations, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(asdict(sizes)) if asked.json else render(sizes))
    return 0 if all_met(rows(sizes)) else 1
