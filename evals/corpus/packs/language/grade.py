"""Grader of the tiny language pack: bits per byte of a Markov text, and all probes.

The same flow as a large pack: behind the gate, scored by a process that only answers, asked again
in a second process that shares nothing with the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from novum.benchmarks.harness import GatedGrader
from novum.benchmarks.probes.language import (
    Logits,
    Reading,
    Tokens,
    probe_alignment,
    probe_alone,
    probe_membership,
    probe_process,
    probe_repeat,
    probe_suffix,
    read_text,
)
from novum.benchmarks.protocol import (
    Array,
    Graded,
    RunOutcome,
    ScoreSession,
    TrialContext,
    TrialRequest,
)
from novum.evals.corpus.synthetic import VOCABULARY, documents
from novum.lab.records import Probe

N_ROWS, ROW = 32, 64
BATCH = 16
SEEDS = {"train": 11, "search": 12, "sealed": 13}


class Asked:
    """A score session as a function of tokens; counts the seconds of the answers."""

    def __init__(self, session: ScoreSession) -> None:
        self.session = session
        self.seconds = 0.0

    def __call__(self, tokens: Tokens) -> Logits:
        out = np.full((*tokens.shape, VOCABULARY), np.nan, np.float32)
        self.seconds += self.session.call("", [np.ascontiguousarray(tokens)], out, 5.0)
        return out


class Grader(GatedGrader):
    """Bits per byte of held-out text."""

    tensors = "numpy"

    def prepare(self) -> str:
        """The text is made from a seed: the fingerprint is its digest."""
        self.train = documents(512, 256, SEEDS["train"]).astype(np.uint8)
        texts = {s: documents(N_ROWS, ROW + 1, SEEDS[s]) for s in ("search", "sealed")}
        self.texts = texts
        return f"markov-{int(self.train.sum())}"

    def arrays(self, request: TrialRequest) -> Mapping[str, Array | Path]:
        """The training text, flat."""
        return {"train": self.train.reshape(-1)}

    def trial(self, context: TrialContext) -> Graded:
        """Score in one process, question in another."""
        outcome = context.run_stage(self.plan(context.request))
        text = self.texts[context.request.split]
        rows, targets = text[:, :-1], text[:, 1:]
        rng = np.random.default_rng([context.request.seed, 5])
        limits = self.profile.limits(self.profile.score_s)
        with context.score_stage(
            outcome.artifact, entry=self.entry, limits=limits, tensors="numpy"
        ) as session:
            scored = Asked(session)
            reading = read_text(scored, rows, targets, BATCH, rng)
            training = self.train[:N_ROWS, : ROW + 1].astype(np.int64)
            on_training = read_text(scored, training[:, :-1], training[:, 1:], BATCH, rng)
        with context.score_stage(
            outcome.artifact, entry=self.entry, limits=limits, tensors="numpy"
        ) as session:
            fresh = Asked(session)
            probes = self.question(reading, on_training, fresh, rows, targets, rng)
        return self.result(outcome, reading, probes)

    def question(
        self,
        reading: Reading,
        on_training: Reading,
        fresh: Asked,
        rows: Tokens,
        targets: Tokens,
        rng: np.random.Generator,
    ) -> Sequence[Probe]:
        """All probes; altered rows come first, so that the fresh process has seen nothing else."""
        spread = float(reading.nats.mean(axis=1).std() / len(rows) ** 0.5)
        return (
            probe_suffix(reading, fresh, rows, BATCH, rng),
            probe_process(reading, fresh, rows, BATCH, rng),
            probe_alone(reading, fresh, rows, rng),
            probe_repeat(reading),
            probe_alignment(reading, targets, rng),
            probe_membership(float(reading.nats.mean()), float(on_training.nats.mean()), spread),
        )

    def result(
        self,
        outcome: RunOutcome,
        reading: Reading,
        probes: Sequence[Probe],
    ) -> Graded:
        """Bits per byte: a token is a byte here."""
        bits = float(reading.nats.mean() / np.log(2))
        return Graded(bits, {}, tuple(probes))

    def measure(self, context: TrialContext, session: ScoreSession, outcome: RunOutcome) -> Graded:
        """Not used: `trial` opens two sessions."""
        raise AssertionError("the language pack scores in two sessions")
