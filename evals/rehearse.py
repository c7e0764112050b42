"""Take one candidate through precheck, real trials and judge, as a run would; keep the facts."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from novum.benchmarks.harness import hardware_class, harness_digest, run_trial, tree_hash
from novum.benchmarks.pack import Pack, Profile
from novum.benchmarks.protocol import Grader, TrialRequest
from novum.evals.audit import judge, precheck
from novum.evals.facts import Aim, Facts, Judgement, Terms
from novum.lab.records import Candidate, Kind, Proposal, Purpose, Split, Trial, Verdict
from novum.sandboxes.protocol import Sandbox
from novum.sandboxes.slots import Slot

MAX_ROUNDS = 40
FIRST_INDEX = {purpose: 100 * i for i, purpose in enumerate(Purpose, start=1)}
"""Each purpose draws its seeds from indices of its own: no trial's seed comes twice."""


class OutOfTime(Exception):
    """The time was up before a verdict; `facts` are those that were known by then."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(f"{facts.proposal.id}: no verdict in time")
        self.facts = facts


@dataclass
class Bench:
    """A pack with its grader and a sandbox, and what is known of its start: its noise trials."""

    pack: Pack
    profile: Profile
    grader: Grader
    sandbox: Sandbox
    scratch: Path
    nonce: str
    fingerprint: str
    noise: tuple[Trial, ...] = ()
    start: Mapping[str, bytes] = field(default_factory=dict)
    known: dict[tuple[Purpose, Split, int], Trial] = field(default_factory=dict)
    """Trials of the start that are reused where the metric is no time (one key, one trial)."""

    @classmethod
    def open(
        cls,
        pack: Pack,
        sandbox: Sandbox,
        scratch: Path,
        nonce: str,
        profile_name: str | None = None,
    ) -> Bench:
        """Prepare the pack's data and read its start."""
        profile = pack.profile(profile_name)
        grader = pack.grader(profile, scratch)
        fingerprint = grader.prepare()
        bench = cls(pack, profile, grader, sandbox, scratch, nonce, fingerprint)
        bench.start = pack.start_files()
        return bench

    def trial(
        self,
        files: Mapping[str, bytes],
        purpose: Purpose,
        split: Split,
        index: int,
        proposal: str,
        slot: Slot,
    ) -> Trial:
        """Run one trial; its seed is drawn from the nonce, the tree and the index."""
        tree = tree_hash(files)
        seed = draw_seed(self.nonce, tree, index)
        launched = time.time()
        request = TrialRequest(files, tree, seed, split, smoke=purpose is Purpose.SMOKE)
        result = run_trial(
            request,
            pack=self.pack,
            profile=self.profile,
            grader=self.grader,
            sandbox=self.sandbox,
            slot=slot,
            scratch=self.scratch,
        )
        key = sha256(f"{tree}:{seed}:{split}:{purpose}".encode()).hexdigest()[:16]
        return Trial(
            id=f"{proposal}-{purpose}-{split}-{index}",
            key=key,
            tree=tree,
            proposal=proposal,
            purpose=purpose,
            split=split,
            fidelity="full",
            seed=seed,
            seed_index=index,
            harness=harness_digest(self.pack, self.fingerprint),
            hardware=hardware_class(self.profile),
            slot=slot.index,
            status=result.status,
            metric=result.metric,
            observed=dict(result.observed),
            claimed=dict(result.claimed),
            probes=result.probes,
            artifact=result.artifact,
            error=result.error,
            self_reported=result.self_reported,
            launched_s=launched,
            ended_s=time.time(),
        )

    def reference_trial(
        self, purpose: Purpose, split: Split, index: int, proposal: str, slot: Slot
    ) -> Trial:
        """A trial of the start for a proposal; run beside it where the metric is a time."""
        if self.pack.manifest.metric.unit in ("s", "ms"):
            return self.trial(self.start, purpose, split, index, proposal, slot)
        key = (purpose, split, index)
        if key not in self.known:
            self.known[key] = self.trial(self.start, purpose, split, index, proposal, slot)
        trial = self.known[key]
        return replace(trial, proposal=proposal, launched_s=time.time(), ended_s=time.time())

    def measure_noise(self, slot: Slot, n: int | None = None, until: float = math.inf) -> None:
        """The start's own trials, before anything else; none begins after `until`."""
        for i in range(len(self.noise), n or self.profile.noise_trials):
            if time.monotonic() > until:
                return
            trial = self.trial(self.start, Purpose.NOISE, "search", i, "start", slot)
            self.noise = (*self.noise, trial)


def draw_seed(nonce: str, tree: str, index: int) -> int:
    """H(run nonce, tree hash, index): known to nobody before the candidate is frozen."""
    return int.from_bytes(sha256(f"{nonce}:{tree}:{index}".encode()).digest()[:4], "big")


def rehearse(
    bench: Bench,
    name: str,
    changes: Mapping[str, bytes],
    slot: Slot,
    aim: Aim = "confirm",
    until: float = math.inf,
) -> tuple[Judgement, Facts]:
    """Audit a change of the start's files to its verdict, with real trials of both arms.

    The noise of the start is measured here where nobody has done so before.

    Raises:
        OutOfTime: a trial was wanted after `until`, on the monotonic clock.
    """
    files = {**bench.start, **changes}
    tree, reference = tree_hash_or_name(files), tree_hash(bench.start)
    proposal = Proposal(name, 0, 0, name, Kind.ARCHITECTURE, (reference,), "corpus")
    static = precheck(bench.pack, files, bench.start, bench.start, proposal=name, tree=tree)
    facts = Facts(
        proposal=proposal,
        candidate=Candidate(tree, tree, (reference,), name, name),
        reference=reference,
        terms=Terms.of(bench.pack.manifest, bench.profile),
        trials=bench.noise,
        static=tuple(static),
        n_ideas=1,
        aim=aim,
    )
    count: Counter[tuple[bool, Purpose]] = Counter()
    for _ in range(MAX_ROUNDS):
        judgement = judge(facts)
        more = judgement.more
        if more is None:
            return judgement, facts
        if more.purpose is Purpose.NOISE and len(bench.noise) < bench.profile.noise_trials:
            before = len(bench.noise)
            bench.measure_noise(slot, until=until)
            facts = replace(facts, trials=(*facts.trials, *bench.noise[before:]))
            if len(bench.noise) < bench.profile.noise_trials:
                raise OutOfTime(facts)
            continue
        for i in range(max(more.candidate, more.reference)):
            for is_own, wanted in ((False, more.reference), (True, more.candidate)):
                if i < wanted:
                    if time.monotonic() > until:
                        raise OutOfTime(facts)
                    count[is_own, more.purpose] += 1
                    index = FIRST_INDEX[more.purpose] + count[is_own, more.purpose]
                    where = (more.purpose, more.split, index, name, slot)
                    trial = bench.trial(files, *where) if is_own else bench.reference_trial(*where)
                    facts = replace(facts, trials=(*facts.trials, trial))
    raise RuntimeError(f"{name}: no verdict after {MAX_ROUNDS} rounds of trials")


def tree_hash_or_name(files: Mapping[str, bytes]) -> str:
    """The tree hash; a digest where the paths cannot be frozen at all."""
    try:
        return tree_hash(files)
    except Exception:  # paths that no archive takes: the precheck refuses them
        return sha256(repr(sorted(files.items())).encode()).hexdigest()


def verdict_of(judgement: Judgement) -> Verdict:
    """The verdict of a finished judgement."""
    if judgement.verdict is None:
        raise ValueError("no verdict yet")
    return judgement.verdict
