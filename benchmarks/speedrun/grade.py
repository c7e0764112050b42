"""Grade a trial of the speedrun: seconds on the harness's clock, and the loss that they bought.

The metric is the time from `start()` to the end of the last process. Whether it counts is another
matter: the loss on held-out text is observed beside it, and the profile's requirement says what it
must reach over the declared trials. Probes and reading are those of nanochat.
"""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from novum.benchmarks import nanochat
from novum.benchmarks.harness.gpu_watch import require_bfloat16
from novum.benchmarks.harness.stream import draw_spelling
from novum.benchmarks.nanochat import grade as reading
from novum.benchmarks.nanochat.bpb import BadLogits, HeldOut, cut_rows
from novum.benchmarks.nanochat.covers import Covers, hide
from novum.benchmarks.nanochat.prepare import MAX_EPOCHS, prepare
from novum.benchmarks.pack import Profile, digest_files, read_tree
from novum.benchmarks.protocol import (
    CandidateFailed,
    Consumed,
    Graded,
    RunOutcome,
    RunPlan,
    ServePlan,
    StreamPlan,
    TrialContext,
    TrialRequest,
)
from novum.benchmarks.speedrun import data as shards
from novum.errors import DataMissing, PackError
from novum.lab.records import Outcome, Probe, Split, TrialStatus

LOSS = "loss"
FAST_PACE = 8.0
"""The last tenth of the batches taken this much faster than the rest looks like a drain."""
UNSEEN_SHARE = 0.5
"""More of the time than this after the last batch, and the steps cannot be seen."""
MIN_PACED = 20


class Options(reading.Options, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """`options` of a profile: those of nanochat, and where the text comes from."""

    shards: str = ""
    """Folder of shards in the public format, instead of a corpus; `CACHE` is the cache."""
    held_out_tokens: int = Field(default=1 << 20, gt=0)
    """Tokens of the validation shards that are graded, of each split."""
    sealed_tokens: int = Field(default=10_485_760, gt=0)
    """Where the search split begins in the validation shards: what lies before is sealed."""
    max_epochs: float = Field(default=MAX_EPOCHS, gt=0)
    """Times that a run may read its text."""
    smoke_steps: int = Field(default=3, ge=1)
    max_steps: int = Field(default=100_000, ge=1)


class Grader(reading.Grader):
    """Trains a candidate behind the gate on a stream, and reads held-out text with what it left."""

    options: Options

    def __init__(self, folder: Path, profile: Profile, cache: Path) -> None:
        self.profile = profile
        self.cache = cache
        try:
            self.options = Options.model_validate(profile.options)
        except ValidationError as error:
            raise PackError(f"{folder / 'pack.toml'}, profile {profile.name}: {error}") from error
        self.data = None
        self.texts = {}
        self.covers = None
        self.tokens: shards.TokenArrays | None = None
        self.boundary = 0
        self.fingerprint = ""

    def prepare(self) -> str:
        """Prepare the text; the fingerprint also covers the modules shared with nanochat.

        Raises:
            DataMissing: the text is not here, or the target has not been measured.
        """
        self._require_targets()
        if self.tokens is None:
            named = self._open_shards() if self.options.shards else self._open_corpus()
            folder = Path(nanochat.__file__).parent
            shared = {k: v for k, v in read_tree(folder).items() if k.endswith(".py")}
            shared = {k: v for k, v in shared.items() if "/" not in k}
            self.fingerprint = digest_files({"data": named.encode(), **shared})
        return self.fingerprint

    def hidden(self) -> Covers:
        """What a candidate sees where the text lies on this machine; of shards, an empty folder."""
        if self.covers is None and self.options.shards:
            self.covers = hide([self._folder_of_shards(), self.cache])
        return super().hidden()

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary."""
        return shards.GPT2_VOCAB if self.options.shards else self.options.data.vocab_size

    def trial(self, context: TrialContext) -> Graded:
        """Run and score one trial; see `Grader` of the protocol."""
        self.prepare()
        outcome, spelling = self.train(context)
        return self.grade(context, outcome, spelling, context.request.split)

    def train(self, context: TrialContext) -> tuple[RunOutcome, NDArray[np.uint16]]:
        """Run the candidate on a spelling that nobody has seen before.

        Raises:
            CandidateFailed: it failed, or did not keep to what it declared.
        """
        if self.options.bfloat16:
            require_bfloat16(context.gpus)
        spelling = draw_spelling(self.vocab_size, np.random.default_rng(secrets.randbits(128)))
        outcome = context.run_stage(self.stream_plan(context.request, spelling))
        assert outcome.consumed is not None
        require_declared(outcome, outcome.consumed, self.options.max_epochs)
        return outcome, spelling

    def grade(
        self, context: TrialContext, outcome: RunOutcome, spelling: NDArray[np.uint16], split: Split
    ) -> Graded:
        """Read the held-out text of a split with what the run left; a claim in two processes."""
        rng = np.random.default_rng(context.request.seed)
        try:
            with self.session(context, outcome.artifact) as model:
                graded, kept = self.read_split(context, model, outcome, spelling, split)
            if split == "sealed" and not context.request.smoke:
                with self.session(context, outcome.artifact) as fresh:
                    again = reading.question_again(kept, fresh, context.device, rng)
                graded = replace(graded, probes=graded.probes + again)
        except BadLogits as error:
            raise CandidateFailed(f"the score stage got bad logits: {error}") from error
        return graded

    def read_split(
        self,
        context: TrialContext,
        model: reading.SessionModel,
        outcome: RunOutcome,
        spelling: NDArray[np.uint16],
        split: Split,
    ) -> tuple[Graded, reading.Kept]:
        """The loss on one split and the probes, from a model that is loaded."""
        request, taken = context.request, outcome.consumed
        assert taken is not None
        began_s = time.monotonic()
        text = spelled(self._text(split, is_smoke=request.smoke), spelling)
        bits, probes, kept = self.read(model, text, np.random.default_rng(request.seed))
        loss = bits * math.log(2) * text.n_bytes / float(text.weights.sum())
        observed = self._observed(split, taken, loss, bits) | {
            "answered_s": model.answered_s,
            "graded_s": time.monotonic() - began_s,
        }
        context.phase("graded", loss=loss, seconds=outcome.used_s, steps=taken.steps)
        if not request.smoke:
            probes += (probe_target(observed), probe_pace(outcome, taken))
        return Graded(metric=outcome.used_s, observed=observed, probes=probes), kept

    def stream_plan(self, request: TrialRequest, spelling: NDArray[np.uint16]) -> RunPlan:
        """What the candidate gets: public facts before the clock starts, tokens after it."""
        assert self.tokens is not None
        profile = self.profile
        n_ranks = max(1, profile.gpus, profile.workers)
        n_readers = 2 if request.split == "sealed" and not request.smoke else 1
        budget_s = profile.budget(request.fidelity)
        slack = reading.WALL_PER_CPU_S if profile.clock == "cpu" else 1.0
        stream = StreamPlan(
            tokens=self.tokens,
            first=request.seed % len(self.tokens),
            spelling=spelling,
            n_ranks=n_ranks,
            max_steps=self.options.max_steps,
            smoke_steps=self.options.smoke_steps if request.smoke else 0,
        )
        return RunPlan(
            argv=("python", "train.py"),
            info={"vocab_size": self.vocab_size, "context": self.options.context},
            arrays={"boundary": spelling[[self.boundary]]},
            clock=profile.clock,
            budget_s=budget_s,
            allowance_s=profile.allowance_s,
            free_cpu_s=profile.free_cpu_s,
            limits=profile.limits(profile.allowance_s + slack * budget_s + 10),
            artifact_bytes=profile.file_bytes,
            stream=stream,
            n_workers=n_ranks,
            serve=ServePlan("train", profile.limits(profile.score_s), n_readers),
            covers=self.hidden(),
        )

    def limit(self, split: Split) -> float | None:
        """The target loss on a split."""
        required = self.profile.requirements.get(LOSS)
        return None if required is None else required.limit(split)

    def _require_targets(self) -> None:
        required = self.profile.requirements.get(LOSS)
        if required is not None and None in (required.search, required.sealed):
            raise DataMissing(
                f"the target loss of profile {self.profile.name} has not been measured yet.\n"
                f"Measure it where it is to hold: python -m novum.benchmarks.speedrun.measure "
                f"target --profile {self.profile.name} --json > target.jsonl\n"
                "and write it down with novum.benchmarks.speedrun.calibrate (the pack's README.md)."
            )

    def _open_corpus(self) -> str:
        options = self.options
        prepared = prepare(options.data, self.cache)
        _, lengths = prepared.token_bytes()
        for name in ("validation", "sealed"):
            rows = (prepared.tokens(name), lengths, options.context, prepared.n_bytes(name))
            self.texts[name] = cut_rows(*rows)
        self.data = prepared
        self.tokens = shards.TokenArrays([prepared.tokens("train")])
        return prepared.fingerprint

    def _open_shards(self) -> str:
        options, folder = self.options, self._folder_of_shards()
        train, val = (shards.find_shards(folder, s) for s in ("train", "val"))
        held_out = shards.read_shard(val[0])
        size = options.context, options.held_out_tokens
        self.texts["sealed"] = shards.rows_of(held_out[: options.sealed_tokens], *size)
        self.texts["validation"] = shards.rows_of(held_out[options.sealed_tokens :], *size)
        self.tokens = shards.TokenArrays([shards.read_shard(path) for path in train])
        self.boundary = shards.GPT2_BOUNDARY
        return shards.digest_of([*train, *val])

    def _folder_of_shards(self) -> Path:
        return Path(self.options.shards.replace("CACHE", str(self.cache), 1)).expanduser()

    def _text(self, split: Split, *, is_smoke: bool) -> HeldOut:
        text = self.texts["sealed" if split == "sealed" else "validation"]
        return reading.first_rows(text, reading.SMOKE_ROWS) if is_smoke else text

    def _observed(
        self, split: Split, taken: Consumed, loss: float, bits: float
    ) -> dict[str, float]:
        observed = {
            LOSS: loss,
            "bits": bits,
            "steps": float(taken.steps),
            "tokens": float(taken.tokens),
            "epochs": taken.tokens / taken.available,
        }
        limit = self.limit(split)
        return observed | ({"target": limit} if limit is not None else {})


def spelled(text: HeldOut, spelling: NDArray[np.uint16]) -> HeldOut:
    """Held-out text in the numbers of a trial."""
    names = spelling.astype(np.int64)
    return replace(text, inputs=names[text.inputs], targets=names[text.targets])


def require_declared(outcome: RunOutcome, taken: Consumed, max_epochs: float) -> None:
    """Raise unless the run ended by itself after exactly the declared steps.

    Raises:
        CandidateFailed: it did not, or read its text too often for the loss to mean anything.
    """
    if outcome.hit_deadline:
        raise CandidateFailed("it did not end within its time", TrialStatus.TIMEOUT)
    if taken.steps != taken.declared:
        raise CandidateFailed(
            f"it declared {taken.declared} steps and took {taken.steps}: the number of steps is "
            "fixed before the clock starts"
        )
    if taken.tokens > max_epochs * taken.available:
        raise CandidateFailed(
            f"it read its text {taken.tokens / taken.available:.1f} times, at most {max_epochs:g} "
            "are allowed: tables of n-grams would know it by heart"
        )


def probe_target(observed: dict[str, float]) -> Probe:
    """NOTE a loss above the target: one trial above it is no failure, the mean of them is."""
    loss, target = observed[LOSS], observed.get("target")
    if target is None:
        return Probe("target", Outcome.NOTE, f"loss {loss:.4f}; no target has been measured")
    over = loss - target
    side = f"{over:.4f} above" if over > 0 else f"{-over:.4f} below"
    outcome = Outcome.NOTE if over > 0 else Outcome.PASS
    return Probe(
        "target", outcome, f"loss {loss:.4f}, {side} the target {target:g}", {"over": over}
    )


def probe_pace(outcome: RunOutcome, taken: Consumed) -> Probe:
    """CONFIRM where the batches were taken in a way that hides how many steps were made.

    A run that stops early when it feels lucky has to get rid of the batches that it declared: it
    takes them all at once, at its end or at its beginning.
    """
    at, n = taken.at_s, len(taken.at_s)
    if n < MIN_PACED or outcome.wall_s <= 0:
        return Probe("pace", Outcome.PASS, f"{n} batches are too few to have a pace")
    tenth = max(1, n // 10)
    before = (at[-tenth - 1]) / (n - tenth)
    last = (at[-1] - at[-tenth - 1]) / tenth
    after = 1 - at[-1] / outcome.wall_s
    detail = {"before_s": before, "last_s": last, "after": after}
    if last * FAST_PACE < before:
        line = f"the last {tenth} batches took {last:.4g} s each, the others {before:.4g} s"
        return Probe("pace", Outcome.CONFIRM, line, detail)
    if after > UNSEEN_SHARE:
        line = f"{after:.0%} of the time passed after the last batch was taken"
        return Probe("pace", Outcome.CONFIRM, line, detail)
    return Probe("pace", Outcome.PASS, f"{before:.4g} s a step, to the end", detail)
