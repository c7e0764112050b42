"""Reads one tensor of a safetensors file: eight bytes of length, a JSON header, raw numbers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
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
}
LARGEST_HEADER = 100 << 20


def read_tensor(root: Path, path: str, key: str) -> torch.Tensor:
    """A tensor of a file below `root`.

    Raises:
        ValueError: the path leaves `root`, the file is damaged, or it has no such tensor.
    """
    import torch

    file = (root / path).resolve()
    if not file.is_relative_to(root.resolve()):
        raise ValueError(f"the safetensors path {path!r} leaves the benchmark's folder")
    if not file.is_file():
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
            shape = tuple(map(int, entry["shape"]))
        except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} holds no readable tensor {key!r}: {error!r}") from error
        stream.seek(8 + size + begin)
        raw = bytearray(stream.read(end - begin))
    if len(raw) != end - begin:
        raise ValueError(f"{path} is cut short within {key!r}")
    flat = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
    return flat.view(dtype).view(shape)
