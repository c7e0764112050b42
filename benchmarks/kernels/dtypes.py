"""The element types of the format: how many bytes, and which precision comes one step below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch

DType = Literal[
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float4_e2m1",
    "float4_e2m1fn_x2",
    "int64",
    "int32",
    "int16",
    "int8",
    "bool",
]

DTYPES: tuple[str, ...] = get_args(DType)

_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
}

ONE_LOWER = {
    "float64": "float32",
    "float32": "bfloat16",
    "float16": "float8_e4m3fn",
    "bfloat16": "float8_e4m3fn",
}
"""What a candidate that cheats on precision would compute in."""


def item_bytes(dtype: str) -> int:
    """Bytes of one stored element (`float4_e2m1fn_x2` stores two numbers in one)."""
    return _BYTES.get(dtype, 1)


def is_float(dtype: str) -> bool:
    """Whether numbers of this type have a fraction."""
    return dtype.startswith(("float", "bfloat"))


def torch_name(dtype: str) -> str:
    """What PyTorch calls the type; it keeps numbers of four bits in pairs only."""
    return "float4_e2m1fn_x2" if dtype == "float4_e2m1" else dtype


def torch_dtype(dtype: str) -> torch.dtype:
    """The type in PyTorch.

    Raises:
        ValueError: this PyTorch has no such type.
    """
    import torch

    found = getattr(torch, torch_name(dtype), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"PyTorch {torch.__version__} has no type {dtype}")
    return found
