"""The ledger of a long run, written without doing the research: for measuring what reads it."""

from __future__ import annotations

from pathlib import Path
from random import Random

from novum.agents.lab import DROPPED
from novum.lab.ledger import Ledger
from novum.lab.records import (
    Candidate,
    Directive,
    Evidence,
    Kind,
    Label,
    Lesson,
    Outcome,
    Proposal,
    Purpose,
    TrialStatus,
    Verdict,
)
from novum.lab.run import RunFolder

BATCH = 200
LABELS = (Label.NOISE, Label.INCONCLUSIVE, Label.REGRESSION, Label.PROMISING, Label.INVALID)
WORDS = "depth width data batch rate decay norm cache tile warmup gate mixture rope bias".split()
METRIC = {"name": "loss", "unit": "nat", "better": "lower", "digits": 4, "self_reported": False}


def make_run(runs: Path, n: int, seed: int = 0) -> RunFolder:
    """A run named `long` with `n` judged candidates, about eleven events each."""
    run = RunFolder.create(
        runs,
        "long",
        benchmark="nanochat",
        profile="cpu",
        settings={"benchmark": "nanochat", "threads": 4},
        about={"metric": METRIC, "start": "vanilla", "slots": 2},
    )
    rng = Random(seed)
    with run.ledger() as ledger:
        archive = run.archive()
        tree, commit = archive.put({"train.py": b"DEPTH = 2\n"}, (), "Start", {}, 1.0)
        ledger.add_candidate(Candidate(tree, commit, (), "start:vanilla", "Start"))
        for begin in range(0, n, BATCH):
            with ledger.batch():
                for i in range(begin, min(begin + BATCH, n)):
                    _one(run, ledger, rng, i, tree, commit)
    return run


def _one(run: RunFolder, ledger: Ledger, rng: Random, i: int, start: str, commit: str) -> None:
    """One proposal from choice to lesson."""
    thread, iteration = i % 4, i // 4
    id, tree = f"p{thread}-{iteration}", f"{rng.getrandbits(160):040x}"
    hypothesis = f"More {rng.choice(WORDS)} helps the {rng.choice(WORDS)} at step {i}"
    kind = rng.choice(tuple(Kind))
    ledger.append("choice", {"mode": "improve", "parents": [start]}, f"choice:{id}")
    ledger.add_proposal(Proposal(id, thread, iteration, hypothesis, kind, (start,), "playbook"))
    ledger.add_candidate(Candidate(tree, commit, (start,), id, hypothesis))
    trials = []
    for j, purpose in enumerate((Purpose.SEARCH, Purpose.RACE)):
        trial = ledger.launch_trial(
            f"{id}/{j}", tree=tree, proposal=id, purpose=purpose, split="search",
            fidelity="full", harness="h", hardware="cpu", slot=0, nonce=run.nonce,
            benchmark="nanochat", profile="cpu",
        )  # fmt: skip
        log = run.blobs.put("step 1\nstep 2\n")
        metric = rng.gauss(2.8, 0.05)
        ledger.end_trial(trial.id, TrialStatus.FINISHED, metric=metric, log_blob=log)
        trials.append(trial.id)
    evidence = Evidence(
        f"race-{i:016x}", id, tree, "race", Outcome.PASS, "t 1.2", {}, tuple(trials)
    )
    ledger.add_evidence(evidence)
    label, gain = rng.choices(LABELS, (50, 20, 20, 8, 2))[0], rng.gauss(0.0, 0.05)
    verdict = Verdict(
        f"verdict-{i:016x}", id, tree, start, label, "as it was measured", gain,
        (gain - 0.1, gain + 0.1), 0.2, "search", (evidence.id,), i,
    )  # fmt: skip
    ledger.add_verdict(verdict)
    lesson = Lesson(
        f"lesson-{id}", "nanochat", hypothesis, kind, "x", label, gain, None, 1.0, id, tree
    )
    ledger.add_lesson(lesson)
    ended = {"thread": thread, "iteration": iteration, "proposal": id}
    ledger.append("iteration", ended, f"iteration:{thread}/{iteration}")
    if i % 500 == 0:
        ledger.add_directive(Directive(ledger.next_id("d"), f"Look at {rng.choice(WORDS)}."))
    if label is Label.INVALID:
        reason = {"tree": tree, "reason": "it crashed", "broken": True}
        ledger.append(DROPPED, reason, f"{DROPPED}:{id}")
