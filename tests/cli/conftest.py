"""A run made by hand, with every kind of fact, for the commands that look at runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from novum.lab.archive import CHAMPION
from novum.lab.ledger import Ledger
from novum.lab.records import (
    Candidate,
    Evidence,
    Kind,
    Label,
    Outcome,
    Probe,
    Proposal,
    Purpose,
    Trial,
    TrialStatus,
    Verdict,
)
from novum.lab.run import RunFolder

METRIC = {
    "name": "bits per byte",
    "unit": "bit/byte",
    "better": "lower",
    "digits": 4,
    "self_reported": False,
}
START = b"DEPTH = 2\nLR = 0.001\n"
SETTINGS = {"threads": 2, "benchmark": "nanochat", "budget": {"experiments": 3}}


class Maker:
    """Writes the records of a run as research would."""

    def __init__(self, run: RunFolder, ledger: Ledger) -> None:
        self.run = run
        self.ledger = ledger
        self.archive = run.archive()
        self.start = self.candidate("start:vanilla", START, ())
        self.counter = itertools.count()

    def candidate(self, proposal: str, content: bytes, parents: tuple[str, ...]) -> str:
        commits = [self.archive.commit_of(tree) for tree in parents]
        tree, commit = self.archive.put({"train.py": content}, commits, "Change", {}, 1.0)
        self.ledger.add_candidate(Candidate(tree, commit, parents, proposal, "Change train.py"))
        return tree

    def trial(
        self,
        tree: str,
        proposal: str,
        purpose: Purpose,
        metric: float | None,
        *,
        sealed: bool = False,
        error: str = "",
    ) -> Trial:
        trial = self.ledger.launch_trial(
            f"effect-{next(self.counter)}",
            tree=tree,
            proposal=proposal,
            purpose=purpose,
            split="sealed" if sealed else "search",
            fidelity="full",
            harness="h" * 64,
            hardware="1x Test CPU",
            slot=0,
            nonce=self.run.nonce,
            benchmark="nanochat",
            profile="cpu",
        )
        status = TrialStatus.CRASHED if metric is None else TrialStatus.FINISHED
        return self.ledger.end_trial(
            trial.id,
            status,
            metric=metric,
            observed={"wall_s": 15.0, "peak_bytes": 3e8},
            claimed={} if metric is None else {"loss": metric - 0.01},
            probes=(Probe("suffix", Outcome.PASS, "later tokens change nothing earlier"),),
            log_blob=self.run.blobs.put("step 1\nstep 2\n" + error),
            error=error,
        )

    def propose(self, id: str, hypothesis: str, parents: tuple[str, ...], thread: int = 0) -> None:
        kind = Kind.ARCHITECTURE if thread >= 0 else Kind.COMBINATION
        self.ledger.add_proposal(Proposal(id, thread, 0, hypothesis, kind, parents, "playbook"))

    def judge(
        self,
        proposal: str,
        tree: str,
        reference: str,
        label: Label,
        gain: float,
        split: str,
        *,
        reason: str = "",
    ) -> Verdict:
        outcome = Outcome.FAIL if label is Label.HACK else Outcome.PASS
        words = reason or "t 4.2 reached the bound"
        evidence = self.ledger.add_evidence(
            Evidence(f"e-{proposal}", proposal, tree, "race", outcome, words)
        )
        return self.ledger.add_verdict(
            Verdict(
                id=f"v-{proposal}",
                proposal=proposal,
                tree=tree,
                reference=reference,
                label=label,
                reason=reason
                or ("reads the next token" if label is Label.HACK else "won its race"),
                gain=gain,
                interval=(gain - 0.1, gain + 0.1),
                p_value=0.002,
                split="sealed" if split == "sealed" else "search",
                evidence=(evidence.id,),
                n_ideas=2,
            )
        )


def begin(runs: Path, name: str) -> RunFolder:
    return RunFolder.create(
        runs,
        name,
        benchmark="nanochat",
        profile="cpu",
        settings=SETTINGS,
        data_fingerprint="f" * 64,
        about={"metric": METRIC, "start": "vanilla", "slots": 2, "trial_budget_s": 15.0},
    )


def research_by_hand(run: RunFolder) -> None:
    """Noise, an idea that wins, one that is a hack with markup in its words, one that crashes, and
    a certification."""
    with run.ledger() as ledger:
        made = Maker(run, ledger)
        ledger.append("session", {"pid": 1}, "session:0/begin")
        for value in (2.87, 2.91, 2.84, 2.9, 2.86):
            made.trial(made.start, "start:vanilla", Purpose.NOISE, value)
        made.propose("p0-0", "Depth helps because features compose", (made.start,))
        deep = made.candidate("p0-0", START.replace(b"2", b"4"), (made.start,))
        made.trial(deep, "p0-0", Purpose.SEARCH, 2.2)
        for value in (2.31, 2.35):
            made.trial(deep, "p0-0", Purpose.RACE, value)
            made.trial(made.start, "p0-0", Purpose.RACE, 2.88)
        made.judge("p0-0", deep, made.start, Label.PROMISING, 0.55, "search")
        made.propose("p1-0", "A <script>alert(1)</script> & peek at [bold]the answer", (deep,), 1)
        hack = made.candidate("p1-0", START + b"PEEK = 1\n", (deep,))
        made.trial(hack, "p1-0", Purpose.SEARCH, 0.4)
        made.judge("p1-0", hack, deep, Label.HACK, 1.9, "search")
        made.propose("p0-1", "A larger step learns more", (deep,))
        fast = made.candidate("p0-1", START + b"LR = 9\n", (deep,))
        made.trial(fast, "p0-1", Purpose.SMOKE, None, error="loss is nan")
        ledger.append(
            "dropped", {"tree": fast, "reason": "it crashed", "broken": True}, "dropped:p0-1"
        )
        made.propose("certify-1", "the best beats the start on data no search has seen", (), -1)
        for value in (2.33, 2.36):
            made.trial(deep, "certify-1", Purpose.CERTIFY, value, sealed=True)
            made.trial(made.start, "certify-1", Purpose.CERTIFY, value + 0.54, sealed=True)
        verdict = made.judge("certify-1", deep, made.start, Label.CONFIRMED, 0.54, "sealed")
        ledger.set_champion(deep, verdict.id)
        made.archive.set_ref(CHAMPION, made.archive.commit_of(deep))
        ledger.append("session", {"wall_s": 61.0, "reason": "3 ideas"}, "session:0/end")
        run.note_anchor(ledger.anchor())


@pytest.fixture
def made_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """A finished run named `demo` in the working folder."""
    monkeypatch.chdir(tmp_path)
    run = begin(tmp_path / "runs", "demo")
    research_by_hand(run)
    yield run
