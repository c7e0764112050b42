"""Cheap trials first: what falls behind is spared the full trial, while the cheap ones predict."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from novum.agents.brains.scripted import ScriptedModel, calls
from novum.agents.replay.verify import Verification, verify
from novum.agents.research import work
from novum.agents.screening import FIRST_PAIRS, SHARE, Pair
from novum.agents.screens import Screens
from novum.lab.records import Label, Purpose
from novum.lab.toml import dumps
from novum.settings import restore_settings

PACK = Path(__file__).parent.parent / "packs" / "climb"
CHEAP = """
[profiles.tiny.fidelities.cheap]
budget_s = 0.5
[profiles.slow.fidelities.cheap]
budget_s = 0.5
"""
HARM = """        value += 0.05 * max(0.0, depth - 2)
        if context.request.fidelity != "full":
            value = {screened}
"""
PREDICTIVE = "1.5 * value"
"""Everything is worse in a short budget, and in proportion."""
BLIND = "1.0"
"""Noise alone."""


@pytest.fixture
def make_pack(tmp_path: Path) -> Any:
    """Copies `climb` with a cheaper fidelity, whose score is an expression of the full one."""

    def make(screened: str) -> str:
        folder = tmp_path / "packs" / "climb"
        shutil.copytree(PACK, folder)
        with (folder / "pack.toml").open("a") as file:
            file.write(CHEAP)
        path = folder / "grade.py"
        lines = path.read_text().splitlines(keepends=True)
        at = next(i for i, line in enumerate(lines) if "return Graded(" in line)
        depth = next(i for i, line in enumerate(lines) if "rate = next(" in line)
        lines.insert(at, HARM.format(screened=screened))
        found = (
            '        depth = next(float(c.value) for c in constants(files) if c.name == "DEPTH")\n'
        )
        lines.insert(depth, found)
        path.write_text("".join(lines))
        return str(folder)

    return make


MOVES: list[dict[str, Any]] = [{"set": {"DEPTH": n}} for n in range(3, 15)]
"""Ever deeper programs, each 0.05 worse than the one before, and two good features among them."""
MOVES[0:0] = [{"apply": ["alpha"]}]
MOVES[11:11] = [{"apply": ["beta"]}]
N = 13
N_FIRST = 9


def planner(moves: list[dict[str, Any]]) -> ScriptedModel:
    return ScriptedModel(
        answers=[
            calls(("propose", {"hypothesis": f"try {m}", "kind": "constants", "move": m}))
            for m in moves
        ]
    )


def of_kind(lab: Any, kind: str) -> list[dict[str, Any]]:
    return [e.payload for e in lab.ledger.events(kinds=[kind])]


async def test_a_screen_that_predicts_saves_trials_over_a_resume_and_is_made_again(
    make_lab: Any, make_pack: Any
) -> None:
    given = {"benchmark": make_pack(PREDICTIVE), "ablate": 0.0}
    first = make_lab(planner=planner(MOVES), budget={"experiments": N_FIRST}, **given)
    await work(first, 1)
    known = first.screens
    lab = make_lab(planner=planner(MOVES[N_FIRST:]), budget={"experiments": N}, **given)
    assert (lab.screens.pairs, lab.screens.scores) == (known.pairs, known.scores)
    assert lab.screens.n_behind == known.n_behind > 0
    assert lab.findings.moves == first.findings.moves
    await work(lab, 1)

    decided = of_kind(lab, "screen")
    behind = [d for d in decided if d["is_behind"]]
    out = [d for d in decided if not d["goes_on"]]
    assert len(decided) == N and not any(d["is_behind"] for d in decided[:FIRST_PAIRS])
    assert len(behind) >= SHARE and len(behind) - len(out) == len(behind) // SHARE
    lessons = {x.proposal: x for x in lab.ledger.lessons()}
    for one in out:
        ran = {t.purpose for t in lab.ledger.trials(proposal=one["proposal"])}
        assert ran == {Purpose.SMOKE, Purpose.SCREEN} and not one["gain"] > 0
        dropped = lab.recorded("dropped", one["proposal"])
        assert dropped["reason"].startswith("screened out: -") and not dropped["broken"]
        lesson = lessons[one["proposal"]]
        assert lesson.label is Label.INCONCLUSIVE and lesson.gain is None
    n_full = len({t.tree for t in lab.ledger.trials(purpose=Purpose.SEARCH)})
    assert n_full == N - len(out)
    assert {m for node in lab.findings.frontier for m in node.moves} >= {"alpha", "beta"}
    # A head was screened when it was a candidate; of the references only the start was not.
    assert len(lab.ledger.trials(purpose=Purpose.SCREEN)) == N + 1
    assert not of_kind(lab, "screen.off")

    found = await made_again(lab, {**given, "budget": {"experiments": N}})
    assert found.problem == "" and found.is_whole


async def made_again(lab: Any, given: dict[str, Any]) -> Verification:
    """Verify a run by replay."""
    values = {"policy": "greedy", "profile": "tiny", **given}
    info = {**lab.run.info, "settings": restore_settings(values).saved()}
    info["slots"] = lab.runner.n_slots
    (lab.run.path / "run.toml").write_text(dumps(info))
    return await asyncio.to_thread(verify, type(lab.run).open(lab.run.path))


async def test_threads_that_were_cut_off_among_their_screens_go_on_and_are_made_again(
    make_lab: Any, make_pack: Any
) -> None:
    given = {
        "benchmark": make_pack(PREDICTIVE),
        "policy": "frontier",
        "profile": "slow",
        "budget": {"experiments": 5},
        "ablate": 0.0,
    }
    lab = make_lab(**given)
    running = asyncio.create_task(work(lab, 2))
    while not lab.ledger.trials(purpose=Purpose.SCREEN):
        await asyncio.sleep(0.02)
    lab.control.interrupt()
    await running
    begun = {plan["proposal"] for plan in of_kind(lab, "screen.plan")}
    decided = {screen["proposal"] for screen in of_kind(lab, "screen")}
    assert begun > decided
    lab = make_lab(**given)
    await work(lab, 2)
    # Which ideas there are is the brain's choice, and one that does not run is not screened.
    planned = {plan["proposal"] for plan in of_kind(lab, "screen.plan")}
    assert planned > begun
    assert planned == {screen["proposal"] for screen in of_kind(lab, "screen")}
    found = await made_again(lab, given)
    assert found.problem == "" and found.is_whole


async def test_a_screen_that_does_not_predict_is_switched_off_and_says_so(
    make_lab: Any, make_pack: Any
) -> None:
    given = {"benchmark": make_pack(BLIND), "ablate": 0.0}
    lab = make_lab(planner=planner(MOVES), budget={"experiments": 10}, **given)
    await work(lab, 1)
    (off,) = of_kind(lab, "screen.off")
    assert off["pairs"] >= 8 and off["correlation"] < off["least"]
    plans = of_kind(lab, "screen.plan")
    assert len(plans) == 10 and not plans[-1]["is_on"]
    assert len(of_kind(lab, "screen")) == sum(p["is_on"] for p in plans) < 10
    again = make_lab(budget={"experiments": 10}, **given)
    assert again.screens.is_off


async def test_nothing_is_screened_where_the_setting_or_the_profile_says_no(
    make_lab: Any, make_pack: Any
) -> None:
    pack = make_pack(PREDICTIVE)
    assert make_lab("on", benchmark=pack).screens.fidelity == "cheap"
    assert make_lab("without").screens.fidelity == ""
    lab = make_lab("off", benchmark=pack, screens=False, budget={"experiments": 1})
    await work(lab, 1)
    assert not lab.ledger.trials(purpose=Purpose.SCREEN) and not of_kind(lab, "screen.plan")


def test_a_forecast_follows_the_pairs_and_is_wider_where_they_scatter() -> None:
    clean, noisy = Screens(fidelity="cheap"), Screens(fidelity="cheap")
    for i in range(12):
        gain = (i - 6) / 100
        clean.pairs.append(Pair(gain, 0.5 * gain, 1.0))
        noisy.pairs.append(Pair(gain, 0.5 * gain + 0.05 * (-1) ** i, 1.0))
    a, b = clean.forecast(-0.06, 0.01), noisy.forecast(-0.06, 0.01)
    assert a.mean == pytest.approx(-3.0, abs=0.3)
    assert a.scale < b.scale and a.chance < 0.05 < b.chance < 0.5
    assert clean.correlation() == pytest.approx(1.0) and noisy.is_useless
    assert not clean.is_useless and not Screens(fidelity="cheap").is_useless


def test_pairs_that_were_let_on_stand_for_those_that_were_not() -> None:
    screens = Screens(fidelity="cheap")
    # Among what passes the screen tells little; with what it holds back, it tells a lot.
    passing = [(0.01, -0.01), (-0.01, 0.01), (0.02, 0.0), (0.0, 0.02)] * 2
    screens.pairs.extend(Pair(x, y, 1.0) for x, y in passing)
    assert screens.is_useless
    screens.pairs.append(Pair(-0.08, -0.07, float(SHARE)))
    assert (screens.correlation() or 0.0) > 0.9
