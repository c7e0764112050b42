"""Trace lines: what the evaluation of one solution on one workload found.

Source: SOL-ExecBench, docs/trace.md (Apache-2.0), read for the format only.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from novum.benchmarks.kernels.definition import Name
from novum.benchmarks.kernels.document import Document
from novum.benchmarks.kernels.workload import Workload


class Status(StrEnum):
    """How an evaluation ended."""

    PASSED = "PASSED"
    INVALID_REFERENCE = "INVALID_REFERENCE"
    INCORRECT_SHAPE = "INCORRECT_SHAPE"
    INCORRECT_NUMERICAL = "INCORRECT_NUMERICAL"
    INCORRECT_DTYPE = "INCORRECT_DTYPE"
    RUNTIME_ERROR = "RUNTIME_ERROR"
    COMPILE_ERROR = "COMPILE_ERROR"
    TIMEOUT = "TIMEOUT"
    REWARD_HACK = "REWARD_HACK"


def finite_or_zero(value: float) -> float:
    """The format has no NaN: an error without a value is 0 beside `has_nan` or `has_inf`."""
    return value if math.isfinite(value) else 0.0


def not_negative(value: float) -> float:
    """Refuse a negative error; older files hold NaN where there is none."""
    if value < 0:
        raise ValueError("an error is not negative")
    return value


SomeError = Annotated[float, AfterValidator(not_negative)]


class Correctness(Document):
    """Largest errors over all rounds."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    max_relative_error: SomeError = 0.0
    max_absolute_error: SomeError = 0.0
    has_nan: bool = False
    has_inf: bool = False
    extra: dict[str, Any] | None = None


class Performance(Document):
    """Milliseconds. The keys beyond the first three are ours."""

    latency_ms: float = Field(default=0.0, ge=0)
    reference_latency_ms: float = Field(default=0.0, ge=0)
    speedup_factor: float = Field(default=0.0, ge=0)


class Environment(Document):
    """Where it was measured."""

    hardware: Name
    libs: dict[str, str] = {}


class Evaluation(Document):
    """The finding; correctness and performance stand exactly where the status allows them."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    status: Status
    environment: Environment
    timestamp: Name
    log: str = ""
    correctness: Correctness | None = None
    performance: Performance | None = None

    @model_validator(mode="after")
    def parts_match_the_status(self) -> Evaluation:
        """PASSED has both parts, INCORRECT_NUMERICAL only correctness, all others none."""
        needs = self.status in (Status.PASSED, Status.INCORRECT_NUMERICAL)
        if (self.correctness is not None) != needs:
            raise ValueError(f"{self.status} {'needs' if needs else 'has no'} correctness")
        if (self.performance is not None) != (self.status is Status.PASSED):
            raise ValueError(
                f"performance belongs to PASSED, and only there; this is {self.status}"
            )
        return self


class Trace(Document):
    """One line of a trace file. Without solution and evaluation it only names a workload."""

    definition: Name
    workload: Workload
    solution: Annotated[str, Field(min_length=1)] | None = None
    evaluation: Evaluation | None = None
