"""Grade a trial of the nanochat pack: bits per byte of held-out text, and the probes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from novum.benchmarks.harness.devices import empty_answer
from novum.benchmarks.harness.gpu_watch import require_bfloat16
from novum.benchmarks.nanochat.bpb import (
    BadLogits,
    HeldOut,
    Logits,
    Model,
    Tokens,
    bits_per_byte,
    cut_rows,
)
from novum.benchmarks.nanochat.covers import Covers, cover, hide
from novum.benchmarks.nanochat.prepare import (
    MAX_EPOCHS,
    DataPlan,
    PreparedData,
    prepare,
    require_epochs,
)
from novum.benchmarks.nanochat.probes import (
    probe_epochs,
    probe_floor,
    probe_independence,
    probe_repeat,
    probe_suffix,
)
from novum.benchmarks.pack import Profile
from novum.benchmarks.probes import language
from novum.benchmarks.probes.language import EXACT, REORDERED, Reading, copied
from novum.benchmarks.protocol import (
    CandidateFailed,
    Graded,
    RunPlan,
    ScoreSession,
    ServePlan,
    TrialContext,
)
from novum.errors import PackError
from novum.lab.records import Probe

SMOKE_ROWS = 16
SUFFIX_ROUNDS = 6  # who peeks at one place in a hundred is met by five trials of 16 rows: 99 %
# tables and activations of many sizes come and go: fixed segments leave gaps that nothing fits
GPU_VARIABLES = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
WALL_PER_CPU_S = 6.0  # a crowded core gives a process a sixth of its time; then it is the machine


class Options(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """`options` of a profile."""

    data: DataPlan = DataPlan()
    context: int = Field(default=128, ge=2)
    """Tokens of one held-out row."""
    score_rows: int = Field(default=16, ge=2)
    """Rows of one request in the score stage."""
    probe_rows: int = Field(default=16, ge=2)
    """Rows of a probe; as many as are scored at once, so that a model cannot tell them apart."""
    max_tokens: int = Field(default=1 << 20, gt=0)
    """Training tokens that the fastest candidate could read in the budget."""
    max_epochs: float = Field(default=MAX_EPOCHS, gt=0)
    """How often it may read its text: a corpus that would be read more often is refused."""
    bfloat16: bool = False
    """Whether the profile is meant for GPUs with bfloat16, and refuses others."""
    floor: float = Field(default=0.5, gt=0)
    """Bits per byte that no candidate of this budget can honestly reach."""


class SessionModel:
    """The model behind a score session, as a function of tokens."""

    def __init__(
        self, session: ScoreSession, vocab_size: int, timeout_s: float, device: str = "cpu"
    ) -> None:
        self.session = session
        self.device = device
        self.vocab_size = vocab_size
        self.timeout_s = timeout_s
        self.answered_s = 0.0

    def __call__(self, tokens: Tokens) -> Logits:
        out = empty_answer((*tokens.shape, self.vocab_size), self.device)
        self.answered_s += self.session.call(
            "", [np.ascontiguousarray(tokens)], out, self.timeout_s
        )
        return out


class Grader:
    """Trains a candidate behind the gate and reads held-out text with what it left."""

    def __init__(self, folder: Path, profile: Profile, cache: Path) -> None:
        self.profile = profile
        self.cache = cache
        try:
            self.options = Options.model_validate(profile.options)
        except ValidationError as error:
            raise PackError(f"{folder / 'pack.toml'}, profile {profile.name}: {error}") from error
        self.data: PreparedData | None = None
        self.texts: dict[str, HeldOut] = {}
        self.covers: Covers | None = None

    def prepare(self) -> str:
        """Prepare the corpus; see `Grader` of the protocol."""
        if self.data is None:
            data = prepare(self.options.data, self.cache)
            require_epochs(data, self.options.max_tokens, self.options.max_epochs)
            _, lengths = data.token_bytes()
            self.texts = {
                name: cut_rows(data.tokens(name), lengths, self.options.context, data.n_bytes(name))
                for name in ("validation", "sealed")
            }
            self.data = data
        return self.data.fingerprint

    def trial(self, context: TrialContext) -> Graded:
        """Run and score one trial; see `Grader` of the protocol."""
        self.prepare()
        if self.options.bfloat16:
            require_bfloat16(context.gpus)
        request = context.request
        budget_s = self.profile.budget(request.fidelity)
        if request.smoke:
            budget_s = min(budget_s, self.profile.smoke_s)
        n_readers = 2 if request.split == "sealed" and not request.smoke else 1
        outcome = context.run_stage(self.plan(budget_s, n_readers))
        ended_s = time.monotonic()
        text = self.texts["sealed" if request.split == "sealed" else "validation"]
        if request.smoke:
            text = first_rows(text, SMOKE_ROWS)
        rng = np.random.default_rng(request.seed)
        try:
            with self.session(context, outcome.artifact) as model:
                bpb, probes, kept = self.read(model, text, rng)
            if n_readers > 1:
                with self.session(context, outcome.artifact) as fresh:
                    probes += question_again(kept, fresh, context.device, rng)
        except BadLogits as error:
            raise CandidateFailed(f"the score stage got bad logits: {error}") from error
        context.phase("graded", bits_per_byte=bpb, answered_s=model.answered_s)
        observed = {"answered_s": model.answered_s, "graded_s": time.monotonic() - ended_s}
        observed["epochs_at_most"] = self.epochs_at_most(budget_s)
        if (epochs := outcome.claimed.get("epochs")) is not None:
            probes += (probe_epochs(epochs, self.options.max_epochs),)
        return Graded(metric=bpb, observed=observed, probes=probes)

    @contextmanager
    def session(self, context: TrialContext, artifact: Path) -> Iterator[SessionModel]:
        """A fresh process that answers for the delivered model."""
        limits = self.profile.limits(self.profile.score_s)
        with context.score_stage(artifact, entry="train", limits=limits) as session:
            yield SessionModel(
                session, self.vocab_size, self.profile.score_s, context.grader_device
            )

    def epochs_at_most(self, budget_s: float) -> float:
        """Times that the fastest candidate could read its text: it has all of it, so that nobody
        outside can count what it reads, and what it says itself is a claim."""
        assert self.data is not None
        n_tokens = self.data.manifest.splits["train"].n_tokens
        return self.options.max_tokens * budget_s / self.profile.budget_s / n_tokens

    def hidden(self) -> Covers:
        """What a candidate sees where held-out text lies on this machine."""
        if self.covers is None:
            self.covers = cover(self.options.data) | hide([self.cache])
        return self.covers

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary, the boundary included."""
        return self.options.data.vocab_size

    def plan(self, budget_s: float, n_readers: int = 1) -> RunPlan:
        """What the candidate gets: public facts before the clock starts, the text after.

        What it leaves is read by `n_readers` processes, one after another.

        The harness adds `seed`, `device`, `budget_s` and `clock` to the facts.
        """
        assert self.data is not None
        table, lengths = self.data.token_bytes()
        slack = WALL_PER_CPU_S if self.profile.clock == "cpu" else 1.0
        wall_s = self.profile.allowance_s + slack * budget_s + 10
        return RunPlan(
            argv=("python", "train.py"),
            info={"vocab_size": self.vocab_size, "context": self.options.context},
            arrays={
                "train": self.data.train_path,
                "token_bytes": table,
                "token_lengths": lengths,
            },
            clock=self.profile.clock,
            budget_s=budget_s,
            allowance_s=self.profile.allowance_s,
            free_cpu_s=self.profile.free_cpu_s,
            limits=self.profile.limits(wall_s),
            artifact_bytes=self.profile.file_bytes,
            env=GPU_VARIABLES if self.profile.gpus else {},
            serve=ServePlan("train", self.profile.limits(self.profile.score_s), n_readers),
            covers=self.hidden(),
        )

    def read(
        self, model: Model, text: HeldOut, rng: np.random.Generator
    ) -> tuple[float, tuple[Probe, ...], Kept]:
        """Bits per byte, the probes, and one of the scored batches as it was answered.

        The text is scored between two readings of a probe.
        """
        n, vocab_size = min(self.options.probe_rows, len(text.inputs)), self.vocab_size
        rows = text.inputs[rng.choice(len(text.inputs), n, replace=False)]
        scores: list[float] = []
        n_full = max(1, len(text.inputs) // self.options.score_rows)
        kept = Kept(model, int(rng.integers(n_full)))

        def score() -> None:
            scores.append(bits_per_byte(kept, text, vocab_size, self.options.score_rows))

        probes = (
            probe_repeat(model, rows, vocab_size, between=score),
            probe_suffix(model, rows, vocab_size, rng),
            probe_independence(model, rows, vocab_size, rng),
            probe_floor(scores[0], self.options.floor),
        )
        return scores[0], probes, kept


class Kept:
    """A model that keeps its answer to one of the batches that it is scored on."""

    def __init__(self, model: Model, wanted: int) -> None:
        self.model = model
        self.wanted = wanted
        self.n_asked = 0
        self.rows: Tokens | None = None
        self.logits: Logits | None = None

    def __call__(self, tokens: Tokens) -> Logits:
        logits = self.model(tokens)
        if self.n_asked == self.wanted:
            self.rows, self.logits = tokens.copy(), copied(logits)
        self.n_asked += 1
        return logits


def question_again(
    kept: Kept, fresh: Model, device: str, rng: np.random.Generator
) -> tuple[Probe, ...]:
    """In a process that shares nothing with the scored one: other ends first, then another order.

    A fresh process on a GPU may tune other kernels, so that logits agree to their rounding only.
    """
    assert kept.rows is not None and kept.logits is not None
    reading = Reading(kept.logits, np.zeros(kept.rows.shape), 0.0)
    tolerance = EXACT if device == "cpu" else REORDERED
    n = len(kept.rows)
    probes = (
        language.probe_suffix(reading, fresh, kept.rows, n, rng, SUFFIX_ROUNDS, tolerance),
        language.probe_process(reading, fresh, kept.rows, n, rng, tolerance),
    )
    return tuple(replace(p, name=f"fresh-{p.name}") for p in probes)


def first_rows(text: HeldOut, n_rows: int) -> HeldOut:
    """The beginning of a text, its bytes in proportion: for a smoke test, never for a result."""
    share = min(1.0, n_rows / len(text.inputs))
    return HeldOut(
        text.inputs[:n_rows],
        text.targets[:n_rows],
        text.weights[:n_rows],
        max(1, round(share * text.n_bytes)),
    )
