"""Known ideas are put together, clashes are told to a coder, and a champion is taken apart."""

from __future__ import annotations

from typing import Any

from novum.agents.ablation import RESULT, ablate
from novum.agents.baseline import measure_noise
from novum.agents.carrying import CARRIED, describe_clash, put_together
from novum.agents.choosing import CHOICE, choose_where
from novum.agents.lab import Lab
from novum.agents.search.findings import CARRY
from novum.agents.search.protocol import Choice
from novum.app.reading import reading
from novum.app.report import _part
from novum.lab.records import Kind, Label, Proposal, Purpose, Verdict


async def start(make_lab: Any, **given: Any) -> Lab:
    lab: Lab = make_lab(policy="frontier", **given)
    await measure_noise(lab)
    return lab


def change(lab: Lab, id: str, old: bytes, new: bytes, base: str = "") -> str:
    """A candidate that a coder made: its proposal is the idea."""
    parent = base or lab.findings.start
    proposal = Proposal(id, 0, int(id[-1]), f"{new!r} helps", Kind.DATA, (parent,), "b")
    lab.add_proposal(proposal)
    files = lab.archive.files(parent)
    name = next(n for n, text in files.items() if old in text)
    return lab.freeze(proposal, {**files, name: files[name].replace(old, new)}, f"do {id}", ())


def lines(lab: Lab) -> list[bytes]:
    files = lab.archive.files(lab.findings.start)
    (text,) = [t for n, t in files.items() if n.endswith(".py")]
    found = [x for x in text.splitlines(keepends=True) if b" = " in x and not x.startswith(b" ")]
    return [found[0], found[-1]]


async def test_changes_written_apart_are_merged_and_read_back_the_same(make_lab: Any) -> None:
    lab = await start(make_lab)
    first, last = lines(lab)
    change(lab, "p0-1", first, b"# one\n" + first)
    change(lab, "p0-2", last, last + b"# two\n")
    tree = put_together(lab, "p0-3", lab.findings.start, ("p0-1", "p0-2"))
    files = b"".join(lab.archive.files(tree).values())
    assert b"# one\n" in files and b"# two\n" in files
    node = lab.findings.nodes[tree]
    assert node.ideas == ("p0-1", "p0-2") and len(node.parents) == 3
    assert put_together(lab, "p0-4", lab.findings.start, ("p0-1", "p0-2")) == tree
    assert len(lab.ledger.events(kinds=[CARRIED])) == 1
    before = lab.findings.sources
    lab = make_lab(policy="frontier")
    assert lab.findings.nodes[tree].ideas == node.ideas and lab.findings.sources == before


async def test_a_clash_is_left_out_recorded_and_shown_with_what_both_wanted(make_lab: Any) -> None:
    lab = await start(make_lab)
    first, _ = lines(lab)
    one = change(lab, "p0-1", first, b"# one way\n" + first)
    change(lab, "p0-2", first, b"# another way\n" + first)
    tree = put_together(lab, "p0-3", lab.findings.start, ("p0-1", "p0-2"))
    assert lab.findings.nodes[tree].ideas == ("p0-1",) and tree == one
    assert lab.findings.sources["p0-2"].n_clashed == 1
    told = describe_clash(lab, one, "p0-2")
    for words in ("one way", "another way", "<<<<<<< workspace", "p0-1: ", "p0-2"):
        assert words in told
    # A coder makes it fit: from now on the idea has a form that merges with the other one.
    fits = Proposal("p0-4", 0, 4, "both", Kind.DATA, (one,), "b", {CARRY: "p0-2"})
    lab.add_proposal(fits)
    files = lab.archive.files(one)
    name = next(n for n, text in files.items() if b"# one way" in text)
    both = files[name].replace(b"# one way\n", b"# one way\n# another way\n")
    made = lab.freeze(fits, {**files, name: both}, "both", ())
    assert lab.findings.nodes[made].ideas == ("p0-1", "p0-2")
    assert put_together(lab, "p0-5", one, ("p0-1", "p0-2")) == made


async def test_other_ideas_that_come_to_the_same_files_are_known_after_a_resume(
    make_lab: Any, as_recorded: Any
) -> None:
    lab = await start(make_lab)
    first, last = lines(lab)
    change(lab, "p0-1", first, b"# one\n" + first)
    change(lab, "p0-2", last, last + b"# two\n")
    files = lab.archive.files(lab.findings.start)
    name = next(n for n, text in files.items() if first in text)
    both = files[name].replace(first, b"# one\n" + first).replace(last, last + b"# two\n")
    lab.add_proposal(
        Proposal("p0-3", 0, 3, "both", Kind.DATA, (lab.findings.start,), "b", {"note": 1})
    )
    made = lab.freeze(lab.findings.proposals["p0-3"], {**files, name: both}, "do both", ())
    assert put_together(lab, "p0-4", lab.findings.start, ("p0-1", "p0-2")) == made
    assert lab.findings.by_ideas["p0-1", "p0-2"] == lab.findings.by_ideas[("p0-3",)] == made
    assert not as_recorded(lab)
    again = make_lab(policy="frontier")
    assert again.findings.by_ideas["p0-1", "p0-2"] == made
    assert not as_recorded(again)


async def test_a_clash_that_is_met_again_for_the_same_purpose_counts_once(
    make_lab: Any, as_recorded: Any
) -> None:
    lab = await start(make_lab)
    first, _ = lines(lab)
    change(lab, "p0-1", first, b"# one way\n" + first)
    change(lab, "p0-2", first, b"# another way\n" + first)
    for _ in range(2):  # as when a run is resumed and certified once more
        put_together(lab, "final", lab.findings.start, ("p0-1", "p0-2"))
        assert lab.findings.sources["p0-2"].n_clashed == 1
        assert not as_recorded(lab)


async def test_a_banned_technique_is_carried_no_further(make_lab: Any) -> None:
    from novum.lab.records import Directive

    lab = await start(make_lab)
    proposal = Proposal("p0-1", 0, 1, "h", Kind.DATA, (lab.findings.start,), "b",
                        {"apply": ["alpha"]})  # fmt: skip
    lab.add_proposal(proposal)
    files = lab.moves.apply("alpha", lab.archive.files(lab.findings.start))
    tree = lab.freeze(proposal, files, "alpha", ("alpha",))
    wanted = Choice("improve", (tree,), Kind.DATA, carry=("alpha",))
    lab.policy.choose = lambda *_: wanted  # type: ignore[method-assign]
    assert choose_where(lab, 0, "p0-2")[0].parents == (tree,)
    lab.ledger.add_directive(Directive("d1", "Not that.", action={"ban": "alpha"}))
    assert choose_where(lab, 0, "p0-3")[0].parents == (lab.findings.start,)
    assert lab.recorded(CHOICE, "p0-3") is not None


async def test_each_change_of_a_champion_is_taken_out_once_and_the_report_says_what_it_is_worth(
    make_lab: Any,
) -> None:
    lab = await start(make_lab)
    lab.ablate = 4.0  # trials as a share of the five that measured the noise
    made: dict[str, str] = {}
    for i, name in enumerate(("alpha", "gamma")):
        parent = made.get("alpha", lab.findings.start)
        proposal = Proposal(f"p0-{i}", 0, i, name, Kind.DATA, (parent,), "b", {"apply": [name]})
        lab.add_proposal(proposal)
        files = lab.moves.apply(name, lab.archive.files(parent))
        made[name] = lab.freeze(proposal, files, name, (name,))
    verdict = lab.ledger.add_verdict(
        Verdict("v", "p0-1", made["gamma"], lab.findings.start, Label.CONFIRMED, "")
    )
    await ablate(lab)
    assert not lab.ledger.trials(purpose=Purpose.ABLATION)  # nothing is confirmed
    lab.ledger.set_champion(made["gamma"], verdict.id)
    await ablate(lab)
    n_trials = len(lab.ledger.trials(purpose=Purpose.ABLATION))
    results = [e.payload for e in lab.ledger.events(kinds=[RESULT])]
    assert {r["idea"] for r in results} == {"alpha", "gamma"} and n_trials == 12
    for result in results:
        low, high = result["interval"]
        assert low < result["gain"] < high and result["n"] == 4
    await ablate(lab)  # a resumed run has it already
    assert len(lab.ledger.trials(purpose=Purpose.ABLATION)) == n_trials
    with reading("run", lab.run.path.parent) as read:
        words = [_part(read, part) for part in read.story.parts]
    assert [w["name"] for w in words] == [r["idea"] for r in results] and words[0]["gain"]
