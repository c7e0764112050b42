"""Training tokens that are handed out batch by batch, so that what a run consumed is known.

The candidate says how many steps it will take before its clock starts, and gets one batch a step
afterwards. What it has not asked for does not exist for it, and what it took is counted here.

Every trial spells its tokens by a permutation of its own, drawn after the freeze: what a program
knew of the text before its clock started (weights in its source, a warm-up on files that it found,
a cache of an earlier trial) is written in numbers that mean nothing here. A program that learns
from its batches does not notice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from novum.benchmarks.harness import wire
from novum.benchmarks.protocol import Array, Consumed, StreamPlan

MAX_BATCH_TOKENS = 1 << 27


@dataclass
class _Step:
    first: int
    n_tokens: int
    ranks: set[int] = field(default_factory=set)


class Refused(Exception):
    """What was asked for is against the rules; the candidate is told so."""


class Stream:
    """The counter between the tokens and the workers of one trial."""

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        self._declared: int | None = None
        self._steps: list[_Step] = []
        self._taken = [0] * plan.n_ranks
        self._at_s: list[float] = []
        self._started_s = 0.0
        self._most = min(MAX_BATCH_TOKENS, len(plan.tokens) - 1)

    def declare(self, steps: object) -> int:
        """Fix the number of steps; returns how many to take (fewer in a smoke test).

        Raises:
            Refused: it is not a number of steps, or another one was declared before.
        """
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise Refused("the number of steps must be an integer")
        if not 1 <= steps <= self._plan.max_steps:
            raise Refused(f"{steps} steps: declare between 1 and {self._plan.max_steps}")
        granted = min(steps, self._plan.smoke_steps or steps)
        if self._declared not in (None, granted):
            raise Refused(f"{self._declared} steps were declared already, now {steps}")
        self._declared = granted
        return granted

    def start(self) -> None:
        """The clock starts: nothing can be declared any more.

        Raises:
            Refused: nothing was declared.
        """
        if self._declared is None:
            raise Refused("call harness.declare(steps) before harness.start()")
        self._started_s = self._started_s or time.monotonic()

    def take(self, rank: object, rows: object, context: object) -> Array:
        """The next batch of a rank: `(rows, context + 1)`, one token more than inputs.

        The rows are windows at places that are drawn here. One row is the next piece of the stream
        itself; the ranks of a step get consecutive pieces of equal length.

        Raises:
            Refused: the clock does not run, or all declared steps were taken.
        """
        if not self._started_s or self._declared is None:
            raise Refused("there are no batches before harness.start()")
        for value in (rank, rows, context):
            if isinstance(value, bool) or not isinstance(value, int):
                raise Refused("rank, rows and context must be integers")
        assert isinstance(rank, int) and isinstance(rows, int) and isinstance(context, int)
        n_tokens = rows * context
        if not 0 <= rank < self._plan.n_ranks:
            raise Refused(f"rank {rank} of {self._plan.n_ranks}")
        if min(rows, context) < 1 or n_tokens > self._most:
            raise Refused(f"{rows} rows of {context}: a batch holds 1 to {self._most} tokens")
        index = self._taken[rank]
        if index >= self._declared:
            raise Refused(f"{self._declared} steps were declared, and all have been taken")
        step = self._step(index, n_tokens)
        self._taken[rank] += 1
        step.ranks.add(rank)
        if len(step.ranks) == self._plan.n_ranks:
            self._at_s.append(time.monotonic() - self._started_s)
        if rows == 1:
            tokens = self._plan.tokens.read(step.first + rank * n_tokens, n_tokens + 1)[None]
        else:
            tokens = self._windows(index, rank, rows, context)
        return tokens if self._plan.spelling is None else self._plan.spelling[tokens]

    def consumed(self) -> Consumed:
        """What was declared and what was taken."""
        whole = [s for s in self._steps if len(s.ranks) == self._plan.n_ranks]
        return Consumed(
            declared=self._declared or 0,
            steps=len(whole),
            tokens=sum(s.n_tokens for s in whole) * self._plan.n_ranks,
            available=len(self._plan.tokens),
            at_s=tuple(self._at_s),
        )

    def _windows(self, index: int, rank: int, rows: int, context: int) -> Array:
        rng = np.random.default_rng([self._plan.first, index, rank])
        starts = rng.integers(0, len(self._plan.tokens), rows)
        read = self._plan.tokens.read
        return np.stack([read(int(start), context + 1) for start in starts])

    def _step(self, index: int, n_tokens: int) -> _Step:
        if index == len(self._steps):
            first = self._plan.first
            if self._steps:
                last = self._steps[-1]
                first = last.first + last.n_tokens * self._plan.n_ranks
            self._steps.append(_Step(first, n_tokens))
        step = self._steps[index]
        if step.n_tokens != n_tokens:
            raise Refused(
                f"step {index}: one rank took {step.n_tokens} tokens, another wants {n_tokens}"
            )
        return step


def draw_spelling(vocab_size: int, rng: np.random.Generator) -> Array:
    """A new number for each token, `(vocab_size,)` uint16."""
    return rng.permutation(vocab_size).astype(np.uint16)


def as_error(error: Refused) -> dict[str, str]:
    """The answer to a request that was refused."""
    return {"error": str(error)[: wire.MESSAGE_BYTES // 2]}
