"""`definition.json`: what a kernel computes, over which axes, and the reference that says so.

Source: SOL-ExecBench, docs/definition.md (Apache-2.0), read for the format only.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from novum.benchmarks.kernels.document import Document
from novum.benchmarks.kernels.dtypes import DType, item_bytes
from novum.benchmarks.kernels.expressions import ExpressionError, evaluate, holds, names_in

Name = Annotated[str, Field(min_length=1)]
Shape = tuple[int, ...]


class ConstAxis(Document):
    """A dimension that is always the same."""

    type: Literal["const"] = "const"
    value: int = Field(ge=0)
    description: str | None = None


class VarAxis(Document):
    """A dimension that each workload sets."""

    type: Literal["var"] = "var"
    description: str | None = None


class ExprAxis(Document):
    """A dimension that follows from others."""

    type: Literal["expr"] = "expr"
    expression: Name
    description: str | None = None


Axis = Annotated[ConstAxis | VarAxis | ExprAxis, Field(discriminator="type")]


class TensorSpec(Document):
    """Shape (axis names) and element type of one input or output."""

    shape: tuple[Name, ...] | None
    """`None` is a Python scalar, `()` a tensor without dimensions."""
    dtype: DType
    description: str | None = None


class Definition(Document):
    """One problem. A definition that contradicts itself does not validate."""

    name: Name
    op_type: Name | None = None
    description: str | None = None
    axes: dict[Name, Axis]
    inputs: dict[Name, TensorSpec]
    """In the order of the parameters of `run`."""
    outputs: dict[Name, TensorSpec] = Field(min_length=1)
    reference: Name
    """Python source with a top-level `run(*inputs)`."""
    custom_inputs_entrypoint: Name | None = None
    constraints: tuple[Name, ...] = ()

    @field_validator("constraints", mode="before")
    @classmethod
    def null_is_none(cls, value: object) -> object:
        """`null` stands for no constraints."""
        return () if value is None else value

    @model_validator(mode="after")
    def reference_defines_run(self) -> Definition:
        """The reference parses and its `run` takes exactly the inputs, in order."""
        functions = functions_of(self.reference)
        if "run" not in functions:
            raise ValueError("the reference defines no top-level function `run`")
        arguments = functions["run"].args
        parameters = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        if parameters != list(self.inputs):
            raise ValueError(f"run takes {parameters}, but the inputs are {list(self.inputs)}")
        entry = self.custom_inputs_entrypoint
        if entry is not None and entry not in functions:
            raise ValueError(f"the reference defines no custom_inputs_entrypoint {entry!r}")
        return self

    @model_validator(mode="after")
    def names_are_distinct(self) -> Definition:
        """No name serves twice."""
        if both := set(self.inputs) & set(self.outputs):
            raise ValueError(f"{sorted(both)} are inputs and outputs at once")
        if both := set(self.inputs) & set(self.axes):
            raise ValueError(f"{sorted(both)} are inputs and axes at once")
        return self

    @model_validator(mode="after")
    def axes_are_known(self) -> Definition:
        """Shapes, expressions and constraints name axes that exist, without a circle."""
        for name, spec in (self.inputs | self.outputs).items():
            for axis in spec.shape or ():
                if not axis.isdigit() and axis not in self.axes:
                    raise ValueError(f"{name} has the axis {axis!r}, which is not defined")
        expressions = {k: a.expression for k, a in self.axes.items() if isinstance(a, ExprAxis)}
        for text in (*expressions.values(), *self.constraints):
            if unknown := names_in(text) - set(self.axes):
                raise ValueError(f"{text!r} names {sorted(unknown)}, which are not axes")
        evaluation_order(expressions)
        return self

    @property
    def var_axes(self) -> tuple[str, ...]:
        """Names of the axes that a workload sets."""
        return tuple(name for name, axis in self.axes.items() if isinstance(axis, VarAxis))

    def sizes(self, var: Mapping[str, int]) -> dict[str, int]:
        """The size of every axis.

        Raises:
            ExpressionError: a variable axis is missing, an expression gives no size, or a
            constraint fails.
        """
        if missing := set(self.var_axes) - set(var):
            raise ExpressionError(f"{self.name}: no value for the axes {sorted(missing)}")
        sizes = {k: a.value for k, a in self.axes.items() if isinstance(a, ConstAxis)}
        sizes |= {name: var[name] for name in self.var_axes}
        expressions = {k: a.expression for k, a in self.axes.items() if isinstance(a, ExprAxis)}
        for name in evaluation_order(expressions):
            sizes[name] = evaluate(expressions[name], sizes)
        if negative := {k: v for k, v in sizes.items() if v < 0}:
            raise ExpressionError(f"{self.name}: negative axes {negative}")
        for constraint in self.constraints:
            if not holds(constraint, sizes):
                raise ExpressionError(
                    f"{self.name}: the constraint {constraint!r} fails for {dict(var)}"
                )
        return {name: sizes[name] for name in self.axes}

    def shape(self, spec: TensorSpec, sizes: Mapping[str, int]) -> Shape | None:
        """The concrete shape of a tensor; `None` for a scalar."""
        if spec.shape is None:
            return None
        return tuple(int(a) if a.isdigit() and a not in sizes else sizes[a] for a in spec.shape)

    def bytes_moved(self, sizes: Mapping[str, int]) -> tuple[int, int]:
        """Bytes of all inputs and of all outputs."""
        both = []
        for group in (self.inputs, self.outputs):
            total = 0
            for spec in group.values():
                count = 1
                for size in self.shape(spec, sizes) or ():
                    count *= size
                total += count * item_bytes(spec.dtype)
            both.append(total)
        return both[0], both[1]


def functions_of(source: str) -> dict[str, ast.FunctionDef]:
    """Top-level functions of a Python source.

    Raises:
        ValueError: it is not Python.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"the reference is not Python: {error}") from error
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def evaluation_order(expressions: Mapping[str, str]) -> list[str]:
    """Expression axes so that each comes after those it names.

    Raises:
        ValueError: they name one another in a circle.
    """
    order: list[str] = []
    waiting = {name: names_in(text) & set(expressions) for name, text in expressions.items()}
    while waiting:
        ready = [name for name, needs in waiting.items() if needs <= set(order)]
        if not ready:
            raise ValueError(f"the axes {sorted(waiting)} are defined in a circle")
        order += ready
        for name in ready:
            del waiting[name]
    return order
