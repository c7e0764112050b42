"""Put a candidate together from known ideas: each change is merged onto the others.

An idea is the difference between a candidate and the one it was made on. A technique or constant is
applied by its name, as the pack defines it; what a coder wrote is merged three ways. An idea that
clashes with what is there already is left out, and the clash is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from novum.agents.search.findings import Findings
from novum.agents.search.naming import ideas_of
from novum.agents.search.node import Source
from novum.errors import DoesNotApply
from novum.lab.records import Candidate

if TYPE_CHECKING:
    from novum.agents.lab import Lab
    from novum.lab.archive import Conflict

CARRIED, CLASHED = "carried", "clashed"
OWNER = "carry:"
"""How the proposal of a candidate begins that was put together: `carry:` and who asked for it."""
MAX_SHOWN = 8
QUOTED = 3_000


def put_together(lab: Lab, owner: str, base: str, carry: tuple[str, ...]) -> str:
    """The tree of the base with these ideas merged into it; made a candidate when it is new.

    `owner` is the proposal it is for: asked again, the same is made.
    """
    findings = lab.findings
    node = findings.nodes[base]
    missing = set(carry) - set(node.ideas)
    files = lab.archive.files(base)
    done, left = list(node.ideas), []
    for idea in (i for i in findings.sources if i in missing):  # as they were found
        changed = bring(lab, files, idea)
        if changed is None:
            left.append(idea)
        else:
            files, done = changed, [*done, idea]
    ideas = ideas_of(done)
    known = findings.by_ideas.get(ideas)
    if known is None:
        known = freeze(lab, owner, base, files, ideas)
    if left and lab.recorded(CLASHED, owner) is None:  # asked again, it clashes as it did
        lab.note(CLASHED, owner, {"base": known, "left_out": left})
        findings.note_clashes(left)
    return known


def bring(lab: Lab, files: Mapping[str, bytes], idea: str) -> dict[str, bytes] | None:
    """All files after an idea was merged in; `None` when it clashes."""
    source = lab.findings.sources[idea]
    if source.is_named:
        try:
            return lab.moves.make(idea, files)
        except DoesNotApply:
            pass  # as it was coded then it may still fit
    for before, after in source.commits:
        merged = lab.archive.carry(files, before, after)
        if merged.is_clean:
            return dict(merged.files)
    return None


def freeze(
    lab: Lab, owner: str, base: str, files: Mapping[str, bytes], ideas: tuple[str, ...]
) -> str:
    """Make what was put together a candidate; its parents are those it was taken from."""
    findings = lab.findings
    new = [i for i in ideas if i not in findings.nodes[base].ideas]
    taken = [findings.sources[i].commits[0][1] for i in new if findings.sources[i].commits]
    parents = tuple(dict.fromkeys((base, *taken)))
    summary = f"{len(ideas)} ideas together: {', '.join(ideas)}"
    made_s = lab.ledger.candidate(base).created_s
    tree, commit = lab.archive.put(
        files,
        [findings.nodes[tree].commit for tree in parents],
        summary,
        {"Proposal": OWNER + owner},
        made_s,
    )
    key, carried = f"{owner}/{tree}", {"tree": tree, "ideas": list(ideas)}
    if tree in findings.nodes:  # other ideas that come to the same files
        if lab.recorded(CARRIED, key) is None:
            lab.note(CARRIED, key, carried)
            findings.note_same(ideas, tree)
        return tree
    candidate = Candidate(
        tree=tree,
        commit=commit,
        parents=parents,
        proposal=OWNER + owner,
        summary=summary[:600],
        changed_lines=lab.archive.stat(base, tree).changed_lines,
        created_s=lab.clock(),
    )
    with lab.ledger.batch():
        lab.note(CARRIED, key, carried)
        kept = lab.ledger.add_candidate(candidate)
    findings.note_candidate(kept, carried=ideas)
    return tree


def describe_clash(lab: Lab, base: str, idea: str) -> str:
    """What a coder needs to make an idea fit a base with which it clashes: both sides of each
    conflict, and what both wanted."""
    findings = lab.findings
    source, node = findings.sources[idea], findings.nodes[base]
    here = [f"- {i}: {findings.sources[i].hypothesis}" for i in node.ideas[-MAX_SHOWN:]]
    told = [f"To bring in ({idea}): {source.hypothesis}", "", "In the workspace already:", *here]
    for before, after in source.commits[:1]:
        told += ["", f"The change as it was made on {before[:10]}:", ""]
        told.append(lab.archive.diff(before, after, max_chars=2 * QUOTED))
        merged = lab.archive.carry(lab.archive.files(base), before, after)
        told += [_sides(conflict) for conflict in merged.conflicts[:2]]
    return "\n".join(told)


def can_be_resolved(findings: Findings, idea: str) -> Source | None:
    """An idea that clashes and has a change of its own that a coder could be shown."""
    source = findings.sources.get(idea)
    return source if source is not None and source.n_clashed and source.commits else None


def _sides(conflict: Conflict) -> str:
    ours, theirs = (
        "(no such file)" if side is None else side.decode(errors="replace")[:QUOTED]
        for side in (conflict.ours, conflict.theirs)
    )
    return (
        f"\n{conflict.path} clashes.\n<<<<<<< workspace\n{ours}\n=======\n{theirs}\n>>>>>>> change"
    )
