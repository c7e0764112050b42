"""Reads one tensor of a safetensors file: eight bytes of length, a JSON header, raw numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "F4": "float4_e2m1fn_x2",
}
PACKED = "F4"
"""Two numbers in a byte: a file counts numbers, PyTorch counts bytes."""
LARGEST_HEADER = 100 << 20


def stored_at(roots: Sequence[str], path: str) -> Path | None:
    """Where a stored input lies below one of these folders, the first that has it; else `None`.

    The first parts of a path may name a folder that the roots already lie in.

    Raises:
        ValueError: the path is absolute or leads upwards.
    """
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"the safetensors path {path!r} leaves the benchmark's folder")
    for root in roots:
        for first in range(len(relative.parts)):
            file = Path(root, *relative.parts[first:])
            if file.is_file():
                return file
    return None


def read_tensor(roots: Sequence[str], path: str, key: str) -> torch.Tensor:
    """A tensor of a file below one of these folders.

    Raises:
        ValueError: there is no such file, it is damaged, or it has no such tensor.
    """
    import torch

    file = stored_at(roots, path)
    if file is None:
        raise ValueError(f"there is no file {path} in the benchmark's folder")
    with file.open("rb") as stream:
        head = stream.read(8)
        size = struct.unpack("<Q", head)[0] if len(head) == 8 else LARGEST_HEADER + 1
        if size > LARGEST_HEADER:
            raise ValueError(f"{path} is not a safetensors file")
        try:
            entry = json.loads(stream.read(size))[key]
            dtype = getattr(torch, TYPES[entry["dtype"]])
            begin, end = map(int, entry["data_offsets"])
            shape = list(map(int, entry["shape"]))
            if entry["dtype"] == PACKED:
                shape[-1] //= 2
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} holds no readable tensor {key!r}: {error!r}") from error
        stream.seek(8 + size + begin)
        raw = bytearray(stream.read(end - begin))
    if len(raw) != end - begin:
        raise ValueError(f"{path} is cut short within {key!r}")
    flat = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
    return flat.view(dtype).view(shape)
