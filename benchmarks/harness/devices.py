"""Where a grader does its arithmetic: numpy on the host, or torch on the trial's GPU.

Logits of a million tokens are tens of gigabytes: on one core of the host a grade took as long as
the training. The grader's process never runs candidate code; that it shares a GPU with a process
that does is no risk, for each has its own address space there. Answers still come through sealed
shared memory; the copy onto the GPU is the private copy that is then checked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from novum.benchmarks.harness.shared_memory import Buffer

if TYPE_CHECKING:
    from torch import Tensor

    from novum.benchmarks.protocol import Array

PIN_BYTES = 1 << 24  # below, pinning costs more than one copy


def find_device(gpus: Sequence[str]) -> str:
    """The device on which a grader computes: the slot's first GPU as this process sees it.

    `cpu` where the slot has none, or where torch does not see it.
    """
    if not gpus:
        return "cpu"
    try:
        import torch
    except ImportError:
        return "cpu"
    if not torch.cuda.is_available():
        return "cpu"
    n_devices = torch.cuda.device_count()
    if gpus[0].isdigit():
        return f"cuda:{gpus[0]}" if int(gpus[0]) < n_devices else "cpu"
    for index in range(n_devices):
        uuid = str(torch.cuda.get_device_properties(index).uuid)
        if gpus[0].removeprefix("GPU-") == uuid.removeprefix("GPU-"):
            return f"cuda:{index}"
    return "cpu"


def empty_answer(shape: tuple[int, ...], device: str) -> Array | Tensor:
    """Room for an answer, filled with NaN: float32 on the host, float16 on a GPU.

    float16 halves what passes through the host; it is exact to 1/2000 of a logit's size.
    """
    if device == "cpu":
        return np.full(shape, np.nan, np.float32)
    import torch

    return torch.full(shape, math.nan, dtype=torch.float16, device=device)


def numpy_dtype(out: Array | Tensor) -> np.dtype[Any]:
    """The numpy type of an array or tensor."""
    return out.dtype if isinstance(out, np.ndarray) else np.dtype(str(out.dtype).split(".")[1])


def copy_to(out: Tensor, buffer: Buffer, dtype: np.dtype[Any]) -> None:
    """Copy the start of a shared buffer into a tensor."""
    import torch

    source = torch.from_numpy(buffer.view(dtype, tuple(out.shape)))
    if out.is_cuda and buffer.n_bytes >= PIN_BYTES and not buffer.is_pinned:
        # 0 is success; where pages cannot be pinned the copy is slower and as right
        done = runtime().cudaHostRegister(source.data_ptr(), buffer.n_bytes, 0)
        buffer.is_pinned = int(done) == 0
    out.copy_(source)


def unpin(buffer: Buffer) -> None:
    """Undo what `copy_to` did to a buffer, before its memory is given back."""
    if buffer.is_pinned:
        runtime().cudaHostUnregister(buffer.view(np.dtype(np.uint8), (1,)).ctypes.data)
        buffer.is_pinned = False


def runtime() -> Any:
    """The functions of CUDA's runtime that torch passes on."""
    import torch

    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def is_finite(values: Array | Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    if isinstance(values, np.ndarray):
        return bool(np.isfinite(values).all())
    return bool(values.isfinite().all())


def release(device: str) -> None:
    """Give back the memory of a GPU that this process keeps for later."""
    if device != "cpu":
        import torch

        with torch.cuda.device(device):
            torch.cuda.empty_cache()
