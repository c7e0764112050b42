"""`workload.jsonl`: concrete sizes, where the inputs come from, and how exact an answer has to be.

Source: SOL-ExecBench, docs/workload.md (Apache-2.0), read for the format only.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, model_validator

from novum.benchmarks.kernels.definition import Definition, Name
from novum.benchmarks.kernels.document import Document


class RandomInput(Document):
    """Numbers that the harness draws."""

    type: Literal["random"] = "random"


class ScalarInput(Document):
    """A Python number."""

    type: Literal["scalar"] = "scalar"
    value: bool | int | float


class SafetensorsInput(Document):
    """A tensor stored in a file, at a path relative to the benchmark."""

    type: Literal["safetensors"] = "safetensors"
    path: Name
    tensor_key: Name


class CustomInput(Document):
    """A tensor that the definition's own function makes."""

    type: Literal["custom"] = "custom"


InputSource = Annotated[
    RandomInput | ScalarInput | SafetensorsInput | CustomInput, Field(discriminator="type")
]


class Tolerance(Document):
    """An element is right when |got - want| <= max_atol + max_rtol * |want|."""

    max_atol: float = Field(default=1e-2, ge=0)
    max_rtol: float = Field(default=1e-2, ge=0)
    required_matched_ratio: float = Field(default=0.99, ge=0, le=1)
    """Share of the elements that must be right."""
    max_error_cap: float | None = Field(default=None, ge=0)
    """No element may be further off than this, right or not. The evaluator sets one where the file
    has none.
    """
    allow_negative_inf: bool = False
    """Whether -inf in the same places counts as right."""


class Workload(Document):
    """One set of sizes and inputs."""

    uuid: Name
    axes: dict[str, Annotated[int, Field(ge=0)]]
    inputs: dict[str, InputSource]
    tolerance: Tolerance = Field(
        default=Tolerance(), validation_alias=AliasChoices("tolerance", "correctness")
    )

    @model_validator(mode="before")
    @classmethod
    def null_is_default(cls, value: object) -> object:
        """`"tolerance": null` stands for the default."""
        if isinstance(value, dict):
            empty = {k for k in ("tolerance", "correctness") if k in value and value[k] is None}
            return {k: v for k, v in value.items() if k not in empty}
        return value

    @model_validator(mode="after")
    def custom_is_all_or_none(self) -> Workload:
        """The definition's function makes every tensor or none."""
        kinds = {source.type for source in self.inputs.values() if source.type != "scalar"}
        if "custom" in kinds and kinds != {"custom"}:
            raise ValueError("custom inputs cannot be mixed with random or stored ones")
        return self

    @property
    def scalars(self) -> dict[str, bool | int | float]:
        """Values of the scalar inputs."""
        return {k: s.value for k, s in self.inputs.items() if isinstance(s, ScalarInput)}

    def fits(self, definition: Definition) -> None:
        """Check that the workload sets what its definition needs.

        Raises:
            ValueError: it does not; the message names what is missing.
        """
        sizes = definition.sizes(self.axes)
        if unknown := set(self.axes) - set(definition.axes):
            raise ValueError(f"workload {self.uuid} sets unknown axes {sorted(unknown)}")
        if missing := set(definition.inputs) - set(self.inputs):
            raise ValueError(f"workload {self.uuid} has no source for {sorted(missing)}")
        if unknown := set(self.inputs) - set(definition.inputs):
            raise ValueError(
                f"workload {self.uuid} has sources for unknown inputs {sorted(unknown)}"
            )
        for name, source in self.inputs.items():
            is_scalar = definition.shape(definition.inputs[name], sizes) is None
            fits_both = source.type == "custom" or (is_scalar and source.type == "random")
            if is_scalar != (source.type == "scalar") and not fits_both:
                raise ValueError(
                    f"workload {self.uuid}: {name} is a scalar in one file, a tensor in the other"
                )
            if source.type == "custom" and definition.custom_inputs_entrypoint is None:
                raise ValueError(
                    f"workload {self.uuid}: {name} is custom, and {definition.name} makes no inputs"
                )
